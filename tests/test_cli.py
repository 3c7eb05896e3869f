"""The command line: what it prints, its exit codes, and what its help does not import."""

from __future__ import annotations

import functools
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from click.testing import Result
from huggingface_hub import HfApi

import processes
from command import PROGRAM, Invoke
from hub_server import Server, Token
from slack_ties.catalogue.languages import list_languages
from slack_ties.cli.group import ORDER
from slack_ties.config.make import make_config
from slack_ties.models.front_matter import front_matter
from slack_ties.recipe.read import read_recipe
from triple import Folders

COMMANDS = [
    *("languages", "config", "plan", "merge", "card", "publish", "run", "recipes", "verify"),
    *("report", "compare", "tune", "evaluate", "doctor"),
    *("recipes search", "recipes pull", "recipes adapt"),
]


def models(triple: Folders) -> list[str]:
    """Return the options that name the models of a triple."""
    return ["--base", str(triple.base), "--ct", str(triple.ct), "--sft", str(triple.sft)]


def error_of(result: Result) -> str:
    """Check that a command failed as for a user's mistake, and return its one line."""
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, result.stderr
    return lines[0].removeprefix("Error: ")


# Help


HELP = [[], ["--version"], *([*command.split(), "--help"] for command in COMMANDS)]
WRONG = [
    (["merge", "nothing.yml", "out"], "no config file 'nothing.yml'"),
    (["merge", "nothing.yml", "out", "--quiet", "--json"], "no config file 'nothing.yml'"),
    (["run", "klingon", "--out", "out"], "klingon"),
    (["run", "bo", "--base", "./no", "--ct", "./no", "--out", "out"], "./no"),
]
HEAVY = {"torch", "transformers", "mergekit", "lm_eval", "datasets"}
# One process runs them all. What one of them imports stays, so the first to name it is at fault.
COMMANDS_AND_IMPORTS = """if True:
    import json, sys
    from click.testing import CliRunner
    from slack_ties.cli.main import cli
    for words in json.loads(sys.argv[1]):
        result = CliRunner().invoke(cli, words)
        print(json.dumps([words, result.output, sorted(sys.modules)]))
"""


@pytest.fixture(scope="module")
def imports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, set[str]]]:
    """What each of these commands prints, and what is imported after it, in a new process."""
    commands = json.dumps([*HELP, *(words for words, _ in WRONG)])
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS_AND_IMPORTS, commands],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path_factory.mktemp("imports"),
    )
    lines = map(json.loads, done.stdout.splitlines())
    return {" ".join(words): (printed, set(modules)) for words, printed, modules in lines}


@pytest.mark.parametrize("words", HELP)
def test_help_imports_nothing_heavy(
    words: list[str], imports: dict[str, tuple[str, set[str]]]
) -> None:
    """It answers at once: neither torch nor transformers nor mergekit nor the Hub client."""
    printed, modules = imports[" ".join(words)]

    assert "Usage: " in printed or "version" in printed
    assert "slack_ties.cli.main" in modules
    assert modules & {*HEAVY, "huggingface_hub", "safetensors.torch"} == set()


@pytest.mark.parametrize(("words", "said"), WRONG)
def test_a_wrong_config_is_said_at_once(
    words: list[str], said: str, imports: dict[str, tuple[str, set[str]]]
) -> None:
    """Before torch, transformers and mergekit are imported, which takes seconds."""
    printed, modules = imports[" ".join(words)]

    assert said in printed
    assert modules & HEAVY == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_begins_with_examples(command: str, invoke: Invoke) -> None:
    """Every command says what it does and how it is typed before it lists options."""
    text = invoke(*command.split(), "--help").output

    assert text.index("Examples:") < text.index("Options:")
    assert f"  slack-ties {command}" in text


def test_help_names_options_that_mergekit_has(invoke: Invoke) -> None:
    """The short list of mergekit's options is true, and the long one is there."""
    long = invoke("merge", "--help-mergekit")

    short = invoke("merge", "--help").output.partition("The most used:")[2]
    named = [w for w in short.split() if w.startswith("--") and w != "--help-mergekit"]
    assert long.exit_code == 0
    assert len(named) >= 6
    assert [name for name in named if f"{name}" not in long.output] == []
    assert "write-model-card" not in long.output


# Each command


def test_config(invoke: Invoke) -> None:
    """It prints what it wrote, and what to do next."""
    result = invoke("config", "bo", "tamil", "-o", "configs", "--slack", "0.3")

    assert result.stdout.split() == [str(Path("configs", f"{k}.yml")) for k in ("bo", "ta")]
    assert "Next: slack-ties plan" in result.stderr
    assert "slack: 0.3" in Path("configs/bo.yml").read_text("utf-8")


@pytest.mark.parametrize("name", ["x.yml", "new folder/my config.yaml", "X.YML"])
def test_config_to_a_file(name: str, invoke: Invoke) -> None:
    """A path that ends in .yml is the file, whose comments and next step name it."""
    result = invoke("config", "bo", "-o", name)

    assert result.stdout == f"{Path(name)}\n"
    assert f"Next: slack-ties plan {shlex.quote(str(Path(name)))}\n" in result.stderr
    assert Path(name).is_file()
    file = shlex.quote(Path(name).name)
    assert f"#   slack-ties run {file} --out OUT\n" in Path(name).read_text("utf-8")
    assert read_recipe(Path(name)).data == make_config("bo").data
    assert not Path("merge_configs").exists()


def test_config_to_a_file_that_is_there(invoke: Invoke) -> None:
    """The same again is fine; what a person edited stays, unless it may be replaced."""
    words = ["config", "bo", "-o", "x.yml"]
    assert invoke(*words).exit_code == invoke(*words).exit_code == 0
    Path("x.yml").write_text("# mine\n")

    result = invoke(*words, "--json")

    assert result.exit_code == 1
    assert "'x.yml' exists and has other content" in result.stderr
    assert Path("x.yml").read_text() == "# mine\n"
    done = invoke(*words, "--overwrite", "--json")
    assert json.loads(done.stdout) == {"configs": ["x.yml"]}


def test_config_of_several_languages_to_a_file(invoke: Invoke) -> None:
    """Refused with a command that can be typed; one config of both is one file."""
    result = invoke("config", "bo", "tamil", "-o", "two langs.yml")

    assert result.exit_code == 1
    assert "'two langs.yml' is the name of one file, and 2 languages make as" in result.stderr
    assert "Next: slack-ties config bo tamil -o 'two langs' # a folder" in result.stderr
    assert "Next: slack-ties config --all -o x #" in invoke("config", "--all", "-o", "x.yml").stderr
    assert list(Path().iterdir()) == []
    joint = invoke("config", "bo", "ug", "--joint", "-o", "both.yml")
    assert joint.stdout == "both.yml\n"


def test_config_to_a_folder_that_is_named_as_a_file(invoke: Invoke) -> None:
    """A folder that is there is a folder, as it is under every other name."""
    Path("x.yml").mkdir()

    assert invoke("config", "bo", "-o", "x.yml").stdout == f"{Path('x.yml', 'bo.yml')}\n"

    Path("x.yml/ug.yml").mkdir()
    result = invoke("config", "ug", "-o", "x.yml", "--overwrite")
    assert f"{str(Path('x.yml', 'ug.yml'))!r} is a folder, expected a file" in result.stderr
    assert "Next: choose a file with -o" in result.stderr


def test_config_of_all(invoke: Invoke) -> None:
    """The whole catalogue, into merge_configs by default."""
    result = invoke("config", "--all", "--json")

    written = json.loads(result.stdout)["configs"]
    assert len(written) == len(list_languages())
    assert all(Path(path).parent == Path("merge_configs") for path in written)


@pytest.mark.parametrize(
    "words",
    [
        ["config"],
        ["config", "bo", "--all"],
        ["config", "--all", "--ct", "x"],
        ["config", "bo", "--dtype", "int8"],
        ["config", "bo", "--slack", "2"],
        ["config", "bo", "ug", "--ct", "x"],
        ["run", "bo", "--out", "x", "--public"],
        ["merge", "x.yml"],
        ["merge", "x.yml", "out", "--no-such-option"],
        ["merge", "x.yml", "out", "--out-shard-size", "2GB"],
        ["merge", "x.yml", "out", "--device", "gpu"],
        ["merge", "x.yml", "out", "-j", "0"],
        ["merge", "x.yml", "out", "--random-seed", "-1"],
        ["run", "bo"],
        ["plan"],
        ["plan", "a.yml", "b.yml"],
        ["plan", "a.yml", "-o", "b.yml"],
        ["config", "bo", "--joint"],
        ["config", "bo", "--weight", "ct=x"],
        ["config", "bo", "--weight", "1", "--weight", "sft=2"],
        ["recipes", "pull"],
        ["recipes", "adapt", "x.yml"],
        ["verify", "a/b", "--out", "x", "--against", "y"],
        ["publish", "out"],
        ["nonsense"],
    ],
)
def test_a_wrong_command_line_is_exit_code_2(invoke: Invoke, words: list[str]) -> None:
    """With the usage, without a traceback, and the next step shows the help of the command."""
    result = invoke(*words)

    assert result.exit_code == 2
    assert "Usage: " in result.stderr
    assert "Try '" not in result.stderr
    lines = result.stderr.splitlines()
    assert [line.partition(":")[0] for line in lines[-2:]] == ["Error", "Next"]
    typed = lines[-1].removeprefix("Next: cli ").split()
    assert typed[:-1] == ([] if words == ["nonsense"] else [w for w in words if w in ORDER][:2])
    shown = invoke(*typed)
    assert (shown.exit_code, shown.stdout.startswith("Usage: cli")) == (0, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "merge a b --device gpu",
            "expected cpu, cuda, cuda:N (N: number of the GPU), mps or auto",
        ),
        ("merge a b --out-shard-size 5", "5 needs a unit: 5M or 5B (M: 10^6 bytes, B: 10^9)"),
        (
            "merge a b --slack 0.3",
            "No such option: --slack. It belongs to a merge config: slack-ties ",
        ),
        ("report a --ct x", "or to slack-ties run LANG --ct ..."),
        (
            "merge bo.yml x --dry-run",
            "No such option: --dry-run. What a merge would do is shown by slack-ties plan CONFIG",
        ),
        (
            "merge a b -n",
            "No such option: -n. What a merge would do is shown by slack-ties plan CONFIG",
        ),
    ],
)
def test_what_to_type_instead(invoke: Invoke, words: str, said: str) -> None:
    """A value or an option that people expect is answered with the one that there is."""
    result = invoke(*words.split())

    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("merge nothing.yml", "no config file 'nothing.yml'"),
        ("run nothing.yml", "no config file 'nothing.yml'"),
        ("report nothing.yml", "no config file 'nothing.yml'"),
        ("tune nothing.yml", "no config file 'nothing.yml'"),
        ("plan --pin nothing.yml", "no config file 'nothing.yml'"),
        ("config klingon", "klingon"),
        ("recipes adapt nothing.yml --language bo --ct x", "no config file 'nothing.yml'"),
    ],
)
def test_one_option_says_where_the_result_goes(invoke: Invoke, words: str, message: str) -> None:
    """It is -o, --out and --output in every command."""
    for name in ("-o", "--out", "--output"):
        assert message in error_of(invoke(*words.split(), name, "x"))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGPIPE")
@pytest.mark.parametrize("words", ["languages", "languages --json", "merge --help", "--help"])
def test_a_reader_that_has_seen_enough(words: str) -> None:
    """As other tools do that SIGPIPE ends: quietly, with the exit code 141."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [PROGRAM, *words.split()], stdout=write, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(write)

    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize(
    "words", [["merge", "a", "b", "--out-shard-size"], ["recipes", "pull", "-o"]]
)
def test_an_option_without_its_value(invoke: Invoke, words: list[str]) -> None:
    """Click does not know in which command that is, and we do."""
    result = invoke(*words)

    assert result.exit_code == 2
    assert result.stderr.endswith(f"Next: cli {' '.join(w for w in words if w in ORDER)} --help\n")


def test_stage_by_stage(invoke: Invoke, triple: Folders) -> None:
    """Config, merge, card: each command names the next."""
    config = invoke("config", "bo", *models(triple))
    plan = invoke("plan", "merge_configs/bo.yml")
    merge = invoke("merge", "merge_configs/bo.yml", "out", "--out-shard-size", "200K")
    card = invoke("card", "out")

    assert "slack-ties plan merge_configs/bo.yml" in config.stderr
    assert "slack-ties merge merge_configs/bo.yml OUT" in plan.stderr
    assert merge.stdout == "out: 139,584 parameters, bfloat16\n"
    assert "slack-ties card out" in merge.stderr
    assert "\nScores: none yet: slack-ties evaluate out\n" in merge.stderr
    assert len(list(Path("out").glob("model-*.safetensors"))) > 1
    assert card.stdout == f"{Path('out') / 'README.md'}\n"
    assert "slack-ties publish out" in card.stderr


def test_a_card_with_ones_own_texts(invoke: Invoke, triple: Folders, tmp_path: Path) -> None:
    """Each from its file; what is said, and what a script gets."""
    made = invoke("run", "bo", *models(triple), "--out", "out")
    for name in ("description", "in-language", "intended-use", "contact"):
        (tmp_path / name).write_text(f"My {name}.")
    (tmp_path / "r.yaml").write_text("- {dataset: {id: a/b, task_id: t}, value: 3}")
    options = [
        word
        for name in ("description", "in-language", "intended-use", "contact")
        for word in (f"--{name}", name)
    ]

    assert "\nScores: none yet: slack-ties evaluate out\n" in made.stderr
    first = invoke("card", "out")
    said = invoke("card", "out", *options, "--eval-results", "r.yaml", "--license", "cc-by-4.0")
    data = json.loads(invoke("card", "out", "--quiet", "--json").stdout)

    assert said.exit_code == 0, said.output
    assert said.stdout == f"{Path('out') / 'README.md'}\n"
    assert "\nScores: none yet: slack-ties evaluate out\n" in first.stderr
    assert "Scores: " not in said.stderr
    assert "Licence: cc-by-4.0, as stated by the person who made this model." in said.stderr
    card = Path("out/README.md").read_text("utf-8")
    for text in ("My description.", "My in-language.", "My intended-use.", "My contact.", "| 3 |"):
        assert text in card
    assert (data["license"], data["warnings"]) == ("cc-by-4.0", [])
    assert [one["id"] for one in data["duties"]] == ["mit", "cc-by-4.0"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--license", "lama2"], "'lama2' is not a licence id of the Hub. Did you mean 'llama2'?"),
        (["--license", "other"], "the licence 'other' needs a name and a link"),
        (["--description", "none.md"], "'none.md', a text for the card: No such file"),
        (["--eval-results", "none.yaml"], "'none.yaml', results of an evaluation: No such file"),
    ],
)
def test_a_card_that_cannot_be_written(
    invoke: Invoke, triple: Folders, words: list[str], message: str
) -> None:
    """One line, and the card that is there stays."""
    invoke("run", "bo", *models(triple), "--out", "out")
    before = Path("out/README.md").read_bytes()

    assert message in error_of(invoke("card", "out", *words))

    assert Path("out/README.md").read_bytes() == before


@pytest.mark.parametrize(
    "words",
    [
        ["card", "out", "--license", "mit", "--license-name", "x"],
        ["card", "out", "--license-link", "LICENSE"],
        ["card", "bo.yml", "--license", "mit"],
        ["card", "bo.yml", "--description", "x.md"],
    ],
)
def test_options_of_a_licence_that_do_not_go_together(invoke: Invoke, words: list[str]) -> None:
    """A wrong command line."""
    assert invoke(*words).exit_code == 2


def test_a_merge_is_seen_compared_and_tuned(invoke: Invoke, triple: Folders) -> None:
    """Each command prints a screenful, or what a script reads, and leaves its files."""
    invoke("config", "bo", *models(triple), "-o", ".", "--quiet")

    merged = invoke("merge", "bo.yml", "out", "--report")

    assert merged.exit_code == 0, merged.output
    assert "Plain TIES (slack 0) drops" in merged.stdout
    assert {path.name for path in Path("out").glob("report.*")} == {"report.json", "report.html"}
    seen = invoke("report", "bo.yml", "--json", "--quiet")
    report = json.loads(seen.stdout)
    assert report["folder"] == "bo-report"
    assert report["total"] == json.loads(Path("out/report.json").read_text("utf-8"))["total"]
    assert invoke("report", "bo.yml", "-q").stdout == f"{Path('bo-report') / 'report.html'}\n"
    side = invoke("compare", "out", "bo-report", "--json")
    differing = [row for row in json.loads(side.stdout)["rows"] if row["one"] != row["other"]]
    assert differing == []
    tuned = invoke("tune", "bo.yml", "--slack", "0,0.2", "--quiet")
    assert tuned.stdout == "bo-tuned-kept.yml\n"
    edited = Path("bo-tuned-kept.yml")
    edited.write_text(edited.read_text("utf-8") + "# mine\n", "utf-8")
    assert invoke("tune", "bo.yml", "--slack", "0,0.2").exit_code == 1
    assert invoke("tune", "bo.yml", "--slack", "0,0.2", "--overwrite", "-q").exit_code == 0
    assert "# mine" not in edited.read_text("utf-8")
    table = invoke("tune", "bo.yml", "--slack", "0,0.2").stdout.splitlines()
    assert len([line for line in table if line.startswith("* ")]) == 1
    assert invoke("plan", "bo-tuned-kept.yml", "--quiet").exit_code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["report", "nowhere.yml"], "no config file"),
        (["compare", "nowhere", "b.yml"], "is not there, expected a merged folder, a merge config"),
        (["tune", "nowhere.yml"], "no config file"),
        (["tune", "x.yml", "--slack", "2"], "slack must be in [0, 1]"),
    ],
)
def test_what_cannot_be_seen(invoke: Invoke, words: list[str], said: str) -> None:
    """One line, as for every command."""
    assert said in error_of(invoke(*words))


def test_quiet_and_json(invoke: Invoke, triple: Folders) -> None:
    """A script reads one JSON object and nothing else."""
    result = invoke("run", "bo", *models(triple), "--out", "out dir", "--quiet", "--json")

    data = json.loads(result.stdout)
    assert result.stderr == ""
    assert data["record"]["parameters"] == 139_584
    assert data["repeat"] == "slack-ties run 'out dir/mergekit_config.yml' --out 'out dir-again'"


def test_a_card_of_a_config(invoke: Invoke) -> None:
    """An example card goes to the standard output; without network it says what is not known."""
    invoke("config", "bo")

    offline = invoke("card", "--offline", "merge_configs/bo.yml")
    away = invoke("card", "merge_configs/bo.yml", "--json")

    assert offline.stdout.startswith("---\nlanguage:\n- bo\n")
    assert offline.stderr == ""
    data = json.loads(away.stdout)
    assert data["text"] == offline.stdout  # the licences are in the config too
    assert (data["license"], data["config"]) == ("llama2", "merge_configs/bo.yml")
    assert set(data["not_read"]) == {
        "meta-llama/Llama-2-7b-hf",
        "pkupie/Llama-2-7b-bod",
        "pkupie/Llama-2-7b-FLAN-step884",
    }
    assert "Warning: the card of pkupie/Llama-2-7b-bod is not known: cannot" in away.stderr


def test_the_card_of_a_config_is_that_of_its_merge(invoke: Invoke, triple: Folders) -> None:
    """Licence, languages and datasets are the same: the models' cards are read for it."""
    ct = Path(shutil.copytree(triple.ct, "ct"))
    (ct / "README.md").write_text("---\nlicense: MIT License\ndatasets: [me/data]\n---\n")
    invoke("config", "bo", "--base", triple.base, "--ct", ct, "--sft", triple.sft)

    before = json.loads(invoke("card", "merge_configs/bo.yml", "--json").stdout)

    assert (before["license"], before["metadata"]["datasets"]) == ("mit", ["me/data"])
    assert invoke("run", "merge_configs/bo.yml", "--out", "out", "--quiet").exit_code == 0
    assert front_matter(Path("out/README.md").read_text("utf-8")) == before["metadata"]


def test_a_card_that_cannot_be_read(invoke: Invoke, triple: Folders) -> None:
    """It is named, and the licence is said to be not known, not to be missing."""
    ct = Path(shutil.copytree(triple.ct, "ct"))
    (ct / "README.md").write_text("---\nlicense: {\n---\n")
    invoke("config", "bo", "--base", triple.base, "--ct", ct, "--sft", triple.sft)

    result = invoke("card", "merge_configs/bo.yml", "--json")

    data = json.loads(result.stdout)
    assert data["license_problems"] == [
        f"the card of {ct} could not be read: its licence is not known."
    ]
    assert f"Warning: the card of {ct} is not known: the lines between the two" in result.stderr
    assert " | not read |" in data["text"]


def test_plan(invoke: Invoke, triple: Folders) -> None:
    """A verdict to read; pinned on request; exit code 1 and what to do if something is wrong."""
    invoke("config", "bo", *models(triple))

    good = invoke("plan", "merge_configs/bo.yml", "--out-shard-size", "500M")
    pinned = invoke("plan", "merge_configs/bo.yml", "--pin", "-o", "pinned.yml")
    data = json.loads(invoke("plan", "pinned.yml", "--json").stdout)

    assert good.exit_code == pinned.exit_code == 0
    assert good.stdout.startswith("merge_configs/bo.yml: slack_ties for Tibetan\n")
    assert "Next: slack-ties merge merge_configs/bo.yml OUT" in good.stderr
    assert "Next: slack-ties merge pinned.yml OUT" in pinned.stderr
    assert "versions: {" in Path("pinned.yml").read_text("utf-8")
    assert (data["errors"], data["dtype"]) == ([], "bfloat16")
    text = Path("pinned.yml").read_text("utf-8").replace(str(triple.ct), "./gone")
    Path("bad.yml").write_text(text)
    bad = invoke("plan", "bad.yml", "--pin")
    assert (bad.exit_code, Path("bad.yml").read_text("utf-8")) == (1, text)
    assert "Errors:\n  - model folder './gone' does not exist" in bad.stdout
    assert len(json.loads(invoke("plan", "bad.yml", "--json").stdout)["errors"]) == 1
    assert error_of(invoke("plan", "bad.yml", "-q")).startswith("model folder './gone'")


def test_lint(invoke: Invoke) -> None:
    """All files are looked at, without network."""
    invoke("config", "bo", "ug")
    Path("merge_configs/x.yml").write_text(Path("merge_configs/bo.yml").read_text("utf-8"))

    files = sorted(Path("merge_configs").glob("*.yml"))
    result = invoke("plan", "--offline-lint", *files)
    data = json.loads(invoke("plan", "--offline-lint", "--json", *files).stdout)

    assert result.exit_code == 1
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["good", "good", "wrong"]
    assert [bool(problem) for problem in data.values()] == [False, False, True]
    assert invoke("plan", "--offline-lint", *files[:2]).exit_code == 0


def test_joint_and_by_role(invoke: Invoke, triple: Folders) -> None:
    """Numbers by role and language, in one option or several."""
    words = ["config", "bo", "ug", "--joint", "--base", triple.base, "--sft", triple.sft]
    cts = ["--ct", triple.ct, "--ct", triple.base]

    result = invoke(*words, *cts, "--weights", "bo=1,ug=0.5", "--weight", "sft=2", "--slack", "0.3")

    assert result.exit_code == 0, result.output
    recipe = yaml.safe_load(Path("merge_configs/bo-ug.yml").read_text("utf-8"))
    assert [m["parameters"]["weight"] for m in recipe["models"]] == [1, 0.5, 2]
    assert recipe["models"][2]["parameters"]["slack"] == 0.3


# Bad input: one clear line, exit code 1


def test_bad_input(invoke: Invoke, triple: Folders) -> None:
    """Each mistake is named with where it is."""
    Path("bad.yml").write_text("a: [")
    Path("full").mkdir()
    Path("full/thesis.txt").write_text("mine")
    config = "merge_configs/bo.yml"
    invoke("config", "bo", *models(triple))
    good = Path(config).read_text("utf-8")
    Path("typo.yml").write_text(good.replace("density", "densty"))
    Path("gone.yml").write_text(good.replace(str(triple.ct), "./gone"))

    errors = [
        error_of(invoke(*words))
        for words in (
            ["config", "tibetian"],
            ["run", "klingon", "--out", "out"],
            ["merge", "none.yml", "out"],
            ["merge", "bad.yml", "out"],
            ["merge", "typo.yml", "out"],
            ["merge", "gone.yml", "out"],
            ["merge", config, "full"],
            ["run", config, "--slack", "0.1", "--out", "out"],
            ["card", "full"],
            ["publish", "full", "me/x"],
            ["run", "bo", *models(triple), "--out", "out", "--publish", "me/x"],
            ["run", "x" * 300, "--out", "out"],
            ["run", "bo", "--base", "~nobody-here/x", "--out", "out"],
            ["run", "bo", "--out", "out"],
        )
    ]
    errors[-1] = errors[-1].partition(": [Errno")[0]  # which differs between systems

    assert errors == [
        "no language 'tibetian' in the catalogue. Did you mean 'Tibetan'?",
        "no language 'klingon' in the catalogue.",
        "no config file 'none.yml'",
        "bad.yml: line 1, column 5: not valid YAML: expected the node content, "
        "but found '<stream end>'",
        f"typo.yml: models[0] ({triple.ct}): unknown parameter 'densty'. Did you mean 'density'?",
        "model folder './gone' does not exist, expected a folder with config.json and weights",
        "output folder 'full' is not empty",
        f"{Path(config)} is a config: --slack would change it",
        *[
            "'full' contains no slack_ties.json: slack-ties did not merge this model, and mergekit "
            "wrote no mergekit_config.yml, which says what was merged"
        ]
        * 2,
        "publishing to 'me/x' needs a token, but no token is stored",
        f"no language '{'x' * 300}' in the catalogue.",
        "model folder '~nobody-here/x' does not exist, "
        "expected a folder with config.json and weights",
        "model 'meta-llama/Llama-2-7b-hf' (no folder of that name here): "
        "cannot reach http://127.0.0.1:9",
    ]
    assert not Path("out").exists()


# As a process


def environment(hub: Server, tmp_path: Path, token: str = "hf_writer") -> dict[str, str]:
    """Return an environment in which the Hub is the one of the tests."""
    return {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": token,
        "HF_HOME": str(tmp_path / "hf"),
        "PYTHONWARNINGS": "default",
    }


def test_from_a_language_to_the_hub(triple: Folders, tmp_path: Path, hub: Server) -> None:
    """The command of the README, with a token in the environment that is shown nowhere."""
    words = ["run", "bo", *models(triple), "--out", "out", "--publish", "me/tibetan"]

    done = subprocess.run(
        [PROGRAM, *words],
        cwd=tmp_path,
        env=environment(hub, tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    commit = hub.hub.repo("me/tibetan", Token("me"))["commits"][-1]
    assert f"Published: {hub.url}/me/tibetan at commit {commit['id']}\n" in done.stdout
    again = "slack-ties run out/mergekit_config.yml --out out-again --publish me/tibetan\n"
    assert f"Repeat it: {again}" in done.stdout
    assert "[4/4] publish me/tibetan" in done.stderr
    everything = done.stdout + done.stderr
    everything += "".join(p.read_text("utf-8") for p in (tmp_path / "out").glob("*.[mjy]*[dnl]"))
    assert "hf_writer" not in everything


# Before anything is written into the folder of the merge, it waits to be stopped.
WAITING = """if True:
    import os, sys, time
    def wait(event, arguments):
        if event == "open" and ".partial" in str(arguments[0]) and "w" in str(arguments[1]):
            os.makedirs(os.environ["REACHED"], exist_ok=True)
            time.sleep(120)
    sys.addaudithook(wait)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_stopped_merge_leaves_nothing(triple: Folders, tmp_path: Path, how: str) -> None:
    """Ctrl-C, a job scheduler's stop and a lost terminal clean up; no traceback."""
    out = tmp_path / "work" / "out"
    out.parent.mkdir()
    words = ["run", "bo", *models(triple), "--out", out]
    reached = tmp_path / "reached"
    env = {**os.environ, "REACHED": str(reached)}
    process = processes.start(words, env=env, code=WAITING + processes.OURS)
    try:
        for _ in range(1200):  # a minute, until it writes the first file
            if reached.is_dir():
                break
            time.sleep(0.05)
        seen = list(out.parent.iterdir())
        process.send_signal(getattr(signal, how))
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()

    assert {path.suffix for path in seen} == {".partial"}, errors
    assert process.returncode == {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}[how]
    assert list(out.parent.iterdir()) == []
    assert "Traceback" not in errors


def test_each_command_as_a_new_process(triple: Folders, tmp_path: Path, hub: Server) -> None:
    """As users start it: what a forked one finds imported, each has to import itself."""
    (tmp_path / "a.txt").write_text("one two three")

    def run(*words: object) -> str:
        done = subprocess.run(
            [PROGRAM, *map(str, words)],
            cwd=tmp_path,
            env=environment(hub, tmp_path),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (words, done.stderr)
        assert "hf_writer" not in done.stdout + done.stderr
        return done.stdout

    assert "Tibetan" in run("languages")
    assert run("config", "bo", *models(triple), "-o", ".") == "bo.yml\n"
    assert run("plan", "bo.yml").startswith("bo.yml: slack_ties for Tibetan\n")
    assert run("merge", "bo.yml", "out") == "out: 139,584 parameters, bfloat16\n"
    assert "Plain TIES (slack 0) drops" in run("report", "bo.yml")
    assert "bo-report" in run("compare", "bo-report", "bo.yml")
    assert run("tune", "bo.yml", "--slack", "0", "-q") == "bo-tuned-kept.yml\n"
    assert run("card", "out") == f"{Path('out') / 'README.md'}\n"
    assert "me/tibetan" in run("publish", "out", "me/tibetan")


def test_recipes_and_verify(triple: Folders, tmp_path: Path, hub: Server, api: HfApi) -> None:
    """Publish, search, pull, adapt, run, verify: the whole round, in words of the shell."""
    for role in ("base", "ct", "sft"):
        api.create_repo(f"me/{role}", private=False)
        api.upload_folder(repo_id=f"me/{role}", folder_path=getattr(triple, role))

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROGRAM, *words],
            cwd=tmp_path,
            env=environment(hub, tmp_path),
            capture_output=True,
            text=True,
            check=False,
        )

    on_hub = ["--base", "me/base", "--ct", "me/ct", "--sft", "me/sft"]
    forked = functools.partial(processes.run, cwd=tmp_path, env=environment(hub, tmp_path))
    made = forked(["run", "bo", *on_hub, "--out", "out", "--publish", "me/tibetan", "-q"])
    found = run("recipes", "search", "--language", "bo")
    pulled = run("recipes", "pull", "me/tibetan")
    adapted = run("recipes", "adapt", "tibetan.yml", "--language", "dz", "--ct", "me/ct")
    again = forked(["run", "me/tibetan", "--out", "again", "-q"])
    verified = run("verify", "me/tibetan", "--against", "again")
    elsewhere = run("recipes", "search", "--author", "you", "--json")

    everything = (made, found, pulled, adapted, again, verified, elsewhere)
    assert [(done.returncode, done.stderr) for done in everything if done.returncode] == []
    assert [line.split()[0] for line in found.stdout.splitlines()] == ["MODEL", "me/tibetan"]
    assert pulled.stdout == "tibetan.yml\n"
    assert "Next: slack-ties plan tibetan.yml" in pulled.stderr
    assert adapted.stdout == f"{Path('merge_configs/dz.yml')}\n"
    assert verified.stdout.endswith(": all 21 tensors have the same bytes\n")
    assert json.loads(elsewhere.stdout) == []
    (tmp_path / "dz.yml").write_text("mine")
    kept = run("recipes", "pull", "me/tibetan", "-o", "dz.yml")
    assert (kept.returncode, (tmp_path / "dz.yml").read_text()) == (1, "mine")
    assert "Error: 'dz.yml' exists and has other content\n" in kept.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows says that there is no such file")
@pytest.mark.parametrize(
    "words",
    [
        ["chat", "LONG"],
        ["try", "LONG"],
        ["export", "LONG"],
        ["plan", "LONG"],
        ["merge", "LONG", "x"],
    ],
    ids=lambda words: words[0],
)
def test_a_text_in_the_place_of_a_folder(words: list[str], tmp_path: Path) -> None:
    """A forgotten OUT is no bug of ours: the error shows the beginning of the text, in one line."""
    text = "Tell me about Lhasa. " * 20
    typed = [text if one == "LONG" else one for one in words]

    done = subprocess.run(
        [sys.executable, "-m", "slack_ties", *typed],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "bug" not in done.stderr
    assert "Tell me about Lhasa." in done.stderr
    assert list(tmp_path.iterdir()) == []

"""What the command line proposes after "Next:" is accepted when it is typed."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import Result
from huggingface_hub import HfApi

import processes
import slack_ties
from command import PROGRAM, Invoke, environment
from hub_server import Server
from slack_ties.config.choices import Choices
from slack_ties.config.make import make_config
from slack_ties.config.methods import METHODS
from slack_ties.errors import HubError
from slack_ties.plan.again import plan_command
from slack_ties.publish.destination import Destination
from slack_ties.recipe.missing import ALIASES
from triple import Folders

# What a proposed command must not be answered with.
REFUSED = ("No such option", "Missing ", "no language", "no config file", "there is no folder")


@pytest.fixture
def config(invoke: Invoke, triple: Folders) -> Path:
    """A config of three models that are on this disk."""
    models = ["--base", triple.base, "--ct", triple.ct, "--sft", triple.sft]
    assert invoke("config", "bo", *models).exit_code == 0
    return Path("merge_configs/bo.yml")


def step(result: Result) -> str:
    """Return what a failed command says to do next."""
    assert result.exit_code == 1, result.output
    (line,) = re.findall(r"^Next: (.+)$", result.stderr, flags=re.MULTILINE)
    return str(line)


def commands(text: str) -> list[list[str]]:
    """Return the commands of ours in a text, as words; a comment, && or ; ends one."""
    found = re.findall(r"slack-ties (.+?)(?= # | && |; |$)", text)
    return [shlex.split(one) for one in found]


def accepted(result: Result) -> None:
    """Check that a command was not refused for how it was typed."""
    assert not any(words in result.output for words in REFUSED), result.output
    assert result.exit_code in {0, 1}, result.output


def test_plan_can_replace_a_file_that_it_pins_to(invoke: Invoke, config: Path) -> None:
    """It proposes --overwrite, and takes it."""
    Path("pinned.yml").write_text("mine")
    words = ["plan", config, "--pin", "-o", "pinned.yml"]

    assert step(invoke(*words)) == "add --overwrite, or choose another path with -o"
    assert Path("pinned.yml").read_text() == "mine"
    assert invoke(*words, "--overwrite").exit_code == 0
    assert "merge_method: slack_ties" in Path("pinned.yml").read_text()


def test_folders_have_no_commits_to_pin(invoke: Invoke, config: Path) -> None:
    """A plan does not say that it pinned models which have no commits."""
    said = invoke("plan", config, "--pin").stderr

    assert f"Written: {config}, with the versions of the packages. All models are folders" in said
    assert "Pinned" not in said


@pytest.mark.parametrize("sft", ["hub", "folder"])
def test_what_was_pinned_is_said(
    sft: str, triple: Folders, hub: Server, api: HfApi, tmp_path: Path
) -> None:
    """All models of the Hub; a folder beside them is named."""
    names = {"sft": str(triple.sft)}
    for role in ("base", "ct", "sft") if sft == "hub" else ("base", "ct"):
        names[role] = f"me/{role}"
        api.create_repo(names[role], private=False)
        api.upload_folder(repo_id=names[role], folder_path=getattr(triple, role))
    recipe = make_config("bo", Choices(**names, dtype="bfloat16"))
    (tmp_path / "x.yml").write_text(recipe.text, "utf-8")
    variables = environment(hub, tmp_path / "home", "hf_writer")

    done = processes.run(["plan", "x.yml", "--pin"], env=variables, cwd=tmp_path)

    folder = f", except for {str(triple.sft)!r}, which is a folder without commits"
    assert f"Pinned: x.yml{'' if sft == 'hub' else folder}\n" in done.stderr


def test_overwrite_alone_is_refused(invoke: Invoke, config: Path) -> None:
    """Without -o there is no other file that it could mean."""
    result = invoke("plan", config, "--pin", "--overwrite")

    assert result.exit_code == 2
    assert "--overwrite needs --pin and -o" in result.stderr


MISSING = [
    ("merge_configs/lo.yml", "slack-ties config lo"),
    ("merge_configs/tibetan.yml", "use merge_configs/bo.yml, which exists"),
    ("my configs/lo.yml", "slack-ties config lo -o 'my configs/lo.yml'"),
    ("configs/lao.yaml", "slack-ties config lo -o configs/lao.yaml"),
    ("lo", "slack-ties config lo"),
    ("bo", "use merge_configs/bo.yml, which exists"),
    ("bo.yml", "use merge_configs/bo.yml, which exists"),
    ("merge_configs/bo.yaml", "use merge_configs/bo.yml, which exists"),
    ("merge_configs/boo.yml", "use merge_configs/bo.yml, which exists"),
    ("merge_configs/zz.yml", "slack-ties config LANG # writes one"),
    ("merge_configs/no", "slack-ties config LANG # writes one"),
    ("wrong/path.yml", "slack-ties config LANG # writes one"),
    ("nothere", "slack-ties config LANG # writes one"),
    ("alice/tibetan", "slack-ties recipes pull alice/tibetan"),
    ("merge_configs/lo-chat-vector.yml", "slack-ties config lo --method chat-vector"),
    ("lo-param-delta", "slack-ties config lo --method param-delta"),
]


@pytest.mark.parametrize("name", ["bo-chat-vector.yml", "merge_configs/bo-param-delta.yml"])
def test_a_config_that_is_named_by_its_paper(name: str, invoke: Invoke, config: Path) -> None:
    """The file has mergekit's name of the method, and the next step names that file."""
    assert config.is_file()
    assert invoke("config", "bo", "--method", "chat-vector").exit_code == 0

    assert step(invoke("plan", name)) == "use merge_configs/bo-task_arithmetic.yml, which exists"


def test_names_of_papers() -> None:
    """They are those of the table of methods."""
    table = {alias.name: one.name for one in METHODS.values() for alias in one.aliases}
    assert table == ALIASES


@pytest.mark.parametrize("command", ["plan", "report", "compare"])
@pytest.mark.parametrize(("path", "next_step"), MISSING)
def test_a_missing_config(
    command: str, path: str, next_step: str, invoke: Invoke, config: Path
) -> None:
    """The next step is a config that exists, or a command that writes or fetches one."""
    words = [command, path, config] if command == "compare" else [command, path]
    if command == "compare" and "LANG" in next_step and not path.endswith(".yml"):
        next_step = "slack-ties merge CONFIG OUT # makes a model's folder"

    proposed = step(invoke(*words))

    assert proposed == next_step
    if proposed.startswith("use "):
        accepted(invoke("plan", *shlex.split(proposed.removeprefix("use ").split(", which")[0])))
    for typed in commands(proposed.replace("LANG", "ug").replace("CONFIG", str(config))):
        accepted(invoke(*typed))


@pytest.mark.parametrize("path", ["merge_configs/lo.yml", "merge_configs/lo.yaml", "./lo.yml"])
def test_run_of_a_missing_config(path: str, invoke: Invoke) -> None:
    """A path is no Hub id: the next step writes the config."""
    (typed,) = commands(step(invoke("run", path, "--out", "out")))

    assert typed[:2] == ["config", "lo"]
    assert invoke(*typed).exit_code == 0


def test_swapped_arguments_of_merge(invoke: Invoke, config: Path) -> None:
    """It says so, and prints the command in the right order, which then merges."""
    result = invoke("merge", "my model", config)

    assert "Error: CONFIG and OUT are swapped" in result.stderr
    (typed,) = commands(step(result))
    assert typed == ["merge", str(config), "my model"]
    assert invoke(*typed).exit_code == 0
    # Also when OUT is there already; then the other order is refused for that reason only.
    (typed,) = commands(step(invoke("merge", "my model", config)))
    assert "'my model' holds a finished merge" in invoke(*typed).stderr


def test_merge_takes_out_as_an_option(invoke: Invoke, config: Path) -> None:
    """As run does; given twice or not at all, it is a wrong command line."""
    for words in (["merge", config], ["merge", config, "one", "--out", "two"]):
        result = invoke(*words)
        assert (result.exit_code, "give OUT once" in result.stderr) == (2, True)

    assert invoke("merge", config, "--out", "one").exit_code == 0
    assert Path("one", "slack_ties.json").is_file()


def test_run_of_a_language_with_several_errors(
    invoke: Invoke, triple: Folders, tmp_path: Path
) -> None:
    """The config that it made is not on disk: the next step writes it, then plans it."""
    models: list[object] = ["--base", triple.base]
    for role, folder in (("ct", triple.ct), ("sft", triple.sft)):
        damaged = Path(shutil.copytree(folder, tmp_path / f"a damaged {role}"))
        for weights in [*damaged.glob("*.safetensors"), *damaged.glob("*.bin")]:
            weights.write_bytes(weights.read_bytes()[:100])
        models += [f"--{role}", damaged]

    said = invoke("run", "bo", *models, "--out", "out").stderr.splitlines()[-2]

    assert "; 1 more error: slack-ties config bo --base" in said
    write, plan = commands(said)
    assert invoke(*write).exit_code == 0
    shown = invoke(*plan)
    assert all(f"a damaged {role}" in shown.stdout for role in ("ct", "sft"))


def test_the_catalogue_knows_its_models(invoke: Invoke) -> None:
    """For a language whose models the user did not choose, no model is named."""
    proposed = plan_command("lo.yml", make_config("lo"))

    assert proposed == "slack-ties config lo && slack-ties plan merge_configs/lo.yml"
    assert invoke(*commands(proposed)[0]).stdout == f"{Path('merge_configs/lo.yml')}\n"


def test_a_recipe_of_the_hub_is_pulled_before_it_is_planned() -> None:
    """It has no file here, and pull writes one by the name of the model."""
    proposed = plan_command("me/x@abc", make_config("lo"))

    assert proposed == "slack-ties recipes pull me/x@abc && slack-ties plan x.yml"


@pytest.mark.parametrize(
    ("folder", "next_step"),
    [
        ("merge_configs", "slack-ties run merge_configs/bo.yml --out 'new model'"),
        ("./merge_configs", "slack-ties run merge_configs/bo.yml --out 'new model'"),
        ("a model/", "slack-ties run 'a model/mergekit_config.yml' --out 'new model'"),
        ("empty", "slack-ties languages"),
    ],
)
def test_run_of_a_folder(folder: str, next_step: str, invoke: Invoke, config: Path) -> None:
    """The next step runs a config that is in it; nothing is proposed that is not there."""
    for name in ("a model", "empty"):
        Path(name).mkdir()
    shutil.copy(config, "a model/mergekit_config.yml")

    proposed = step(invoke("run", folder, "--out", "new model"))

    assert proposed == next_step
    assert invoke(*commands(proposed)[0]).exit_code == 0


@pytest.mark.parametrize(
    ("typed", "better"),
    [
        ("https://huggingface.co/alice/x", "alice/x"),
        ("https://huggingface.co/alice/x/tree/main", "alice/x"),
        ("huggingface.co/alice/x", "alice/x"),
        ("hf.co/alice/x", "alice/x"),
        ("models/alice/x", "alice/x"),
        ("alice/x/", "alice/x"),
        ("alice//x", "alice/x"),
        ("https://huggingface.co/x", "x"),
        ("https://huggingface.co/datasets/alice/x", ""),
        ("https://huggingface.co", ""),
        ("a/b/c", ""),
        ("alice/", ""),
        ("alice/x y", "alice/x-y"),
        ("https://huggingface.co/alice/x y", "alice/x-y"),
        ("alice/x.git", "alice/x"),
        ("alice/x--y", "alice/x-y"),
        ("alice/-", ""),
        ("", ""),
    ],
)
def test_an_address_instead_of_an_id(typed: str, better: str) -> None:
    """The id in the address is proposed, and is accepted."""
    with pytest.raises(HubError, match="expected OWNER/NAME or NAME") as caught:
        Destination(typed)

    assert caught.value.hint == (f"publish it as {better}" if better else "give OWNER/NAME")
    if better:
        assert Destination(better).repo_id == better


def test_publish_and_run_refuse_an_address_at_once(invoke: Invoke, config: Path) -> None:
    """Before a folder or the Hub is looked at, and before a merge."""
    url = "https://huggingface.co/alice/x"

    assert step(invoke("publish", "out", url)) == "slack-ties publish out alice/x"
    words = ["publish", "out", "models/alice/x", "--tag", "v 1", "--is", "a b=me/x", "-n"]
    assert "git allows no tag" in invoke(*words).stderr
    words[4] = "v1"
    proposed = "slack-ties publish out alice/x --tag v1 --is 'a b=me/x' --dry-run"
    assert step(invoke(*words)) == proposed
    assert step(invoke("run", config, "--out", "out", "--publish", url)) == "publish it as alice/x"
    assert "there is no folder 'out'" in invoke("publish", "out", "alice/x").stderr


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("ME/Lao", "slack-ties publish out me/Lao --license mit --dry-run"),
        (
            "OWNER/NAME",
            "slack-ties publish out me/my-merge --license mit --dry-run # with a name that you "
            "choose",
        ),
        ("them/Lao", "slack-ties publish out me/Lao --license mit --dry-run"),
    ],
)
def test_a_place_of_somebody_else_is_answered_with_a_command(
    typed: str, said: str, invoke: Invoke, config: Path, hub: Server
) -> None:
    """Typed in full, with the user's name and the options that were given; it is taken."""
    assert invoke("run", config, "--out", "out").exit_code == 0
    variables = environment(hub, Path("home").absolute(), "hf_writer")
    words = ["publish", "out", typed, "--license", "mit", "-n"]

    done = processes.run(words, env=variables, cwd=Path.cwd())

    assert re.findall(r"^Next: (.+)$", done.stderr, flags=re.MULTILINE) == [said]
    (again,) = commands(said)
    assert processes.run(again, env=variables, cwd=Path.cwd()).returncode == 0


@pytest.mark.parametrize("command", ["publish", "run", "merge", "recipes pull", "verify"])
@pytest.mark.parametrize("option", ["--token", "--hf-token"])
def test_a_token_is_no_option(command: str, option: str, invoke: Invoke) -> None:
    """It says how a token is given; it proposes no other option, and shows no token."""
    for given in ([option, "hf_secret"], [f"{option}=hf_secret"]):
        result = invoke(*command.split(), "a", "b", *given)

        assert result.exit_code == 2
        assert "hf auth login  # or set HF_TOKEN" in result.stderr
        assert f"Usage: cli {command}" in result.stderr
        assert "--json" not in result.stderr
        assert "hf_secret" not in result.stderr


def test_folders_with_a_space(invoke: Invoke, config: Path) -> None:
    """They are quoted, so that the shell takes them for one word."""
    model = Path("my model")
    assert invoke("merge", config, model).exit_code == 0
    assert invoke("card", model).exit_code == 0
    card = model / "README.md"
    card.write_text(card.read_text("utf-8") + "\nMine.\n", "utf-8")

    (typed,) = commands(step(invoke("card", model)))
    assert typed == ["card", "my model", "--overwrite"]
    assert invoke(*typed).exit_code == 0

    card.write_text("---\nlicense: [\n---\n", "utf-8")
    (typed,) = commands(step(invoke("publish", model, "me/x", "--license", "mit")))
    assert typed == ["card", "my model"]
    accepted(invoke(*typed))

    (model / "report.json").write_text("{")
    (typed,) = commands(step(invoke("compare", model, config)))
    assert typed == ["report", "my model", "--overwrite"]
    assert invoke(*typed).exit_code == 0


def test_a_report_that_is_not_there(invoke: Invoke, config: Path) -> None:
    """A folder without a config cannot be reported on: the next step writes a report into it."""
    result = invoke("compare", "my report/report.json", config)

    (typed,) = commands(step(result))
    assert typed == ["report", "CONFIG", "-o", "my report"]
    assert invoke("report", config, *typed[2:]).exit_code == 0
    assert invoke("compare", "my report/report.json", config).exit_code == 0


def test_a_report_of_a_stream_comes_afterwards(invoke: Invoke, triple: Folders) -> None:
    """The config of a language is in OUT then, and nowhere before."""
    models = ["--base", triple.base, "--ct", triple.ct, "--sft", triple.sft]
    to = ["--publish", "me/x", "--stream", "--report", "--out", "out"]

    proposed = step(invoke("run", "bo", *models, *to))

    assert proposed == "leave --report out; afterwards: slack-ties report OUT"


@pytest.mark.parametrize(
    ("typed", "better"),
    [("v 1", "v-1"), ("1..2", "1.2"), ("-v", "v"), ("v1.", "v1"), ("a:b", "a-b"), ("~", "NAME")],
)
def test_a_tag_that_git_refuses(typed: str, better: str) -> None:
    """It is refused before anything is published, and the next step is a tag that git allows."""
    with pytest.raises(HubError, match="git allows no tag or branch") as of_tag:
        Destination("me/x", tag=typed)
    with pytest.raises(HubError, match="git allows no tag or branch") as of_branch:
        Destination("me/x", branch=typed)

    assert of_tag.value.hint == f"--tag {better}"
    assert of_branch.value.hint == f"--revision {better}"
    assert Destination("me/x", tag=better, branch=better).flags()[-1] == better


@pytest.mark.parametrize("name", ["v1", "v1.0-rc1", "feature/x", "refs/pr/1", "བོད"])
def test_a_tag_that_git_allows(name: str) -> None:
    """Slashes, dots and every script."""
    assert Destination("me/x", tag=name, branch=name).tag == name


@pytest.mark.parametrize("where", ["folders", "hub"])
def test_what_follows_publishing(
    where: str, triple: Folders, hub: Server, api: HfApi, tmp_path: Path
) -> None:
    """The recipe of a merge of folders is refused by everybody, so nobody is told to fetch it."""
    models: list[object] = []
    for role in ("base", "ct", "sft"):
        folder, name = getattr(triple, role), f"me/{role}"
        if where == "hub":
            api.create_repo(name)
            api.upload_folder(folder_path=folder, repo_id=name)
        models += [f"--{role}", name if where == "hub" else folder]
    variables = environment(hub, tmp_path / "home", "hf_writer")

    def run(*words: object) -> str:
        typed = [PROGRAM, *map(str, words)]
        done = subprocess.run(
            typed, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    run("run", "bo", *models, "--out", "out", "--license", "mit", "-q")
    said = run("publish", "out", "me/x")

    assert "Load it:   AutoModelForCausalLM.from_pretrained('me/x')\n" in said
    assert ("Nobody else can repeat this merge" in said) is (where == "folders")
    assert len(commands(said.replace("\n", " && "))) == (2 if where == "hub" else 0)
    for typed in commands(said.replace("\n", " && ")):
        run(*typed, "-q")


def test_no_next_step_is_a_question() -> None:
    """It says what to do."""
    sources = Path(slack_ties.__file__).parent.rglob("*.py")

    asked = [
        line
        for path in sources
        for line in path.read_text("utf-8").splitlines()
        if re.search(r"(hint ?\+?|^[A-Z_]+ )= f?\".*\w\?( |\"|$)", line)
    ]

    assert asked == []


def test_a_merge_whose_weights_are_only_on_the_hub(invoke: Invoke, config: Path) -> None:
    """As after `run --stream`: publish would refuse it, so only the card is to be sent."""
    assert invoke("merge", config, "my model").exit_code == 0
    assert step(invoke("merge", config, "my model")).startswith("slack-ties card 'my model' #")
    assert invoke("card", "my model").exit_code == 0
    next_step = step(invoke("merge", config, "my model"))
    assert next_step.startswith("slack-ties publish 'my model' OWNER/NAME #")
    for weights in Path("my model").glob("*.safetensors"):
        weights.unlink()

    made = invoke("card", "my model")

    assert made.exit_code == 0
    assert "hf upload OWNER/NAME 'my model/README.md' README.md  # after you read" in made.stderr
    assert "slack-ties publish" not in made.stderr
    assert step(invoke("merge", config, "my model")) == "choose another folder"

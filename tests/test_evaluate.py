"""`slack-ties evaluate`: real lm-eval on small models, from the checks to the card on the Hub."""

from __future__ import annotations

import json
import logging
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import Result
from huggingface_hub import HfApi, ModelCard
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from command import PROGRAM, Invoke, files_on_main
from eval_tasks import EMPTY, ENGLISH, ON_HUB, TIBETAN, make_tasks, write_task
from hub_server import Server, Token
from slack_ties.card.write import write_card
from slack_ties.config.choices import Choices
from slack_ties.config.write import write_configs
from slack_ties.errors import GatedError
from slack_ties.evaluating.evaluate import evaluate_merge
from slack_ties.evaluating.pace import Pace
from slack_ties.evaluation.file import read_evaluation, weights_digest
from slack_ties.harness.answers import answers_file
from slack_ties.harness.how import How
from slack_ties.harness.tasks import load_tasks
from slack_ties.merge.merge import merge_models
from slack_ties.publish.publish import publish_model
from slack_ties.recipe.read import read_recipe
from slack_ties.record import read_record
from slack_ties.running.tasks import chosen_tasks, load_usual
from triple import Folders

ITEMS = 12


@pytest.fixture(scope="session")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with task files, not to be changed: lm-eval reads all of its own for each folder."""
    return make_tasks(tmp_path_factory.mktemp("tasks") / "names", items=ITEMS)


@pytest.fixture(scope="session")
def config(triple: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A merge config of the triple, for Tibetan."""
    choices = Choices(base=str(triple.base), ct=str(triple.ct), sft=str(triple.sft))
    (path,) = write_configs(["bo"], tmp_path_factory.mktemp("config"), choices=choices)
    return path


@pytest.fixture(scope="session")
def merged(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The merged model, not to be changed."""
    out = tmp_path_factory.mktemp("merged") / "tibetan"
    merge_models(config, out, quiet=True)
    return out


@pytest.fixture
def out(merged: Path, tmp_path: Path) -> Path:
    """A copy of the merged model, for its scores."""
    return Path(shutil.copytree(merged, tmp_path / "tibetan"))


@pytest.fixture
def evaluate(invoke: Invoke, tasks: Path) -> Invoke:
    """Run `slack-ties evaluate` on the two small tasks, unless other words say another thing."""

    def run(what: object, *words: object) -> Result:
        named = () if "--tasks" in words else ("--tasks", f"{TIBETAN},{ENGLISH}")
        return invoke("evaluate", what, "--include-path", tasks, *named, *words)

    return run


def scores(file: Path) -> dict[str, Any]:
    """Return the content of an evaluation.json, without its date."""
    data = json.loads(file.read_text("utf-8"))
    assert data.pop("date")
    return dict(data)


def test_the_numbers_are_those_of_lm_eval(
    out: Path, tasks: Path, evaluate: Invoke, tmp_path: Path
) -> None:
    """`lm_eval run` on the same folder gives the same scores and errors, to the last digit."""
    result = evaluate(out, "--alone")
    assert result.exit_code == 0, result.output

    model = ["--model", "hf", "--model_args", f"pretrained={out}"]
    words = [*model, "--tasks", f"{TIBETAN},{ENGLISH}", "--include_path", str(tasks)]
    words += ["--device", "cpu", "--output_path", str(tmp_path / "theirs")]
    command = [sys.executable, "-m", "lm_eval", "run", *words]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path, timeout=300)
    (file,) = (tmp_path / "theirs").glob("**/results_*.json")
    theirs = json.loads(file.read_text("utf-8"))["results"]
    (ours,) = read_evaluation(out).models
    for name in (TIBETAN, ENGLISH):
        for metric in ("acc", "acc_norm"):
            found = ours.scores[name].metrics[metric]
            assert found.value == theirs[name][f"{metric},none"]
            assert found.stderr == theirs[name][f"{metric}_stderr,none"]


def test_the_merged_model_and_its_parents(
    out: Path, triple: Folders, evaluate: Invoke, invoke: Invoke, tmp_path: Path
) -> None:
    """The file has four models, the settings and the versions; a second run changes no score."""
    result = evaluate(out, "--limit", 5, "--dtype", "float32", "--batch-size", 2)

    assert result.exit_code == 0, result.output
    assert f"Next: slack-ties card {out}" in result.stderr
    assert "[3/4] CT" in result.stderr.splitlines()
    why = "only the first 5 items of 'names_bo' and 1 more were scored"
    assert f"  not sent to the Hub's page of results: {why}" in result.stderr.splitlines()
    assert "page of results" not in invoke("card", out).stderr, "it was said once"
    found = read_evaluation(out)
    assert [(one.role, one.name) for one in found.models] == [
        ("merged", "tibetan"),
        ("base", str(triple.base)),
        ("ct", str(triple.ct)),
        ("sft", str(triple.sft)),
    ]
    assert {one.dtype for one in found.models} == {"float32"}
    assert [(task.name, task.items, task.of) for task in found.tasks] == [
        (TIBETAN, 5, ITEMS),
        (ENGLISH, 5, ITEMS),
    ]
    assert found.settings["weights"] == weights_digest(read_record(out))
    expected = {"limit": 5, "fewshot": None, "dtype": "float32", "batch_size": "2", "device": "cpu"}
    assert {key: found.settings[key] for key in expected} == expected
    assert [one["folder"] for one in found.settings["include"]] == ["names"]
    assert found.settings["include"][0]["tasks"] == [TIBETAN, ENGLISH]
    assert {"lm_eval", "slack-ties", "torch", "transformers", "datasets", "python"} == {
        *found.versions
    }
    assert "Only the first 5 items of each task" in result.stdout
    before = scores(out / "evaluation.json")
    again = evaluate(out, "--limit", 5, "--dtype", "float32", "--batch-size", 2)
    assert again.exit_code == 0, again.output
    assert scores(out / "evaluation.json") == before
    assert [path.name for path in tmp_path.iterdir()] == ["tibetan"]


# What is wrong is said before a model is read


def refused(result: Result) -> tuple[str, str]:
    """Check that a command was refused before the long work; return its line, and the next step."""
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    assert "[1/" not in result.stderr, "the models were run"
    lines = result.stderr.splitlines()
    (error,) = (line for line in lines if line.startswith("Error: "))
    return error, next((line for line in lines if line.startswith("Next: ")), "")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("names_by", "no task 'names_by'. Did you mean 'names_bo'?"),
        (EMPTY, "names_empty"),
        (ON_HUB, "somebody/names"),
    ],
)
def test_a_task_that_cannot_be_run(
    name: str, said: str, merged: Path, evaluate: Invoke, tmp_path: Path
) -> None:
    """Not known, without items, or with data that is not here: one line, and nothing is written."""
    error, step = refused(evaluate(merged, "--tasks", name, "-o", tmp_path / "e.json"))

    assert said in error
    if name == "names_by":
        assert step == f"Next: slack-ties evaluate {merged} --tasks list # choose another task"
    assert not (tmp_path / "e.json").exists()


WITHOUT_LM_EVAL = """
import importlib.metadata, sys

class Gone:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "lm_eval":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

known = importlib.metadata.MetadataPathFinder.find_distributions

def without(context=importlib.metadata.DistributionFinder.Context()):
    return () if context.name == "lm_eval" else known(context)

sys.meta_path.insert(0, Gone())
importlib.metadata.MetadataPathFinder.find_distributions = without
from slack_ties.cli.main import main
main()
"""


def test_without_the_extra(merged: Path) -> None:
    """lm-eval is not installed: the line says how to install it."""
    words = [sys.executable, "-c", WITHOUT_LM_EVAL, "evaluate", str(merged)]
    found = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)

    assert found.returncode == 1
    error, step = found.stderr.splitlines()
    assert error.startswith("Error: ")
    assert "lm-eval" in error
    assert step == 'Next: pip install "slack-ties[eval]"'


def test_a_model_that_does_not_fit(
    merged: Path, triple: Folders, evaluate: Invoke, tmp_path: Path
) -> None:
    """A CT model of 2 TB, by the header of its file: it is named before any model is run."""
    out = Path(shutil.copytree(merged, tmp_path / "tibetan"))
    huge = Path(shutil.copytree(triple.base, tmp_path / "huge"))
    for file in huge.glob("*.safetensors*"):
        file.unlink()
    entries = 10**12
    tensor = {"dtype": "BF16", "shape": [entries], "data_offsets": [0, 2 * entries]}
    header = json.dumps({"model.embed_tokens.weight": tensor}).encode()
    with (huge / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + 2 * entries)  # a file with a hole: it takes no room
    record = json.loads((out / "slack_ties.json").read_text("utf-8"))
    for parent in record["parents"]:
        if parent["role"] == "ct":
            parent["model"] = str(huge)
    (out / "slack_ties.json").write_text(json.dumps(record), "utf-8")

    error, step = refused(evaluate(out))

    assert f"{str(huge)!r} does not fit: its weights take 2000.0 GB" in error
    assert step.startswith(f"Next: slack-ties evaluate {out} --")


def test_a_parent_that_is_gone(merged: Path, evaluate: Invoke, tmp_path: Path) -> None:
    """The folder of a parent is not there: it is named, and --alone goes on without."""
    out = Path(shutil.copytree(merged, tmp_path / "tibetan"))
    text = (out / "slack_ties.json").read_text("utf-8")
    base = read_record(out).parents[0].model
    (out / "slack_ties.json").write_text(text.replace(base, f"{base}-moved"), "utf-8")

    error, step = refused(evaluate(out))

    assert f"{base}-moved" in error
    assert "--alone" in step


def test_a_merge_without_a_language(merged: Path, invoke: Invoke, tmp_path: Path) -> None:
    """Its config does not say it, so the user names the tasks."""
    out = Path(shutil.copytree(merged, tmp_path / "tibetan"))
    config = yaml.safe_load((out / "mergekit_config.yml").read_text("utf-8"))
    del config["slack_ties"]["language"]
    (out / "mergekit_config.yml").write_text(yaml.safe_dump(config), "utf-8")

    error, step = refused(invoke("evaluate", out))

    assert "does not say the language" in error
    assert step.startswith(f"Next: slack-ties evaluate {out} --tasks NAMES")


def test_the_tasks_of_the_language(merged: Path, invoke: Invoke) -> None:
    """`--tasks list` says what Tibetan has, and the English set; nothing is evaluated."""
    result = invoke("evaluate", merged, "--tasks", "list")

    assert result.exit_code == 0, result.output
    assert "belebele_bod_Tibt" in result.stdout
    assert "belebele_eng_Latn" in result.stdout
    assert not (merged / "evaluation.json").exists()


def test_the_tasks_of_the_language_for_programs(merged: Path, evaluate: Invoke) -> None:
    """`--json` prints them as JSON; tasks of the user are listed, too."""
    result = evaluate(merged, "--tasks", "list", "--json")
    text = evaluate(merged, "--tasks", "list").stdout

    listed = json.loads(result.stdout)
    (tibetan,) = listed["languages"]
    assert (tibetan["language"], tibetan["name"]) == ("bo", "Tibetan")
    assert {"name": "belebele_bod_Tibt", "items": 900}.items() <= tibetan["default"][0].items()
    assert "belebele_eng_Latn" in [one["name"] for one in tibetan["english"]]
    names = [one["name"] for one in listed["yours"]]
    assert {TIBETAN, ENGLISH, "names"} <= {*names}
    assert text.endswith("\n".join(["Yours:", *(f"  {name}" for name in names), ""]))


@pytest.mark.parametrize("names", ["", " , "])
def test_a_list_of_tasks_without_a_name(names: str, merged: Path, invoke: Invoke) -> None:
    """It is refused: the usual tasks are not what the user asked for."""
    result = invoke("evaluate", merged, "--tasks", names)

    assert result.exit_code == 2
    assert "expected names of tasks, or list" in result.stderr


def test_the_usual_tasks_are_those_of_the_language(config: Path) -> None:
    """Tasks in the language come first, then the English set; each is about its subject."""
    names, about = chosen_tasks(read_recipe(config), (), config)

    assert names[0] == "belebele_bod_Tibt"
    assert {about[name] for name in names} == {"language", "english"}
    assert chosen_tasks(read_recipe(config), ("a", "b"), config)[0] == ["a", "b"]


@pytest.mark.usefixtures("own_cache")
def test_usual_tasks_behind_a_gate(
    hub: Server, api: HfApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are left out with a line if another task of the language is there."""
    monkeypatch.setattr("datasets.config.HF_ENDPOINT", hub.url)
    api.create_repo("me/closed")
    hub.hub.save("me/closed", {**hub.hub.repo("me/closed", Token("me")), "gated": "manual"})
    make_tasks(tmp_path, items=3)
    write_task(tmp_path, "closed", None, dataset_path="me/closed")
    about = {"closed": "language", TIBETAN: "language", ENGLISH: "english"}

    found = load_usual([TIBETAN, "closed", ENGLISH], about, include=[tmp_path], limit=2)
    with pytest.raises(GatedError, match="me/closed"):
        load_usual(["closed", ENGLISH], about, include=[tmp_path])

    both = load_tasks([TIBETAN, ENGLISH], about=about, include=[tmp_path], limit=2)
    assert (found.tasks, found.requests, found.limit) == (both.tasks, both.requests, 2)


def test_code_of_models_is_never_run(merged: Path, evaluate: Invoke) -> None:
    """Not even if --trust-remote-code asks for it."""
    error, _ = refused(evaluate(merged, "--trust-remote-code"))

    assert "never runs code" in error


# What may be replaced


def test_a_model_that_needs_its_own_code(
    merged: Path, triple: Folders, evaluate: Invoke, tmp_path: Path
) -> None:
    """A parent of a kind that transformers does not have: it is named before any model is run."""
    own = Path(shutil.copytree(triple.ct, tmp_path / "own"))
    config = json.loads((own / "config.json").read_text("utf-8"))
    kind = {"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}
    (own / "config.json").write_text(json.dumps({**config, **kind}), "utf-8")
    out = Path(shutil.copytree(merged, tmp_path / "out"))
    text = (out / "slack_ties.json").read_text("utf-8")
    (out / "slack_ties.json").write_text(text.replace(str(triple.ct), str(own)), "utf-8")

    error, step = refused(evaluate(out))

    assert f"model {str(own)!r} runs only with code of its own, which is never run" in error
    assert step.startswith(f"Next: slack-ties evaluate {out} --alone")


def test_a_folder_that_is_not_there(
    evaluate: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path looks like a Hub id: the line speaks of both."""
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)

    error, _ = refused(evaluate("models/tibetan"))

    assert "there is no folder 'models/tibetan'; on the Hub: " in error


@pytest.mark.parametrize("file", ["/proc/scores.json", "gone/scores.json"])
def test_a_file_that_cannot_be_written(
    file: str, out: Path, evaluate: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused before tasks are loaded, also if the user may do everything."""
    monkeypatch.chdir(out)

    error, step = refused(evaluate(out, "-o", file, "--tasks", "nosuch"))

    assert "nosuch" not in error
    if file.startswith("/"):
        assert error.startswith(f"Error: cannot write '{file}': ")
        assert step == "Next: choose another file with -o"
    else:
        assert error == f"Error: there is no folder '{out / 'gone'}' for scores.json"
        assert step == f"Next: mkdir -p {out / 'gone'}"


def test_a_name_that_is_nothing(
    invoke: Invoke, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been meant as a folder, a config or a Hub id; compare takes no Hub id."""
    monkeypatch.chdir(tmp_path)

    error, step = refused(invoke("evaluate", "nosuch"))
    compared, _ = refused(invoke("compare", out, "nosuch"))

    folder = "a merged folder, a merge config"
    assert error == f"Error: 'nosuch' is not there, expected {folder}, or a Hub id: OWNER/NAME"
    assert step == "Next: slack-ties merge CONFIG OUT # makes a model's folder"
    assert compared.startswith(f"Error: 'nosuch' is not there, expected {folder}, a report.json or")
    assert refused(invoke("evaluate", "lao"))[1].startswith("Next: slack-ties config lo")


def test_scores_are_not_lost(out: Path, tasks: Path, evaluate: Invoke) -> None:
    """A run with fewer tasks, items or models stops before the work, without --overwrite."""
    how = ("--limit", 4)
    assert evaluate(out, *how).exit_code == 0

    typed = f"Next: slack-ties evaluate {out} --tasks {TIBETAN},{ENGLISH} --include-path {tasks}"
    comment = "# or another file with -o, or --overwrite"

    error, step = refused(evaluate(out, *how, "--tasks", TIBETAN))
    assert error.endswith(
        f"evaluation.json' also has scores of '{ENGLISH}', which this run leaves out"
    )
    assert step == f"{typed} --limit 4 {comment}"
    error, step = refused(evaluate(out, "--limit", 3, "-o", out / "evaluation.json"))
    assert error.endswith("has scores on 4 items of 'names_bo', and this run on only 3")
    assert step == f"{typed} --limit 4 --output {out / 'evaluation.json'} {comment}"
    error, step = refused(evaluate(out, *how, "--alone"))
    assert "also has scores of the model '" in error
    assert "/base' and 2 more, which this run leaves out" in error
    assert step == f"{typed} --limit 4 {comment}"
    assert evaluate(out, *how, "--alone", "--overwrite").exit_code == 0
    assert len(read_evaluation(out).models) == 1


def test_a_file_of_somebody_else_stays(merged: Path, evaluate: Invoke, tmp_path: Path) -> None:
    """A file that holds no evaluation is not replaced, nor is a folder."""
    mine = tmp_path / "mine.json"
    mine.write_text("{}", "utf-8")

    error, step = refused(evaluate(merged, "--alone", "-o", mine))
    assert str(mine) in error
    assert "--overwrite" in step
    assert mine.read_text("utf-8") == "{}"
    assert "is a folder" in refused(evaluate(merged, "-o", tmp_path))[0]
    assert "there is no folder" in refused(evaluate(merged, "-o", tmp_path / "no" / "e.json"))[0]
    done = evaluate(merged, "--alone", "--limit", 2, "-o", mine, "--overwrite", "--json")
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    assert printed.pop("file") == str(mine)
    assert printed == json.loads(mine.read_text("utf-8"))


# Other ways to name a merge, and other models


def test_a_config_is_merged_in_memory(
    config: Path, out: Path, evaluate: Invoke, tmp_path: Path
) -> None:
    """A config has the scores of the folder that its merge writes, and leaves no model behind."""
    assert evaluate(out, "--limit", 6).exit_code == 0

    result = evaluate(config, "--limit", 6)

    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bo-evaluation.json", "tibetan"]
    ours, theirs = read_evaluation(tmp_path / "bo-evaluation.json"), read_evaluation(out)
    assert [one.scores for one in ours.models] == [one.scores for one in theirs.models]
    assert "weights" not in ours.settings


def test_answers_of_a_merge_that_draws(
    triple: Folders, evaluate: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another seed makes another model, which is asked itself; without a seed, nothing is kept."""
    monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(tmp_path / "assets"))
    choices = Choices(str(triple.base), str(triple.ct), str(triple.sft), method="dare_linear")
    (path,) = write_configs(["bo"], tmp_path, choices=choices)

    kept = []
    for seed in (("--random-seed", 1), ("--random-seed", 2), ()):
        result = evaluate(path, "--alone", "--limit", 2, "--tasks", TIBETAN, *seed)
        assert result.exit_code == 0, result.output
        kept.append(len([*(tmp_path / "assets").rglob("*.sqlite")]))

    assert kept == [1, 2, 2]


@pytest.fixture
def published(
    config: Path, triple: Folders, api: HfApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, dict[str, str]]:
    """The commit of a published merge, me/tibetan, and those of its parents, which went on."""
    monkeypatch.chdir(tmp_path)
    text = config.read_text("utf-8")
    commits = {}
    for role in ("base", "ct", "sft"):
        api.create_repo(f"me/{role}")
        folder = getattr(triple, role)
        commits[role] = api.upload_folder(folder_path=folder, repo_id=f"me/{role}").oid
        text = text.replace(str(folder), f"me/{role}")
    (tmp_path / "hub.yml").write_text(text, "utf-8")
    merge_models(tmp_path / "hub.yml", tmp_path / "sent", quiet=True, api=api)
    write_card(tmp_path / "sent", license="mit", api=api)
    commit = publish_model(tmp_path / "sent", "me/tibetan", api=api).commit
    shutil.rmtree(tmp_path / "sent")
    api.upload_file(path_or_fileobj=b"new", path_in_repo="new.txt", repo_id="me/base")
    return commit, commits


def test_a_published_merge(
    published: tuple[str, dict[str, str]], tasks: Path, out: Path, api: HfApi, tmp_path: Path
) -> None:
    """It is scored at its present commit, its parents at the commits of its recipe."""
    commit, commits = published

    found, file = evaluate_merge(
        "me/tibetan", tasks=[TIBETAN], include=[tasks], limit=3, api=api, quiet=True
    )

    assert file == Path("tibetan-evaluation.json")
    assert read_evaluation(tmp_path / file).models == found.models
    expected = {"tibetan": commit, **commits}
    assert [one.commit for one in found.models] == list(expected.values())
    assert [one.name for one in found.models] == [f"me/{n}@{c}" for n, c in expected.items()]
    here, _ = evaluate_merge(out, tasks=[TIBETAN], include=[tasks], limit=3, quiet=True)
    assert [one.scores for one in found.models] == [one.scores for one in here.models]


@pytest.mark.parametrize("quiet", [True, False])
def test_quiet_shows_no_progress(
    tasks: Path,
    out: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    *,
    quiet: bool,
) -> None:
    """From Python, `quiet=True` leaves out how many requests are answered."""
    monkeypatch.setattr("slack_ties.progress.FIRST_LINE", 0.0)
    monkeypatch.setattr("slack_ties.progress.LINE_INTERVAL", 0.0)
    caplog.set_level(logging.INFO, "slack_ties")

    evaluate_merge(out, tasks=[TIBETAN], include=[tasks], limit=2, alone=True, quiet=quiet)

    assert ("answered" in caplog.text) is not quiet


@pytest.mark.parametrize("alone", [True, False])
def test_a_published_merge_of_folders(
    tasks: Path,
    out: Path,
    api: HfApi,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    *,
    alone: bool,
) -> None:
    """It is scored; nobody else has its parents, and without --alone a line says so."""
    api.create_repo("me/local", private=False)
    api.upload_folder(repo_id="me/local", folder_path=out)

    found, _ = evaluate_merge(
        "me/local",
        tasks=[TIBETAN],
        include=[tasks],
        limit=2,
        alone=alone,
        output=tmp_path / "scores.json",
        api=api,
    )

    assert [one.role for one in found.models] == ["merged"]
    left_out = "the SFT model is left out: it was a folder, and is not on the Hub"
    assert (left_out in caplog.text) is not alone


def test_a_merge_of_mergekit(
    merged: Path, triple: Folders, evaluate: Invoke, tmp_path: Path
) -> None:
    """Without roles, its models are left out; a person may add them to the config."""
    out = Path(shutil.copytree(merged, tmp_path / "mergekit"))
    (out / "slack_ties.json").unlink()
    models = [str(triple.ct), str(triple.sft)]
    config = {
        "merge_method": "linear",
        "models": [{"model": one, "parameters": {"weight": 0.5}} for one in models],
    }
    (out / "mergekit_config.yml").write_text(yaml.safe_dump(config), "utf-8")

    first = evaluate(out, "--limit", 2)
    assert first.exit_code == 0, first.output
    assert "left out: the config does not say which model is CT" in first.stderr
    facts = {"slack_ties": {"recipe": 1, "roles": {"ct": [models[0]], "sft": [models[1]]}}}
    (out / "mergekit_config.yml").write_text(yaml.safe_dump({**config, **facts}), "utf-8")

    assert evaluate(out, "--limit", 2).exit_code == 0
    assert [one.role for one in read_evaluation(out).models] == ["merged", "ct", "sft"]


def test_models_without_a_chat_template(out: Path, evaluate: Invoke) -> None:
    """They get the items as they are, and the file and the lines say which models those are."""
    assert evaluate(out, "--limit", 3, "--alone").exit_code == 0
    plain = read_evaluation(out).models[0].scores

    result = evaluate(out, "--limit", 3, "--chat-template")

    assert result.exit_code == 0, result.output
    found = read_evaluation(out)
    assert found.settings["without_chat_template"] == ["base", "ct"]
    assert result.stderr.count(", without a chat template") == 2
    assert found.models[0].scores != plain


def test_a_parent_with_an_adapter(
    merged: Path, triple: Folders, evaluate: Invoke, tmp_path: Path
) -> None:
    """MODEL+ADAPTER is scored as the model that PEFT makes of both."""
    model = AutoModelForCausalLM.from_pretrained(triple.base)
    torch.manual_seed(0)
    how = LoraConfig(lora_alpha=256, target_modules="all-linear", init_lora_weights=False)
    trained = get_peft_model(model, how)
    trained.save_pretrained(tmp_path / "lora")
    whole = tmp_path / "whole"
    trained.merge_and_unload().save_pretrained(whole)
    for file in triple.base.glob("*token*"):
        shutil.copy(file, whole)
    for name, ct in (("one", f"{triple.base}+{tmp_path / 'lora'}"), ("two", str(whole))):
        out = Path(shutil.copytree(merged, tmp_path / name))
        record = json.loads((out / "slack_ties.json").read_text("utf-8"))
        for parent in record["parents"]:
            if parent["role"] == "ct":
                parent |= {"model": ct, "commits": ["", ""] if "+" in ct else [""]}
        (out / "slack_ties.json").write_text(json.dumps(record), "utf-8")
        assert evaluate(out, "--limit", 6).exit_code == 0

    one, two = (read_evaluation(tmp_path / name).of_role("ct")[0] for name in ("one", "two"))

    assert one.name == f"{triple.base}+{tmp_path / 'lora'}"
    assert one.scores == two.scores
    assert one.scores != read_evaluation(tmp_path / "one").of_role("base")[0].scores


def test_a_tokenizer_that_is_a_program(
    merged: Path, triple: Folders, evaluate: Invoke, tmp_path: Path
) -> None:
    """Of a model with an adapter, too, it is not run, and nobody is asked: one line."""
    base = Path(shutil.copytree(triple.base, tmp_path / "base"))
    for file in base.glob("*token*"):
        file.unlink()
    program = f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass Own: pass\n"
    (base / "own.py").write_text(program, "utf-8")
    kind = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": [None, "own.Own"]}}
    (base / "tokenizer_config.json").write_text(json.dumps(kind), "utf-8")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(triple.base), LoraConfig())
    model.save_pretrained(tmp_path / "lora")
    out = Path(shutil.copytree(merged, tmp_path / "out"))
    record = json.loads((out / "slack_ties.json").read_text("utf-8"))
    for parent in record["parents"]:
        if parent["role"] == "base":
            parent |= {"model": f"{base}+{tmp_path / 'lora'}", "commits": ["", ""]}
    (out / "slack_ties.json").write_text(json.dumps(record), "utf-8")

    result = evaluate(out, "--limit", 1)

    assert result.exit_code == 1
    assert f"model '{base}+{tmp_path / 'lora'}' has a tokenizer that cannot" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "ran").exists()


# Stopped, and taken up again


def test_a_run_that_is_stopped_goes_on(out: Path, tasks: Path, evaluate: Invoke) -> None:
    """Ctrl-C after the first model: one line says how to go on, and the next run does."""
    how = ["--limit", "4", "--tasks", f"{TIBETAN},{ENGLISH}", "--batch-size", "3"]
    words = [PROGRAM, "evaluate", str(out), "--include-path", str(tasks), *how]
    said = []
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr
        for line in running.stderr:
            said.append(line)
            if line.startswith("[2/4]"):
                running.send_signal(signal.SIGINT)
    assert running.returncode == 130
    assert said[-1].startswith("Stopped: the same command goes on")
    assert "Traceback" not in "".join(said)
    assert not (out / "evaluation.json").exists()
    kept = answers_file(out, How(batch_size="3"))
    before = kept.read_bytes()

    again = evaluate(out, *how)

    assert again.exit_code == 0
    assert len(read_evaluation(out).models) == 4
    assert kept.read_bytes() == before, "the first model was asked again"
    first, second = again.stderr.partition("[1/4]")[2].split("[2/4]")
    assert "  answers kept from an earlier run" in first.splitlines()
    assert "took" not in first
    assert "the other 2 together: about" in second


def test_the_time_of_the_other_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is estimated from the answers of this run: those of an earlier one take no time."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def said(kept: int, *, left: int = 3) -> str:
        pace = Pace(1000)
        now[0] += 10  # the model is loaded
        pace.keep(kept)
        now[0] += 30
        return pace.said(left)

    assert said(0) == "took 40 s; the other 3 together: about 2 min"
    assert said(750, left=1) == (
        "750 of 1,000 answers kept from an earlier run; took 40 s; the last one: about 2 min"
    )
    assert said(990) == "990 of 1,000 answers kept from an earlier run; took 40 s"
    assert said(1000) == "answers kept from an earlier run"
    assert said(0, left=0) == ""


# From the scores to the card on the Hub


def test_from_scores_to_the_card_on_the_hub(
    out: Path, evaluate: Invoke, invoke: Invoke, hub: Server, api: HfApi
) -> None:
    """The card has the table; it is published with evaluation.json, and read back from there."""
    assert evaluate(out).exit_code == 0
    card = invoke("card", out, "--license", "mit")
    assert card.exit_code == 0, card.output
    publish_model(out, "me/tibetan", api=api)

    sent = files_on_main(hub.hub, "me/tibetan", "me")
    text = ModelCard(sent["README.md"].decode()).text
    assert "| Task | Metric | Merged | Base | CT | SFT | Chance |" in text
    found = read_evaluation(out)
    for task in found.tasks:
        (row,) = [line for line in text.splitlines() if line.startswith(f"| {task.name}, ")]
        for model in found.models:
            assert f" {100 * model.scores[task.name].metrics[task.metric].value:.1f} ±" in row
    assert str(out.parent) not in sent["evaluation.json"].decode()
    ours = json.loads((out / "evaluation.json").read_text("utf-8"))
    theirs = json.loads(sent["evaluation.json"])
    for one, other in zip(ours["models"], theirs["models"], strict=True):
        assert one["scores"] == other["scores"]

"""`slack-ties evaluate`: real lm-eval on small models, from the checks to the card on the Hub."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result

from command import Invoke
from eval_tasks import EMPTY, ENGLISH, ON_HUB, TIBETAN, make_tasks
from slack_ties.config.choices import Choices
from slack_ties.config.write import write_configs
from slack_ties.evaluation.file import read_evaluation, weights_digest
from slack_ties.explore.evaluation_tasks import chosen_tasks
from slack_ties.merge.merge import merge_models
from slack_ties.recipe.read import read_recipe
from slack_ties.record import read_record
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
    out: Path, triple: Folders, evaluate: Invoke, tmp_path: Path
) -> None:
    """The file has four models, the settings and the versions; a second run changes no score."""
    result = evaluate(out, "--limit", 5, "--dtype", "float32", "--batch-size", 2)

    assert result.exit_code == 0, result.output
    assert f"Next: slack-ties card {out}" in result.stderr
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
    ("name", "said", "step"),
    [
        ("names_by", "no task 'names_by'. Did you mean 'names_bo'?", "lm-eval ls tasks"),
        (EMPTY, "names_empty", ""),
        (ON_HUB, "somebody/names", ""),
    ],
)
def test_a_task_that_cannot_be_run(
    name: str, said: str, step: str, merged: Path, evaluate: Invoke, tmp_path: Path
) -> None:
    """Not known, without items, or with data that is not here: one line, and nothing is written."""
    error, next_step = refused(evaluate(merged, "--tasks", name, "-o", tmp_path / "e.json"))

    assert said in error
    assert step in next_step
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
    assert step == "Next: pip install 'slack-ties[eval]'"


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


def test_the_usual_tasks_are_those_of_the_language(config: Path) -> None:
    """Tasks in the language come first, then the English set; each is about its subject."""
    names, about = chosen_tasks(read_recipe(config), (), config)

    assert names[0] == "belebele_bod_Tibt"
    assert {about[name] for name in names} == {"language", "english"}
    assert chosen_tasks(read_recipe(config), ("a", "b"), config)[0] == ["a", "b"]


def test_code_of_models_is_never_run(merged: Path, evaluate: Invoke) -> None:
    """Not even if --trust-remote-code asks for it."""
    error, _ = refused(evaluate(merged, "--trust-remote-code"))

    assert "never runs code" in error


# What may be replaced


def test_scores_are_not_lost(out: Path, evaluate: Invoke) -> None:
    """A run with fewer tasks, items or models stops before the work, without --overwrite."""
    how = ("--limit", 4)
    assert evaluate(out, *how).exit_code == 0

    error, step = refused(evaluate(out, *how, "--tasks", TIBETAN))
    assert f"has scores on the task '{ENGLISH}'" in error
    assert "--overwrite" in step
    assert "has scores of 4 items of 'names_bo'" in refused(evaluate(out, "--limit", 3))[0]
    assert "/base' and 2 more" in refused(evaluate(out, *how, "--alone"))[0]
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

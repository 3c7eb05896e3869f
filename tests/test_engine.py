"""mergekit at work on our tensors: several merges in one process, and the same order every time."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from mergekit.options import MergeOptions

from slack_ties.config.choices import Choices
from slack_ties.config.make import make_config
from slack_ties.errors import SlackTiesError
from slack_ties.merge.alone import alone
from slack_ties.merge.in_memory import merge_in_memory
from slack_ties.merge.merge import merge_models
from slack_ties.recipe.recipe import Recipe
from slack_ties.rule.collect import Collector, collecting
from slack_ties.settings import Settings
from triple import Folders
from zoo_merge import tensors

QUIET = MergeOptions(quiet=True)


def recipe(folders: Folders, slack: float = 0.2) -> Recipe:
    """Return the Tibetan config on the models of a triple."""
    models = {"base": str(folders.base), "ct": str(folders.ct), "sft": str(folders.sft)}
    return make_config("bo", Choices(**models, slack=slack))


def test_two_merges_at_once(triple: Folders, tmp_path: Path) -> None:
    """Two threads, the same models, another slack: each gets its own result, and its own report."""
    slacks = {"a": 0.2, "b": 0.45}
    alone_first = {}
    for name, slack in slacks.items():
        folder = tmp_path / f"{name}-alone"
        merge_models(recipe(triple, slack), folder, options=QUIET, report=True)
        alone_first[name] = folder
    errors: list[BaseException] = []

    def run(name: str) -> None:
        try:
            merge_models(recipe(triple, slacks[name]), tmp_path / name, options=QUIET, report=True)
        except BaseException as error:  # noqa: BLE001 - told below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(name,)) for name in slacks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    for name, folder in alone_first.items():
        wanted, found = tensors(folder), tensors(tmp_path / name)
        assert all(torch.equal(wanted[key], found[key]) for key in wanted)
        reports = [(one / "report.json").read_text("utf-8") for one in (folder, tmp_path / name)]
        assert reports[0] == reports[1]


def test_a_merge_within_a_merge_is_refused(triple: Folders, tmp_path: Path) -> None:
    """It would wait for itself for ever."""

    def take(_: str, __: torch.Tensor) -> None:
        merge_in_memory(recipe(triple), tmp_path, settings=Settings(options=QUIET))

    with pytest.raises(SlackTiesError, match="cannot begin another merge while it runs"):
        merge_in_memory(recipe(triple), tmp_path, take=take, settings=Settings(options=QUIET))
    with alone():  # and the lock is free again
        pass


def test_somebody_elses_merge_is_not_counted(triple: Folders, tmp_path: Path) -> None:
    """A collector of other models takes nothing of this one."""
    other = Collector({("/elsewhere",): "x"}, ["x"])

    with collecting(other):
        merge_models(recipe(triple), tmp_path / "out", options=QUIET)

    assert other.tensors == {}


def test_the_union_of_vocabularies_has_one_order(triple: Folders, tmp_path: Path) -> None:
    """Whatever number Python gives to texts: mergekit keeps models in sets."""
    code = (
        "import sys; from mergekit.options import MergeOptions\n"
        "from slack_ties.merge.merge import merge_models\n"
        "merge_models(sys.argv[1], sys.argv[2], options=MergeOptions(quiet=True))"
    )
    text = recipe(triple).text + "tokenizer: {source: union}\n"
    (tmp_path / "c.yml").write_text(text, "utf-8")
    found = []
    for seed in ("1", "2"):
        out = tmp_path / seed
        words = [sys.executable, "-c", code, str(tmp_path / "c.yml"), str(out)]
        subprocess.run(words, check=True, env={**__import__("os").environ, "PYTHONHASHSEED": seed})
        found.append((out / "tokenizer.json").read_bytes())

    assert found[0] == found[1]

"""The order of reads that `plan` computes without mergekit is the order of a real merge."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from mergekit.options import MergeOptions

from slack_ties.merge import engine
from slack_ties.merge.merge import merge_models
from slack_ties.merge.reader import WeightFiles
from slack_ties.recipe.read import parse_recipe
from slack_ties.recipe.recipe import Recipe
from slack_ties.tensors.layout import Layout
from slack_ties.tensors.modules import stacks_of_modules
from slack_ties.tensors.order import expected_reads, order_of_loads
from test_layout import change, fused, models, recipe
from test_layout import edit as edit_config
from zoo import ZOO

QUIET = MergeOptions(quiet=True)

SLICES = """\
merge_method: slack_ties
base_model: {folder}/base
slices:
- sources:
  - {{model: {folder}/base, layer_range: [0, 1]}}
  - {{model: {folder}/ct, layer_range: [0, 1], parameters: {{weight: 1, density: 0.5}}}}
- sources:
  - {{model: {folder}/base, layer_range: [0, 2]}}
  - {{model: {folder}/ct, layer_range: [0, 2], parameters: {{weight: 1, density: 0.5}}}}
"""

MODULES = """\
merge_method: slack_ties
base_model: {folder}/base
modules:
  decoder:
    slices:
    - sources:
      - {{model: {folder}/base, layer_range: [0, 2]}}
      - {{model: {folder}/sft, layer_range: [0, 2], parameters: {{weight: 1, density: 0.5}}}}
  encoder:
    models:
    - model: {folder}/ct
      parameters: {{weight: 1, density: 0.5}}
"""


class Watch:
    """What merges read, and the layout of the last one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Begin to watch."""
        self.reads: list[tuple[str, str]] = []
        self.layout = Layout()
        read, describe = WeightFiles.read, engine.architecture_of

        def watched(files: WeightFiles, tensor: str) -> torch.Tensor:
            self.reads.append((files.name, tensor))
            return read(files, tensor)

        def kept(layout: Layout, modules: Mapping[str, str] | None = None) -> Any:
            self.layout = layout
            return describe(layout, modules)

        monkeypatch.setattr(WeightFiles, "read", watched)
        monkeypatch.setattr(engine, "architecture_of", kept)

    def check(self, told: Recipe, modules: dict[str, str] | None = None) -> list[tuple[str, str]]:
        """Compare the last reads of a merge with those that were expected, and return them.

        mergekit has no order among the models for one tensor, nor among tensors that are not
        merged.
        """
        expected = expected_reads(self.layout, order_of_loads(told, self.layout, modules))
        all_reads = self.reads[-len(expected) :]
        kept = len(self.layout.kept)
        assert set(all_reads[:kept]) == set(expected[:kept])
        expected, reads = expected[kept:], all_reads[kept:]
        for model in {name for name, _ in (*expected, *reads)}:
            found = [tensor for name, tensor in reads if name == model]
            assert found == [tensor for name, tensor in expected if name == model], model
        last = {tensor: number for number, (_, tensor) in enumerate(expected)}
        apart = [abs(last[tensor] - number) for number, (_, tensor) in enumerate(reads)]
        assert max(apart) <= 8 * len(self.layout.parts)
        return all_reads


@pytest.mark.parametrize(
    "name", ["llama", "gpt2", "bert", "whisper", "mixtral", "mamba", "opt-350m", "qwen2-tied"]
)
def test_the_order_of_a_merge(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain decoders, tied heads, encoders, two stacks of layers, experts, other families."""
    models(name, tmp_path)
    watch = Watch(monkeypatch)

    merge_models(recipe(tmp_path), tmp_path / "out", options=QUIET)

    assert len(watch.check(recipe(tmp_path))) >= 3 * 10


def test_more_than_ten_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Layer 10 comes before layer 2, as in the alphabet."""
    import dataclasses  # noqa: PLC0415

    from zoo_merge import make_models  # noqa: PLC0415

    animal = next(one for one in ZOO if one.name == "llama")
    settings = {**animal.settings, "num_hidden_layers": 12}
    make_models(dataclasses.replace(animal, settings=settings), tmp_path)
    watch = Watch(monkeypatch)

    merge_models(recipe(tmp_path), tmp_path / "out", options=QUIET)

    reads = watch.check(recipe(tmp_path))
    names = [tensor for model, tensor in reads if model.endswith("ct")]
    assert names.index("model.layers.11.mlp.up_proj.weight") < names.index(
        "model.layers.2.mlp.up_proj.weight"
    )


@pytest.mark.parametrize("role", ["base", "ct"])
def test_joined_and_cut_tensors(role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Experts in one tensor: read once, and their pieces are kept for a while."""
    models("mixtral", tmp_path)
    change(tmp_path / role, fused)
    watch = Watch(monkeypatch)

    merge_models(recipe(tmp_path), tmp_path / "out", options=QUIET)

    watch.check(recipe(tmp_path))


def test_tensors_that_are_compared_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tied head that is stored too is compared with the embedding before the merge."""
    models("qwen2-tied", tmp_path)
    embedding, head = "model.embed_tokens.weight", "lm_head.weight"
    for role in ("base", "ct"):
        change(tmp_path / role, lambda stored: stored | {head: stored[embedding]})
        edit_config(tmp_path / role, tie_word_embeddings=True)
    watch = Watch(monkeypatch)

    merge_models(recipe(tmp_path), tmp_path / "out", options=QUIET)

    assert watch.layout.equal
    watch.check(recipe(tmp_path))


def test_integers_are_read_before_all_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are copied from the base."""
    models("llama", tmp_path)
    numbers = {"extra.b": torch.arange(3), "extra.a": torch.arange(4)}
    change(tmp_path / "base", lambda stored: stored | numbers)
    watch = Watch(monkeypatch)

    merge_models(recipe(tmp_path), tmp_path / "out", options=QUIET)

    reads = watch.check(recipe(tmp_path))
    assert {tensor for _, tensor in reads[:2]} == {*numbers}


def test_slices_and_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer that occurs twice is read once; a module has models of its own."""
    models("llama", tmp_path / "llama")
    models("whisper", tmp_path / "whisper")
    watch = Watch(monkeypatch)
    sliced = parse_recipe(SLICES.format(folder=tmp_path / "llama"), where="s.yml")
    modular = parse_recipe(MODULES.format(folder=tmp_path / "whisper"), where="m.yml")

    merge_models(sliced, tmp_path / "out-s", options=QUIET)
    reads = watch.check(sliced)
    assert len(reads) == len(set(reads))

    merge_models(modular, tmp_path / "out-m", options=QUIET)
    config = {"architectures": ["WhisperForConditionalGeneration"]}
    stacks, errors = stacks_of_modules(modular, config, watch.layout)
    assert errors == []
    watch.check(modular, stacks)

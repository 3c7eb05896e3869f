"""Whether models have a common ancestor, told from a few of their entries."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from slack_ties.models.ancestry import FAR, UNRELATED, compare_weights
from slack_ties.models.header import Header
from slack_ties.models.headers import read_headers
from slack_ties.models.look import Look, look_at_model
from triple import Folders, llama, save_bin


def known(folder: Path) -> tuple[Look, dict[str, Header]]:
    """Look at a model folder."""
    return look_at_model(str(folder)), read_headers(folder)


def test_figures_are_those_of_the_entries(triple: Folders) -> None:
    """Median over four matrices of the cosine and of the relative change, by dense torch."""
    found = compare_weights(known(triple.base), {"ct": known(triple.ct)})["ct"]

    base: dict[str, torch.Tensor] = {}
    for path in triple.base.glob("model-*.safetensors"):
        base |= load_file(path)
    ct = torch.load(triple.ct / "pytorch_model.bin", weights_only=True)
    names = sorted(n for n, t in base.items() if t.dim() == 2 and "embed" not in n)
    names.remove("lm_head.weight")
    chosen = names[:: len(names) // 4][:4]
    flat = [[m[n].flatten()[:8192].double() for m in (base, ct)] for n in chosen]
    cosines = sorted(float(torch.cosine_similarity(a, b, dim=0)) for a, b in flat)
    changes = sorted(float((b - a).norm() / a.norm()) for a, b in flat)
    assert math.isclose(found.cosine, (cosines[1] + cosines[2]) / 2, rel_tol=1e-9)
    assert math.isclose(found.change, (changes[1] + changes[2]) / 2, rel_tol=1e-9)
    assert found.entries == sum(len(a) for a, _ in flat)
    assert found.cosine > FAR


@pytest.mark.parametrize("seed", [5, 6, 7])
def test_models_that_began_apart(triple: Folders, tmp_path: Path, seed: int) -> None:
    """Other random weights of the same shape share nothing with the base."""
    stranger = save_bin(llama(seed=seed).half(), tmp_path / "stranger")

    found = compare_weights(known(triple.base), {"x": known(stranger)})["x"]

    assert abs(found.cosine) < UNRELATED
    assert found.change > 1


def test_the_base_itself(triple: Folders) -> None:
    """The same to the bit."""
    found = compare_weights(known(triple.base), {"x": known(triple.base)})["x"]

    assert (found.change, round(found.cosine, 12)) == (0, 1)


def test_models_with_nothing_in_common(triple: Folders, tmp_path: Path) -> None:
    """No matrix of the same name and shape: nothing can be said."""
    other = save_bin(llama(hidden=32).half(), tmp_path / "other")

    assert compare_weights(known(triple.base), {"x": known(other)}) == {}


def test_a_matrix_that_lies_transposed_is_not_compared(triple: Folders, tmp_path: Path) -> None:
    """Its first entries in the file are not its first entries."""
    model = llama().half()
    folder = save_bin(model, tmp_path / "x")
    state = {name: tensor.t() if tensor.dim() == 2 else tensor for name, tensor in
             model.state_dict().items()}  # fmt: skip
    state = {n: t.contiguous().t() if t.dim() == 2 else t for n, t in state.items()}
    torch.save(state, folder / "pytorch_model.bin")

    assert read_headers(folder)["lm_head.weight"].shape == (512, 64)
    assert compare_weights(known(triple.base), {"x": known(folder)}) == {}

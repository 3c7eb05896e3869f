"""Where tensors lie in weight files, and the tensors made of those bytes."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from slack_ties.models.headers import read_headers_of_shard
from slack_ties.models.places import FilePlaces, places_of
from slack_ties.remote.tensor import tensor_of


def places(path: Path) -> FilePlaces:
    """Return the places of a file on this disk."""
    with path.open("rb") as file:
        return places_of(file, path.name, path.stat().st_size, "x")


def tensors(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a file, each made of nothing but its span."""
    found, made, data = places(path), {}, path.read_bytes()
    for name, place in found.tensors.items():
        span = found.spans[place.span]
        buffer = found.buffer(place.span)
        buffer[:] = data[span.first : span.end]
        made[name] = tensor_of(found, name, buffer)
    return made


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Say whether two tensors have the same type, shape, stride and bits."""
    bits = [t.detach().contiguous().flatten().view(torch.uint8) for t in (one, other)]
    return (
        one.dtype == other.dtype
        and one.shape == other.shape
        and one.stride() == other.stride()
        and torch.equal(*bits)
    )


ODD = {
    "matrix": torch.arange(12.0).reshape(3, 4),
    "half": torch.arange(7).half(),
    "bfloat": torch.arange(7).bfloat16(),
    "double": torch.arange(3.0).double(),
    "scalar": torch.tensor(1.5),
    "empty": torch.empty(0, 3),
    "bool": torch.tensor([True, False, True]),
    "long": torch.arange(5),
    "byte": torch.arange(5).to(torch.uint8),
}


def test_tensors_of_safetensors(tmp_path: Path) -> None:
    """Every type, scalars and empty tensors are what safetensors itself reads."""
    path = tmp_path / "model.safetensors"
    save_file({**ODD, "float8": torch.arange(9.0).to(torch.float8_e4m3fn)}, path)

    made = tensors(path)

    expected = load_file(path)
    assert made.keys() == expected.keys()
    assert all(same(made[name], expected[name]) for name in made)
    assert places(path).headers() == read_headers_of_shard(path, "x")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("protocol", [2, 3])
def test_tensors_of_bin(tmp_path: Path, protocol: int) -> None:
    """Views, tied tensors and parameters are what PyTorch itself reads."""
    path = tmp_path / "pytorch_model.bin"
    both = torch.randn(6, 4)
    views = {"tied": both, "tied2": both, "t": both.t(), "row": both[3], "part": both[1:3, ::2]}
    parameter = torch.nn.Parameter(torch.randn(3))
    torch.save({**ODD, **views, "parameter": parameter}, path, pickle_protocol=protocol)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = tensors(path)

    expected = torch.load(path, weights_only=True)
    assert made.keys() == expected.keys()
    assert all(same(made[name], expected[name]) for name in made)
    assert places(path).headers() == read_headers_of_shard(path, "x")
    found = places(path)
    assert len({found.tensors[name].span for name in views}) == 1

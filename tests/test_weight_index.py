"""Which file a tensor is read from: as the index says, where transformers reads the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from slack_ties.errors import CheckpointError
from slack_ties.models.headers import read_headers
from slack_ties.models.weight_index import find_weights

ONE, TWO, OVERLAY = (
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "x.safetensors",
)


def save(folder: Path, files: dict[str, list[str]], index: dict[str, str] | None) -> Path:
    """Write a model whose files hold these tensors, and an index."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text('{"architectures": ["X"]}')
    for file, names in files.items():
        save_file({name: torch.zeros(2) for name in names}, folder / file)
    if index is not None:
        text = json.dumps({"metadata": {}, "weight_map": index})
        (folder / "model.safetensors.index.json").write_text(text)
    return folder


def test_a_tensor_in_two_files_is_read_from_the_one_that_the_index_names(tmp_path: Path) -> None:
    """An overlay that transformers reads last."""
    files = {ONE: ["a", "b"], OVERLAY: ["b"]}

    headers = read_headers(save(tmp_path, files, {"a": ONE, "b": OVERLAY}))

    assert {name: header.file for name, header in headers.items()} == {"a": ONE, "b": OVERLAY}


@pytest.mark.parametrize(
    ("files", "index", "message"),
    [
        (
            {ONE: ["a", "b"], OVERLAY: ["b"]},
            {"a": OVERLAY, "b": ONE},
            f"index.json says that a is in {OVERLAY}, which does not contain it",
        ),
        (
            {ONE: ["a", "b"], OVERLAY: ["a", "b"]},
            {"a": OVERLAY, "b": ONE},
            f"b is in two files: .* says {ONE}, and transformers uses the one in {OVERLAY}",
        ),
        ({ONE: ["a", "b"]}, {"a": ONE}, f"{ONE} contains b, which .*index.json does not name"),
        ({ONE: ["a"]}, {"a": ONE, "b": TWO}, f"{TWO} is missing, named in"),
        ({ONE: ["a"]}, {"a": "../a.safetensors"}, "expected a file beside it"),
        ({ONE: ["a"]}, {}, "names no tensors"),
    ],
)
def test_an_index_that_contradicts_the_files(
    files: dict[str, list[str]], index: dict[str, str], message: str, tmp_path: Path
) -> None:
    """Named with the tensor and the files."""
    folder = save(tmp_path, files, index)

    with pytest.raises(CheckpointError, match=message):
        read_headers(folder)


def test_a_buffer_need_not_be_in_the_index(tmp_path: Path) -> None:
    """Rotary frequencies are computed, whatever lists them."""
    name = "layers.0.rotary_emb.inv_freq"

    assert set(read_headers(save(tmp_path, {ONE: ["a", name]}, {"a": ONE}))) == {"a", name}


def test_a_whole_file_comes_before_an_index(tmp_path: Path) -> None:
    """As for transformers; and it is said that the index is not read."""
    folder = save(tmp_path, {"model.safetensors": ["a"], ONE: ["a"]}, {"a": ONE})

    found = find_weights(folder, "me/x")

    assert found is not None
    assert found.files == ("model.safetensors",)
    assert found.note == (
        "me/x: model.safetensors is read, as by transformers; the files in "
        "model.safetensors.index.json are not read"
    )
    assert read_headers(folder)["a"].file == "model.safetensors"


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_git_lfs_pointer(name: str, tmp_path: Path) -> None:
    """Named as what it is, with the command that fetches the file."""
    folder = save(tmp_path, {"model.safetensors": ["a"]}, None)
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")

    with pytest.raises(CheckpointError, match=f"{name} is a git-lfs pointer") as caught:
        read_headers(folder)

    assert "git lfs pull" in caught.value.hint


def test_an_index_that_git_lfs_left_behind(tmp_path: Path) -> None:
    """Named as such, and not as damaged JSON."""
    folder = save(tmp_path, {ONE: ["a"]}, {"a": ONE})
    index = folder / "model.safetensors.index.json"
    index.write_text("version https://git-lfs.github.com/spec/v1\n")

    with pytest.raises(CheckpointError, match=r"index\.json is a git-lfs pointer"):
        read_headers(folder)

"""Find the files that hold a model's weights, and the file of each tensor.

The index tells the names of weight files. No pattern can: published models have
model.safetensors-00001-of-00002.safetensors, overlay.safetensors and others.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

__all__ = [
    "DOWNLOAD_AGAIN",
    "Weights",
    "choose_weights",
    "damaged",
    "find_weights",
    "is_lfs_pointer",
    "lfs_error",
]


def damaged(file: str, name: str, error: Exception) -> CheckpointError:
    """Return the error for a weight file that cannot be read."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    msg = f"model {name!r}: {file} cannot be read: {reason}"
    return CheckpointError(msg, hint=DOWNLOAD_AGAIN)


DOWNLOAD_AGAIN = "take a complete model. If it came from the Hub: hf download ID --force-download"

# In the order of transformers' search (modeling_utils._get_resolved_checkpoint_files).
MODEL_FILES = ("model.safetensors", "pytorch_model.bin")

ADAPTER_FILES = ("adapter_model.safetensors", "adapter_model.bin")

LONGEST_FILE_NAME = 255

LFS = b"version https://git-lfs"  # the first bytes of a file that git-lfs has not downloaded


@dataclass(frozen=True)
class Weights:
    """The weight files of one model."""

    files: tuple[str, ...]  # in transformers' order of reading
    index: str = ""  # the index file, which names the file of each tensor; empty for one file
    file_of: Mapping[str, str] = field(default_factory=dict)  # the index: tensor -> file
    note: str = ""  # for people: weight files that are there but not read


def find_weights(folder: Path, name: str = "", away: Collection[str] = ()) -> Weights | None:
    """Return the weight files of the model in `folder`; None if there are none.

    Args:
        folder: The model's folder.
        name: The model's name in errors.
        away: Names of further files of the model, which are on the Hub only.

    Raises:
        CheckpointError: The index is damaged, or names a file outside its folder.

    """
    names = [path.name for path in folder.iterdir() if path.is_file()]
    names += [one for one in away if one not in names]
    return choose_weights(
        names, lambda index: (folder / index).read_text(encoding="utf-8"), name or str(folder)
    )


def choose_weights(names: Collection[str], read: Callable[[str], str], name: str) -> Weights | None:
    """Return the weight files among the files of a folder or a repository; None if there are none.

    Args:
        names: The names of all files.
        read: Returns the text of a file.
        name: The model's name in errors.

    Raises:
        CheckpointError: As for `find_weights`.

    """
    for weights in MODEL_FILES:
        index = f"{weights}.index.json"
        if weights in names:
            return Weights((weights,), note=_unread_note(weights, index, names, read, name))
        if index in names:
            file_of = _weight_map(index, read, name)
            return Weights(tuple(sorted(set(file_of.values()))), index, file_of)
    return next((Weights((file,)) for file in ADAPTER_FILES if file in names), None)


def _unread_note(
    weights: str, index: str, names: Collection[str], read: Callable[[str], str], name: str
) -> str:
    """Return a note if an index beside a single weight file names other files; else ""."""
    if index not in names:
        return ""
    try:
        others = {file for file in _weight_map(index, read, name).values() if file != weights}
    except CheckpointError:
        others = {index}
    if not others:
        return ""
    return f"{name}: {weights} is read, as by transformers; the files in {index} are not read"


def _weight_map(index: str, read: Callable[[str], str], name: str) -> dict[str, str]:
    text = ""
    try:
        text = read(index)
        weight_map = json.loads(text)["weight_map"]
        files = {str(tensor): str(file) for tensor, file in weight_map.items()}
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        if text.startswith(LFS.decode()):
            raise lfs_error(name, index) from None
        why = "it has no weight_map" if isinstance(error, KeyError) else str(error)
        msg = f"model {name!r}: {index} is damaged: {why}"
        raise CheckpointError(msg, hint=DOWNLOAD_AGAIN) from None
    for file in files.values():
        # The index is not trusted: refuse a path out of the folder, and a name that is too long.
        if Path(file).name != file or "\\" in file or len(file) > LONGEST_FILE_NAME:
            msg = f"model {name!r}: {index} names {file[:100]!r}, expected a file beside it"
            raise CheckpointError(msg)
    if not files:
        msg = f"model {name!r}: {index} names no tensors, expected weights"
        raise CheckpointError(msg, hint=DOWNLOAD_AGAIN)
    return files


def is_lfs_pointer(path: Path) -> bool:
    """Say whether a file is only a pointer of git-lfs to the real file."""
    try:
        with path.open("rb") as file:
            return file.read(len(LFS)) == LFS
    except OSError:
        return False


def lfs_error(name: str, file: str) -> CheckpointError:
    """Return the error about a file that git-lfs has not downloaded."""
    msg = f"model {name!r}: {file} is a git-lfs pointer: git clone did not download the file itself"
    return CheckpointError(msg, hint="git lfs pull  # in that folder; or: hf download ID")

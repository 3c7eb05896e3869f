# ruff: noqa: INP001 - lm-eval loads this file by its path
"""Read the rows of MiLiC-Eval from the Hub, its cache, or a folder.

`datasets` can do it too, but not offline: without the Hub, it does not find its own cache of files
that a task names. Here the files are those in the Hub's cache.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["load"]

# The authors' files. The first examples (few-shot) of three; their second and third are not used.
FILES = {"train": "train_1.json", "test": "test.json"}


def load(source: str, folder: str, **_: Any) -> Any:
    """Return the rows of a task in a language, as a `datasets.DatasetDict`.

    Args:
        source: An id on the Hub, or a folder with the same files.
        folder: The task and the language, such as reading_comprehension/bo.

    Raises:
        ValueError: A file does not hold a list of objects.

    """
    from datasets import (  # type: ignore[import-untyped, unused-ignore]  # noqa: PLC0415 - heavy
        Dataset,
        DatasetDict,
        DatasetInfo,
    )

    paths = {split: _path(source, f"{folder}/{name}") for split, name in FILES.items()}
    rows = {split: _rows(path) for split, path in paths.items()}
    # Rows of topics name one label each: all of them are the choices, in English.
    labels = sorted({row["label"]["en"] for row in rows["test"] if "label" in row})
    return DatasetDict(
        {
            split: Dataset.from_list(
                [{**row, "labels": labels} if labels else row for row in some],
                info=DatasetInfo(download_checksums=_origin(source, folder, paths[split])),
            )
            for split, some in rows.items()
        }
    )


def _path(source: str, name: str) -> Path:
    """Return where a file is on this disk, after a download if it is not here."""
    from huggingface_hub import hf_hub_download  # noqa: PLC0415 - heavy

    if Path(source).is_dir():
        return Path(source) / name
    return Path(hf_hub_download(source, name, repo_type="dataset"))


def _origin(source: str, folder: str, path: Path) -> dict[str, dict[str, Any]]:
    """Return where a file comes from, as `datasets` notes it; nothing for a folder on this disk."""
    if Path(source).is_dir():
        return {}
    # In the Hub's cache: snapshots/COMMIT/FOLDER/NAME.
    commit = path.parents[len(Path(folder).parts)].name
    name = f"hf://datasets/{source}@{commit}/{folder}/{path.name}"
    return {name: {"num_bytes": path.stat().st_size, "checksum": None}}


def _rows(path: Path) -> list[dict[str, Any]]:
    rows = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        msg = f"{path}: expected a list of objects"
        raise ValueError(msg)
    return rows

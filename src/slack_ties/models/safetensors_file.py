"""Read the header of a safetensors file."""

from __future__ import annotations

import json
from typing import IO, TYPE_CHECKING, Any

from slack_ties.models.weight_index import damaged

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MOST_HEADER", "safetensors_header", "safetensors_places"]

MOST_HEADER = 100_000_000  # bytes: safetensors' own limit


def safetensors_places(file: IO[bytes]) -> tuple[dict[str, Any], int]:
    """Return the header of a safetensors file, and the position at which its data begin.

    Source: https://huggingface.co/docs/safetensors/index#format
    """
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if length > MOST_HEADER:
        msg = f"its header would be {length} bytes long"
        raise ValueError(msg)
    places = json.loads(file.read(length))
    places.pop("__metadata__", None)
    return places, 8 + length


def safetensors_header(path: Path) -> tuple[bytes, dict[str, int]]:
    """Return the bytes before the data of a safetensors file, and the size of each tensor.

    Raises:
        CheckpointError: The file is damaged.

    """
    try:
        with path.open("rb") as file:
            places, start = safetensors_places(file)
            file.seek(0)
            offsets = {name: info["data_offsets"] for name, info in places.items()}
            return file.read(start), {name: end - first for name, (first, end) in offsets.items()}
    except Exception as error:  # noqa: BLE001 - a damaged file can cause errors of any type
        raise damaged(path.name, path.name, error) from None

"""Say whether a model fits in memory, before it is downloaded or loaded."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from slack_ties.errors import CheckpointError
from slack_ties.files import read_json
from slack_ties.models.header import ENTRY_BYTES
from slack_ties.models.headers import read_weight_headers
from slack_ties.models.model_config import stored_dtype
from slack_ties.wording import size

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from slack_ties.models.look import Look

__all__ = ["bytes_in_memory", "bytes_of_folder", "check_fits", "free_memory"]


def bytes_in_memory(looks: Sequence[Look], dtype: str) -> int:
    """Return the bytes of a model's weights, and of its adapter's, when they run.

    Args:
        looks: The model, and its adapter if it has one; their weights need not be here.
        dtype: The type in which it runs, as torch names it; auto: the type that its config states,
            or that of its files.

    Raises:
        CheckpointError: Weights that are here cannot be read.

    """
    return sum(_bytes_of(look, dtype) for look in looks)


def _bytes_of(look: Look, dtype: str) -> int:
    if look.missing or any(name.startswith("adapter_") for name in look.weights):
        config = read_json(look.folder / "config.json")
        stored = str(config.get("dtype") or config.get("torch_dtype") or "")
        factor = ENTRY_BYTES.get(dtype, 1) / ENTRY_BYTES.get(stored, 1)
        known = dtype in ENTRY_BYTES and stored in ENTRY_BYTES
        return int(sum(look.weights.values()) * (factor if known else 1))
    return bytes_of_folder(look.folder, dtype, name=look.path)


def bytes_of_folder(folder: Path, dtype: str, *, name: str = "") -> int:
    """Return the bytes of the weights of a model in a folder, when they run.

    Args:
        folder: The model.
        dtype: As for `bytes_in_memory`.
        name: The model's name in errors.

    Raises:
        CheckpointError: The weights are missing, or cannot be read.

    """
    runs = stored_dtype(folder) if dtype == "auto" else dtype
    headers = read_weight_headers(folder, name).values()
    return sum(header.size * _bytes_of_entry(header.dtype, runs) for header in headers)


def _bytes_of_entry(stored: str, runs: str) -> int:
    """Return the bytes of a number in memory; only floating-point numbers change their type."""
    if stored in ENTRY_BYTES:
        return ENTRY_BYTES.get(runs, ENTRY_BYTES[stored])
    return 1


def free_memory(device: str) -> int | None:
    """Return the free bytes where a model runs; None if that is not known."""
    kind = device.partition(":")[0]
    if kind == "cuda":
        import torch  # noqa: PLC0415 - heavy

        gc.collect()
        torch.cuda.empty_cache()  # torch keeps the memory of models that are gone
        return int(torch.cuda.mem_get_info(device)[0])
    if kind in {"cpu", "mps"}:  # Apple's chips have one memory for both
        import psutil  # noqa: PLC0415 - not for --help

        return int(psutil.virtual_memory().available)
    return None


def check_fits(name: str, need: int, device: str, *, hint: str) -> None:
    """Refuse a model whose weights alone are larger than the free memory.

    Raises:
        CheckpointError: They are.

    """
    free = free_memory(device)
    if free is not None and need > free:
        where = "memory" if device == "cpu" else f"the memory of {device}"
        msg = f"model {name!r} does not fit: its weights take {size(need)}, and {size(free)} of "
        msg += f"{where} are free"
        raise CheckpointError(msg, hint=hint)

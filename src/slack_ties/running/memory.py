"""Say whether a model fits in memory, before it is downloaded or loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slack_ties.errors import CheckpointError
from slack_ties.files import read_json
from slack_ties.models.header import ENTRY_BYTES
from slack_ties.models.headers import read_weight_headers
from slack_ties.wording import size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slack_ties.models.look import Look

__all__ = ["bytes_in_memory", "check_fits", "free_memory"]


def bytes_in_memory(looks: Sequence[Look], dtype: str) -> int:
    """Return the bytes of a model's weights, and of its adapter's, when they run.

    Args:
        looks: The model, and its adapter if it has one; their weights need not be here.
        dtype: The type in which it runs; auto: as stored.

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
    headers = read_weight_headers(look.folder, look.path).values()
    return sum(
        header.size * ENTRY_BYTES.get(dtype, ENTRY_BYTES.get(header.dtype, 4)) for header in headers
    )


def free_memory(device: str) -> int | None:
    """Return the free bytes where a model runs; None if that is not known."""
    if device.startswith("cuda"):
        import torch  # noqa: PLC0415 - heavy

        return int(torch.cuda.mem_get_info(device)[0])
    if device == "cpu":
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

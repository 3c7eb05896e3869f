"""Load a model for lm-eval: check first that it fits, and free it afterwards."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from slack_ties.errors import CheckpointError, SlackTiesError
from slack_ties.harness.how import DTYPES, Loaded
from slack_ties.harness.quiet import quiet
from slack_ties.models.memory import bytes_of_folder, check_fits
from slack_ties.wording import first_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from slack_ties.harness.how import How
    from slack_ties.private.lm_eval import CountingModel, Counts

__all__ = ["check_how", "check_room", "is_out_of_memory", "opened", "out_of_memory"]


def check_how(how: How) -> None:
    """Refuse a device that is not there, an unknown dtype, or a batch size that is no number.

    Raises:
        SlackTiesError: It says what was expected.

    """
    import torch  # noqa: PLC0415 - heavy

    if how.dtype not in DTYPES:
        msg = f"the dtype is {how.dtype!r}, expected one of {', '.join(DTYPES)}"
        raise SlackTiesError(msg, hint="use the model's own: --dtype auto")
    kind, _, number = how.device.partition(":")
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": torch.mps.device_count()}.get(kind)
    if count is None or (number and not number.isdigit()):
        msg = f"the device is {how.device!r}, expected cpu, cuda, cuda:NUMBER or mps"
        raise SlackTiesError(msg, hint="use the processor: --device cpu")
    if int(number or 0) >= count:
        there = f"PyTorch sees {count} of this kind" if count else "PyTorch sees none"
        msg = f"there is no device {how.device!r}: {there}"
        raise SlackTiesError(msg, hint="use the processor: --device cpu")
    given = how.batch_size.partition(":")[0]
    if given not in {"", "auto"} and not (given.isdigit() and int(given)):
        msg = f"the batch size is {how.batch_size!r}, expected a number from 1, or auto"
        raise SlackTiesError(msg, hint="leave it to lm-eval: --batch-size auto")


def check_room(folder: Path, how: How) -> None:
    """Compare the size of a model's weights with the memory that is free on the device.

    What a batch needs besides is not known before it runs, and not counted.

    Raises:
        CheckpointError: The weights do not fit; or they are missing or damaged.

    """
    need = bytes_of_folder(folder, how.dtype)
    smaller = bytes_of_folder(folder, "bfloat16") < need
    other = "--dtype bfloat16" if smaller else "a smaller model"
    hint = f"end other programs, or use {other}, or another --device"
    check_fits(str(folder), need, how.device, hint=hint)


@contextmanager
def opened(model: Path | Loaded, how: How, counts: Counts) -> Iterator[CountingModel]:
    """Load a model as lm-eval does; free its memory after the block.

    Raises:
        CheckpointError: It cannot be loaded, or its weights are not complete.

    """
    from slack_ties.private.lm_eval import CountingModel  # noqa: PLC0415 - imports lm-eval

    given: dict[str, Any] = {"batch_size": how.batch, "trust_remote_code": False}
    if isinstance(model, Loaded):
        given |= {"pretrained": model.model, "tokenizer": model.tokenizer}
    else:
        given |= {"pretrained": str(model.absolute()), "device": how.device, "dtype": how.dtype}
    try:
        with quiet():
            found = CountingModel(counts, **given)
    except Exception as error:
        if is_out_of_memory(error):
            raise out_of_memory(model, how) from error
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        msg = f"model {_name_of(model)}: transformers cannot load it: {reason}"
        raise CheckpointError(msg, hint="merge or download the model again") from error
    try:
        if found.missing:
            msg = f"model {_name_of(model)}: its weights lack {first_of(found.missing)}"
            raise CheckpointError(msg, hint="merge or download the model again")
        yield found
    finally:
        found.forget()
        if not isinstance(model, Loaded):  # else the caller still has it
            gc.collect()
        if how.device.startswith("cuda"):
            import torch  # noqa: PLC0415 - heavy

            torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error is about too little memory."""
    import torch  # noqa: PLC0415 - heavy

    return isinstance(error, (MemoryError, torch.OutOfMemoryError))


def out_of_memory(model: Path | Loaded, how: How) -> CheckpointError:
    """Return the error for a model that runs out of memory."""
    msg = f"model {_name_of(model)}: {how.device} has too little memory for it"
    if how.batch_size not in {"1", ""} or how.device.startswith("cuda"):
        return CheckpointError(msg, hint="ask for less at once: --batch-size 1")
    return CheckpointError(msg, hint="end other programs, or use a smaller model")


def _name_of(model: Path | Loaded) -> str:
    return "in memory" if isinstance(model, Loaded) else repr(str(model))

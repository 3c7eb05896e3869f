"""Bring the models of a merge onto this disk and into memory, one after the other."""

from __future__ import annotations

import shlex
import warnings
from typing import TYPE_CHECKING, Any

from slack_ties.errors import CheckpointError, SlackTiesError
from slack_ties.models.names import split_reference

if TYPE_CHECKING:
    from pathlib import Path

    from huggingface_hub import HfApi

    from slack_ties.harness.score import Loaded

__all__ = ["folders_of", "load_adapted", "usable_device"]


def usable_device(name: str) -> str:
    """Return the device with this name, as torch knows it; auto is a GPU if there is one.

    Raises:
        SlackTiesError: This machine has no such device.

    """
    import torch  # noqa: PLC0415 - heavy

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        msg = f"device {name!r} cannot be used here: {reason}"
        raise SlackTiesError(msg, hint="leave --device and --cuda out: the CPU works too") from None
    return name


def folders_of(
    reference: str, *, api: HfApi | None = None, cache: str | None = None
) -> tuple[Path, ...]:
    """Return the folder of a model, and that of its adapter; download them if necessary.

    Args:
        reference: PATH[@REVISION][+ADAPTER], as a config names a model.
        api: The Hub client; the default one if not given.
        cache: The folder for downloads; the Hub's own cache if not given.

    Raises:
        SlackTiesError: It is not there, or cannot be downloaded.

    """
    from slack_ties.models.find import find_model  # noqa: PLC0415 - imports the client

    parts = split_reference(reference)
    return tuple(find_model(*part, api=api, cache=cache).path for part in parts)


def load_adapted(folder: Path, adapter: Path, *, device: str, dtype: str) -> Loaded:
    """Return a model with its LoRA adapter merged into it, in memory.

    Args:
        folder: The model, whose tokenizer is used.
        adapter: The adapter.
        device: The device to run on.
        dtype: The type to run in, as torch names it; auto: that of the model's files.

    Raises:
        CheckpointError: transformers or PEFT cannot load it.

    """
    from peft import PeftModel  # noqa: PLC0415 - heavy; mergekit needs it
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415 - heavy

    from slack_ties.harness.score import Loaded  # noqa: PLC0415 - heavy

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PEFT's: `plan` has the words for them
            model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
            model = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
            tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        msg = f"{folder} with the adapter {adapter}: cannot be loaded: {reason}"
        raise CheckpointError(msg, hint=f"hf download {shlex.quote(adapter.name)}") from None
    return Loaded(model.to(device).eval(), tokenizer)

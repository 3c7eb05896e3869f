"""Bring the models of a merge onto this disk and into memory, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slack_ties.errors import CheckpointError, SlackTiesError
from slack_ties.files import read_json
from slack_ties.hub.errors import first_line
from slack_ties.models.names import split_reference
from slack_ties.wording import first_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from huggingface_hub import HfApi

    from slack_ties.settings import Settings

__all__ = ["failed", "folders_of", "load_model", "load_tokenizer", "needs_code", "usable_device"]

HERE = {"trust_remote_code": False, "local_files_only": True}


def usable_device(name: str, settings: Settings) -> str:
    """Return the device on which models run, as torch names it.

    Args:
        name: The device, or auto: a GPU if there is one. If empty: that of the options in
            `settings`; without options as auto.
        settings: The options.

    Raises:
        SlackTiesError: This machine has no such device.

    """
    import torch  # noqa: PLC0415 - heavy

    name = name or (settings.device if settings.options else "auto")
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


def needs_code(folder: Path) -> bool:
    """Say whether only code that comes with a model can run it: transformers has no class for it.

    Args:
        folder: The model's config; the weights need not be here.

    """
    from transformers import CONFIG_MAPPING  # noqa: PLC0415 - heavy

    config = read_json(folder / "config.json")
    return bool(config.get("auto_map")) and config.get("model_type") not in CONFIG_MAPPING


def load_model(folders: Sequence[Path], name: str, *, device: str, dtype: str) -> Any:
    """Return a model of transformers, in memory; an adapter is merged into it, as a merge does.

    Nothing is downloaded, and no code of a model is run.

    Args:
        folders: Of the model, and of its adapter if it has one.
        name: The model's name in errors.
        device: The device to run on.
        dtype: The type to run in, as torch names it; auto: that of the model's files.

    Raises:
        CheckpointError: transformers or PEFT cannot load it, or its weights are not complete.

    """
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - heavy

    from slack_ties.tensors.loading import quiet_transformers  # noqa: PLC0415 - heavy

    options: dict[str, Any] = {**HERE, "dtype": dtype, "output_loading_info": True}
    if device != "cpu":
        options["device_map"] = {"": device}  # no copy in the memory of the CPU
    load: Any = AutoModelForCausalLM.from_pretrained
    try:
        with quiet_transformers():
            model, info = load(folders[0], **options)
            if missing := sorted(info["missing_keys"]):
                # transformers would fill them with random numbers.
                msg = f"its weights lack {first_of(missing)}"
                raise ValueError(msg)  # noqa: TRY301 - as an error of transformers
            for adapter in folders[1:]:
                from peft import PeftModel  # noqa: PLC0415 - seldom needed

                whole: Any = PeftModel.from_pretrained(model, str(adapter), local_files_only=True)
                model = whole.merge_and_unload()
    except Exception as error:  # noqa: BLE001 - the files are not ours: errors of any type
        raise failed(name, "cannot be loaded", error) from None
    return model.eval()


def load_tokenizer(folder: Path, name: str) -> Any:
    """Return the tokenizer of a model; run no code of the model.

    Args:
        folder: The model.
        name: The model's name in errors.

    Raises:
        CheckpointError: transformers cannot load it.

    """
    from transformers import AutoTokenizer  # noqa: PLC0415 - heavy

    load: Any = AutoTokenizer.from_pretrained
    try:
        return load(folder, **HERE)
    except Exception as error:  # noqa: BLE001 - the files are not ours: errors of any type
        raise failed(name, "has a tokenizer that cannot be loaded", error) from None


def failed(name: str, what: str, error: Exception) -> CheckpointError:
    """Return the error for a model that cannot be used, in one line.

    Args:
        name: The model's name.
        what: What it cannot do, with a verb.
        error: Why, as a library says it.

    """
    return CheckpointError(f"model {name!r} {what}: {first_line(error)}")

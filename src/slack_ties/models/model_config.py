"""Read a model's config.json."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from slack_ties.errors import CheckpointError
from slack_ties.models.header import FLOATS
from slack_ties.models.weight_index import DOWNLOAD_AGAIN, is_lfs_pointer, lfs_error

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["model_config", "stored_dtype"]


def model_config(folder: Path, name: str = "") -> dict[str, Any]:
    """Return the config.json of the model in `folder`; `name` is the model's name in errors.

    Raises:
        CheckpointError: The file is missing, or is not a model's config.

    """
    name = name or str(folder)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        architectures = config["architectures"]
    except FileNotFoundError:
        if (folder / "adapter_config.json").is_file():
            msg = f"model {name!r} is an adapter (LoRA), expected a whole model"
            raise CheckpointError(msg, hint=f"write its base before it: BASE+{name}") from None
        msg = f"model {name!r}: no config.json in {str(folder)!r}, expected a transformers model"
        raise CheckpointError(msg) from None
    except (OSError, ValueError, RecursionError) as error:
        if is_lfs_pointer(folder / "config.json"):
            raise lfs_error(name, "config.json") from None
        msg = f"model {name!r}: config.json cannot be read: {error}"
        raise CheckpointError(msg, hint=DOWNLOAD_AGAIN) from None
    except (KeyError, TypeError):
        architectures = None
    if isinstance(architectures, str) and architectures:
        msg = f"model {name!r}: config.json says architectures {architectures!r}, expected a list"
        raise CheckpointError(
            msg, hint=f'write in its config.json: "architectures": ["{architectures}"]'
        )
    if not architectures or not isinstance(architectures, list):
        msg = f"model {name!r}: config.json names no architectures, expected a transformers model"
        file = str(folder / "config.json")
        raise CheckpointError(msg, hint=f"choose another model, or correct the model's {file!r}")
    return dict(config)


def stored_dtype(folder: Path) -> str:
    """Return the type of the weights that a model's config.json states; "" if it states none."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    dtype = (config.get("dtype") or config.get("torch_dtype")) if isinstance(config, dict) else ""
    return str(dtype) if dtype in FLOATS.values() else ""

"""Refuse a model folder that nothing could load: a damaged config or tokenizer, or other sizes."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from slack_ties.errors import OutputError
from slack_ties.files import read_json
from slack_ties.models.header import PER_TOKEN, Header
from slack_ties.models.text_files import ALWAYS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["check_config", "check_loads"]

# Settings beside a model that transformers reads when it loads the model or its tokenizer.
SETTINGS_FILES = (
    *ALWAYS,
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
)

LAYER_NUMBER = re.compile(r"\.(?:layers|h|blocks)\.(\d+)\.")


def check_loads(folder: Path, again: str) -> None:
    """Refuse a config or a tokenizer that cannot be loaded."""
    config = read_json(folder / "config.json")
    if not isinstance(config.get("model_type"), str):
        msg = f"{folder / 'config.json'} is missing or damaged: it names no model_type"
        raise OutputError(msg, hint=again)
    for path in sorted(folder.glob("*.json")):
        if path.name in SETTINGS_FILES and not _is_json_object(path):
            msg = f"{path} is empty or damaged, expected settings as JSON: nothing could load it"
            raise OutputError(msg, hint=again)
    path = folder / "tokenizer.json"
    if not path.is_file():
        return
    from tokenizers import Tokenizer  # noqa: PLC0415 - not for --help

    try:
        Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001 - tokenizers raises no other type
        msg = f"{path} cannot be read: {error}"
        raise OutputError(msg, hint=again) from None


def check_config(folder: Path, headers: Mapping[str, Header], again: str) -> None:
    """Refuse a config whose sizes differ from the weights."""
    config = read_json(folder / "config.json")
    rows = [one.shape for name, one in headers.items() if name.endswith(PER_TOKEN)]
    layers = {int(match[1]) for name in headers if (match := LAYER_NUMBER.search(name))}
    found = {
        "vocab_size": rows[0][0] if rows else None,
        "hidden_size": rows[0][1] if rows and len(rows[0]) > 1 else None,
        "num_hidden_layers": len(layers) or None,
    }
    # Layers that predict further tokens (MTP) come after the others, and do not count as such.
    beyond = config.get("num_nextn_predict_layers")
    if isinstance(beyond, int) and len(layers) - beyond == config.get("num_hidden_layers"):
        found["num_hidden_layers"] = None
    for key, size in found.items():
        if size and isinstance(config.get(key), int) and config[key] != size:
            msg = f"{folder / 'config.json'} says {key} {config[key]}, the weights have {size}"
            raise OutputError(msg, hint=f"restore it, or {again}")


def _is_json_object(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
    except (OSError, ValueError, RecursionError):
        return False

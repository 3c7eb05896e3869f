"""Find a tokenizer's files, and copy them to the merged model."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from slack_ties.files import json_text, read_json, write_whole
from slack_ties.models.text_files import ALWAYS, BESIDE, CODE_FILES, is_vocabulary
from slack_ties.models.weight_index import is_lfs_pointer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["carry_over", "has_tokenizer", "readable_by_all"]

FAST = "PreTrainedTokenizerFast"  # a class of both transformers 4 and 5

# Classes of transformers 5 that version 4 lacks, and keys that only version 5 uses.
NEW_CLASSES = ("TokenizersBackend", "SentencePieceBackend", "PythonBackend", "MistralCommonBackend")

NEW_KEYS = ("backend", "is_local", "local_files_only")


def has_tokenizer(folder: Path) -> bool:
    """Say whether a folder holds a tokenizer's vocabulary."""
    return any(
        is_vocabulary(path.name) and path.is_file() and not is_lfs_pointer(path)
        for path in folder.iterdir()
    )


def carry_over(base: Path, out: Path, config: Mapping[str, Any], *, tokenizer: bool) -> None:
    """Copy the base's small files that are also right for the merged model.

    Args:
        base: The base's folder.
        out: The merged model's folder.
        config: The base's config.json.
        tokenizer: Whether to copy the tokenizer's files too.

    """
    patterns = (*ALWAYS, *(BESIDE if tokenizer else ()))
    settings = read_json(base / "tokenizer_config.json") if tokenizer else {}
    if "auto_map" in config or "auto_map" in settings:
        patterns += CODE_FILES
    for pattern in patterns:
        for path in base.glob(pattern):
            if path.is_file():
                shutil.copyfile(path, out / path.name)


def readable_by_all(out: Path, source: Path) -> None:
    """Let transformers 4 read a tokenizer that transformers 5 has saved.

    Args:
        out: The folder of the saved tokenizer.
        source: The model that most of the tokenizer comes from; gives the name of its class.

    """
    path = out / "tokenizer_config.json"
    before = read_json(path)
    settings = dict(before)
    if not settings:
        return
    theirs = read_json(source / "tokenizer_config.json")
    for key in NEW_KEYS:
        if key not in theirs:
            settings.pop(key, None)
    kind = str(settings.get("tokenizer_class") or "")
    if kind in NEW_CLASSES:
        own = str(theirs.get("tokenizer_class") or "")
        settings["tokenizer_class"] = FAST if own in NEW_CLASSES or not own else own
    # Vision models name some tokens themselves.
    if isinstance(named := settings.pop("model_specific_special_tokens", None), dict) and named:
        if isinstance(more := settings.get("extra_special_tokens"), list) and more:
            settings["additional_special_tokens"] = more
        settings["extra_special_tokens"] = named
    extra = settings.get("extra_special_tokens")
    if isinstance(
        extra, list
    ):  # version 4 expects a mapping under this key, a list under the other
        settings.pop("extra_special_tokens")
        if extra:
            settings["additional_special_tokens"] = extra
    if settings != before:
        write_whole(path, json_text(settings))

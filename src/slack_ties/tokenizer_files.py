"""The files of a tokenizer: what counts as one, and how the merged model gets it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from slack_ties.files import json_text, read_json, write_whole
from slack_ties.weight_index import is_lfs_pointer

__all__ = [
    "ALWAYS",
    "BESIDE",
    "CODE_FILES",
    "VOCABULARY_FILES",
    "carry_over",
    "has_tokenizer",
    "is_vocabulary",
    "named_template",
    "readable_by_all",
    "set_template",
    "template_names",
]

# A folder has a tokenizer if one of these is there: its vocabulary. Settings alone are none.
VOCABULARY_FILES = (
    *("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model"),
    *("sentencepiece*.model", "source.spm", "*.tiktoken", "tiktoken.model", "tekken.json"),
    *("tokenizer.*.model", "bpe.model", "vocab.model"),
)
# What lies beside a model and is as true of the merged one.
BESIDE = (
    *VOCABULARY_FILES,
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt"),
    *("target.spm", "normalizer.json", "chat_template.jinja", "chat_template.json"),
)
ALWAYS = (
    *("generation_config.json", "preprocessor_config.json", "processor_config.json"),
    *("video_preprocessor_config.json", "image_processor_config.json"),
)
CODE_FILES = ("*.py",)  # only where the config says that the model cannot do without
FAST = "PreTrainedTokenizerFast"  # a class that transformers 4 and 5 both know
# Classes of transformers 5 that version 4 does not have, and keys that say nothing to others.
NEW_CLASSES = ("TokenizersBackend", "SentencePieceBackend", "PythonBackend", "MistralCommonBackend")
NEW_KEYS = ("backend", "is_local", "local_files_only")


def has_tokenizer(folder: Path) -> bool:
    """Say whether a folder holds a tokenizer's vocabulary."""
    return any(
        is_vocabulary(path.name) and path.is_file() and not is_lfs_pointer(path)
        for path in folder.iterdir()
    )


def is_vocabulary(name: str) -> bool:
    """Say whether a file of this name holds a tokenizer's vocabulary."""
    return any(fnmatch(name, pattern) for pattern in VOCABULARY_FILES)


def carry_over(base: Path, out: Path, config: Mapping[str, Any], *, tokenizer: bool) -> None:
    """Copy what lies beside the base and is as true of the merged model.

    Args:
        base: The base's folder.
        out: The merged model's.
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


def set_template(out: Path, template: str) -> None:
    """Give the merged model's tokenizer a chat template, in place of any that it has."""
    for name in ("chat_template.jinja", "chat_template.json"):
        (out / name).unlink(missing_ok=True)
    settings = read_json(out / "tokenizer_config.json")
    if settings.pop("chat_template", None) is not None:
        write_whole(out / "tokenizer_config.json", json_text(settings))
    write_whole(out / "chat_template.jinja", template)


def named_template(name: str) -> str | None:
    """Return the chat template that mergekit has under a name; None if it has none."""
    if name not in template_names():
        return None
    return (_templates() / f"{name}.jinja").read_text(encoding="utf-8")


def template_names() -> list[str]:
    """Return the names of mergekit's chat templates."""
    return sorted(path.stem for path in _templates().glob("*.jinja"))


def _templates() -> Path:
    package = find_spec("mergekit")  # found, not imported: that takes seconds
    places = package.submodule_search_locations if package else None
    return Path(places[0] if places else "", "_data", "chat_templates")


def readable_by_all(out: Path, source: Path) -> None:
    """Let transformers 4 read a tokenizer that transformers 5 has saved.

    Args:
        out: Where it was saved.
        source: The model whose tokenizer it mostly is, for the name of its class.

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
    # Tokens by names of their own, as vision models have them.
    if isinstance(named := settings.pop("model_specific_special_tokens", None), dict) and named:
        if isinstance(more := settings.get("extra_special_tokens"), list) and more:
            settings["additional_special_tokens"] = more
        settings["extra_special_tokens"] = named
    extra = settings.get("extra_special_tokens")
    if isinstance(extra, list):  # version 4 expects names and tokens here, and a list there
        settings.pop("extra_special_tokens")
        if extra:
            settings["additional_special_tokens"] = extra
    if settings != before:
        write_whole(path, json_text(settings))

"""Read the vocabulary of a tokenizer, to compare tokenizers by content.

The content is the row of the embedding for each token. If models differ in it, mergekit's
`tokenizer:` section (`section.py`) aligns the rows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any

from slack_ties.errors import CheckpointError
from slack_ties.files import read_json
from slack_ties.models.text_files import ALWAYS, BESIDE, is_vocabulary
from slack_ties.models.weight_index import is_lfs_pointer, lfs_error
from slack_ties.tokenizer.files import has_tokenizer
from slack_ties.tokenizer.templates import read_template

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["MOST_ADDED", "Vocabulary", "read_vocabulary"]

SPECIAL = (
    *("bos_token", "eos_token", "unk_token", "pad_token"),
    *("sep_token", "cls_token", "mask_token"),
)

# Up to so many tokens that only the SFT model has belong to a chat template; more are a vocabulary.
MOST_ADDED = 64


@dataclass(frozen=True)
class Vocabulary:
    """The content of a model's tokenizer."""

    tokens: Mapping[str, int]  # token -> its row of the embedding
    rows: int  # of the embedding: config.json's vocab_size; more than tokens if padded
    beyond: frozenset[str] = frozenset()  # tokens without a row in the embedding
    special: Mapping[str, str] = field(default_factory=dict)  # eos_token -> "</s>"
    chat_template: str = ""

    def added_to(self, other: Vocabulary) -> int:
        """Return how many tokens `other` lacks."""
        return len(self.tokens.keys() - other.tokens.keys())

    def is_same(self, other: Vocabulary) -> bool:
        """Say whether both have the same tokens, with the same rows, and equally many rows."""
        return self.rows == other.rows and self.tokens == other.tokens


def read_vocabulary(
    folder: Path, name: str = "", *, adapter: Path | None = None
) -> Vocabulary | None:
    """Return the vocabulary of the model in `folder`; None if it has no tokenizer.

    No weights are read. The tokenizers library reads tokenizer.json, and transformers reads older
    formats, as in mergekit. For a tokenizer that needs its own Python code, None is returned too.

    Args:
        folder: The model's folder.
        name: The model's name in errors.
        adapter: The folder of its LoRA adapter. Tokenizer files there have priority: an adapter
            is trained with a chat template and an end-of-turn token of its own.

    Raises:
        CheckpointError: A file is damaged.

    """
    name = name or str(folder)
    folders = [adapter, folder] if adapter else [folder]
    for one in folders:
        _check_fetched(one, name)
    holder = next((one for one in folders if has_tokenizer(one)), None)
    if holder is None:
        return None
    config = read_json(folder / "config.json")
    settings = [read_json(one / "tokenizer_config.json") for one in folders]
    if "auto_map" in settings[-1] and not (holder / "tokenizer.json").is_file():
        return None
    try:
        tokens = _tokens(holder)
    except Exception as error:  # noqa: BLE001 - tokenizers raises bare Exceptions
        reason = " ".join(str(error).split())[:200]
        files = [path.name for path in sorted(holder.iterdir()) if is_vocabulary(path.name)]
        msg = f"model {name!r}: the tokenizer ({', '.join(files)}) cannot be read: {reason}"
        raise CheckpointError(msg, hint="download the model's tokenizer files again") from None
    text_config = config.get("text_config")
    stated = config.get("vocab_size") or (
        text_config.get("vocab_size") if isinstance(text_config, dict) else None
    )
    rows = stated if isinstance(stated, int) else max(tokens.values(), default=-1) + 1
    special: dict[str, Any] = {}
    for one, stated_there in reversed(list(zip(folders, settings, strict=True))):
        special |= {**read_json(one / "special_tokens_map.json"), **stated_there}
    return Vocabulary(
        tokens={token: row for token, row in tokens.items() if row < rows},
        rows=rows,
        beyond=frozenset(token for token, row in tokens.items() if row >= rows),
        special={key: token for key in SPECIAL if (token := _token_text(special.get(key)))},
        chat_template=next(filter(None, map(read_template, folders)), ""),
    )


def _check_fetched(folder: Path, name: str) -> None:
    """Refuse a git-lfs pointer or a damaged file: transformers would not name the real cause."""
    for path in sorted(folder.iterdir()):
        is_read = any(fnmatch(path.name, pattern) for pattern in (*BESIDE, *ALWAYS))
        if not is_read or not path.is_file():
            continue
        if is_lfs_pointer(path):
            raise lfs_error(name, path.name)
        if path.suffix == ".json" and path.name != "tokenizer.json":  # `_tokens` reads that one
            try:
                found = json.loads(path.read_text(encoding="utf-8"))
                reason = "" if isinstance(found, dict) else "it does not contain names and values"
            except (OSError, ValueError, RecursionError) as error:
                reason = str(error)
            if reason:
                msg = f"model {name!r}: {path.name} cannot be read: {reason}"
                raise CheckpointError(msg, hint="download that file again, or delete it")


def _tokens(folder: Path) -> dict[str, int]:
    if (folder / "tokenizer.json").is_file():
        from tokenizers import Tokenizer  # noqa: PLC0415 - not for --help

        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        return dict(tokenizer.get_vocab(with_added_tokens=True))
    from transformers import AutoTokenizer  # noqa: PLC0415 - seconds to import

    loaded = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return dict(loaded.get_vocab())


def _token_text(value: object) -> str:
    """Return the text of a special token, which is stored plainly or in a mapping with settings."""
    content = value.get("content") if isinstance(value, dict) else value
    return content if isinstance(content, str) else ""

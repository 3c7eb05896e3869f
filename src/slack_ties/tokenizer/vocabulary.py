"""Tokenizers: what those of the models have in common, and what the merged model gets.

They are compared by content: which token has which row of the embedding. Where they differ,
mergekit's `tokenizer:` section aligns the rows, and here is chosen what it has to say.
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

# More tokens than this that only the SFT model has are a vocabulary, not a chat template's.
MOST_ADDED = 64


@dataclass(frozen=True)
class Vocabulary:
    """What a model's tokenizer knows, by content."""

    tokens: Mapping[str, int]  # token -> its row of the embedding
    rows: int  # of the embedding: config.json's vocab_size; more than tokens if padded
    beyond: frozenset[str] = frozenset()  # tokens that the embedding has no row for
    special: Mapping[str, str] = field(default_factory=dict)  # eos_token -> "</s>"
    chat_template: str = ""

    def added_to(self, other: Vocabulary) -> int:
        """Return how many tokens there are that `other` does not have."""
        return len(self.tokens.keys() - other.tokens.keys())

    def is_same(self, other: Vocabulary) -> bool:
        """Say whether the same tokens have the same rows, of equally many."""
        return self.rows == other.rows and self.tokens == other.tokens


def read_vocabulary(
    folder: Path, name: str = "", *, adapter: Path | None = None
) -> Vocabulary | None:
    """Return the vocabulary of the model in `folder`; None if it has no tokenizer.

    No weights are read. A tokenizer.json is read by the tokenizers library, older formats
    by transformers, as mergekit does. A tokenizer that only its own code can read is none here.

    Args:
        folder: Of the model.
        name: What to call it in errors.
        adapter: The folder of its LoRA adapter. What lies there of a tokenizer counts first: an
            adapter is trained with a chat template and an end-of-turn token of its own.

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
        raise CheckpointError(msg, hint="get the model's tokenizer files again") from None
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
        special={key: word for key in SPECIAL if (word := _word(special.get(key)))},
        chat_template=next(filter(None, map(read_template, folders)), ""),
    )


def _check_fetched(folder: Path, name: str) -> None:
    """Refuse what git-lfs has left behind: other readers name another cause, or none."""
    for path in sorted(folder.iterdir()):
        texts = any(fnmatch(path.name, pattern) for pattern in (*BESIDE, *ALWAYS))
        if not texts or not path.is_file():
            continue
        if is_lfs_pointer(path):
            raise lfs_error(name, path.name)
        if path.suffix == ".json" and path.name != "tokenizer.json":  # which is read below
            try:
                found = json.loads(path.read_text(encoding="utf-8"))
                reason = "" if isinstance(found, dict) else "it holds no names and values"
            except (OSError, ValueError, RecursionError) as error:
                reason = str(error)
            if reason:
                msg = f"model {name!r}: {path.name} cannot be read: {reason}"
                raise CheckpointError(msg, hint="get that file again, or delete it")


def _tokens(folder: Path) -> dict[str, int]:
    if (folder / "tokenizer.json").is_file():
        from tokenizers import Tokenizer  # noqa: PLC0415 - not for --help

        words = Tokenizer.from_file(str(folder / "tokenizer.json"))
        return dict(words.get_vocab(with_added_tokens=True))
    from transformers import AutoTokenizer  # noqa: PLC0415 - seconds to import

    loaded = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return dict(loaded.get_vocab())


def _word(value: object) -> str:
    """Return a special token's text: it stands there plain, or with settings around it."""
    content = value.get("content") if isinstance(value, dict) else value
    return content if isinstance(content, str) else ""

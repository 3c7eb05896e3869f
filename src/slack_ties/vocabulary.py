"""Tokenizers: what those of the models have in common, and what the merged model gets.

They are compared by content: which token has which row of the embedding. Where they differ,
mergekit's `tokenizer:` section aligns the rows, and here is chosen what it has to say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from slack_ties.errors import CheckpointError
from slack_ties.files import read_json
from slack_ties.tokenizer_files import ALWAYS, BESIDE, has_tokenizer, is_vocabulary
from slack_ties.weight_index import is_lfs_pointer, lfs_error

__all__ = ["Section", "Vocabulary", "choose_section", "read_template", "read_vocabulary"]

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


@dataclass(frozen=True)
class Section:
    """What mergekit is to be told about the tokenizer; and why, for people."""

    data: Mapping[str, Any]  # the config's `tokenizer:`
    why: str
    warning: str = ""


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


def choose_section(
    vocabularies: Mapping[str, Vocabulary | None], roles: Mapping[str, str]
) -> Section | None:
    """Return mergekit's tokenizer section for these models; None if they need none.

    Args:
        vocabularies: Of each model by its name in the config, the base first. A model
            without a tokenizer is taken to have the base's, as mergekit does.
        roles: base, ct or sft by the model's name; a name that is missing has none.

    """
    known = {name: words for name, words in vocabularies.items() if words}
    base_name = next(iter(vocabularies), "")
    if base_name not in known or len(known) == 1:
        return None
    base = known[base_name]
    if all(words.is_same(base) for words in known.values()):
        return None
    everything: set[str] = set().union(*(words.tokens for words in known.values()))
    # The language is the CT model's; a base that has it all already is as good.
    order = sorted(known, key=lambda name: ("ct", "sft", "base", "").index(roles.get(name, "")))
    for name in [base_name, *order]:
        if known[name].tokens.keys() >= everything:
            source = "base" if name == base_name else name
            return Section({"source": source}, _why(name, base_name, known))
    extended = [name for name in order if roles.get(name) == "ct" and known[name].added_to(base)]
    if len(extended) == 1:
        (name,) = extended
        missing = {
            token: {"source": other}
            for other in order
            for token in sorted(known[other].tokens, key=known[other].tokens.__getitem__)
            if token not in known[name].tokens
        }
        if len(missing) <= MOST_ADDED:
            why = f"{_why(name, base_name, known)}, and {len(missing)} tokens of the others"
            return Section({"source": name, "tokens": missing}, why)
    warning = (
        "several models bring tokens of their own: in the union of all vocabularies each stays a "
        "token, but text is not always cut as by the model that it comes from"
    )
    return Section({"source": "union"}, f"all {len(everything):,} tokens of all models", warning)


def _why(name: str, base_name: str, known: Mapping[str, Vocabulary]) -> str:
    words, base = known[name], known[base_name]
    if name == base_name:
        return f"the base's {len(base.tokens):,} tokens"
    return (
        f"the {len(words.tokens):,} tokens of {name}, "
        f"{words.added_to(base):,} more than the base has"
    )


def _tokens(folder: Path) -> dict[str, int]:
    if (folder / "tokenizer.json").is_file():
        from tokenizers import Tokenizer  # noqa: PLC0415 - not for --help

        words = Tokenizer.from_file(str(folder / "tokenizer.json"))
        return dict(words.get_vocab(with_added_tokens=True))
    from transformers import AutoTokenizer  # noqa: PLC0415 - seconds to import

    loaded = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return dict(loaded.get_vocab())


def read_template(folder: Path) -> str:
    """Return the chat template that lies in a folder, wherever it stands; or nothing."""
    try:
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        pass
    stated = read_json(folder / "tokenizer_config.json").get("chat_template") or read_json(
        folder / "chat_template.json"
    ).get("chat_template")
    if isinstance(stated, list):  # several, by name
        named = {t.get("name"): t.get("template") for t in stated if isinstance(t, dict)}
        stated = named.get("default")
    return stated if isinstance(stated, str) else ""


def _word(value: object) -> str:
    """Return a special token's text: it stands there plain, or with settings around it."""
    content = value.get("content") if isinstance(value, dict) else value
    return content if isinstance(content, str) else ""

"""Tokenizers: what those of the models have in common, and what the merged model gets.

They are compared by content: which token has which row of the embedding. Where they differ,
mergekit's `tokenizer:` section aligns the rows, and here is chosen what it has to say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slack_ties.errors import CheckpointError

__all__ = ["Section", "Vocabulary", "adopt_chat", "choose_section", "read_vocabulary"]

FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
SPECIAL = (
    *("bos_token", "eos_token", "unk_token", "pad_token"),
    *("sep_token", "cls_token", "mask_token"),
)
IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
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


def read_vocabulary(folder: Path, name: str = "") -> Vocabulary | None:
    """Return the vocabulary of the model in `folder`; None if it has no tokenizer.

    No weights are read. A tokenizer.json is read by the tokenizers library, older formats
    by transformers, as mergekit does.

    Raises:
        CheckpointError: A file is damaged.

    """
    if not any((folder / file).is_file() for file in FILES):
        return None
    name = name or str(folder)
    config = _json(folder / "config.json")
    settings = _json(folder / "tokenizer_config.json")
    try:
        tokens = _tokens(folder)
    except Exception as error:  # noqa: BLE001 - tokenizers raises bare Exceptions
        reason = " ".join(str(error).split())[:200]
        msg = f"model {name!r}: the tokenizer cannot be read: {reason}"
        raise CheckpointError(msg, hint="get the model's tokenizer files again") from None
    text_config = config.get("text_config")
    stated = config.get("vocab_size") or (
        text_config.get("vocab_size") if isinstance(text_config, dict) else None
    )
    rows = stated if isinstance(stated, int) else max(tokens.values(), default=-1) + 1
    special = {**_json(folder / "special_tokens_map.json"), **settings}
    return Vocabulary(
        tokens={token: row for token, row in tokens.items() if row < rows},
        rows=rows,
        beyond=frozenset(token for token, row in tokens.items() if row >= rows),
        special={key: word for key in SPECIAL if (word := _word(special.get(key)))},
        chat_template=_chat_template(folder, settings),
    )


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


def adopt_chat(merged: Path, sft: Path, *, template: bool = True) -> list[str]:
    """Give the merged model the SFT model's chat template and special tokens.

    Whoever chats with the merged model meets what the SFT model was tuned on: its template,
    the token that ends an answer, and its generation settings. A token that the merged
    vocabulary does not have is left out. Only JSON and template files change.

    Args:
        merged: The merged model's folder.
        sft: The SFT model's folder.
        template: Whether to take the chat template as well.

    Returns:
        What was taken, for people.

    """
    words, theirs = read_vocabulary(merged), read_vocabulary(sft)
    if not words or not theirs:
        return []
    taken = []
    settings = _json(merged / "tokenizer_config.json")
    if template and theirs.chat_template and theirs.chat_template != words.chat_template:
        for name in ("chat_template.jinja", "chat_template.json"):
            (merged / name).unlink(missing_ok=True)
        settings.pop("chat_template", None)
        if (sft / "chat_template.jinja").is_file():
            (merged / "chat_template.jinja").write_bytes((sft / "chat_template.jinja").read_bytes())
        else:
            settings["chat_template"] = theirs.chat_template
        taken.append("chat template")
    special = {
        key: word
        for key, word in theirs.special.items()
        if word in words.tokens and words.special.get(key) != word
    }
    taken += [f"{key} {word}" for key, word in special.items()]
    if taken:
        _write_json(merged / "tokenizer_config.json", {**settings, **special})
    if special and (merged / "special_tokens_map.json").is_file():
        old = _json(merged / "special_tokens_map.json")
        _write_json(merged / "special_tokens_map.json", {**old, **special})
    if _adopt_ids(merged, sft, words, theirs):
        taken.append("generation settings")
    return taken


def _adopt_ids(merged: Path, sft: Path, words: Vocabulary, theirs: Vocabulary) -> bool:
    """Take what says by number which tokens begin and end a text, and how to generate."""
    tokens = {row: token for token, row in theirs.tokens.items()}

    def here(value: Any) -> Any:
        """Return a token id, or a list of them, as the merged vocabulary has it."""
        if isinstance(value, list):
            return [row for item in value if (row := here(item)) is not None] or None
        return words.tokens.get(tokens.get(value, "")) if isinstance(value, int) else None

    def translated(data: Mapping[str, Any]) -> dict[str, Any]:
        ids = {key: here(data[key]) for key in IDS if data.get(key) is not None}
        return {key: value for key, value in ids.items() if value is not None}

    config = _json(merged / "config.json")
    if (new := {**config, **translated(_json(sft / "config.json"))}) != config:
        _write_json(merged / "config.json", new)
    generation = _json(sft / "generation_config.json")
    kept = {key: value for key, value in generation.items() if key not in IDS}
    new = {**kept, **translated(generation)}
    if not generation or new == _json(merged / "generation_config.json"):
        return False
    _write_json(merged / "generation_config.json", new)
    return True


def _tokens(folder: Path) -> dict[str, int]:
    if (folder / "tokenizer.json").is_file():
        from tokenizers import Tokenizer  # noqa: PLC0415 - not for --help

        words = Tokenizer.from_file(str(folder / "tokenizer.json"))
        return dict(words.get_vocab(with_added_tokens=True))
    from transformers import AutoTokenizer  # noqa: PLC0415 - seconds to import

    loaded = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return dict(loaded.get_vocab())


def _chat_template(folder: Path, settings: Mapping[str, Any]) -> str:
    try:
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        pass
    stated = settings.get("chat_template") or _json(folder / "chat_template.json").get(
        "chat_template"
    )
    if isinstance(stated, list):  # several, by name
        named = {t.get("name"): t.get("template") for t in stated if isinstance(t, dict)}
        stated = named.get("default")
    return stated if isinstance(stated, str) else ""


def _word(value: object) -> str:
    """Return a special token's text: it stands there plain, or with settings around it."""
    content = value.get("content") if isinstance(value, dict) else value
    return content if isinstance(content, str) else ""


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    text = json.dumps(data, indent=2, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8", newline="\n")

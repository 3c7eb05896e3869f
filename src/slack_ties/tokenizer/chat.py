"""Give the merged model the SFT model's chat template and special tokens.

The merged model then uses what the SFT model was tuned with: its template, the token that ends an
answer, and its generation settings. All changes are computed before the first file is written, and
are written together: an error leaves the merged model unchanged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slack_ties.files import json_text, read_json, write_all
from slack_ties.tokenizer.templates import read_template
from slack_ties.tokenizer.vocabulary import Vocabulary, read_vocabulary

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["adopt_chat", "translate_ids"]

IDS = ("bos_token_id", "eos_token_id", "pad_token_id")

OLD_TEMPLATE = "chat_template.json"


def adopt_chat(
    merged: Path, sft: Path, *, template: bool = True, adapter: Path | None = None
) -> list[str]:
    """Give the merged model the chat settings of the SFT model.

    A token that the merged vocabulary lacks is left out. Only JSON and template files change.

    Args:
        merged: The merged model's folder.
        sft: The SFT model's folder.
        template: Whether to copy the chat template too.
        adapter: The folder of the SFT model's adapter; its files have priority.

    Returns:
        What was copied, for people.

    Raises:
        CheckpointError: A tokenizer cannot be read; then no file has changed.

    """
    ours, theirs = read_vocabulary(merged), read_vocabulary(sft, adapter=adapter)
    if not ours:
        return []
    if not theirs:  # a folder without a vocabulary can still have a template
        folders = [adapter, sft] if adapter else [sft]
        theirs = Vocabulary(
            {}, 0, chat_template=next(filter(None, map(read_template, folders)), "")
        )
    taken: list[str] = []
    files: dict[str, str] = {}
    settings = read_json(merged / "tokenizer_config.json")
    if template and theirs.chat_template and theirs.chat_template != ours.chat_template:
        settings.pop("chat_template", None)
        files["chat_template.jinja"] = theirs.chat_template
        taken.append("chat template")
    special = {
        key: token
        for key, token in theirs.special.items()
        if token in ours.tokens and ours.special.get(key) != token
    }
    taken += [f"{key} {token}" for key, token in special.items()]
    if taken:
        files["tokenizer_config.json"] = json_text({**settings, **special})
    if special and (merged / "special_tokens_map.json").is_file():
        old = read_json(merged / "special_tokens_map.json")
        files["special_tokens_map.json"] = json_text({**old, **special})
    numbers = _files_with_ids(merged, sft, adapter, ours, theirs)
    if "generation_config.json" in numbers:
        taken.append("generation settings")
    old_template = [merged / OLD_TEMPLATE] if "chat_template.jinja" in files else []
    texts = {merged / name: text for name, text in {**files, **numbers}.items()}
    write_all(texts, removed=old_template)
    return taken


def translate_ids(merged: Path, base: Path) -> None:
    """Replace the base's token ids by the merged model's, if its vocabulary has other rows.

    Changes config.json and generation_config.json. The id of a token that the merged vocabulary
    lacks becomes null.

    Args:
        merged: The merged model's folder, with its own tokenizer.
        base: The base's folder.

    """
    before, after = read_vocabulary(base), read_vocabulary(merged)
    if not before or not after:
        return
    rows = {row: after.tokens.get(token) for token, row in before.tokens.items()}

    def new(value: Any) -> Any:
        if isinstance(value, list):
            return [row for one in value if (row := new(one)) is not None] or None
        return rows.get(value) if type(value) is int else value

    def translated(data: Mapping[str, Any]) -> dict[str, Any]:
        return {
            key: new(value)
            if key.endswith("_token_id")
            else translated(value)
            if isinstance(value, dict) and key.endswith("_config")
            else value
            for key, value in data.items()
        }

    texts = {}
    for name in ("config.json", "generation_config.json"):
        old = read_json(merged / name)
        if old and (changed := translated(old)) != old:
            texts[merged / name] = json_text(changed)
    write_all(texts)


def _files_with_ids(
    merged: Path, sft: Path, adapter: Path | None, ours: Vocabulary, theirs: Vocabulary
) -> dict[str, str]:
    """Return the changed files that hold the ids of the tokens that begin and end a text."""
    tokens = {row: token for token, row in theirs.tokens.items()}

    def here(value: Any) -> Any:
        """Return the merged vocabulary's id for an SFT token id, or a list for a list."""
        if isinstance(value, list):
            return [row for item in value if (row := here(item)) is not None] or None
        return ours.tokens.get(tokens.get(value, "")) if isinstance(value, int) else None

    def translated(data: Mapping[str, Any]) -> dict[str, Any]:
        ids = {key: here(data[key]) for key in IDS if data.get(key) is not None}
        return {key: value for key, value in ids.items() if value is not None}

    files = {}
    of_adapter = _special_ids(sft, adapter, ours)
    config = read_json(merged / "config.json")
    if (new := {**config, **translated(read_json(sft / "config.json")), **of_adapter}) != config:
        files["config.json"] = json_text(new)
    generation = read_json(sft / "generation_config.json")
    if adapter and (adapter / "generation_config.json").is_file():
        generation, of_adapter = read_json(adapter / "generation_config.json"), {}
    old = read_json(merged / "generation_config.json")
    kept = {key: value for key, value in (generation or old).items() if key not in IDS}
    ids = translated(generation) if generation else {k: old[k] for k in IDS if k in old}
    new = {**kept, **ids, **(of_adapter if generation or old else {})}
    if new not in (old, {}):
        files["generation_config.json"] = json_text(new)
    return files


def _special_ids(sft: Path, adapter: Path | None, ours: Vocabulary) -> dict[str, int]:
    """Return the ids of the special tokens that an adapter has and its model lacks."""
    if adapter is None:
        return {}
    before, after = read_vocabulary(sft), read_vocabulary(sft, adapter=adapter)
    if not after:
        return {}
    changed = {
        f"{key}_id": ours.tokens.get(token)
        for key, token in after.special.items()
        if not before or before.special.get(key) != token
    }
    return {key: row for key, row in changed.items() if row is not None and key in IDS}

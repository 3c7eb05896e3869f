"""Check that a folder holds a whole model that may be exported, before any long work."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slack_ties.card.metadata import MODEL_ID
from slack_ties.card.repo_id import repo_id_of
from slack_ties.card.write import CARD_FILE, resolve_for
from slack_ties.errors import CheckpointError, OutputError, SlackTiesError
from slack_ties.files import read_json
from slack_ties.models.front_matter import front_matter
from slack_ties.models.header import ENTRY_BYTES, main_type
from slack_ties.models.headers import read_headers
from slack_ties.models.license_texts import MOST_LICENSE, decode_text, license_files
from slack_ties.record import CONFIG_FILE, RECORD_FILE
from slack_ties.tokenizer.files import has_tokenizer
from slack_ties.tokenizer.templates import read_template

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["WholeModel", "check_model"]

# What llama.cpp calls the types that it can write without a loss.
STORED = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}

VOCABULARIES = ("tokenizer.json", "vocab.json", "added_tokens.json")  # their keys are tokens

PASSED_ON = ("license", "license_name", "license_link", "language")  # from card to card


@dataclass(frozen=True)
class WholeModel:
    """A model that can be exported, and what is passed on with it."""

    folder: Path
    name: str  # for files and for Ollama
    base_model: str  # the Hub id of the model; empty if it is not known
    stored: str  # the type of its weights: BF16, F16 or F32
    entries: int  # of all tensors
    chat: bool  # whether it has a chat template
    metadata: Mapping[str, Any]  # licence and language, from its card
    display: tuple[str, ...]  # the words that its licence wants in a card
    licenses: Mapping[str, str]  # file -> text


def check_model(folder: Path, base_model: str = "") -> WholeModel:
    """Return what is to be exported.

    Args:
        folder: A merged model, with its card.
        base_model: The Hub id under which the model is or will be published; the id in its card
            if not given.

    Raises:
        SlackTiesError: It is no whole model; it has no card; or it has code of its own, which
            llama.cpp's converter would run.

    """
    if not folder.is_dir():
        msg = f"there is no folder {str(folder)!r}"
        raise OutputError(msg, hint="slack-ties merge CONFIG OUT  # makes a model's folder")
    _check_no_code(folder)
    headers = read_headers(folder)
    if not has_tokenizer(folder):
        msg = f"model {str(folder)!r} has no tokenizer, and a GGUF file needs one"
        raise CheckpointError(msg, hint="copy tokenizer.json and tokenizer_config.json into it")
    dtype = main_type(headers)
    metadata = _metadata(folder)
    if base_model and not MODEL_ID.fullmatch(base_model):
        msg = f"--base-model: {base_model!r} is no id of a model on the Hub"
        raise SlackTiesError(msg, hint="give it as OWNER/NAME")
    known = base_model or repo_id_of(folder)
    known = "" if known == "OWNER/NAME" else known
    merged = (folder / RECORD_FILE).is_file() and (folder / CONFIG_FILE).is_file()
    title = known.rpartition("/")[2] or folder.resolve().name
    return WholeModel(
        folder,
        name=re.sub(r"[^A-Za-z0-9._-]+", "-", title).strip("-.") or "model",
        base_model=known,
        stored=STORED.get(dtype, "F32" if ENTRY_BYTES.get(dtype, 0) > 2 else "BF16"),  # noqa: PLR2004 - bytes
        entries=sum(header.size for header in headers.values()),
        chat=bool(read_template(folder)),
        metadata=metadata,
        display=resolve_for(folder).display if merged else (),
        licenses=_licenses(folder),
    )


def _check_no_code(folder: Path) -> None:
    """Refuse a model with code of its own: the converter asks transformers to run it."""
    for path in sorted(folder.glob("*.json")):
        if path.name in VOCABULARIES or path.name.endswith(".index.json"):
            continue
        if _has_key(read_json(path), "auto_map"):
            msg = f"{path} names Python code of the model, and llama.cpp's converter would run it"
            hint = "remove `auto_map` from that file if transformers knows the model without it"
            raise CheckpointError(msg, hint=hint)


def _has_key(data: Any, key: str) -> bool:
    """Say whether a key is anywhere in data from JSON."""
    left = [data]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            if key in one:
                return True
            left += one.values()
        elif isinstance(one, list):
            left += one
    return False


def _metadata(folder: Path) -> dict[str, Any]:
    """Return the licence and the language that the card states."""
    path = folder / CARD_FILE
    write = f"slack-ties card {shlex.quote(str(folder))}"
    try:
        data = front_matter(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        msg = f"{str(folder)!r} has no {CARD_FILE}, which says the licence and the language"
        raise OutputError(msg, hint=write) from None
    except (OSError, ValueError) as error:
        msg = f"{path}: the metadata cannot be read: {error}"
        raise OutputError(msg, hint=write) from None
    return {key: data[key] for key in PASSED_ON if data.get(key)}


def _licenses(folder: Path) -> dict[str, str]:
    """Return the texts of the licences and notices beside a model; "" for what is no text."""
    found = {}
    for name in license_files(folder):
        with (folder / name).open("rb") as file:
            content = file.read(MOST_LICENSE + 1)
        found[name] = decode_text(content)[0] if len(content) <= MOST_LICENSE else ""
    return found

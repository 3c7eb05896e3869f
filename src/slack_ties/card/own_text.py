"""Find the text that a person wrote into a model card, and keep it when the card is made again.

A card has places for a person's own text, between two comments that a page does not show. It ends
with a checksum of all other text. So we detect an edit outside those places, and do not overwrite
it.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from slack_ties.errors import OutputError
from slack_ties.licenses.known import Stated
from slack_ties.licenses.words import license_of
from slack_ties.models.front_matter import FRONT, front_matter, texts_of
from slack_ties.models.names import HUB_ID

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = [
    "PLACES",
    "OwnText",
    "addressed",
    "find_load_line",
    "place",
    "read_own_text",
    "read_text_file",
    "sealed",
]

# The places of a card for a person's own text, in their order.
PLACES = ("description", "in-language", "intended-use", "contact", "more")

# The metadata keys that slack-ties writes. A person added any other key, and it stays.
OURS = (
    *("language", "license", "license_name", "license_link", "base_model", "base_model_relation"),
    *("datasets", "tags", "library_name", "pipeline_tag", "model_name"),
)

# ... and those of them that a person may change or extend: this does not count as an edit.
ADDED_TO = ("license", "license_name", "license_link", "tags", "datasets")

MOST_TEXT = 100_000  # characters of one text

OWN_BLOCK = re.compile(
    r"<!-- your text: (?P<name>[\w-]+)[^\n]*-->\n(?P<text>.*?)<!-- end of your text -->\n?",
    re.DOTALL,
)

SEAL = re.compile(
    r"<!-- slack-ties made [^\n]*?(?:; its example loads (?P<loads>[\w./-]+))?"
    r"; sha256:(?P<sum>[0-9a-f]{64}) -->\n?"
)

# The line of the example with the model to load; it changes when the model is published.
LOAD = re.compile(
    r"(?<=^from transformers import AutoModelForCausalLM, AutoTokenizer\n\n)"
    r'name = ("(?:[^"\\\n]|\\.)*")$',
    re.MULTILINE,
)


@dataclass(frozen=True)
class OwnText:
    """The text and metadata that a person wrote into a card."""

    places: Mapping[str, str] = field(default_factory=dict)  # name of the place -> text
    metadata: Mapping[str, Any] = field(default_factory=dict)  # keys that are not in OURS
    tags: tuple[str, ...] = ()  # all tags of the card
    datasets: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()  # what is no text there, and so cannot be kept
    license: Stated | None = None  # as the card states it
    edited: bool = False  # whether anything outside of the places was changed


def place(name: str, text: str) -> str:
    """Return a person's text between the comments by which `read_own_text` finds it."""
    body = f"{text.strip()}\n" if text.strip() else ""
    return (
        f"<!-- your text: {name} (it stays when the card is made again) -->\n"
        f"{body}<!-- end of your text -->"
    )


def read_own_text(card: str) -> OwnText:
    """Return the text and metadata that a person wrote into a card."""
    card = card.replace("\r\n", "\n")
    data = _metadata(card)
    seal = SEAL.search(card)
    stated = None
    if isinstance(data.get("license"), list) and len(data["license"]) == 1:
        data["license"] = data["license"][0]
    if isinstance(data.get("license"), str):
        named = (str(data.get(key) or "") for key in ("license_name", "license_link"))
        stated = Stated(license_of(data["license"]) or data["license"], *named)
    return OwnText(
        places={
            match["name"]: match["text"].strip() for match in _blocks(card) if match["text"].strip()
        },
        metadata={key: value for key, value in data.items() if key not in OURS},
        tags=texts_of(data.get("tags"))[0],
        datasets=texts_of(data.get("datasets"))[0],
        lost=tuple(
            f"{one!r} in {key}"
            for key in ("tags", "datasets")
            for one in texts_of(data.get(key))[1]
        ),
        license=stated,
        edited=not seal
        or seal["sum"] != _checksum(card)
        or not isinstance(data.get("license", ""), str),
    )


def sealed(card: str) -> str:
    """Return a card with the checksum of everything except a person's own text."""
    card = SEAL.sub("", card).rstrip("\n") + "\n"
    found = find_load_line(card)
    return f"{card}\n{_seal(_checksum(card), json.loads(found[1]) if found else '')}\n"


def _seal(checksum: str, loads: str) -> str:
    """Return the comment at the end of a card."""
    what = "slack-ties made this card, but for the texts between comments such as above"
    example = f"; its example loads {loads}" if "/" in loads and HUB_ID.fullmatch(loads) else ""
    return f"<!-- {what}{example}; sha256:{checksum} -->"


def addressed(card: str, repo_id: str) -> str:
    """Return a card whose example loads the model from the Hub.

    If a person changed the line to another Hub id, it stays.
    """
    found, seal = find_load_line(card), SEAL.search(card)
    if not found or not seal:
        return card
    name = json.loads(found[1])
    if "/" in name and name != seal["loads"]:
        return card
    line = f"name = {json.dumps(repo_id, ensure_ascii=False)}"
    card = card[: found.start()] + line + card[found.end() :]
    return SEAL.sub(f"{_seal(seal['sum'], repo_id)}\n", card, count=1)


def find_load_line(card: str) -> re.Match[str] | None:
    """Return the line of the example with the model to load; group 1 is a JSON text.

    Similar lines in a person's own text are ignored.
    """
    for block in _blocks(card):
        blank = " " * (block.end() - block.start())
        card = card[: block.start()] + blank + card[block.end() :]
    match = LOAD.search(card)
    try:
        return match if match and isinstance(json.loads(match[1]), str) else None
    except ValueError:  # a backslash that JSON does not allow, typed by a person
        return None


def read_text_file(path: Path) -> str:
    """Return a person's text for the card.

    Raises:
        OutputError: The file cannot be read, is not text, or contains the comments of a card.

    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        what = "is not UTF-8 text" if isinstance(error, ValueError) else error.strerror or error
        msg = f"{str(path)!r}, a text for the card: {what}"
        raise OutputError(msg) from None
    if len(text) > MOST_TEXT or not text.strip():
        msg = f"{str(path)!r}, a text for the card, has {len(text.strip()):,} characters, "
        msg += f"expected 1 to {MOST_TEXT:,}"
        raise OutputError(msg)
    if "your text" in text and OWN_BLOCK.search(f"{text}\n<!-- end of your text -->\n"):
        msg = f"{str(path)!r} contains the comments that a card has around a person's text"
        raise OutputError(msg, hint="remove the lines with <!-- your text ... -->")
    if "<!-- end of your text -->" in text or SEAL.search(text):
        msg = f"{str(path)!r} contains comments of a card that slack-ties made"
        raise OutputError(msg, hint="remove these lines")
    return text.replace("\r\n", "\n").strip()


def _metadata(card: str) -> dict[str, Any]:
    try:
        return front_matter(card)
    except ValueError:
        return {}


def _checksum(card: str) -> str:
    """Return the checksum of the text that slack-ties wrote, without regard to white space."""
    ours = {
        key: value for key, value in _metadata(card).items() if key in OURS and key not in ADDED_TO
    }
    front = FRONT.match(card)
    comments = [line for line in (front[1] if front else "").splitlines() if line[:1] == "#"]
    body = card[front.end() :] if front else card
    for match in reversed(_blocks(body)):
        body = body[: match.start()] + body[match.end() :]
    body = LOAD.sub('name = ""', SEAL.sub("", body))
    lines = [" ".join(line.split()) for line in [*comments, *body.splitlines()]]
    try:
        text = json.dumps([ours, [line for line in lines if line]], sort_keys=True, default=str)
    except (
        TypeError,
        ValueError,
        RecursionError,
    ):  # keys of mixed types, a list that contains itself
        return ""
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def _blocks(card: str) -> list[re.Match[str]]:
    """Return the places of a card: for each name in PLACES the first one."""
    found: dict[str, re.Match[str]] = {}
    for match in OWN_BLOCK.finditer(card):
        if match["name"] in PLACES and "<!-- your text:" not in match["text"]:
            found.setdefault(match["name"], match)
    return list(found.values())

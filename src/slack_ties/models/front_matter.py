"""Read the metadata between the two --- lines of a model card, which is not trusted.

An alias of a text or a number is read. Other aliases are refused, because a few hundred bytes of
them can fill any memory.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Any

import yaml

__all__ = ["FRONT", "front_matter", "is_cut", "texts_of"]

# As the Hub's client reads it: empty lines may come first.
FRONT = re.compile(r"\A\s*---[ \t]*\r?\n(.*?\n)---[ \t]*(?:\r?\n|\Z)", re.DOTALL)

BEGINNING = re.compile(r"\s*---[ \t]*\r?\n|\s*\Z")

MOST_FRONT = 300_000  # characters; real cards have up to 150,000


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with aliases of single values alone."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse an alias of a list or of keys and values."""
        is_alias = self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        if is_alias and not isinstance(node, yaml.ScalarNode):
            msg = "they have aliases of more than one value"
            raise yaml.YAMLError(msg)
        return node


def texts_of(value: object) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the texts of a key such as tags, and what in it is not a text.

    YAML reads 2024 as a number, and people write datasets as {name: ID}: these are texts here.
    """
    several = value if isinstance(value, list) else [] if value is None else [value]
    texts: list[str] = []
    others: list[str] = []
    for one in several:
        named = [one.get(key) for key in ("id", "name", "path")] if isinstance(one, dict) else [one]
        text = next((name for name in named if isinstance(name, str)), None)
        if text is None and isinstance(one, (int, float, date)) and not isinstance(one, bool):
            text = str(one)
        (others if text is None else texts).append(str(one) if text is None else text)
    return tuple(texts), tuple(others)


def is_cut(card: str) -> bool:
    """Say whether metadata begin in the beginning of a card, and do not end in it."""
    return bool(BEGINNING.match(card)) and not FRONT.match(card)


def front_matter(card: str) -> dict[str, Any]:
    """Return a card's metadata; empty if it has none.

    Raises:
        ValueError: The metadata cannot be read; the text says why in one line.

    """
    match = FRONT.match(card)
    if not match:
        return {}
    if len(match[1]) > MOST_FRONT:
        msg = f"they have more than {MOST_FRONT:,} characters"
        raise ValueError(msg)
    try:
        data = yaml.load(match[1], Loader=_Loader)  # noqa: S506 - a safe one
    except Exception as error:  # noqa: BLE001 - PyYAML's constructors raise errors of any type
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(first) from None
    if data is not None and not isinstance(data, dict):
        msg = "they are not keys and values"
        raise ValueError(msg)
    return data or {}

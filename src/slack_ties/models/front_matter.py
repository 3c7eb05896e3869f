"""Read the metadata between the two --- lines of a model card, which is not trusted.

YAML aliases are refused, because a few hundred bytes of them can fill any memory.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

__all__ = ["FRONT", "front_matter"]

FRONT = re.compile(r"\A---[ \t]*\r?\n(.*?\n)---[ \t]*(?:\r?\n|\Z)", re.DOTALL)

MOST_FRONT = 100_000  # characters


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader without aliases."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse an alias, which refers to another node."""
        if self.check_event(yaml.AliasEvent):
            msg = "it has aliases"
            raise yaml.YAMLError(msg)
        return super().compose_node(parent, index)


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

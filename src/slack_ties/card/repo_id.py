"""Read from a model card which model of the Hub its example loads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from slack_ties.card.own_text import find_load_line
from slack_ties.models.names import HUB_ID

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["repo_id_of"]


def repo_id_of(folder: Path) -> str:
    """Return the Hub id that the card in a model's folder names; OWNER/NAME if it names none."""
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    loads = find_load_line(text)
    name = str(json.loads(loads[1])) if loads else ""
    return name if "/" in name and HUB_ID.fullmatch(name) else "OWNER/NAME"

"""The tasks that are known for a merge: what `slack-ties evaluate --tasks list` prints."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from slack_ties.catalogue.tasks import task_facts
from slack_ties.notebook import Shown
from slack_ties.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slack_ties.catalogue.tasks import LanguageTasks

__all__ = ["ListedTasks"]


@dataclass(frozen=True, repr=False)
class ListedTasks(Shown):
    """The tasks of the languages of a merge, and those in the user's folders."""

    languages: tuple[LanguageTasks, ...]
    yours: tuple[str, ...] = ()

    def summary(self) -> str:
        """Return how many there are."""
        known = [one for of in self.languages for one in (*of.default, *of.english, *of.more)]
        return counted(len({*known, *self.yours}), "task")

    def as_text(self) -> str:
        """Return them for people."""
        parts = [str(one) for one in self.languages]
        if self.yours:
            parts.append("\n".join(["Yours:", *(f"  {name}" for name in self.yours)]))
        return "\n\n".join(parts)

    def as_json(self) -> dict[str, Any]:
        """Return them for other programs; `items` is null where it is not known."""
        return {
            "languages": [
                {
                    "language": one.language.tag,
                    "name": one.language.name,
                    "default": _rows(one.default),
                    "english": _rows(one.english),
                    "more": _rows(one.more),
                    "note": one.note,
                }
                for one in self.languages
            ],
            "yours": [{"name": name} for name in self.yours],
        }


def _rows(names: Sequence[str]) -> list[dict[str, Any]]:
    facts = map(task_facts, names)
    return [{**asdict(one), "items": one.items or None} for one in facts]

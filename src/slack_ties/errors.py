"""What can go wrong, as a user sees it.

SlackTiesError
├── CatalogueError    a language or an entry that the catalogue does not have
├── RecipeError       a merge config that cannot be read or says something impossible
├── CheckpointError   a model that is missing, damaged or does not fit the others
├── OutputError       a place that cannot be written to
└── HubError          the Hub cannot be reached or refuses
    ├── NotOnHubError     it has no such repository, or none that the present token may see
    └── LostOnHubError    it has lost what was sent to it, and this disk has it no more
"""

from __future__ import annotations

import re

__all__ = [
    "CatalogueError",
    "CheckpointError",
    "HubError",
    "LostOnHubError",
    "NotOnHubError",
    "OutputError",
    "RecipeError",
    "SlackTiesError",
    "masked",
    "nearest",
    "visible",
]

TOKEN = re.compile(r"(?<=Bearer )[^'\"\n]+|\bhf_[A-Za-z0-9]{20,}")


class SlackTiesError(Exception):
    """Something the user can mend.

    The message is one line that says what is wrong, where, what was expected and
    what was found. `hint` is what to type or change next; it may be empty.

    Example:
        >>> try:
        ...     slack_ties.merge_models("bo.yml", "out")
        ... except slack_ties.SlackTiesError as error:
        ...     print(error, error.hint)

    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        """Keep both texts to one line each: they are printed as such."""
        super().__init__(visible(masked(" ".join(message.split()))))
        self.hint = visible(" ".join(hint.split()))


class CatalogueError(SlackTiesError):
    """The catalogue has no such language."""


class RecipeError(SlackTiesError):
    """A merge config cannot be read, or says something that cannot be done."""


class CheckpointError(SlackTiesError):
    """A model is missing, damaged, or does not fit the others."""


class OutputError(SlackTiesError):
    """The result cannot be written where it should go."""


class HubError(SlackTiesError):
    """The Hugging Face Hub cannot be reached, or refuses."""


class NotOnHubError(HubError):
    """The Hub has no such repository or revision, or none that the present token may see."""


class LostOnHubError(HubError):
    """The Hub has lost the content of files that were sent to it and are not here any more."""


def masked(text: str) -> str:
    """Return a text without the tokens of a Hub that may be in it.

    A token that is none, with a space in it say, is quoted by the HTTP library in its error.
    """
    return TOKEN.sub("[token]", text)


def visible(text: str) -> str:
    """Return somebody's text with every character written out that a terminal would obey."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def nearest(name: str, known: list[str]) -> str:
    """Return " Did you mean 'x'?" for the known name closest to `name`, or nothing."""
    from difflib import get_close_matches  # noqa: PLC0415 - only needed to fail

    lower = {k.lower(): k for k in known}
    match = get_close_matches(name.lower(), lower, n=1)
    return f" Did you mean {lower[match[0]]!r}?" if match else ""

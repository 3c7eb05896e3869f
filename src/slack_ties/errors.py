"""What can go wrong, as a user sees it.

SlackTiesError
├── CatalogueError    a language or an entry that the catalogue does not have
├── RecipeError       a merge config that cannot be read or asks for something impossible
├── CheckpointError   a model that is missing, damaged or does not fit the others
├── OutputError       a file or folder that cannot be written
└── HubError          the Hub cannot be reached or refuses a request
    ├── GatedError        the owner of a model gives access to those who ask for it
    ├── OtherIdError      the Hub or a licence refuses an id, and would take another one
    ├── NotOnHubError     the repository does not exist, or the token may not see it
    └── LostOnHubError    the Hub lost files that were sent to it and deleted here
"""

from __future__ import annotations

import re
import sysconfig
import traceback
from pathlib import Path

__all__ = [
    "AS_UTF_8",
    "CatalogueError",
    "CheckpointError",
    "GatedError",
    "HubError",
    "LostOnHubError",
    "NoRangesError",
    "NotOnHubError",
    "OtherIdError",
    "OutputError",
    "RecipeError",
    "SlackTiesError",
    "WrongBytesError",
    "is_bug",
    "masked",
    "nearest",
    "visible",
]

# What to do if file names have letters that Python cannot use here.
AS_UTF_8 = "set PYTHONUTF8=1 in the environment, then run the same command again"

# The secret part of an address that a storage server has signed: whoever has it may read or write.
SIGNED = re.compile(r"(?<=\?)[^\s'\"<>]*(?:[Ss]ignature|[Cc]redential|[Tt]oken|\bsig)=[^\s'\"<>]*")

TOKEN = re.compile(r"(?<=Bearer )[^'\"\n]+|\b(?:hf|api_org)_[A-Za-z0-9]{20,}")


class SlackTiesError(Exception):
    """An error that the user can correct.

    The message is one line: what is wrong, where, what was expected and what was found.
    `hint` says what to type or change next; it may be empty.

    Example:
        >>> try:
        ...     slack_ties.merge_models("bo.yml", "out")
        ... except slack_ties.SlackTiesError as error:
        ...     print(error, error.hint)

    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        """Put each text on one line: it is printed as one."""
        super().__init__(visible(masked(" ".join(message.split()))))
        self.hint = visible(" ".join(hint.split()))
        if self.hint and hasattr(self, "add_note"):  # Python 3.11: a traceback shows it too
            self.add_note(f"Next: {self.hint}")

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows: IPython calls this instead of printing its traceback."""
        lines = [f"{type(self).__name__}: {self}"]
        return [*lines, f"Next: {self.hint}"] if self.hint else lines


class CatalogueError(SlackTiesError):
    """The catalogue has no such language."""


class RecipeError(SlackTiesError):
    """A merge config cannot be read, or asks for something impossible."""


class CheckpointError(SlackTiesError):
    """A model is missing, damaged, or does not fit the others."""


class WrongBytesError(CheckpointError):
    """A file that was read from the Hub does not have the checksum that the Hub states."""


class OutputError(SlackTiesError):
    """A file or folder cannot be written."""


class HubError(SlackTiesError):
    """The Hugging Face Hub cannot be reached, or refuses a request."""


class GatedError(HubError):
    """The owner of a model gives access only to those who ask for it on the model's page."""


class NoRangesError(HubError):
    """A server sends whole files only, and no parts of them."""


class NotOnHubError(HubError):
    """The repository or revision does not exist on the Hub, or the token may not see it."""


class OtherIdError(HubError):
    """The Hub or a licence refuses an id, and would take another one."""

    def __init__(
        self, message: str, *, hint: str = "", other_id: str = "", comment: str = ""
    ) -> None:
        """Keep the other id, and what else to say of it, for a command typed in full."""
        super().__init__(message, hint=hint)
        self.other_id, self.comment = other_id, comment


class LostOnHubError(HubError):
    """The Hub lost the content of files that were sent to it and deleted here."""


def is_bug(error: BaseException) -> bool:
    """Say whether a line of slack-ties raised an error that is none of ours, as only a bug does.

    Lack of disk or memory is no bug, and torch raises RuntimeError for whatever it cannot do.
    """
    if isinstance(error, (SlackTiesError, OSError, MemoryError, RuntimeError)):
        return False
    frames = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    library = sysconfig.get_path("stdlib")
    asked = [
        name for name in frames if "site-packages" in name or not name.startswith((library, "<"))
    ]
    return bool(asked) and Path(asked[-1]).is_relative_to(Path(__file__).parent)


def masked(text: str) -> str:
    """Return a text without Hub tokens, and without the signatures of addresses.

    The HTTP library quotes an invalid token in its error, for example one with a space in it.
    """
    return SIGNED.sub("[signature]", TOKEN.sub("[token]", text))


def visible(text: str) -> str:
    """Return a text in which control characters are written as escapes, safe to print."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def nearest(name: str, known: list[str]) -> str:
    """Return " Did you mean 'x'?" with the known name closest to `name`, or ""."""
    from difflib import get_close_matches  # noqa: PLC0415 - only for an error

    lower = {k.lower(): k for k in known}
    match = get_close_matches(name.lower(), lower, n=1)
    return f" Did you mean {lower[match[0]]!r}?" if match else ""

"""Read the facts that safetensors gives only in the text of an error."""

from __future__ import annotations

import re

__all__ = ["system_errors"]

# "I/O error: No space left on device (os error 28)", and on some platforms "code: 28".
NUMBER = re.compile(r"(?:os error|code:) (\d+)")


def system_errors(error: Exception) -> set[int]:
    """Return the numbers (errno) of the operating system's errors behind an error of safetensors.

    If a future text differs, the set is empty: then a full disk is reported as a file that cannot
    be written, without the hint to free some space.
    """
    return {int(number) for number in NUMBER.findall(str(error))}

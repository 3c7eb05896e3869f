"""Print what CHANGELOG.md says of a version, if the tag, the version and CHANGELOG.md agree.

    python tools/release_notes.py v0.1.0

The release workflow runs it first, with the name of the tag.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def release_notes(tag: str, *, project: str, changelog: str) -> str:
    """Return the notes of the version that `tag` names.

    Args:
        tag: v and the version.
        project: The text of pyproject.toml.
        changelog: The text of CHANGELOG.md.

    Raises:
        ValueError: The version is another one, or its entry is missing or has no date.

    """
    (version,) = re.findall(r'^version = "(.+)"$', project, re.MULTILINE)
    if tag != f"v{version}":
        msg = f"tag {tag}: expected v{version}, the version in pyproject.toml"
        raise ValueError(msg)
    entry = rf"^## \[{re.escape(version)}\] - (\S+)\n(.*?)(?=^## \[|^\[|\Z)"
    found = re.search(entry, changelog, re.MULTILINE | re.DOTALL)
    if not found:
        msg = f"CHANGELOG.md: expected an entry ## [{version}] - DATE, found none"
        raise ValueError(msg)
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", found[1]):
        msg = f"CHANGELOG.md: expected the date of {version} as YYYY-MM-DD, got {found[1]}"
        raise ValueError(msg)
    return found[2].strip() + "\n"


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr] - a stream of text
    try:
        notes = release_notes(
            sys.argv[1],
            project=(ROOT / "pyproject.toml").read_text("utf-8"),
            changelog=(ROOT / "CHANGELOG.md").read_text("utf-8"),
        )
    except ValueError as error:
        sys.exit(str(error))
    print(notes, end="")

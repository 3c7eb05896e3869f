"""Give a person's texts of licences the right names, after the licence of the model has changed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from slack_ties.errors import OutputError
from slack_ties.licenses.known import find_license, list_licenses, parts_of
from slack_ties.licenses.texts import licenses_of

if TYPE_CHECKING:
    from pathlib import Path

    from slack_ties.licenses.known import License, Stated
    from slack_ties.licenses.resolve import Resolution

__all__ = ["LICENSE_FILE", "SAME_NAMES", "license_file", "move_own", "name_for"]

LICENSE_FILE = "LICENSE"

SAME_NAMES = ("", ".md", ".txt")  # a person may have added one of these to the name


def license_file(license_: License, resolution: Resolution) -> str:
    """Return the name of the file for a licence's text."""
    own = resolution.license and resolution.license.key == license_.id
    return LICENSE_FILE if own else name_for(license_.id)


def name_for(key: str) -> str:
    """Return the name of the file for a licence that is not the one of the model."""
    return f"{LICENSE_FILE}-{re.sub(r'[^a-z0-9.+-]+', '-', key.lower())[:64]}"


def move_own(
    folder: Path, own: dict[str, str | None], before: Resolution | None, now: Resolution
) -> dict[str, str | None]:
    """Return the files to write and to delete where a person's text has another name now.

    Args:
        folder: The merged model.
        own: The files with a person's licences; None as the text of one that is not UTF-8.
        before: The licence when the files were written.
        now: The licence of the model now.

    Raises:
        OutputError: LICENSE is for the licence before, and cannot be moved.

    """
    aside = _set_aside(folder, own, before.license, now.license) if before else {}
    left = {
        name: text for name, text in {**own, **aside}.items() if aside.get(name, "") is not None
    }
    return aside | _named(left, now)


def _set_aside(
    folder: Path, own: dict[str, str | None], old: Stated | None, new: Stated | None
) -> dict[str, str | None]:
    """Return the changes that keep the text of the licence before under the name of that one."""
    moved: dict[str, str | None] = {}
    for end in SAME_NAMES:
        name = f"{LICENSE_FILE}{end}"
        if name not in own or not old or not new or old.key == new.key:
            continue
        text, other = own[name], f"{name_for(old.key)}{end}"
        if text is not None and _is_for(text, old, new):
            continue
        if text is None or own.get(other, text) != text:
            why = "is not UTF-8 text" if text is None else f"differs from {other}"
            msg = f"{folder / name} is for the licence {old.key}, not for {new.key}, and {why}"
            hint = f"move {folder / name} elsewhere, then run the same command again"
            raise OutputError(msg, hint=hint)
        moved |= {other: text, name: None}
    return moved


def _is_for(text: str, old: Stated, new: Stated) -> bool:
    """Say whether a LICENSE that was there before can be the text of the new licence."""
    ids = licenses_of(text)
    by_hand = not find_license(new.key) and not parts_of(new.key)
    here = by_hand and new.link.startswith(LICENSE_FILE)  # a person writes that text
    return new.key in ids or (here and old.key not in ids)


def _named(own: dict[str, str | None], now: Resolution) -> dict[str, str | None]:
    """Return the changes that give each text the name of its licence, or LICENSE."""
    moved: dict[str, str | None] = {}
    key = now.license.key if now.license else ""
    for end in SAME_NAMES:
        name, other = f"{LICENSE_FILE}{end}", f"{name_for(key)}{end}"
        text = own.get(other)
        if key and text and not any(f"{LICENSE_FILE}{one}" in own for one in SAME_NAMES):
            moved |= {name: text, other: None}
    text = own.get(LICENSE_FILE)
    for one in list_licenses():
        other = name_for(one.id)
        is_its = bool(text and one.id != key and one.id in licenses_of(text))
        if is_its and one in now.duties and other not in own:
            moved |= {other: text, LICENSE_FILE: None}
    return moved

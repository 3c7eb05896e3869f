"""Write the files that the parents' licences require: LICENSE and Notice. `card` calls this.

A licence's text is copied from the parents, at the commits that were merged. If no parent has it,
we write the standard text; if we may not ship that, LICENSE tells where it is. Files and text that
a person added stay, and are used.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.card.own_licenses import (
    LICENSE_FILE,
    SAME_NAMES,
    license_file,
    move_own,
    name_for,
)
from slack_ties.card.parent_texts import ParentTexts, name_of
from slack_ties.errors import OutputError
from slack_ties.files import write_whole
from slack_ties.licenses.known import find_license, list_licenses, parts_of
from slack_ties.licenses.parties import list_parties
from slack_ties.licenses.resolve import resolve_license
from slack_ties.licenses.texts import is_standard_text, standard_text
from slack_ties.models.license_texts import MOST_LICENSE, kind_of_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from huggingface_hub import HfApi

    from slack_ties.licenses.known import License
    from slack_ties.licenses.resolve import Resolution
    from slack_ties.record import MergeRecord

__all__ = [
    "LICENSE_FILE",
    "NOTICE_FILE",
    "is_generated",
    "is_pointer",
    "license_file",
    "missing_duties",
    "plan_notices",
    "write_notices",
]

NOTICE_FILE, POLICY_FILE = "Notice", "USE_POLICY.md"

POINTER = (
    "This file only says where the text of the licence is. "
    "It could not be taken from the models that were merged."
)

MOST_OWN = 20_000_000  # bytes of a text in the merged model's folder


def write_notices(
    folder: Path,
    record: MergeRecord,
    resolution: Resolution,
    *,
    before: Resolution | None = None,
    api: HfApi | None = None,
) -> list[Path]:
    """Write LICENSE, Notice and a use policy into the folder of a merged model.

    Args:
        folder: The folder that `merge_models` made.
        record: The record of that merge.
        resolution: The merged model's licence.
        before: Its licence when the files were written.
        api: The Hub client; the default one if not given.

    Returns:
        The files that were written. An existing file stays, with two exceptions: a LICENSE that
        this function wrote earlier is replaced or deleted, and Notice gets the sentences that it
        lacks. A text that a person put into LICENSE-ID moves to LICENSE, if that is the licence
        of the model now; and back, if the model has another licence now.

    Raises:
        OutputError: A file cannot be written.

    """
    planned = plan_notices(folder, record, resolution, before=before, api=api)
    try:
        for name, text in planned.items():
            if text is not None:
                write_whole(folder / name, text)
        for name, text in planned.items():
            if text is None:
                (folder / name).unlink(missing_ok=True)
    except OSError as error:
        msg = f"cannot write {folder / name}: {error.strerror or error}"
        raise OutputError(msg) from None
    return [folder / name for name, text in planned.items() if text is not None]


def plan_notices(
    folder: Path,
    record: MergeRecord,
    resolution: Resolution,
    *,
    before: Resolution | None = None,
    api: HfApi | None = None,
) -> dict[str, str | None]:
    """Return the text of each file that `write_notices` would write; None for one to delete."""
    texts = ParentTexts(list_parties(record.parents), api)
    wanted = dict(_texts(resolution, texts))
    made_here = _Made(record, texts)
    stated = [one.license.key for one in (before, resolution) if one and one.license]
    old = _license_files(folder, stated)
    own = {name: text for name, text in old.items() if not made_here.has(text)}
    if before and before.license == resolution.license and LICENSE_FILE not in wanted:
        own |= {name: old[name] for name in old if name == LICENSE_FILE}  # a person put it there
    planned: dict[str, str | None] = {name: None for name in old if name not in own}
    planned |= move_own(folder, own, before, resolution)
    own = {name: text for name, text in own.items() if planned.get(name, text) == text}
    for name, text in wanted.items():
        kept = any(f"{name}{end}" in own or planned.get(f"{name}{end}") for end in SAME_NAMES)
        if not kept and (name.startswith(LICENSE_FILE) or not (folder / name).exists()):
            planned[name] = text
    notice = _own(folder / NOTICE_FILE) if (folder / NOTICE_FILE).exists() else ""
    if missing := [text for text in _notices(resolution, texts) if text not in notice]:
        planned[NOTICE_FILE] = "\n\n".join(filter(None, [notice.rstrip("\n"), *missing])) + "\n"
    return {name: text for name, text in planned.items() if text is None or old.get(name) != text}


def is_pointer(path: Path) -> bool:
    """Say whether a LICENSE contains only a link to the text."""
    return (_read(path) or "") in map(_pointer, list_licenses())


def is_generated(path: Path) -> bool:
    """Say whether a LICENSE contains a link to the text, or the standard text: no person's."""
    return is_pointer(path) or is_standard_text(_read(path) or "")


def missing_duties(
    folder: Path, resolution: Resolution, record: MergeRecord | None = None
) -> list[str]:
    """Return the duties of the parents' licences that the folder does not fulfil."""
    notice, card = _read(folder / NOTICE_FILE, MOST_OWN) or "", _read(folder / "README.md") or ""
    missing = [
        f"the sentence of the {one.name} in {NOTICE_FILE}"
        for one in resolution.duties
        if one.notice and one.notice not in notice
    ]
    missing += [
        f"the notice of {name_of(party)} in {NOTICE_FILE}"
        for party in (list_parties(record.parents) if record and resolution.duties else ())
        if any(kind_of_text(name) == "notice" for name in party.texts)
        and f"From the notice of {name_of(party)}:" not in notice
    ]
    missing += [
        name
        for one in resolution.duties
        if one.copy
        for name in [license_file(one, resolution)]
        if not any((folder / f"{name}{end}").is_file() for end in SAME_NAMES)
    ]
    missing += [
        f"the words {words!r} in README.md" for words in resolution.display if words not in card
    ]
    link = resolution.license.link if resolution.license else ""
    if link.startswith(LICENSE_FILE) and not (folder / link).is_file():
        missing.insert(0, link)
    return list(dict.fromkeys(missing))


def _texts(resolution: Resolution, texts: ParentTexts) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of every licence file."""
    stated = resolution.license
    own = find_license(stated.key) if stated else None
    asked = [one for one in resolution.duties if one.copy]
    for one in dict.fromkeys([*([own] if own else []), *asked]):
        owners = [name_of(party) for party in texts.parties if party.license == one.id]
        text = texts.license(one) or standard_text(one.id, owners or ["this model"])
        yield license_file(one, resolution), text or _pointer(one)
    for one in dict.fromkeys(one for party in texts.parties for one in parts_of(party.license)):
        # The terms of what a model was made from are followed; the model's own notice stays.
        if one.copy and one not in asked and one != own and (text := texts.license(one)):
            yield license_file(one, resolution), text
    if stated and not own and len(parts_of(stated.key)) > 1:  # several licences apply together
        yield LICENSE_FILE, _several(stated.key)
    if policy := texts.policy(one.id for one in resolution.duties if one.policy):
        yield POLICY_FILE, policy


def _several(key: str) -> str:
    lines = [f"{one.name}: {one.link}" for one in parts_of(key)]
    return "\n".join(["This model is under the terms of all of these at once:\n", *lines, ""])


class _Made:
    """All texts that this module may have written into LICENSE, for any licence."""

    def __init__(self, record: MergeRecord, texts: ParentTexts) -> None:
        by_parents = resolve_license(record.parents).license
        several = [_several(by_parents.key)] if by_parents else []
        joined = map(texts.license, list_licenses())
        self._texts = {*texts, *map(_pointer, list_licenses()), *several, *filter(None, joined)}

    def has(self, text: str | None) -> bool:
        """Say whether a text is one of them."""
        return text is not None and (text in self._texts or is_standard_text(text))


def _license_files(folder: Path, stated: list[str]) -> dict[str, str | None]:
    """Return the texts of the files LICENSE and LICENSE-ID; None for one that is not UTF-8."""
    keys = [*stated, *(one.id for one in list_licenses())]
    names = {*map(name_for, keys), LICENSE_FILE}
    names |= {f"{name}{end}" for name in names for end in SAME_NAMES}
    return {
        path.name: _read(path, MOST_OWN)
        for path in sorted(folder.glob(f"{LICENSE_FILE}*"))
        if path.name in names
    }


def _notices(resolution: Resolution, texts: ParentTexts) -> Iterator[str]:
    """Yield the paragraphs of the file Notice."""
    if not resolution.duties:
        return
    yield from dict.fromkeys(one.notice for one in resolution.duties if one.notice)
    lines = ["This model has changed weights. It was made by merging these models:"]
    for party in texts.parties:
        at = f" at commit {party.commit}" if party.commit else ""
        lines.append(f"- {name_of(party)}{at} ({party.license or 'no licence stated'})")
    yield "\n".join(lines)
    for party in texts.parties:
        if text := texts.notice(party):
            yield f"From the notice of {name_of(party)}:\n\n{text}"


def _pointer(one: License) -> str:
    lines = [f"{one.name}\n{one.link}\n", POINTER]
    lines += ["The licence asks to pass on a copy: put the text in the place of this."] * one.copy
    return "\n".join([*lines, ""])


def _own(path: Path) -> str:
    """Return a text of the merged model's folder.

    Raises:
        OutputError: The text cannot be read, so it could be lost.

    """
    text = _read(path, most=MOST_OWN)
    if text is None:
        msg = f"{path} cannot be read as UTF-8 text of at most {MOST_OWN:,} bytes"
        raise OutputError(msg, hint="save it as UTF-8, or move it elsewhere")
    return text


def _read(path: Path, most: int = MOST_LICENSE) -> str | None:
    """Return a text with Unix line ends; None if it cannot be read or is too long."""
    try:
        if not path.is_file() or path.stat().st_size > most:
            return None
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError):
        return None

"""Write the files that the parents' licences require: LICENSE and Notice. `card` calls this.

A licence's text is copied from the parents, at the commits that were merged. If no parent has it,
LICENSE tells where it is. Files and text that a person added stay.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.errors import OutputError
from slack_ties.files import write_whole
from slack_ties.hub.client import CLIENT_ERRORS
from slack_ties.hub.errors import hub_error
from slack_ties.licenses.known import find_license, list_licenses, parts_of
from slack_ties.licenses.parties import list_parties
from slack_ties.licenses.resolve import resolve_license
from slack_ties.models.parent_card import MOST_CARD
from slack_ties.private.huggingface_hub import is_in_cache

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from huggingface_hub import HfApi

    from slack_ties.licenses.known import License
    from slack_ties.licenses.parties import Party
    from slack_ties.licenses.resolve import Resolution
    from slack_ties.record import MergeRecord

__all__ = [
    "LICENSE_FILE",
    "NOTICE_FILE",
    "is_pointer",
    "license_file",
    "missing_duties",
    "write_notices",
]

LOG = logging.getLogger("slack_ties")

LICENSE_FILE, NOTICE_FILE, POLICY_FILE = "LICENSE", "Notice", "USE_POLICY.md"

NOTICES = ("NOTICE", "Notice")  # the beginning of the name of a parent's file

POINTER = (
    "This file only says where the text of the licence is. "
    "It could not be taken from the models that were merged."
)

MOST_OWN = 20_000_000  # bytes of a text in the merged model's folder


def write_notices(
    folder: Path, record: MergeRecord, resolution: Resolution, *, api: HfApi | None = None
) -> list[Path]:
    """Write LICENSE, Notice and a use policy into the folder of a merged model.

    Args:
        folder: The folder that `merge_models` made.
        record: The record of that merge.
        resolution: The merged model's licence.
        api: The Hub client; the default one if not given.

    Returns:
        The files that were written. An existing file stays, with two exceptions: a LICENSE that
        this function wrote earlier is replaced, and Notice gets the sentences that it lacks.

    Raises:
        OutputError: A file cannot be written.

    """
    parties = list(list_parties(record.parents))
    found = _found(parties, api)
    wanted = dict(_texts(parties, resolution, found))
    made_here = _made_here(record, found)
    written = [
        folder / name
        for name, text in wanted.items()
        if not (folder / name).exists() or _own(folder / name) in made_here
        if _write(folder / name, text)
    ]
    license_ = folder / LICENSE_FILE
    if LICENSE_FILE not in wanted and license_.exists() and _own(license_) in made_here:
        license_.unlink()  # our earlier file, with the text of another licence
    notice = folder / NOTICE_FILE
    old = _own(notice) if notice.exists() else ""
    missing = [text for text in _notices(parties, resolution, found) if text not in old]
    text = "\n\n".join(filter(None, [old.rstrip("\n"), *missing])) + "\n"
    if missing and _write(notice, text):
        written.append(notice)
    return written


def license_file(license_: License, resolution: Resolution) -> str:
    """Return the name of the file for a licence's text."""
    own = resolution.license and resolution.license.key == license_.id
    return LICENSE_FILE if own else f"{LICENSE_FILE}-{license_.id}"


def is_pointer(path: Path) -> bool:
    """Say whether a LICENSE contains only a link to the text."""
    return (_read(path) or "") in map(_pointer, list_licenses())


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
        f"the notice of {_called(party)} in {NOTICE_FILE}"
        for party in (list_parties(record.parents) if record and resolution.duties else ())
        if any(name.startswith(NOTICES) for name in party.texts)
        and f"From the notice of {_called(party)}:" not in notice
    ]
    missing += [
        f"{license_file(one, resolution)}"
        for one in resolution.duties
        if one.copy and not (folder / license_file(one, resolution)).is_file()
    ]
    missing += [
        f"the words {words!r} in README.md" for words in resolution.display if words not in card
    ]
    link = resolution.license.link if resolution.license else ""
    if link.startswith(LICENSE_FILE) and not (folder / link).is_file():
        missing.insert(0, link)
    return list(dict.fromkeys(missing))


def _texts(
    parties: Iterable[Party], resolution: Resolution, found: Mapping[str, Mapping[str, str]]
) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of every licence file."""
    parties = list(parties)
    stated = resolution.license
    own = find_license(stated.key) if stated else None
    asked = [one for one in resolution.duties if one.copy]
    for one in dict.fromkeys([*([own] if own else []), *asked]):
        under_it = [party for party in parties if party.license == one.id]
        text = _first(under_it, found, ("LICENSE", "LICENCE", "COPYING"))
        yield license_file(one, resolution), text or _pointer(one)
    if stated and not own and len(parts_of(stated.key)) > 1:  # several licences apply together
        yield LICENSE_FILE, _several(stated.key)
    with_policy = {one.id for one in resolution.duties if one.policy}
    under_it = [party for party in parties if party.license in with_policy]
    if policy := _first(under_it, found, (POLICY_FILE,)):
        yield POLICY_FILE, policy


def _several(key: str) -> str:
    lines = [f"{one.name}: {one.link}" for one in parts_of(key)]
    return "\n".join(["This model is under the terms of all of these at once:\n", *lines, ""])


def _made_here(record: MergeRecord, found: Mapping[str, Mapping[str, str]]) -> set[str]:
    """Return all texts that this module may have written into LICENSE, for any licence."""
    made = {text for texts in found.values() for text in texts.values() if text}
    made |= {_pointer(one) for one in list_licenses()}
    by_parents = resolve_license(record.parents).license
    return made | ({_several(by_parents.key)} if by_parents else set())


def _notices(
    parties: Sequence[Party], resolution: Resolution, found: Mapping[str, Mapping[str, str]]
) -> Iterator[str]:
    """Yield the paragraphs of the file Notice."""
    if not resolution.duties:
        return
    yield from dict.fromkeys(one.notice for one in resolution.duties if one.notice)
    lines = ["The weights of this model are changed ones: it was made by merging"]
    for party in parties:
        at = f" at commit {party.commit}" if party.commit else ""
        lines.append(f"- {_called(party)}{at} ({party.license or 'no licence stated'})")
    yield "\n".join(lines)
    for party in parties:
        if text := _first([party], found, NOTICES):
            yield f"From the notice of {_called(party)}:\n\n{text.strip()}"


def _called(party: Party) -> str:
    return party.name if party.commit else Path(party.name).name


def _pointer(one: License) -> str:
    lines = [f"{one.name}\n{one.link}\n", POINTER]
    lines += ["The licence asks to pass on a copy: put the text in the place of this."] * one.copy
    return "\n".join([*lines, ""])


def _first(
    parties: Iterable[Party], found: Mapping[str, Mapping[str, str]], begins: tuple[str, ...]
) -> str:
    """Return the first text of the parties in a file with such a name; "" if there is none."""
    texts = (
        text
        for party in parties
        for name, text in found[party.name].items()
        if name.startswith(begins) and text and POINTER not in text
    )
    return next(texts, "")


def _found(parties: Iterable[Party], api: HfApi | None) -> dict[str, dict[str, str]]:
    """Return the texts of all parties, from folders, or from the Hub at the merged commits."""
    found: dict[str, dict[str, str]] = {}
    reachable = True
    for party in parties:
        texts = found.setdefault(party.name, {})
        for name in party.texts:
            if party.commit:
                path = None
                if reachable:  # do not ask a Hub again that could not be reached
                    path, reachable = _fetched(party.name, name, party.commit, api)
                texts[name] = (path and _read(path)) or ""
            else:
                texts[name] = _of_folder(Path(party.name), name)
    return found


def _fetched(repo_id: str, name: str, commit: str, api: HfApi | None) -> tuple[Path | None, bool]:
    """Return a file from the Hub, and whether the Hub could be reached."""
    from huggingface_hub import HfApi  # noqa: PLC0415 - not for folders
    from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415

    api = api or HfApi()
    try:
        return Path(api.hf_hub_download(repo_id, name, revision=commit)), True
    except CLIENT_ERRORS as error:
        why = hub_error(f"{name} of {repo_id!r}", api, error, reading=True)
        LOG.warning("  %s: the file is not copied", str(why)[:200])
        return None, isinstance(error, HfHubHTTPError)


def _of_folder(folder: Path, name: str) -> str:
    """Return a text of a model's folder; "" if it is a link out of the folder."""
    try:
        path, root = (folder / name).resolve(), folder.resolve()
        # A snapshot of the Hub cache contains links into `blobs`.
        inside = path.is_relative_to(root) or is_in_cache(path, root)
        if not inside or not path.is_file():
            LOG.warning("  %s links out of the model's folder: it is not copied", folder / name)
            return ""
    except (OSError, RuntimeError):
        return ""
    return _read(path) or ""


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


def _read(path: Path, most: int = MOST_CARD) -> str | None:
    """Return a text with Unix line ends; None if it cannot be read or is too long."""
    try:
        if not path.is_file() or path.stat().st_size > most:
            return None
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError):
        return None


def _write(path: Path, text: str) -> bool:
    try:
        if _read(path) == text:
            return False
        write_whole(path, text)
    except OSError as error:
        msg = f"cannot write {path}: {error.strerror or error}"
        raise OutputError(msg) from None
    return True

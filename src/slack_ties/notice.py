"""Write what the parents' licences ask to be passed on: LICENSE and Notice. `card` calls this.

A licence's text is taken from the parents themselves, at the commits that were merged. Where
none of them has it, LICENSE says where it is. What a person put there stays.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.errors import HubError, OutputError
from slack_ties.files import write_whole
from slack_ties.hub import hub_errors
from slack_ties.licenses import find_license
from slack_ties.parent_card import MOST_CARD

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from slack_ties.licenses import License, Resolution
    from slack_ties.record import MergeRecord, Parent

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
POINTER = "This file only says where the text of the licence is."


def write_notices(
    folder: Path, record: MergeRecord, resolution: Resolution, *, api: HfApi | None = None
) -> list[Path]:
    """Write LICENSE, Notice and a policy of use into the folder of a merged model.

    Args:
        folder: Made by `merge_models`.
        record: Of that merge.
        resolution: The merged model's licence.
        api: The Hub client; the default one if not given.

    Returns:
        What was written. A file that is there already stays, but for a LICENSE that only
        says where the text is, and for sentences that Notice lacks.

    Raises:
        OutputError: A file cannot be written.

    """
    found = _found(record.parents, api)
    wanted = dict(_texts(record, resolution, found))
    written = [
        folder / name
        for name, text in wanted.items()
        if is_pointer(folder / name) or not (folder / name).exists()
        if _write(folder / name, text)
    ]
    notice = folder / NOTICE_FILE
    there = _read(notice) or ""
    missing = [text for text in _notices(record, resolution, found) if text not in there]
    if missing and _write(notice, "\n\n".join(filter(None, [there.rstrip("\n"), *missing])) + "\n"):
        written.append(notice)
    return written


def license_file(license_: License, resolution: Resolution) -> str:
    """Return the name of the file for a licence's text."""
    own = resolution.license and resolution.license.key == license_.id
    return LICENSE_FILE if own else f"{LICENSE_FILE}-{license_.id}"


def is_pointer(path: Path) -> bool:
    """Say whether a LICENSE only says where the text is."""
    return POINTER in (_read(path) or "")


def missing_duties(folder: Path, resolution: Resolution) -> list[str]:
    """Return what the parents' licences ask for and the folder does not have."""
    notice, card = _read(folder / NOTICE_FILE) or "", _read(folder / "README.md") or ""
    missing = [
        f"the sentence of the {one.name} in {NOTICE_FILE}"
        for one in resolution.duties
        if one.notice and one.notice not in notice
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
    record: MergeRecord, resolution: Resolution, found: Mapping[str, Mapping[str, str]]
) -> Iterator[tuple[str, str]]:
    """Yield every file of a licence with its text."""
    stated = resolution.license
    own = find_license(stated.key) if stated else None
    asked = [one for one in resolution.duties if one.copy]
    for one in dict.fromkeys([*([own] if own else []), *asked]):
        under_it = [parent for parent in record.parents if parent.license == one.id]
        text = _first(under_it, found, ("LICENSE", "LICENCE", "COPYING"))
        yield license_file(one, resolution), text or _pointer(one)
    if stated and not own and not resolution.chosen:  # several licences hold at once
        lines = [f"{resolution.steps[0]}\n"]
        lines += [f"{one.name}: {one.link}" for one in resolution.duties]
        yield LICENSE_FILE, "\n".join([*lines, ""])
    policy = _first(record.parents, found, (POLICY_FILE,))
    if policy and any(one.policy for one in resolution.duties):
        yield POLICY_FILE, policy


def _notices(
    record: MergeRecord, resolution: Resolution, found: Mapping[str, Mapping[str, str]]
) -> Iterator[str]:
    """Yield the paragraphs of Notice."""
    if not resolution.duties:
        return
    yield from dict.fromkeys(one.notice for one in resolution.duties if one.notice)
    lines = ["The weights of this model are changed ones: it was made by merging"]
    for parent in record.parents:
        commits = " and ".join(commit for commit in parent.commits if commit)
        name = "+".join(parent.names) if commits else Path(parent.model).name
        lines.append(
            f"- {name}{f' at commit {commits}' if commits else ''} "
            f"({parent.license or 'no licence stated'})"
        )
    yield "\n".join(lines)
    for parent in record.parents:
        if text := _first([parent], found, ("NOTICE", "Notice")):
            name = "+".join(parent.names) if any(parent.commits) else Path(parent.model).name
            yield f"From the notice of {name}:\n\n{text.strip()}"


def _pointer(one: License) -> str:
    return f"{one.name}\n{one.link}\n\n{POINTER} No model that was merged came with it.\n" + (
        "The licence asks to pass on a copy: put the text in the place of this.\n"
        if one.copy
        else ""
    )


def _first(
    parents: Iterable[Parent], found: Mapping[str, Mapping[str, str]], begins: tuple[str, ...]
) -> str:
    """Return the first text of that name that one of the parents has; nothing if none has."""
    texts = (
        text
        for parent in parents
        for name, text in found[parent.model].items()
        if name.startswith(begins) and text
    )
    return next(texts, "")


def _found(parents: Iterable[Parent], api: HfApi | None) -> dict[str, dict[str, str]]:
    """Return the texts of all parents: of folders, or of the Hub at the merged commits."""
    found: dict[str, dict[str, str]] = {}
    reachable = True
    for parent in parents:
        texts = found.setdefault(parent.model, {})
        commit = next(iter(parent.commits), "")
        for name in parent.texts:
            path: Path | None = Path(parent.model) / name
            if commit:
                path = _fetched(parent.names[0], name, commit, api) if reachable else None
                reachable = path is not None  # if not, asking again would only take time
            texts[name] = (path and _read(path)) or ""
    return found


def _fetched(repo_id: str, name: str, commit: str, api: HfApi | None) -> Path | None:
    from huggingface_hub import HfApi  # noqa: PLC0415 - not for folders

    api = api or HfApi()
    try:
        with hub_errors(f"{name} of {repo_id!r}", api):
            return Path(api.hf_hub_download(repo_id, name, revision=commit))
    except HubError as error:
        LOG.warning("  %s: %s will only say where the text is", error, LICENSE_FILE)
        return None


def _read(path: Path) -> str | None:
    """Return a text with the line ends of this system's habit; None if there is none."""
    try:
        if path.stat().st_size > MOST_CARD:
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

"""Read the licences and notices of the merged models, at the commits that were merged."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.card.parents import HUB
from slack_ties.hub.client import CLIENT_ERRORS
from slack_ties.hub.errors import hub_error
from slack_ties.licenses.texts import licenses_of, names_owner
from slack_ties.models.license_texts import MOST_LICENSE, decode_text, kind_of_text
from slack_ties.private.huggingface_hub import is_in_cache

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from huggingface_hub import HfApi

    from slack_ties.licenses.known import License
    from slack_ties.licenses.parties import Party

__all__ = ["ParentTexts", "name_of"]

LOG = logging.getLogger("slack_ties")

BETWEEN = f"\n\n{'-' * 72}\n\n"  # the texts of two owners


@dataclass(frozen=True)
class _Text:
    """The text of one file."""

    name: str
    text: str = ""
    problem: str = ""  # why there is no text


class ParentTexts:
    """The files of all merged models that contain licences and notices."""

    def __init__(self, parties: Iterable[Party], api: HfApi | None = None) -> None:
        """Read them; a text of the Hub that cannot be had is left out with a warning."""
        self.parties = list(parties)
        self._reachable = True
        self._texts = {
            party.name: [self._read(party, name, api) for name in party.texts]
            for party in self.parties
        }

    def __iter__(self) -> Iterator[str]:
        """Yield all texts."""
        yield from (one.text for texts in self._texts.values() for one in texts if one.text)

    def license(self, wanted: License) -> str:
        """Return the text of a licence from a model under it; "" if there is none.

        If the text names its owner, these are the texts of all owners.
        """
        found = [
            (wanted.id not in licenses_of(one.text), "code" in one.name.lower(), one)
            for party in self.parties
            for one in self._texts[party.name]
            if one.text and kind_of_text(one.name) == "license"
            if (ids := licenses_of(one.text)) == [wanted.id]
            or (party.license == wanted.id and (not ids or wanted.id in ids))
        ]
        several = [one.text for *_, one in sorted(found, key=lambda one: one[:2])]
        if not names_owner(wanted.id):
            return several[0] if several else ""
        differing: dict[str, str] = {}
        for text in several:
            differing.setdefault(" ".join(text.split()), text)
        return BETWEEN.join(differing.values())

    def policy(self, wanted: Iterable[str]) -> str:
        """Return the first policy of use of a model under one of these licences; "" if none."""
        ids = set(wanted)
        texts = (
            one.text
            for party in self.parties
            if party.license in ids
            for one in self._texts[party.name]
            if kind_of_text(one.name) == "policy"
        )
        return next(filter(None, texts), "")

    def notice(self, party: Party) -> str:
        """Return what must be passed on of a model's notices; "" if it has none.

        For a file that is not text, this is where to find it.
        """
        found = [one for one in self._texts[party.name] if kind_of_text(one.name) == "notice"]
        if texts := [one.text.strip() for one in found if one.text.strip()]:
            return "\n\n".join(dict.fromkeys(texts))
        lines = []
        for one in found:
            if one.problem:
                at = f"{HUB}/{party.name}/blob/{party.commit}/{one.name}"
                where = at if party.commit else f"the file {one.name} of {name_of(party)}"
                lines.append(f"Not copied here, because it {one.problem}: {where}")
        return "\n".join(lines)

    def _read(self, party: Party, name: str, api: HfApi | None) -> _Text:
        if party.commit:
            path = None
            if self._reachable:  # do not ask a Hub again that could not be reached
                path, self._reachable = _fetched(party.name, name, party.commit, api)
        else:
            path = _in_folder(Path(party.name), name)
        return _read(path, name, f"{name} of {name_of(party)}") if path else _Text(name)


def name_of(party: Party) -> str:
    """Return a model's name for other people: its Hub id, or the last part of its path."""
    return party.name if party.commit else Path(party.name).name


def _read(path: Path, name: str, what: str) -> _Text:
    try:
        if path.stat().st_size > MOST_LICENSE:
            problem = f"has more than {MOST_LICENSE:,} bytes"
        else:
            text, encoding = decode_text(path.read_bytes())
            if encoding and encoding != "utf-8":
                LOG.warning("  %s is not UTF-8: it is read as %s", what, encoding)
            if encoding:
                return _Text(name, text)
            problem = "is not text"
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
    LOG.warning("  %s %s: it is not copied", what, problem)
    return _Text(name, problem=problem)


def _fetched(repo_id: str, name: str, commit: str, api: HfApi | None) -> tuple[Path | None, bool]:
    """Return a file from the Hub, and whether the Hub could be reached."""
    from huggingface_hub import HfApi  # noqa: PLC0415 - not for folders
    from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415

    from slack_ties.hub.retries import READING  # noqa: PLC0415

    api = api or HfApi()
    try:
        get = partial(api.hf_hub_download, repo_id, name, revision=commit)
        return Path(READING.ask(get)), True
    except CLIENT_ERRORS as error:
        why = hub_error(f"{name} of {repo_id!r}", api, error)
        LOG.warning("  %s: the file is not copied", str(why)[:200])
        return None, isinstance(error, HfHubHTTPError)


def _in_folder(folder: Path, name: str) -> Path | None:
    """Return a file of a model's folder; None if it is a link out of the folder."""
    try:
        path, root = (folder / name).resolve(), folder.resolve()
        # A snapshot of the Hub cache contains links into `blobs`.
        inside = path.is_relative_to(root) or is_in_cache(path, root)
        if not inside or not path.is_file():
            LOG.warning("  %s links out of the model's folder: it is not copied", folder / name)
            return None
    except (OSError, RuntimeError):
        return None
    return path

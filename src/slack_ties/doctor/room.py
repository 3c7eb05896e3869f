"""Memory and disk: what is free, and whether the smallest merge of the catalogue has room."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from slack_ties.catalogue.languages import list_languages
from slack_ties.doctor.finding import BROKEN, NOTE, OK, Finding
from slack_ties.doctor.packages import short
from slack_ties.files import expanded
from slack_ties.plan.expected import expect
from slack_ties.plan.room import cache_folder, on_one_disk
from slack_ties.wording import size

__all__ = ["look_at_cache", "look_at_folder", "look_at_memory"]

# Bytes that `plan` announces for the merge in docs/requirements.md that needs least.
LEAST_MEMORY = 2_100_000_000

KEEPS_NOTHING = "slack-ties run {key} --out OUT --publish REPO_ID --stream --no-download"


def look_at_memory() -> Finding:
    """Return the memory that is free."""
    import psutil  # noqa: PLC0415 - not for --help

    found = psutil.virtual_memory()
    text = f"{size(found.available)} of {size(found.total)} free"
    facts = {"free": found.available, "total": found.total}
    if found.available < LEAST_MEMORY:
        text += f"; merges in docs/requirements.md need {size(LEAST_MEMORY)} or more"
        hint = "end other programs; `slack-ties plan CONFIG` says what your merge needs"
        return Finding("memory", NOTE, text, hint, facts)
    return Finding("memory", OK, text, facts=facts)


def look_at_folder() -> Finding:
    """Return the room in the current folder, where results go if no other folder is named."""
    key, _, result = _smallest()
    try:
        folder = Path.cwd()
        free = shutil.disk_usage(folder).free
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        text = f"the current folder cannot be written to: {error.strerror or error}"
        return Finding("folder", NOTE, text, "cd ~  # or give results another place: --out")
    text, facts = f"{size(free)} free in {short(folder)}", {"free": free}
    if free < result:
        text += f"; the smallest result of the catalogue ({key}) needs {size(result)}"
        hint = f"{KEEPS_NOTHING.format(key=key)}  # or --out on another disk"
        return Finding("folder", NOTE, text, hint, facts)
    return Finding("folder", OK, text, facts=facts)


def look_at_cache(*, offline: bool) -> Finding:
    """Return the room in the Hub's cache, where downloads go.

    Args:
        offline: Nothing will be downloaded.

    Raises:
        ImportError: The Hub client cannot be imported.

    """
    from huggingface_hub import constants  # noqa: PLC0415 - imports the client

    key, download, _ = _smallest()
    folder, text = cache_folder(None), short(expanded(constants.HF_HUB_CACHE))
    free = shutil.disk_usage(folder).free
    facts = {"free": free}
    if not offline and (problem := _unwritable(folder)):
        hint = "set HF_HUB_CACHE to a folder that you can write to"
        return Finding("cache", BROKEN, f"{text} cannot be written to: {problem}", hint, facts)
    try:
        same = ", the same disk" if on_one_disk(folder, Path.cwd()) else ""
    except OSError:
        same = ""
    text = f"{size(free)} free in {text}{same}"
    if not offline and free < download:
        text += f"; the smallest download of the catalogue ({key}) is {size(download)}"
        hint = f"{KEEPS_NOTHING.format(key=key)}  # or set HF_HUB_CACHE to another disk"
        return Finding("cache", NOTE, text, hint, facts)
    return Finding("cache", OK, text, facts=facts)


def _unwritable(folder: Path) -> str:
    """Return why a folder cannot be written to; "" if it can."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def _smallest() -> tuple[str, int, int]:
    """Return the key of the catalogue's smallest merge, and the bytes of download and result."""
    costs = ((triple.key, expect(triple)) for triple in list_languages())
    key, cost = min(costs, key=lambda pair: pair[1].download)
    return key, cost.download, cost.result

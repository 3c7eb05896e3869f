"""The files that a search writes, and what may be replaced there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slack_ties.errors import OutputError
from slack_ties.files import check_writable, expanded, sha256_of
from slack_ties.tuning.candidates import is_unedited
from slack_ties.tuning.tune_page import is_tune_page

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Paths", "paths_for"]

LONGEST_NAME = 60  # characters of the metric in names of files


@dataclass(frozen=True)
class Paths:
    """The files of a search."""

    config: Path  # that is tuned; only read
    out: Path  # the best config
    study: Path
    page: Path

    def check_places(self) -> None:
        """Refuse files that are one, and files that cannot be written.

        Raises:
            OutputError: The message names the file and the folder.

        """
        if self.out.resolve() in {self.study.resolve(), self.page.resolve()}:
            msg = f"{str(self.out)!r} is also the file for the results or for the page of this "
            raise OutputError(msg + "search", hint="choose another path with -o")
        for file, what, hint in (
            (self.out, "the best config", "choose another file with -o"),
            (self.study, "the results", "choose another file: --study FILE"),
        ):
            if file.is_dir():
                msg = f"{str(file)!r} is a folder, expected a file for {what}"
                raise OutputError(msg, hint=hint)
            check_writable(file, hint)
        hint = "copy the config to a folder of yours: the page is written beside it"
        check_writable(self.page, hint)

    def check_replaced(self, *, overwrite: bool) -> None:
        """Refuse to replace the config that is tuned, and a file that is not as `tune` wrote it.

        Raises:
            OutputError: The file for the best config or for the page is such a file.

        """
        _check_output(self.out, self.config, overwrite=overwrite)
        _check_page(self.page, overwrite=overwrite)


def paths_for(
    config: Path, metric: str, output: str | Path | None, study: str | Path | None
) -> Paths:
    """Return the files of a search by a metric: those that the user named, or some beside CONFIG.

    Raises:
        OutputError: Two are one file, or one cannot be written.

    """
    slug = _slug(metric)
    name = f"{config.stem}-tune-{slug}"
    found = Paths(
        config,
        expanded(output) if output else config.with_name(f"{config.stem}-tuned-{slug}.yml"),
        expanded(study) if study else config.with_name(f"{name}.json"),
        config.with_name(f"{name}.html"),
    )
    found.check_places()
    return found


def _slug(metric: str) -> str:
    """Return a metric's name for names of files."""
    slug = re.sub(r"[^A-Za-z0-9_.]+", "-", metric).strip("-.") or "tasks"
    return slug if len(slug) <= LONGEST_NAME else f"{slug[:40]}-{sha256_of(metric)[:8]}"


def _check_output(out: Path, config: Path, *, overwrite: bool) -> None:
    """Refuse to replace the config that is tuned, and a file that `tune` did not write as it is."""
    if overwrite or not out.exists():
        return
    if out.samefile(config):
        msg = f"{str(out)!r} is the config that is tuned: the best config would replace it"
    elif not is_unedited(out):
        msg = f"{str(out)!r} exists; slack-ties tune did not write it, or it was edited since"
    else:
        return
    raise OutputError(msg, hint="choose another path with -o, or add --overwrite to replace it")


def _check_page(page: Path, *, overwrite: bool) -> None:
    """Refuse to replace a file of the page's name that is no page of a search."""
    if not is_tune_page(page) and not (overwrite and page.is_file()):
        msg = f"{str(page)!r} exists, and is not a page of slack-ties tune"
        hint = "move it away" + (", or add --overwrite to replace it" if page.is_file() else "")
        raise OutputError(msg, hint=hint)

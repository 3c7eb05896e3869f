"""Make a report of a merge. `slack-ties report` calls this."""

from __future__ import annotations

import os
import shlex
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from slack_ties.errors import OutputError
from slack_ties.files import expanded
from slack_ties.notebook import Shown, html_lines
from slack_ties.recipe.read import read_recipe
from slack_ties.record import CONFIG_FILE
from slack_ties.report.describe import check_reportable, write_pages
from slack_ties.report.file import REPORT_FILE, read_report
from slack_ties.report.page import PAGE_FILE, PAGE_MARK, make_page
from slack_ties.report.pictures import (
    check_plot,
    draw_pictures,
    is_own_picture,
    picture_paths,
)
from slack_ties.settings import Settings

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from slack_ties.report.shown import ShownReport
    from slack_ties.settings import SettingsByName

__all__ = ["MadeReport", "make_report"]


FRAME = 'loading="lazy" title="All pictures" style="width:100%;height:600px;border:0"'


class _Pair(NamedTuple):
    report: ShownReport
    folder: Path


class MadeReport(Shown, _Pair):
    """A report and its folder; `report, folder = ...` takes it apart."""

    __slots__ = ()

    def summary(self) -> str:
        """Return the summary of the report, and where it is."""
        return f"{self.report!r} in {self.folder}"

    def as_text(self) -> str:
        """Return the report as text, and the path of its page."""
        return f"{self.report}\n\n{self.folder / PAGE_FILE}"

    def as_html(self) -> str:
        """Return the report as HTML, and its page with all pictures, which a click opens."""
        text = self.report.as_html() + html_lines([f"All pictures: {self.folder / PAGE_FILE}"])
        return f"{text}<details><summary>Show them here</summary>{self._page()}</details>"

    def _page(self) -> str:
        """Return the page in a frame of its own: its style does not reach the notebook."""
        page = escape(make_page(self.report))  # not the file: somebody may have replaced it
        return f'<iframe sandbox srcdoc="{page}" {FRAME}></iframe>'


def make_report(
    what: str | Path,
    folder: str | Path | None = None,
    *,
    pictures: bool = False,
    overwrite: bool = False,
    **settings: Unpack[SettingsByName],
) -> MadeReport:
    """Read the models of a merge once, and write its report.json and report.html.

    Args:
        what: A merge config, or a merged folder.
        folder: The folder for the report. If not given: the merged folder itself, or for a
            config a new folder CONFIG-report.
        pictures: Write images/*.png too, for the model card; needs the extra `plot`.
        overwrite: Replace a report.json, report.html or picture in the folder that is not ours.
        settings: All of `Settings`, by name.

    Returns:
        The report and its folder, as a pair.

    Raises:
        RecipeError: The config uses another method, or cannot be read.
        CheckpointError: A model is missing, damaged, not finite, or does not fit the others.
        OutputError: The report cannot be written, or would replace a file that is not ours.

    """
    shared = Settings(**settings)
    what = expanded(what)
    config = what
    if what.is_dir():
        config = what / CONFIG_FILE
        if not config.is_file():
            msg = f"{str(what)!r} has no {CONFIG_FILE}, expected a merged model or a config"
            raise OutputError(msg, hint="slack-ties report CONFIG")
    recipe = read_recipe(config)
    check_reportable(recipe)
    folder = expanded(folder) if folder else None
    folder = folder or (what if what.is_dir() else Path(f"{what.stem}-report"))
    _check_folder(folder)
    if pictures:
        check_plot()  # before we read a model
    _check_files(folder, pictures=pictures, overwrite=overwrite)

    from slack_ties.merge.in_memory import merge_in_memory  # noqa: PLC0415 - heavy

    report = merge_in_memory(recipe, folder, settings=shared)
    _check_files(folder, pictures=pictures, overwrite=overwrite)  # reading takes long
    write_pages(report, folder)
    if pictures:
        draw_pictures(report, folder, overwrite=overwrite)
    return MadeReport(report, folder)


def _check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be written to, before we read models."""
    if folder.exists() and not folder.is_dir():
        msg = f"{str(folder)!r} is a file, expected a folder"
        raise OutputError(msg, hint="choose another folder with -o")
    if folder.suffix.lower() in {".html", ".json"} and not folder.exists():
        msg = f"{str(folder)!r} is the name of a file, and a report is a folder with {REPORT_FILE} "
        msg += f"and {PAGE_FILE}"
        raise OutputError(
            msg, hint=f"choose a folder: -o {shlex.quote(str(folder.with_suffix('')))}"
        )
    there = next(one for one in (folder, *folder.resolve().parents) if one.is_dir())
    if not os.access(there, os.W_OK | os.X_OK):
        msg = f"cannot write to {str(there)!r}"
        raise OutputError(msg, hint="choose another folder with -o")


def _check_files(folder: Path, *, pictures: bool, overwrite: bool) -> None:
    """Refuse to replace a file that is neither a report nor a picture of ours."""
    files = {folder / REPORT_FILE: _is_report, folder / PAGE_FILE: _is_page}
    if pictures:
        files |= dict.fromkeys(picture_paths(folder), is_own_picture)
    for path, is_ours in files.items():
        if path.is_dir():
            msg = f"{str(path)!r} is a folder, expected a file or nothing"
            raise OutputError(msg, hint="choose another folder with -o")
        if path.exists() and not overwrite and not is_ours(path):
            what = "picture" if path.suffix == ".png" else "report"
            msg = f"{str(path)!r} exists, and is not a {what} of this version of slack-ties"
            hint = "choose another folder with -o, or add --overwrite to replace the file"
            raise OutputError(msg, hint=hint)


def _is_report(path: Path) -> bool:
    try:
        read_report(path)
    except OutputError:
        return False
    return True


def _is_page(path: Path) -> bool:
    try:
        return PAGE_MARK in path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False

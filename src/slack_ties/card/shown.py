"""Choose what a model card shows of a report: two pictures, with a sentence for each."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slack_ties.errors import OutputError, SlackTiesError
from slack_ties.report.file import REPORT_FILE, read_report
from slack_ties.report.pictures import FOLDER, LOST, SLACKS, draw_pictures, is_own_picture
from slack_ties.report.sentences import read_figures

if TYPE_CHECKING:
    from pathlib import Path

    from slack_ties.report.report import Report

__all__ = ["Shown", "show_report"]

LOG = logging.getLogger("slack_ties")


@dataclass(frozen=True)
class Shown:
    """A sentence of a report, and its picture."""

    text: str
    image: str = ""  # its path from the card; empty if there is none
    alt: str = ""  # for people who cannot see the picture


def show_report(folder: Path, *, draw: bool = True) -> list[Shown]:
    """Return what a model's card shows of its report; draw the pictures if possible.

    A damaged report is left out with a warning: a card does not need it.
    """
    if not (folder / REPORT_FILE).is_file():
        return []
    try:
        report = read_report(folder)
    except OutputError as error:
        LOG.warning("the card shows nothing of the report: %s", error)
        return []
    try:
        if draw:
            draw_pictures(report, folder)
    except SlackTiesError as error:
        LOG.warning("the card has no pictures of the report: %s. Next: %s", error, error.hint)
    return [shown for shown in _choose(report, folder) if shown.text]


def _choose(report: Report, folder: Path) -> list[Shown]:
    """Return the sentences, each with its picture if the picture exists."""
    reading = read_figures(report)
    return [
        Shown(
            reading.of_losses or reading.sentences[0],
            _image_path(folder, LOST),
            "Share of the SFT model's top-10 % entries lost to the election, by layer",
        ),
        Shown(
            reading.of_slack,
            _image_path(folder, SLACKS),
            "Share of the SFT model's most important entries lost, and of the CT model's kept "
            "entries lost more, by slack",
        ),
    ]


def _image_path(folder: Path, name: str) -> str:
    return f"{FOLDER}/{name}" if is_own_picture(folder / FOLDER / name) else ""

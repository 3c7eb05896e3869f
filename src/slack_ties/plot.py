"""Draw the pictures of a report as PNG, for the model card. The only import of matplotlib.

They show what the page shows; a card cannot hold the page. matplotlib is the extra `plot`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from slack_ties.errors import OutputError, SlackTiesError
from slack_ties.figures import Figures
from slack_ties.reading import IMPORTANT
from slack_ties.report_page import config_slack
from slack_ties.tally import CONFIG, GRID, TIES, TOPS

if TYPE_CHECKING:
    from slack_ties.report_file import Report

__all__ = ["FOLDER", "LOST", "SLACKS", "check_plot", "draw_pictures", "new_figure", "save_figure"]

FOLDER, LOST, SLACKS = "images", "lost-by-layer.png", "slack-curve.png"
SIZE, DPI = (7.0, 3.6), 130  # inches, and pixels of one: about 900 pixels wide
# Okabe and Ito's, which people with any kind of colour vision tell apart; and dashes besides.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#444444")
STYLES = ("-", "--", ":", "-.", (0, (1, 2)), (0, (6, 2)))


def check_plot() -> None:
    """Refuse to go on where matplotlib is not installed.

    Raises:
        SlackTiesError: With the command that installs it.

    """
    try:
        import matplotlib as mpl  # noqa: F401, PLC0415 - an extra, and heavy
    except ImportError:
        msg = "pictures need matplotlib, which is not installed"
        raise SlackTiesError(msg, hint="pip install 'slack-ties[plot]'") from None


def draw_pictures(report: Report, folder: Path) -> list[Path]:
    """Draw the pictures of a report into images/ of a folder and return their paths.

    Raises:
        OutputError: They cannot be written.
        SlackTiesError: matplotlib is not installed.

    """
    check_plot()
    paths = [_lost_by_layer(report, folder / FOLDER / LOST)]
    if any(model.varied for model in report.models):
        paths.append(_slack_curve(report, folder / FOLDER / SLACKS))
    return paths


def new_figure(across: str, up: str) -> tuple[Any, Any]:
    """Return an empty figure and its axes, white also on a dark page."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, and heavy

    figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(visible=True, color="#dddddd", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def save_figure(figure: Any, axes: Any, path: Path) -> Path:
    """Add a legend and write a PNG that holds no date, so that it is the same again."""
    axes.legend(frameon=False, fontsize="small")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Software": None})
    except OSError as error:
        msg = f"cannot write {str(path)!r}: {error.strerror or error}"
        raise OutputError(msg) from None
    return path


def _plain(text: str) -> str:
    """Return a name that matplotlib does not take for mathematics."""
    return text.replace("$", r"\$")


def _lost_by_layer(report: Report, path: Path) -> Path:
    figure, axes = new_figure("layer", "top-10 % entries lost, %")
    shown = [t for t, model in enumerate(report.models) if model.varied]
    shown = shown or list(range(len(report.models)))
    number = 0
    for t in shown:
        for name, level in (("TIES (slack 0)", TIES), ("this model", CONFIG)):
            if level == CONFIG and report.method != "slack_ties":
                continue
            found = [
                (layer, 100 * share)
                for layer, tally in report.layers.items()
                if (share := Figures(tally, t).top_lost(IMPORTANT, level)) is not None
            ]
            label = name if len(shown) == 1 else f"{report.models[t].label}, {name}"
            axes.plot(
                [x for x, _ in found],
                [y for _, y in found],
                label=_plain(label),
                color=COLOURS[number % len(COLOURS)],
                linestyle=STYLES[number % len(STYLES)],
                marker="o",
                markersize=3,
            )
            number += 1
    axes.set_ylim(bottom=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    return save_figure(figure, axes, path)


def _slack_curve(report: Report, path: Path) -> Path:
    figure, axes = new_figure("slack", "entries, %")
    first = next(t for t, model in enumerate(report.models) if model.varied)
    series = {
        f"kept of the SFT model's top {100 * share:g} %": [
            (point.slack, point.top_kept[top]) for point in Figures(report.total, first).curve()
        ]
        for top, share in enumerate(TOPS)
        if top > 0
    }
    for t, model in enumerate(report.models):
        if not model.varied:
            curve = Figures(report.total, t).curve()
            series[f"lost of what {model.label} keeps"] = [(p.slack, p.lost) for p in curve]
    for i, (name, points) in enumerate(series.items()):
        known = [(x, 100 * y) for x, y in points if y is not None]
        axes.plot(
            [x for x, _ in known],
            [y for _, y in known],
            label=_plain(name),
            color=COLOURS[(i + 1) % len(COLOURS)],
            linestyle=STYLES[i % len(STYLES)],
            marker="o",
            markersize=3,
        )
    slack = config_slack(report)
    if slack is not None and slack <= max(GRID):
        axes.axvline(slack, color="black", linewidth=0.8, linestyle=":")
        axes.annotate(f" this model: {slack:g}", (slack, 45))
    axes.set_ylim(0, 102)
    return save_figure(figure, axes, path)

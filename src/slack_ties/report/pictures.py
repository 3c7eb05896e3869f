"""Draw the pictures of a report as PNG, for the model card. Only this module imports matplotlib.

They show two charts of the page, because a card cannot contain the page. matplotlib is installed
with the extra `plot`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slack_ties.errors import OutputError, SlackTiesError
from slack_ties.report.series import Points, config_slack, lost_by_layer, slack_curves
from slack_ties.report.slacks import slacks_of
from slack_ties.rule.tally import GRID

if TYPE_CHECKING:
    from pathlib import Path

    from slack_ties.report.report import Report

__all__ = [
    "FOLDER",
    "LOST",
    "SLACKS",
    "check_plot",
    "draw_pictures",
    "is_own_picture",
    "new_figure",
    "picture_paths",
    "save_figure",
]

FOLDER, LOST, SLACKS = "images", "lost-by-layer.png", "slack-curve.png"

SOFTWARE = "slack-ties report"  # every picture of ours names it, and only ours

SIZE, DPI = (7.0, 3.6), 130  # inches, and pixels per inch: about 900 pixels wide

# Okabe and Ito's colours, which people with any kind of colour vision can distinguish. Each line
# also has its own dash pattern.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#444444")

STYLES = ("-", "--", ":", "-.", (0, (1, 2)), (0, (6, 2)))


def check_plot() -> None:
    """Raise if matplotlib is not installed.

    Raises:
        SlackTiesError: matplotlib is not installed; the hint is the command that installs it.

    """
    try:
        import matplotlib as mpl  # noqa: F401, PLC0415 - an extra, and heavy
    except ImportError:
        msg = "pictures need matplotlib, which is not installed"
        raise SlackTiesError(msg, hint='pip install "slack-ties[plot]"') from None


def picture_paths(folder: Path) -> list[Path]:
    """Return the paths of the pictures of a report in a folder."""
    return [folder / FOLDER / name for name in (LOST, SLACKS)]


def is_own_picture(path: Path) -> bool:
    """Return whether a file is a picture that `draw_pictures` drew."""
    try:
        return f"Software\0{SOFTWARE}".encode() in path.read_bytes()
    except OSError:
        return False


def draw_pictures(report: Report, folder: Path, *, overwrite: bool = False) -> list[Path]:
    """Draw the pictures of a report into the folder's images/, and return their paths.

    Raises:
        OutputError: A picture cannot be written, or would replace a file that is not ours; with
            `overwrite` it does.
        SlackTiesError: matplotlib is not installed.

    """
    check_plot()
    for path in picture_paths(folder):
        if path.exists() and not overwrite and not is_own_picture(path):
            msg = f"{str(path)!r} exists, and is no picture of a report"
            raise OutputError(msg, hint="move it away, then type the same command again")
    paths = [_lost_by_layer(report, folder / FOLDER / LOST)]
    if slacks_of(report):
        paths.append(_slack_curve(report, folder / FOLDER / SLACKS))
    return paths


def new_figure(across: str, up: str) -> tuple[Any, Any]:
    """Return an empty figure and its axes; the background is white even on a dark page."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, and heavy

    figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(visible=True, color="#dddddd", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def save_figure(figure: Any, axes: Any, path: Path) -> Path:
    """Add a legend and write a PNG without a date: the same figure gives the same bytes."""
    axes.legend(frameon=False, fontsize="small")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Software": SOFTWARE})
    except OSError as error:
        msg = f"cannot write {str(path)!r}: {error.strerror or error}"
        raise OutputError(msg) from None
    return path


def _plain(text: str) -> str:
    """Return a name escaped for matplotlib, which reads $ as mathematics."""
    return text.replace("$", r"\$")


def _draw(axes: Any, name: str, points: Points, colour: int, style: int) -> None:
    known = [(x, 100 * y) for x, y in points if y is not None]
    axes.plot(
        [x for x, _ in known],
        [y for _, y in known],
        label=_plain(name),
        color=COLOURS[colour % len(COLOURS)],
        linestyle=STYLES[style % len(STYLES)],
        marker="o",
        markersize=3,
    )


def _lost_by_layer(report: Report, path: Path) -> Path:
    figure, axes = new_figure("layer", "top-10 % entries lost, %")
    for number, (name, points, _) in enumerate(lost_by_layer(report, "this model")):
        _draw(axes, name, points, number, number)
    axes.set_ylim(bottom=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    return save_figure(figure, axes, path)


def _slack_curve(report: Report, path: Path) -> Path:
    figure, axes = new_figure("slack", "entries, %")
    lost, cost = slack_curves(report)
    for i, (name, points) in enumerate([*lost, *cost]):
        _draw(axes, name, points, i + 1, i)
    slack = config_slack(report)
    if slack is not None and slack <= max(GRID):
        axes.axvline(slack, color="black", linewidth=0.8, linestyle=":")
        axes.annotate(f" this model: {slack:g}", (slack, 0.93), xycoords=("data", "axes fraction"))
    axes.set_ylim(bottom=0)
    return save_figure(figure, axes, path)

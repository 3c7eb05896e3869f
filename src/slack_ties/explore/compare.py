"""Put two merges side by side: what they are told, and what their reports say.

`slack-ties compare` calls this. A merge that has a report.json is read from it; of another the
report is made, and written nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slack_ties.errors import OutputError, visible
from slack_ties.recipe.read import read_recipe
from slack_ties.record import CONFIG_FILE
from slack_ties.report.describe import check_reportable
from slack_ties.report.figures import Figures, conflict_share, cosine
from slack_ties.report.file import REPORT_FILE, read_report
from slack_ties.report.sentences import IMPORTANT, percent, read_figures
from slack_ties.rule.tally import CONFIG, RESCUED, TIES
from slack_ties.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from typing_extensions import Unpack

    from slack_ties.report.report import Report
    from slack_ties.settings import SettingsByName

__all__ = ["Comparison", "Row", "compare_merges"]

WIDTH = 26  # characters of a value or a heading

# Of a model: what it is called, what it is, and whether it is a share.
FIGURES: tuple[tuple[str, Callable[[Figures], float | None], bool], ...] = (
    ("delta norm", lambda f: f.norm, False),
    ("density in effect", lambda f: f.density, False),
    ("slack in effect", lambda f: f.slack, False),
    ("lost, TIES", lambda f: f.lost(TIES), True),
    ("lost", lambda f: f.lost(CONFIG), True),
    ("top 10 % lost, TIES", lambda f: f.top_lost(IMPORTANT, TIES), True),
    ("top 10 % lost", lambda f: f.top_lost(IMPORTANT, CONFIG), True),
    ("energy lost", lambda f: f.energy_lost(CONFIG), True),
    ("entries rescued", lambda f: f.losses(RESCUED), False),
    ("effective weight", lambda f: f.weight, False),
)


@dataclass(frozen=True)
class Row:
    """One setting or figure of both merges; None where one has no such thing."""

    about: str  # a model by its role, or the merge
    name: str
    one: Any
    other: Any
    is_share: bool = False

    @property
    def differs(self) -> bool:
        """Say whether the two are not the same."""
        return bool(self.one != self.other)


@dataclass(frozen=True)
class Comparison:
    """Two merges, row by row."""

    names: tuple[str, str]
    rows: tuple[Row, ...]

    def as_text(self) -> str:
        """Return a table; what differs is marked by an asterisk."""
        lines = [f"  {'':22}{_cut(self.names[0])}  {_cut(self.names[1])}"]
        about = ""
        for row in self.rows:
            if row.about != about:
                about = row.about
                lines.append(about)
            values = (_show(value, is_share=row.is_share) for value in (row.one, row.other))
            mark = "*" if row.differs else " "
            lines.append(f"{mark} {row.name:22}" + "  ".join(map(_cut, values)))
        return "\n".join(visible(line.rstrip()) for line in lines)


def compare_merges(
    one: str | Path,
    other: str | Path,
    **settings: Unpack[SettingsByName],
) -> Comparison:
    """Return two merges side by side.

    Args:
        one: A merge config, a merged folder, or a report.json.
        other: Likewise.
        settings: `options`, `quiet`, `allow_unrelated` and `api`, as in `Settings`; for a report
            that has to be made.

    Raises:
        SlackTiesError: One of them cannot be read, or its report cannot be made.

    """
    how = Settings(**settings)
    places = [Path(place).expanduser() for place in (one, other)]
    for place in places:  # both, before the first is read for minutes
        if not _report_at(place):
            check_reportable(read_recipe(_config_at(place)))
    first, second = (_report_of(place, how) for place in places)
    return Comparison((str(one), str(other)), tuple(_rows(first, second)))


def _report_at(place: Path) -> Path | None:
    """Return the report that is there already."""
    if place.suffix == ".json":
        return place
    return place / REPORT_FILE if (place / REPORT_FILE).is_file() else None


def _config_at(place: Path) -> Path:
    if not place.is_dir():
        return place
    if not (place / CONFIG_FILE).is_file():
        msg = f"{str(place)!r} holds neither {REPORT_FILE} nor {CONFIG_FILE}"
        raise OutputError(msg, hint="slack-ties report CONFIG")
    return place / CONFIG_FILE


def _report_of(place: Path, how: Settings) -> Report:
    if path := _report_at(place):
        return read_report(path)
    from slack_ties.merge.in_memory import merge_in_memory  # noqa: PLC0415 - heavy

    return merge_in_memory(_config_at(place), place, settings=how)


def _rows(one: Report, other: Report) -> Iterator[Row]:
    yield Row("the merge", "method", one.method, other.method)
    for name in sorted({*one.settings, *other.settings}):
        yield Row("the merge", name, one.settings.get(name), other.settings.get(name))
    shares = [conflict_share(report.total) for report in (one, other)]
    yield _row("the merge", "positions in conflict", shares, is_share=True)
    angles = [_angle(report) for report in (one, other)]
    yield _row("the merge", "cosine CT, SFT", angles)
    slacks = [read_figures(report).slack for report in (one, other)]
    yield _row("the merge", "suggested slack", slacks)
    places, others = _places(one), _places(other)
    for about in dict.fromkeys([*places, *others]):
        pair = (places.get(about), others.get(about))
        models = [
            None if place is None else report.models[place]
            for report, place in zip((one, other), pair, strict=True)
        ]
        yield _row(about, "model", [model.model if model else None for model in models])
        for name in ("weight", "density", "slack"):
            values = [model.settings.get(name) if model else None for model in models]
            if values != [None, None]:
                yield _row(about, name, values)
        for name, figure, is_share in FIGURES:
            found = [
                None if place is None else figure(Figures(report.total, place))
                for report, place in zip((one, other), pair, strict=True)
            ]
            yield _row(about, name, found, is_share=is_share)


def _row(about: str, name: str, values: Sequence[Any], *, is_share: bool = False) -> Row:
    one, other = values
    return Row(about, name, one, other, is_share)


def _places(report: Report) -> dict[str, int]:
    """Return the models by their roles, numbered where there are several, or by their names."""
    found: dict[str, int] = {}
    for place, model in enumerate(report.models):
        several = len(report.of_role(model.role)) > 1 or not model.role
        found[model.label if several else f"the {model.role.upper()} model"] = place
    return found


def _angle(report: Report) -> float | None:
    ct, sft = report.of_role("ct"), report.of_role("sft")
    if len(ct) != 1 or len(sft) != 1:
        return None
    return cosine(report.total, *sorted((ct[0], sft[0])))


def _show(value: Any, *, is_share: bool) -> str:
    if value is None:
        return "-"
    if is_share:
        return percent(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _cut(text: str) -> str:
    """Return the end of a long text: of a path, what tells it from others."""
    return (text if len(text) <= WIDTH else f"...{text[3 - WIDTH :]}").ljust(WIDTH)

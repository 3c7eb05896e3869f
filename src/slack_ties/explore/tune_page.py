"""Write the page of a search: the curve of the scores and the table of trials."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.errors import OutputError
from slack_ties.explore.study import key_of
from slack_ties.files import write_whole
from slack_ties.recipe.public import published_names
from slack_ties.record import Parent
from slack_ties.report.charts import Line, line_chart
from slack_ties.report.page import STYLE
from slack_ties.wording import join_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slack_ties.explore.metrics import Metric
    from slack_ties.explore.tuned import Tuned
    from slack_ties.recipe.recipe import Recipe

__all__ = ["is_tune_page", "write_tune_page"]

MARK = "<title>Search by "  # every page of ours has it

MOST_LINES = 6  # colours in the palette


def write_tune_page(
    path: Path,
    metric: Metric,
    recipe: Recipe,
    found: Tuned,
) -> None:
    """Write the page.

    Raises:
        OutputError: It cannot be written.

    """
    results, best, as_it_is = found.results, found.best, found.as_it_is
    groups: dict[str, list[tuple[float, float | None]]] = {}
    for result in results:
        if "slack" in result.values:
            groups.setdefault(_line_of(result.values), []).append(
                (result.values["slack"], result.score)
            )
    varied = {name for result in results for name in result.values}
    same = {name: value for name, value in as_it_is.items() if name in varied}
    for result in results:  # the config as it is: a point of the line that has its other values
        if not result.values and same.keys() == varied and _line_of(same) in groups:
            groups[_line_of(same)].append((same["slack"], result.score))
    lines = [
        Line(name, sorted(points, key=lambda point: point[0]), 1 + i % MOST_LINES)
        for i, (name, points) in enumerate(groups.items())
    ]
    slack = (best.values or same).get("slack")
    there = slack is not None and any((slack, best.score) in line.points for line in lines)
    mark = (slack, f"best: {best.score:.4g}") if slack is not None and there else None
    title = f"{metric.name} by slack"
    drawn = line_chart(
        title, lines, across="slack", shares=metric.is_share, mark=mark, from_zero=False
    )
    parts = list(best.parts)
    head = "".join(f"<th>{escape(one)}</th>" for one in ("trial", metric.name, *parts))
    rows = "".join(
        f"<tr><td>{'* ' if one is best else ''}{escape(found.name_of(one))}</td>"
        + "".join(f"<td>{number:.4f}</td>" for number in (one.score, *one.parts.values()))
        + "</tr>"
        for one in results
    )
    first, *columns = found.legend()
    legend = f"<p>{escape(first.partition(': ')[0])}.</p>"  # not the user's folders
    legend += "".join(f'<p class="soft">{escape(line)}.</p>' for line in columns)
    config = Path(recipe.where).name  # not the user's folders, which are private
    names = [one.get("name") or one.get("tag", "") for one in recipe.facts.languages]
    about = f"{config}, for {join_names(names)}" if any(names) else config
    public = published_names(map(Parent, recipe.models))
    roles = (
        (role, [public[name] for name in recipe.models_of(role)]) for role in ("base", "ct", "sft")
    )
    models = "; ".join(
        f"{role if role == 'base' else role.upper()}: {join_names(found)}"
        for role, found in roles
        if found
    )
    text = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"{MARK}{escape(metric.name)}: {escape(config)}</title><style>{STYLE}</style></head>"
        "<body>\n"
        f"<h1>Search by {escape(metric.name)}</h1><p>{escape(about)}</p>"
        f'<p class="soft">{escape(models)}</p>{legend}'
        '<p class="soft">The scores in the picture do not begin at 0, so small differences look '
        "large.</p>"
        f'<div class="charts"><figure>{drawn}</figure>'
        f'<div class="wide"><table><tr>{head}</tr>{rows}</table></div></div>\n</body></html>\n'
    )
    try:
        write_whole(path, text)
    except OSError as error:
        msg = f"cannot write {str(path)!r}: {error.strerror or error}"
        raise OutputError(msg) from None


def _line_of(values: Mapping[str, float]) -> str:
    """Return the name of the line that a trial is a point of: its values without slack."""
    rest = {name: value for name, value in values.items() if name != "slack"}
    return key_of(rest) if rest else "other values as the config"


def is_tune_page(path: Path) -> bool:
    """Return whether a path is free, or has a page of a search."""
    try:
        return MARK in path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False

"""Write the page of a search: what it shows, the curves of the scores, and the table of trials."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.errors import OutputError
from slack_ties.files import write_whole
from slack_ties.notebook import html_prose
from slack_ties.recipe.public import published_names
from slack_ties.record import Parent
from slack_ties.report.page import STYLE
from slack_ties.tuning.tune_charts import charts_of
from slack_ties.tuning.tuned import RESULT
from slack_ties.wording import join_names

if TYPE_CHECKING:
    from slack_ties.recipe.recipe import Recipe
    from slack_ties.tuning.metrics import Metric
    from slack_ties.tuning.tuned import Tuned

__all__ = ["is_tune_page", "write_tune_page"]

MARK = "<title>Search by "  # every page of ours has it


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
    charts = "".join(
        f"<figure><h2>{escape(title)}</h2>{drawn}</figure>"
        for title, drawn in charts_of(found, shares=metric.is_share)
    )
    names, *trials = found.rows(every=True)
    head = "".join(
        f"<th>{escape(one if one in found.best.items else one.lower())}</th>" for one in names
    )
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in trials
    )
    first, *columns = found.legend(every=True)
    legend = f"<p>{escape(first.partition(': ')[0])}.</p>"  # not the user's folders
    shown = [line for line in columns if not line.startswith(RESULT)]
    legend += "".join(f'<p class="soft">{html_prose(line)}.</p>' for line in shown)
    verdict = "".join(f"<p>{html_prose(_sentence(line))}</p>" for line in found.verdict.lines)
    verdict = f'<div class="reading">{verdict}</div>' if verdict else ""
    bars = " A bar is one standard error to each side." if found.best.errors else ""
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
        f"{MARK}{escape(found.title)}: {escape(config)}</title><style>{STYLE}</style></head>"
        "<body>\n"
        f"<h1>Search by {escape(found.title)}</h1><p>{escape(about)}</p>"
        f'<p class="soft">{escape(models)}</p>{verdict}{legend}'
        '<p class="soft">The scores in the pictures do not begin at 0, so small differences look '
        f"large.{bars}</p>"
        f'<div class="charts">{charts}</div>'
        f'<div class="wide"><table><tr>{head}</tr>{rows}</table></div>\n</body></html>\n'
    )
    try:
        write_whole(path, text)
    except OSError as error:
        msg = f"cannot write {str(path)!r}: {error.strerror or error}"
        raise OutputError(msg) from None


def _sentence(line: str) -> str:
    return f"{line[:1].upper()}{line[1:]}."


def is_tune_page(path: Path) -> bool:
    """Return whether a path is free, or has a page of a search."""
    try:
        return MARK in path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False

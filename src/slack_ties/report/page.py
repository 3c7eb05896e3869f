"""Write report.html: one file that shows a report in charts, without network and without scripts.

All text from a config or a file, such as the names of models, is escaped.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from slack_ties.notebook import html_prose
from slack_ties.report.anatomy import KINDS
from slack_ties.report.charts import Line, line_chart
from slack_ties.report.figures import Figures, conflict_share, cosine, same_sign
from slack_ties.report.heat_map import heat_map
from slack_ties.report.rows import IMPORTANT, NO_SHARE, ROWS, percent
from slack_ties.report.sentences import read_figures
from slack_ties.report.series import config_slack, lost_by_layer, slack_curves
from slack_ties.report.slacks import slacks_of
from slack_ties.report.tables import slack_rows, slacks_title
from slack_ties.rule.tally import CONFIG, TIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slack_ties.report.report import Report

__all__ = ["PAGE_FILE", "PAGE_MARK", "STYLE", "make_page"]

PAGE_FILE = "report.html"

PAGE_MARK = "<title>Merge report: "  # every page of ours has it, and only ours

OUTSIDE = "none"  # the column of the tensors without a layer

# Okabe and Ito's colours, which people with any kind of colour vision can distinguish
# (https://jfly.uni-koeln.de/color/); on a dark background lighter colours of the same hues.
STYLE = """
:root{color-scheme:light dark;--bg:#fff;--fg:#1b1b1b;--soft:#595959;--rule:#d4d4d4;
--c1:#0072b2;--c2:#c04f00;--c3:#007a5a;--c4:#a8487f;--c5:#8a6d00;--c6:#444}
@media (prefers-color-scheme:dark){:root{--bg:#15181c;--fg:#e9e9e9;--soft:#b0b0b0;--rule:#3c4148;
--c1:#56b4e9;--c2:#ff9a4d;--c3:#35c79b;--c4:#e39ac6;--c5:#f0e442;--c6:#ccc}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1180px;padding:16px;background:var(--bg);color:var(--fg);
font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.4rem;margin:.2em 0}h2{font-size:1.05rem;margin:0 0 .3em}
p{margin:.4em 0}.soft,figcaption,.none{color:var(--soft);font-size:.9rem}
.reading{border-left:4px solid var(--c1);padding:.1em 0 .1em 1em;margin:1em 0;max-width:48em}
.charts{display:grid;gap:28px;grid-template-columns:1fr;margin:1.5em 0}
@media (min-width:900px){.charts{grid-template-columns:1fr 1fr}}
figure{margin:0;min-width:0}svg{width:100%;height:auto;display:block}
text{font:11px system-ui,sans-serif;fill:var(--soft)}
.grid{stroke:var(--rule);stroke-width:.7;fill:none}
.mark{stroke:var(--fg);stroke-width:1;stroke-dasharray:3 3;fill:none}
.ring{fill:none;stroke:var(--fg);stroke-width:1.5}.held{fill:var(--bg);stroke:var(--fg);
stroke-width:1.5}.line{fill:none;stroke-width:2}.bar{fill:none;stroke-width:1}.heat{fill:var(--c1)}
.s1{stroke:var(--c1)}.s2{stroke:var(--c2)}.s3{stroke:var(--c3)}.s4{stroke:var(--c4)}
.s5{stroke:var(--c5)}.s6{stroke:var(--c6)}
.f1{fill:var(--c1)}.f2{fill:var(--c2)}.f3{fill:var(--c3)}.f4{fill:var(--c4)}.f5{fill:var(--c5)}
.f6{fill:var(--c6)}
.legend{display:flex;flex-wrap:wrap;gap:.2em 1.2em;font-size:.85rem;margin:.3em 0}
.legend span{display:inline-flex;align-items:center;gap:.4em}.key{width:26px;height:8px}
.scale{width:120px;height:12px;background:linear-gradient(90deg,
color-mix(in srgb,var(--c1) 6%,var(--bg)),var(--c1))}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.85rem;margin:.6em 0}
th,td{padding:.25em .7em .25em 0;text-align:right;border-bottom:1px solid var(--rule);
white-space:nowrap}th:first-child,td:first-child,.meaning :is(th,td):last-child{text-align:left}
summary{cursor:pointer}
"""


def make_page(report: Report) -> str:
    """Return the page of a report."""
    reading = read_figures(report)
    charts = "".join(
        f"<figure><h2>{escape(title)}</h2>{drawn}<figcaption>{escape(caption)}</figcaption></figure>"
        for title, drawn, caption in _charts(report)
    )
    sentences = "".join(f"<p>{html_prose(sentence)}</p>" for sentence in reading.sentences)
    versions = ", ".join(f"{name} {number}" for name, number in report.versions.items())
    entries = int(report.total.positions[0])
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"{PAGE_MARK}{escape(report.config)}</title><style>{STYLE}</style></head><body>\n"
        f"<h1>Merge report</h1><p>{escape(report.config)}, merge method "
        f"{escape(report.method)}: {entries:,} entries in {len(report.tensors)} tensors</p>\n"
        f'<div class="reading">{sentences}</div>\n<div class="charts">{charts}</div>\n'
        f"{_models(report)}{_layers(report)}"
        '<p class="soft">Figures are of the weights, counted while merging by the rule that '
        "merges. They say what was kept and what was lost, not how good the model is. Definitions: "
        f"docs/report.md of slack-ties. {escape(versions)}</p>\n</body></html>\n"
    )


def _charts(report: Report) -> list[tuple[str, str, str]]:
    """Return the title, the chart and the caption of each chart."""
    varied = any(model.varied for model in report.models)
    layers = report.layers
    lost = [
        Line(name, points, 1 + number % 6)
        for name, points, number in lost_by_layer(report, "this config")
    ]
    whose = "SFT model's" if varied else "models'"
    charts = [
        (
            "Important parameters lost, by layer",
            line_chart("Important parameters lost, by layer", lost, across="layer"),
            f"Of the {whose} top-10 % entries of each tensor, the share lost to the election.",
        ),
        (
            "Where the models disagree",
            _conflicts(report),
            (
                "Share of positions at which kept entries have opposite signs, by layer and kind "
                f"of module; what is in no layer is under “{OUTSIDE}”."
            ),
        ),
    ]
    if slacks_of(report):
        charts.append(_slack_chart(report))
    norms = [
        Line(
            model.label,
            [(layer, Figures(tally, t).norm) for layer, tally in layers.items()],
            1 + t % 6,
        )
        for t, model in enumerate(report.models)
    ]
    charts.append(
        (
            "Size of the deltas, by layer",
            line_chart("Size of the deltas, by layer", norms, across="layer", shares=False),
            "Euclidean norm of what each model changed in the base.",
        )
    )
    charts.append(_histogram(report))
    return charts


def _conflicts(report: Report) -> str:
    columns = [str(layer) for layer in report.layers]
    rows = [kind for kind in KINDS if kind in report.kinds]
    values = {
        (kind, OUTSIDE if layer is None else str(layer)): conflict_share(tally)
        for (layer, kind), tally in report.cells.items()
    }
    if any(layer is None for layer, _ in report.cells):
        columns.append(OUTSIDE)
    return heat_map("Where the models disagree", rows, columns, values, across="layer")


def _slack_chart(report: Report) -> tuple[str, str, str]:
    lost, cost = slack_curves(report)
    lines = [Line(name, points, 2 + i) for i, (name, points) in enumerate(lost)]
    lines += [Line(name, points, 5 + i % 2) for i, (name, points) in enumerate(cost)]
    left_out = f" Counted without {report.outer}." if report.outer else ""
    slack = config_slack(report)
    mark = (slack, f"config: {slack:g}") if slack is not None and slack <= 0.5 else None  # noqa: PLR2004 - the grid's end
    ticks = {x / 10: f"{x / 10:g}" for x in range(6)}
    title = "What each slack saves, and what it costs"
    return (
        title,
        line_chart(title, lines, across="slack", ticks=ticks, mark=mark),
        (
            "Of the SFT model's most important entries, the share lost to the election; of the "
            "other models' kept entries, the share lost more than at slack 0. Slack 0 is plain "
            f"TIES.{left_out}"
        ),
    )


def _histogram(report: Report) -> tuple[str, str, str]:
    found = [Figures(report.total, t).histogram() for t in range(len(report.models))]
    exponents = sorted({e for one in found for e in one})
    title = "How large the deltas are"
    caption = (
        "Share of a model's entries by the size of their delta, in powers of two; entries that "
        "equal the base are left out."
    )
    if not exponents:
        return title, line_chart(title, [], across="size"), caption
    # Leave out the few smallest deltas: far from the others, they would need most of the width.
    totals = {e: sum(one.get(e, 0) for one in found) for e in exponents}
    seen, everything = 0, sum(totals.values())
    first = exponents[0]
    for e in exponents:
        if seen + totals[e] > everything / 1000:
            first = e
            break
        seen += totals[e]
    span = range(first, exponents[-1] + 1)
    lines = [
        Line(
            model.label,
            [(e, one.get(e, 0) / max(Figures(report.total, t).entries, 1)) for e in span],
            1 + t % 6,
        )
        for t, (model, one) in enumerate(zip(report.models, found, strict=True))
    ]
    step = max(1, -(-len(span) // 7))
    ticks = {float(e): f"2^{e}" for e in span[::step]}
    return title, line_chart(title, lines, across="size of the delta", ticks=ticks), caption


def _models(report: Report) -> str:
    """Return the tables of the total with their meanings, and a line about each pair of models."""
    total = report.total
    models = range(len(report.models))
    rows = [[row.name, *(row.text(Figures(total, t)) for t in models), row.meaning] for row in ROWS]
    head = ["", *(model.label for model in report.models), "meaning"]
    text = f'<div class="meaning">{_table(head, rows)}</div>'
    if any("-" in row[1:-1] for row in rows):
        text += f'<p class="soft">{NO_SHARE}.</p>'
    for one in models:
        for other in models[one + 1 :]:
            angle, signs = cosine(total, one, other), same_sign(total, one, other)
            names = f"{report.models[one].label} and {report.models[other].label}"
            angle_text = "-" if angle is None else f"{angle:.3f}"
            text += f"<p>{escape(names)}: cosine {angle_text} (1: same direction, 0: unrelated, "
            text += "-1: opposite). Of the entries that both keep, "
            text += f"{percent(signs)} have the same sign.</p>"
    return f"<h2>All models, all tensors</h2>{text}\n{_slacks(report)}"


def _slacks(report: Report) -> str:
    """Return the table of slacks, a row for each."""
    found = slacks_of(report)
    if found is None:
        return ""
    title = slacks_title(report, found)
    rows = slack_rows(report, found)
    names = [name for name, _ in rows]
    steps = [list(cells) for cells in zip(*(cells for _, cells in rows), strict=True)]
    return f"<h2>Other slacks</h2><p>{escape(title)}</p>{_table(names, steps)}\n"


def _layers(report: Report) -> str:
    """Return a table of layers and kinds that the reader can open."""
    scopes = [(f"layer {layer}", tally) for layer, tally in report.layers.items()]
    scopes += [(kind, tally) for kind, tally in report.kinds.items()]
    head = ["", "entries", "in conflict"]
    for model in report.models:
        head += [f"{model.label}: norm", "top 10 % lost, TIES", "top 10 % lost, config"]
    rows = []
    for name, tally in scopes:
        row = [name, f"{int(tally.positions[0]):,}", percent(conflict_share(tally))]
        for t in range(len(report.models)):
            figures = Figures(tally, t)
            row += [f"{figures.norm:.3g}", percent(figures.top_lost(IMPORTANT, TIES))]
            row.append(percent(figures.top_lost(IMPORTANT, CONFIG)))
        rows.append(row)
    table = _table(head, rows)
    legend = (
        "In conflict: positions where kept entries have opposite signs. Norm: size of the delta."
    )
    return (
        f"<details><summary>By layer and kind of module</summary><p>{legend}</p>{table}</details>\n"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = "".join(f"<th>{escape(one)}</th>" for one in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="wide"><table><tr>{cells}</tr>{body}</table></div>'

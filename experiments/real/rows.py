"""Results as rows of CSV files: what was scored, and how well. README.md explains the columns."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.rows import as_bits
from real.methods import BY_NAME
from real.tasks import skills_task, text_task

__all__ = ["Row", "figures_of", "rows_of_candidates", "rows_of_reports", "rows_of_scores"]

MERGE = re.compile(r"(?P<ct>\d+)-(?P<sft>\d+)-(?P<key>[a-z_]+-ct_weight.*)")
THEN, PART = re.compile(r"then-(\d+)-(\d+)"), re.compile(r"(ct|sft)-(\d+)")


@dataclass(frozen=True)
class Row:
    """One model, asked in one language."""

    language: str
    seed: int
    ct: int  # steps; 0 without CT
    sft: int  # items; 0 without SFT
    method: str
    values: str
    split: str
    asked: str  # the language of the texts
    items: int
    right: str
    bits_per_byte: float | str  # of texts in the language; empty for items in English


def rows_of_scores(work: Path) -> Iterator[Row]:
    """Yield the rows of all models that are scored, the candidates left out."""
    for path in _sorted(work, "scores"):
        if not path.stem.startswith(("candidate-", "confirmed-")):
            ct, sft, method, values = _named(path.stem)
            yield from _rows(path, (ct, sft, method, values))


def rows_of_candidates(work: Path, ct: int, sft: int) -> Iterator[Row]:
    """Yield the rows of other rules."""
    from real.candidates import CANDIDATES, SPLITS, slug

    named = {slug(name, split): name for split in SPLITS for name in CANDIDATES}
    for path in _sorted(work, "scores"):
        if path.stem in named:
            yield from _rows(path, (ct, sft, "candidate", named[path.stem]))


def rows_of_reports(work: Path) -> Iterator[dict[str, Any]]:
    """Yield the figures of each report, of the SFT model unless the name says otherwise."""
    for path in _sorted(work, "reports"):
        ct, sft, method, values = _named(path.stem)
        language, seed = _place(path)
        yield {
            "language": language,
            "seed": seed,
            "ct": ct,
            "sft": sft,
            "method": method,
            "values": values,
            **figures_of(json.loads(path.read_text("utf-8"))),
        }


def figures_of(report: dict[str, Any]) -> dict[str, Any]:
    """Return what a report says that may go with skill.

    The report is of a config of methods.py: the CT model is its first model, the SFT model its
    second. What the report does not say is empty: the SFT model's figures without the embedding
    in reports of older versions, a suggestion where there is none.

    Args:
        report: The content of report.json.

    """
    return {
        **_shares(report, report["total"], ""),
        **_shares(report, report.get("without_embedding"), "_inner"),
        "suggested_slack": _or_empty(report["suggested_slack"]),
        "suggested_in_effect": _or_empty(report["suggested_in_effect"]),
    }


def _shares(report: dict[str, Any], of: dict[str, Any] | None, end: str) -> dict[str, Any]:
    """Return the figures of some tensors; `end` is the end of their names."""
    names = (
        *("density", "slack", "top_10_lost", "top_20_lost", "energy_lost", "sft_weight"),
        *("ct_weight", "ct_cost", "ct_energy_cost", "norm_ratio", "cosine"),
    )
    if not of:
        return dict.fromkeys((f"{name}{end}" for name in names), "")
    ct, sft = of["models"]
    ours, theirs = sft["shares"], ct["shares"]
    at = {share: place for place, share in enumerate(report["tops"])}
    lost = ours["top_lost"]["config"]
    entries, energy = (_more_than_ties(ct[name], sum_of) for name, sum_of in LOSSES.items())
    values = (
        ours["density"],
        ours["slack"],
        lost[at[0.1]],
        lost[at[0.2]],
        ours["energy_lost"]["config"],
        ours["effective_weight"],
        theirs["effective_weight"],
        _share(entries, ct["kept"]),
        _share(energy, ct["energy"]),
        _share(theirs["norm"], ours["norm"]),
        next((pair["cosine"] for pair in of["pairs"]), ""),
    )
    return {f"{n}{end}": _or_empty(value) for n, value in zip(names, values, strict=True)}


# The elections of which report.json has losses, in its order: see docs/report.md.
TIES_ELECTION, CONFIG_ELECTION = 1, 2
LOSSES: dict[str, Callable[[Any], float]] = {"lost": sum, "lost_energy": float}


def _more_than_ties(lost: list[Any], sum_of: Callable[[Any], float]) -> float:
    """Return what the CT model loses by the config's election more than by that of plain TIES."""
    return max(0.0, sum_of(lost[CONFIG_ELECTION]) - sum_of(lost[TIES_ELECTION]))


def _share(part: float, whole: float) -> float | str:
    return part / whole if whole else ""


def _or_empty(value: float | str | None) -> float | str:
    """Return a number with as many digits as are written; nothing for None."""
    return "" if value is None or value == "" else float(value)


def _sorted(work: Path, kind: str) -> list[Path]:
    return sorted(work.glob(f"*/seed-*/{kind}/*.json"))


def _place(path: Path) -> tuple[str, int]:
    seed = path.parent.parent
    return seed.parent.name, int(seed.name.removeprefix("seed-"))


def _named(name: str) -> tuple[int, int, str, str]:
    """Return CT steps, SFT items, method and values of the name of a file."""
    if name == "base":
        return 0, 0, "base", ""
    if found := THEN.fullmatch(name):
        return int(found[1]), int(found[2]), "ct_then_sft", ""
    if found := PART.fullmatch(name):
        number = int(found[2])
        return (number, 0, "ct", "") if found[1] == "ct" else (0, number, "sft", "")
    found = MERGE.fullmatch(name)
    if not found:
        msg = f"{name}: expected the name of a part or a merge"
        raise ValueError(msg)
    merge = BY_NAME[found["key"]]
    return int(found["ct"]), int(found["sft"]), merge.name, merge.values


def _rows(path: Path, named: tuple[int, int, str, str]) -> Iterator[Row]:
    language, seed = _place(path)
    scores = json.loads(path.read_text("utf-8"))["models"][0]["scores"]
    for split in ("validation", "test"):
        for asked in (language, "en"):
            name = skills_task(language if asked == language else f"en-{language}", split)
            if name not in scores:
                continue
            values = scores[name]["values"]
            right = as_bits(value > 0 for value in values)
            bits: float | str = ""
            if asked == language:
                bits = scores[text_task(language, split)]["metrics"]["bits_per_byte"]["value"]
            yield Row(language, seed, *named, split, asked, len(values), right, bits)

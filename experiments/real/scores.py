"""Which items each model had right, and its bits per byte: by seed, so that they can be compared.

Values that are compared use the same seeds: in an unfinished run, the seeds that both have.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.curves import Point, Vectors
from common.intervals import FEW, Interval, bootstrap
from common.rows import read_rows, right_of
from real.methods import DEFAULTS
from real.rows import Row
from real.sizes import Size
from real.skills import SKILLS

__all__ = [
    "ALL",
    "NEW",
    "TITLES",
    "Found",
    "Part",
    "Point",
    "Scores",
    "Vectors",
    "added",
    "joined",
    "measured",
    "ratio_of",
]

ALL = "all"  # languages together: their items are one list
NEW = "new"  # asked in the new language
ENGLISH = "en"
TITLES = {
    "base": "the base model",
    "ct": "the CT model",
    "sft": "the SFT model",
    "ct_then_sft": "CT, then SFT",
    "slack_ties": "slack_ties",
    "task_arithmetic": "task arithmetic",
    "ties_sum": "TIES without division",
    "ties": "TIES",
    "linear": "the mean of the weights",
    "trimmed": "trimmed task arithmetic",
    "dare_ties": "DARE-TIES",
    "layer_swap": "layer swapping",
    "widen": "WIDEN",
    "slack_ties_divided": "slack_ties with division",
}
VALUES = {merge.name: merge.values for merge in DEFAULTS}


@dataclass(frozen=True)
class Part:
    """A model: how it was made, and of how many steps of CT and items of SFT."""

    method: str
    values: str
    ct: int
    sft: int


@dataclass(frozen=True)
class Found:
    """A mean with its interval, and how many seeds it is of."""

    interval: Interval
    seeds: int

    @property
    def few(self) -> bool:
        """Say whether the interval is over items alone, so of these models and no others."""
        return self.seeds < FEW


def measured(vectors: Vectors) -> Found | None:
    """Return the mean with its interval over seeds and items; None without seeds."""
    if not vectors:
        return None
    return Found(bootstrap(np.stack([vectors[seed] for seed in sorted(vectors)])), len(vectors))


def ratio_of(logs: Vectors) -> Found | None:
    """Return the geometric mean of ratios whose logarithms are given, its interval over seeds."""
    found = measured({seed: value.mean(keepdims=True) for seed, value in logs.items()})
    if not found:
        return None
    ends = (found.interval.value, found.interval.low, found.interval.high)
    return Found(Interval(*np.exp(ends).tolist()), found.seeds)


def added(*terms: tuple[float, Vectors]) -> Vectors:
    """Return the sum of vectors, each times a factor, of the seeds that all of them have."""
    seeds = set.intersection(*(set(vectors) for _, vectors in terms))
    return {
        seed: np.sum([factor * vectors[seed] for factor, vectors in terms], axis=0)
        for seed in sorted(seeds)
    }


def joined(parts: Sequence[Vectors]) -> Vectors:
    """Return the items of several languages as one list, of the seeds that all of them have."""
    seeds = set.intersection(*(set(vectors) for vectors in parts)) if parts else set()
    return {seed: np.concatenate([vectors[seed] for vectors in parts]) for seed in sorted(seeds)}


class Scores:
    """The rows of scores.csv of one size."""

    def __init__(self, results: Path) -> None:
        """Read the rows of a folder of results; a missing file has none."""
        self.results = results
        self.size = _size_of(results)
        self._rows: dict[tuple[str, Part, str, str], dict[int, Row]] = {}
        path = results / "scores.csv"
        for row in read_rows(path, Row) if path.exists() else []:
            part = Part(row.method, row.values, row.ct, row.sft)
            asked = NEW if row.asked == row.language else ENGLISH
            self._rows.setdefault((row.language, part, row.split, asked), {})[row.seed] = row

    @property
    def languages(self) -> list[str]:
        """The languages that have rows, and "all" if there are several."""
        found = sorted({language for language, *_ in self._rows})
        return [*found, ALL] if len(found) > 1 else found

    @property
    def parts(self) -> list[Part]:
        """All models that have rows."""
        return list(dict.fromkeys(part for _, part, *_ in self._rows))

    def seeds(self, language: str) -> list[int]:
        """Return the seeds that have rows in a language."""
        return sorted({s for (of, *_), rows in self._rows.items() if of == language for s in rows})

    def part(
        self, method: str, values: str | None = None, *, ct: int | None = None, sft: int = -1
    ) -> Part:
        """Return a model of the main budgets, at its defaults unless `values` are given."""
        steps = self.size.ct_main if ct is None else ct
        items = self.size.sft_main if sft < 0 else sft
        steps = 0 if method in {"base", "sft"} else steps
        items = 0 if method in {"base", "ct"} else items
        return Part(method, VALUES.get(method, "") if values is None else values, steps, items)

    def rows(
        self, language: str, part: Part, *, split: str = "test", asked: str = NEW
    ) -> dict[int, Row]:
        """Return the rows of a model by seed."""
        return self._rows.get((language, part, split, asked), {})

    def right(
        self, language: str, part: Part, *, split: str = "test", asked: str = NEW, skill: str = ""
    ) -> Vectors:
        """Return which items a model had right.

        Args:
            language: One, or "all".
            part: The model.
            split: "test" or "validation".
            asked: "new" or "en".
            skill: Only its items.

        """

        def of(one: str) -> Vectors:
            rows = self.rows(one, part, split=split, asked=asked)
            return {seed: self._chosen(row, skill) for seed, row in rows.items()}

        return self.over(language, of)

    def bits(self, language: str, part: Part, *, split: str = "test") -> Vectors:
        """Return the logarithm of a model's bits per byte of text in the language: (languages,)."""

        def of(one: str) -> Vectors:
            rows = self.rows(one, part, split=split)
            found = {seed: row.bits_per_byte for seed, row in rows.items()}
            return {seed: np.log([bits]) for seed, bits in found.items() if isinstance(bits, float)}

        return self.over(language, of)

    def points(
        self, language: str, part: Part, *, split: str = "test", skill: str = ""
    ) -> dict[int, Point]:
        """Return a model's bits per byte and items right by seed, in one language."""
        right = self.right(language, part, split=split, skill=skill)
        bits = self.bits(language, part, split=split)
        return {seed: (float(np.exp(bits[seed][0])), right[seed]) for seed in right if seed in bits}

    def over(self, language: str, of: Callable[[str], Vectors]) -> Vectors:
        """Return what a function says of a language, or of all of them, joined."""
        if language != ALL:
            return of(language)
        return joined([of(one) for one in self.languages if one != ALL])

    def _chosen(self, row: Row, skill: str) -> NDArray[np.float64]:
        every = right_of(row.right, row.items)
        return every[self._place_of(row, skill)] if skill else every

    def _place_of(self, row: Row, skill: str) -> slice:
        """Return where the items of a skill are; nowhere if a language has not enough items."""
        counts = self.size.test if row.split == "test" else self.size.validation
        step = 1 if row.asked == row.language else self.size.english
        if row.items != -(-sum(counts.values()) // step):
            return slice(0, 0)
        before = sum(counts[name] for name in SKILLS[: SKILLS.index(skill)])
        return slice(-(-before // step), -(-(before + counts[skill]) // step))


def _size_of(results: Path) -> Size:
    """Return the budgets that the rows were made with."""
    held = json.loads((results / "versions.json").read_text("utf-8"))["mode"]
    return Size(**{k: tuple(v) if isinstance(v, list) else v for k, v in held.items()})

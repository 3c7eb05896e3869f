"""Results as rows of CSV files: what was scored, with which settings, and how well."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

__all__ = ["Row", "bits", "read_rows", "text_of", "write_table"]


@dataclass(frozen=True)
class Row:
    """One model, scored in one language. Columns are explained in README.md."""

    seed: int
    sft: str
    ct: int
    method: str
    setting: str = ""
    values: str = ""
    language: str = ""
    items: int = 0
    accuracy: float = 0.0
    strict: float = 0.0
    perplexity: float = 0.0
    right: str = ""


def bits(right: Iterable[bool]) -> str:
    """Return which items were right as a hexadecimal number: bit i is item i."""
    return f"{sum(1 << place for place, is_right in enumerate(right) if is_right):x}"


def text_of(values: Mapping[str, float]) -> str:
    """Return settings as text: `density=0.5 slack=0.2`."""
    return " ".join(f"{name}={value:g}" for name, value in values.items())


def read_rows(path: Path) -> list[Row]:
    """Read rows that `write_table` wrote."""
    kinds = {"int": int, "float": float, "str": str}
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Row(**{f.name: kinds[str(f.type)](line[f.name]) for f in fields(Row)})
            for line in csv.DictReader(file)
        ]


def write_table(path: Path, rows: Iterable[Row | Mapping[str, object]]) -> None:
    """Write rows as CSV, whole or not at all; nothing if there are none."""
    lines = [asdict(row) if isinstance(row, Row) else dict(row) for row in rows]
    if not lines:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with part.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(
            {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in line.items()}
            for line in lines
        )
    part.replace(path)

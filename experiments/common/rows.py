"""Rows of CSV files: each is a dataclass of numbers and texts, or a mapping.

`experiments/saturation/rows.py` is older and has its own: the digest of its code stands in that
experiment's results.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from slack_ties.files import write_whole

__all__ = ["as_bits", "read_rows", "right_of", "text_of", "write_rows"]

Row = TypeVar("Row")
KINDS = {
    "int": int,
    "float": float,
    "str": str,
    "float | str": lambda text: float(text) if text else "",  # empty where nothing was measured
}


def as_bits(right: Iterable[bool]) -> str:
    """Return which items were right as a hexadecimal number: bit i is item i."""
    return f"{sum(1 << place for place, is_right in enumerate(right) if is_right):x}"


@cache
def right_of(bits: str, items: int) -> NDArray[np.float64]:
    """Return (items,) 1.0 for each item that was right, 0.0 for the others."""
    number = int(bits, 16)
    return np.array([number >> place & 1 for place in range(items)], dtype=float)


def text_of(values: Mapping[str, float]) -> str:
    """Return settings as text: `density=0.5 slack=0.2`."""
    return " ".join(f"{name}={value:g}" for name, value in values.items())


def read_rows(path: Path, kind: type[Row]) -> list[Row]:
    """Read rows that `write_rows` wrote.

    Args:
        path: The file.
        kind: Their dataclass, of a module with `from __future__ import annotations`; its fields
            are int, float, str or, where a number may be missing, float | str.

    """
    columns: Any = {field.name: KINDS[field.type] for field in fields(kind)}  # type: ignore[arg-type, index]
    with path.open(encoding="utf-8", newline="") as file:
        return [
            kind(**{name: of(line[name]) for name, of in columns.items()})
            for line in csv.DictReader(file)
        ]


def write_rows(path: Path, rows: Iterable[Any]) -> None:
    """Write rows as CSV, whole or not at all, floats with six digits; nothing if there are none.

    Args:
        path: The file; its folder is made.
        rows: Dataclasses or mappings, all with the same columns.

    """
    lines = [dict(row) if isinstance(row, Mapping) else asdict(row) for row in rows]
    if not lines:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    table = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(
        {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in line.items()} for line in lines
    )
    write_whole(path, text.getvalue())

# ruff: noqa: INP001 - lm-eval loads this file by its path
"""Collect the labels of MiLiC-Eval's topics, which the rows name one at a time."""

from __future__ import annotations

from typing import Any

__all__ = ["with_labels"]


def with_labels(rows: Any) -> Any:
    """Return rows with a column `labels`: the English labels of all of them, in their order.

    Args:
        rows: A `datasets.Dataset` with `label`, a label in English (`en`) and in Chinese (`zh`).

    """
    labels = sorted({label["en"] for label in rows["label"]})
    return rows.add_column("labels", [labels] * len(rows))

"""The merges that are compared: mergekit configs, and how each method may be tuned.

Every method has the same number of trials: its defaults, and the same four other values of how
much the CT model weighs beside the SFT model. What `slack` and `density` do is a list of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = [
    "BY_NAME",
    "DEFAULTS",
    "DIAL",
    "FIRST",
    "MERGES",
    "OURS",
    "SUGGESTED",
    "TRIALS",
    "Merge",
    "config_of",
    "passthrough",
]

LAYERS = 30
BOTTOM, TOP = 5, 3  # layers that layer swapping takes from the CT model
DIAL = (0.85, 0.7, 0.55, 0.4)  # weights of the CT model beside an SFT model of weight 1


@dataclass(frozen=True)
class Merge:
    """One config: a method, and its parameters for the CT model, the SFT model and the whole."""

    name: str  # of the method in tables
    method: str  # mergekit's
    ct: Mapping[str, float] = field(default_factory=dict)
    sft: Mapping[str, float] = field(default_factory=dict)
    whole: Mapping[str, Any] = field(default_factory=dict)

    @property
    def values(self) -> str:
        """Return what distinguishes it from the other merges of its method."""
        parts = {"ct_weight": self.ct.get("weight", 1.0)}
        parts |= {key: value for key, value in self.sft.items() if key in ("slack", "density")}
        return " ".join(f"{key}={value:g}" for key, value in parts.items())

    @property
    def key(self) -> str:
        """Return the name of its files."""
        return f"{self.name}-{self.values.replace(' ', '-').replace('=', '_')}"


def _plain(name: str, method: str, ct: float, **more: Any) -> Merge:
    both = {key: more.pop(key) for key in ("density", "gamma", "epsilon") if key in more}
    slack = {"slack": more.pop("slack")} if "slack" in more else {}
    return Merge(name, method, {"weight": ct, **both}, {"weight": 1.0, **both, **slack}, more)


def _methods(ct: float) -> list[Merge]:
    half = {"density": 0.5}
    return [
        _plain("slack_ties", "slack_ties", ct, **half, slack=0.2, normalize=False),
        _plain("task_arithmetic", "task_arithmetic", ct),
        _plain("ties_sum", "ties", ct, **half, normalize=False),
        _plain("ties", "ties", ct, **half),
        _plain("linear", "linear", ct),
        _plain("trimmed", "breadcrumbs", ct, **half, gamma=0.0, normalize=False),
        _plain("dare_ties", "dare_ties", ct, **half, normalize=False),
    ]


FIRST = ("slack_ties", "task_arithmetic")  # whose trials are made first
# What each parameter of slack_ties does, the others at their defaults.
# By the reports of the merges at defaults: with an earlier limit of the cost, and with today's.
SUGGESTED = (0.1, 0.3)
SLACKS, DENSITIES = (0.05, 0.1, 0.15, 0.3, 0.5), (0.25, 0.75, 1.0)
OURS = [
    *(
        _plain("slack_ties", "slack_ties", 1.0, density=0.5, slack=slack, normalize=False)
        for slack in SLACKS
    ),
    *(
        _plain("slack_ties", "slack_ties", 1.0, density=density, slack=0.2, normalize=False)
        for density in DENSITIES
    ),
    _plain("slack_ties_divided", "slack_ties", 1.0, density=0.5, slack=0.2, normalize=True),
]
SWAP = Merge("layer_swap", "slices")
WIDEN = Merge("widen", "widen")
DEFAULTS = [*_methods(1.0), SWAP, WIDEN]
TRIALS = [merge for ct in DIAL for merge in _methods(ct)]
MERGES = [*DEFAULTS, *OURS, *TRIALS]
BY_NAME = {merge.key: merge for merge in MERGES}


def config_of(merge: Merge, base: Path, ct: Path, sft: Path) -> dict[str, Any]:
    """Return a mergekit config; models by their folders."""
    if merge.method == "slices":
        return _swapped(ct, sft)
    made: dict[str, Any] = {
        "merge_method": merge.method,
        "dtype": "bfloat16",
        "base_model": str(base),
        "models": [
            {"model": str(ct), "parameters": dict(merge.ct)},
            {"model": str(sft), "parameters": dict(merge.sft)},
        ],
    }
    if merge.method == "linear":
        del made["base_model"]
    if merge.whole:
        made["parameters"] = dict(merge.whole)
    return made


def _swapped(ct: Path, sft: Path) -> dict[str, Any]:
    """Return the CT model with the SFT model's middle layers (arXiv 2410.01335)."""
    parts = ((ct, 0, BOTTOM), (sft, BOTTOM, LAYERS - TOP), (ct, LAYERS - TOP, LAYERS))
    slices = [
        {"sources": [{"model": str(model), "layer_range": [first, end]}]}
        for model, first, end in parts
    ]
    return {"merge_method": "passthrough", "dtype": "bfloat16", "slices": slices}


def passthrough(model: Path) -> dict[str, Any]:
    """Return a config that is one model: so the same command scores it."""
    return {
        "merge_method": "passthrough",
        "dtype": "bfloat16",
        "models": [{"model": str(model)}],
    }

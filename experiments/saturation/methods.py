"""The ways to make one model of a CT and an SFT model, and what may be chosen in each.

Every merge is a mergekit config of the Hugging Face folders of the models, and mergekit
merges: its own methods by its own code, `slack_ties` by the installed package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch.quasirandom import SobolEngine

__all__ = ["BY_NAME", "MERGES", "Method", "config", "merge_into", "trials"]

# Names of what may be chosen: of the SFT model, of both models, of the whole merge.
OF_SFT, OF_BOTH = frozenset({"slack", "sft_weight"}), frozenset({"density", "epsilon"})
CHOSEN = ("density", "sft_weight", "lambda", "slack", "epsilon")
Values = Mapping[str, float]


@dataclass(frozen=True)
class Method:
    """A merge method with fixed options, the defaults of the rest, and their ranges."""

    name: str
    title: str
    merge_method: str
    default: Values
    ranges: Mapping[str, tuple[float, float]]
    fixed: Mapping[str, Any] = field(default_factory=dict)


# Of the two coefficients: lambda is the CT delta's, lambda times sft_weight the SFT delta's.
WEIGHTS = {"sft_weight": (0.75, 2.0), "lambda": (0.5, 1.0)}
# Of methods that divide by the weights, which halves a delta where both models are kept.
DIVIDED = {"sft_weight": (0.75, 3.0), "lambda": (0.75, 2.0)}
DENSITY = {"density": (0.2, 1.0)}
HALF = {"density": 0.5, "sft_weight": 1.0, "lambda": 1.0}
MERGES = (
    Method("ties", "TIES", "ties", HALF, {**DENSITY, **DIVIDED}),
    Method(
        "ties_sum",
        "TIES without division",
        "ties",
        HALF,
        {**DENSITY, **WEIGHTS},
        {"normalize": False},
    ),
    Method(
        "slack_ties",
        "slack_ties",
        "slack_ties",
        {**HALF, "slack": 0.2},
        {**DENSITY, **WEIGHTS, "slack": (0.05, 0.5)},
        {"normalize": False},
    ),
    Method(
        "task_arithmetic",
        "task arithmetic",
        "task_arithmetic",
        {"sft_weight": 1.0, "lambda": 1.0},
        WEIGHTS,
    ),
    # Breadcrumbs that leave out no outliers: the largest entries of each delta, added.
    Method(
        "trimmed",
        "trimmed task arithmetic",
        "breadcrumbs",
        HALF,
        {**DENSITY, **WEIGHTS},
        {"gamma": 0.0},
    ),
    Method("dare_ties", "DARE-TIES", "dare_ties", HALF, {**DENSITY, **WEIGHTS}),
    Method(
        "della",
        "DELLA",
        "della",
        {**HALF, "epsilon": 0.1},
        {
            "density": (0.2, 0.8),
            "epsilon": (0.02, 0.18),
            **DIVIDED,
        },
    ),
    Method("soup", "model soup", "linear", {"sft_weight": 1.0}, {"sft_weight": (0.25, 4.0)}),
)
BY_NAME = {method.name: method for method in MERGES}


def trials(method: Method, many: int) -> list[dict[str, float]]:
    """Return the settings to try: the defaults, then points of a Sobol sequence in the ranges.

    The points are the same for all methods in what they have in common: with few trials the
    luck of the draw would decide otherwise.
    """
    points = SobolEngine(len(CHOSEN), scramble=True, seed=0).draw(many - 1).tolist()
    found = [dict(method.default)]
    for point in points:
        drawn = {}
        for name, at in zip(CHOSEN, point, strict=True):
            if name in method.ranges:
                low, high = method.ranges[name]
                drawn[name] = round(low + (high - low) * at, 3)
        found.append(drawn)
    return found


def config(
    method: Method,
    values: Values,
    base: Path,
    cts: Sequence[Path],
    sft: Path,
    *,
    slack_of_ct: float = 0.0,
) -> dict[str, Any]:
    """Return a mergekit config: `values` by their names in `Method`, models by their folders."""
    both = {name: values[name] for name in OF_BOTH if name in values}
    both |= {"gamma": method.fixed["gamma"]} if "gamma" in method.fixed else {}
    whole = {name: value for name, value in method.fixed.items() if name != "gamma"}
    whole |= {name: values[name] for name in values if name not in OF_SFT | OF_BOTH}
    of_ct: dict[str, float] = {"weight": 1.0, **both}
    if slack_of_ct:
        of_ct["slack"] = slack_of_ct
    of_sft = {"weight": values.get("sft_weight", 1.0), **both}
    if "slack" in values:
        of_sft["slack"] = values["slack"]
    made: dict[str, Any] = {
        "merge_method": method.merge_method,
        "dtype": "float32",
        "models": [
            *({"model": str(ct), "parameters": of_ct} for ct in cts),
            {"model": str(sft), "parameters": of_sft},
        ],
    }
    if method.merge_method != "linear":
        made["base_model"] = str(base)
    if whole:
        made["parameters"] = whole
    return made


def merge_into(made: Mapping[str, Any], folder: Path, seed: int) -> None:
    """Let mergekit merge a config into `folder`; `seed` is for the methods that drop by chance."""
    from mergekit.config import MergeConfiguration
    from mergekit.io.tasks import LoaderCache
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    LoaderCache().loaders.clear()  # the files of the merge before
    options = MergeOptions(copy_tokenizer=False, quiet=True, random_seed=seed)
    run_merge(MergeConfiguration.model_validate(made), str(folder), options)
    LoaderCache().loaders.clear()

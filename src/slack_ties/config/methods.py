"""The merge methods that `slack-ties config --method` offers, with their values and sources.

One table: the command, the card, the plan and docs/methods.md read it. `slack_ties` is ours; all
others are mergekit's own, and a test compares their parameters with the installed mergekit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from slack_ties.config.defaults import RECOMMENDED
from slack_ties.errors import RecipeError, nearest

__all__ = [
    "METHODS",
    "RANDOM",
    "Alias",
    "MergeMethod",
    "config_name",
    "find_method",
    "method_names",
]

ARXIV = "https://arxiv.org/abs/"

TASK_ARITHMETIC = f"{ARXIV}2212.04089"

# Why the values of several methods are what they are.
AS_MEASURED = "as in docs/evidence.md, where every method that trims was measured with it"

PLAIN = "weight 1 and lambda 1: each change counts in full (mergekit's default lambda)"


@dataclass(frozen=True)
class Alias:
    """Another name of a method, from a paper that uses it for a CT and an SFT model."""

    name: str  # as `--method` takes it
    title: str  # as its paper writes it
    source: str


@dataclass(frozen=True)
class MergeMethod:
    """One merge method of mergekit, and the values that a config of it gets."""

    name: str  # mergekit's, as in `merge_method:`
    title: str  # in a sentence
    formula: str  # what it does, in one line
    used: str  # when people use it, in one line
    source: str  # the address of its paper
    per_model: Mapping[str, float]  # parameters of each model, with the values that are written
    shared: Mapping[str, bool | float]  # parameters of the merge, likewise
    values: str  # where the values come from, in one line
    conflicts: str  # what becomes of opposite changes, for the card's section on limits
    cites: tuple[str, ...]  # keys in card/citations.bib
    plain: str = ""  # the formula of one CT and one SFT model with the values below
    aliases: tuple[Alias, ...] = ()  # names of that formula
    has_base: bool = True  # whether it adds changes to a base; if not, the base is not merged
    random: bool = False  # whether it draws random numbers

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of its parameters that a config of ours may set."""
        return (*self.per_model, *self.shared)

    def value(self, name: str, role: str) -> float:
        """Return the value that a config gets for a model of a role: only SFT models have slack."""
        return 0.0 if name == "slack" and role == "ct" else self.per_model[name]


KEEPS_ONE = (
    "If the models change a parameter in opposite directions, the merge keeps one of them. So the "
    "merged model can lose abilities of each model, in every language."
)

ADDS_BOTH = (
    "If the models change a parameter in opposite directions, the merge adds both changes, and "
    "they cancel each other in part. So the merged model can lose abilities of each model, in "
    "every language."
)

_ADDED = {name: RECOMMENDED[name] for name in ("normalize", "lambda")}

_METHODS = (
    MergeMethod(
        "slack_ties",
        "slack_ties",
        "TIES in which the most important changes of each model (its slack) vote on signs first",
        "a CT model whose large changes would outvote the SFT model",
        f"{ARXIV}2407.03994",
        {name: RECOMMENDED[name] for name in ("weight", "density", "slack")},
        _ADDED,
        "those that did best in docs/evidence.md",
        KEEPS_ONE,
        ("tao-etal-2024-unlocking", "yadav-etal-2023-ties"),
    ),
    MergeMethod(
        "ties",
        "TIES",
        "keep the largest changes of each model, elect a sign at each position, and merge only the "
        "changes that have it",
        "several models that were tuned from one base for different tasks",
        f"{ARXIV}2306.01708",
        {"weight": 1.0, "density": 0.5},
        {"normalize": True, "lambda": 1.0},
        f"{PLAIN}; normalize: mergekit's default, the mean of the paper; density: {AS_MEASURED}",
        KEEPS_ONE,
        ("tao-etal-2024-unlocking", "yadav-etal-2023-ties"),
    ),
    MergeMethod(
        "task_arithmetic",
        "task arithmetic",
        "add the changes of each model, times its weight, to the base",
        "chat ability for a CT model, without data for instruction tuning: the best known recipe",
        TASK_ARITHMETIC,
        {"weight": 1.0},
        _ADDED,
        f"{PLAIN}; no division: mergekit's default, and the formula of the papers",
        ADDS_BOTH,
        ("huang-etal-2024-chat", "ilharco-etal-2023-editing"),
        plain="CT + (SFT - base): the CT model plus what instruction tuning changed in the base",
        aliases=(
            Alias("chat-vector", "Chat Vector", f"{ARXIV}2310.04799"),
            Alias("param-delta", "Param-Delta", f"{ARXIV}2504.21023"),
            Alias(
                "instruction-residual",
                "instruction residuals",
                "https://openreview.net/forum?id=qE0lPCBkD4",
            ),
        ),
    ),
    MergeMethod(
        "linear",
        "linear averaging",
        "add the models, each times its weight, and divide by the sum of the weights",
        "models of the same training that differ little (model soups); the usual baseline",
        f"{ARXIV}2203.05482",
        {"weight": 1.0},
        {"normalize": True},
        "equal weights: the uniform soup of the paper; normalize: mergekit's default",
        "The merge is a mean of the models: each change counts only by its model's share. So the "
        "merged model can lose abilities of each model, in every language.",
        ("wortsman-etal-2022-model",),
        plain="(CT + SFT) / 2",
        aliases=(Alias("model-soup", "uniform soup", f"{ARXIV}2203.05482"),),
        has_base=False,
    ),
    MergeMethod(
        "breadcrumbs",
        "Model Breadcrumbs",
        "task arithmetic without the smallest and the very largest changes of each model",
        "many models, of which a few extreme changes disturb the others",
        f"{ARXIV}2312.06795",
        {"weight": 1.0, "density": 0.9, "gamma": 0.01},
        _ADDED,
        f"{PLAIN}; density 0.9 and gamma 0.01: the example of mergekit's docs/merge_methods.md",
        ADDS_BOTH,
        ("davari-belilovsky-2024-model",),
    ),
    MergeMethod(
        "sce",
        "SCE",
        "weigh each tensor of a model by the square of its changes, then elect signs as TIES does",
        "models that changed different tensors; there are no weights to choose",
        f"{ARXIV}2408.07990",
        {},
        {"select_topk": 1.0},
        "select_topk 1: mergekit's default, all positions are merged",
        KEEPS_ONE,
        ("wan-etal-2024-fusechat",),
    ),
    MergeMethod(
        "dare_ties",
        "DARE-TIES",
        "drop changes at random, enlarge the others to make up for it, then elect signs as TIES",
        "models with many small changes, such as SFT models",
        f"{ARXIV}2311.03099",
        {"weight": 1.0, "density": 0.5},
        {"normalize": False, "lambda": 1.0},
        f"{PLAIN}; no division: mergekit's default; density: {AS_MEASURED}",
        KEEPS_ONE,
        ("yu-etal-2024-language", "yadav-etal-2023-ties"),
        random=True,
    ),
    MergeMethod(
        "dare_linear",
        "DARE",
        "task arithmetic after changes were dropped at random, and the others enlarged",
        "models with many small changes, such as SFT models",
        f"{ARXIV}2311.03099",
        {"weight": 1.0, "density": 0.5},
        _ADDED,
        f"{PLAIN}; no division: mergekit's default; density: as for dare_ties",
        ADDS_BOTH,
        ("yu-etal-2024-language", "ilharco-etal-2023-editing"),
        random=True,
    ),
)

METHODS = {method.name: method for method in _METHODS}

# All methods of mergekit that draw random numbers; `config` does not offer the last two.
RANDOM = {method.name for method in _METHODS if method.random} | {"della", "della_linear"}


def method_names() -> list[str]:
    """Return all names that `find_method` knows: those of mergekit, then the others."""
    others = [alias.name for method in _METHODS for alias in method.aliases]
    return [*METHODS, *others]


def find_method(name: str | None) -> MergeMethod:
    """Return a method by one of its names; without a name, `slack_ties`.

    Raises:
        RecipeError: There is no such method, or no config is written for it.

    """
    if name is None:
        return METHODS["slack_ties"]
    wanted = name.lower().replace("-", "_")
    for method in _METHODS:
        others = (alias.name.replace("-", "_") for alias in method.aliases)
        if wanted == method.name or wanted in others:
            return method
    msg = f"unknown merge method {name!r}.{nearest(name, method_names())}"
    raise RecipeError(msg, hint=f"known: {', '.join(method_names())}")


def config_name(key: str, method: str) -> str:
    """Return the file name of a config: KEY.yml for slack_ties, KEY-METHOD.yml for others.

    So the configs of several methods for one language can be in one folder.
    """
    return f"{key}.yml" if method == "slack_ties" else f"{key}-{method}.yml"

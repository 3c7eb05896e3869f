"""The metrics of `tune`. A new metric is added here, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from slack_ties.errors import RecipeError, SlackTiesError
from slack_ties.recipe.recipe import Recipe, reference
from slack_ties.report.figures import Figures
from slack_ties.rule.tally import CONFIG, TOPS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from huggingface_hub import HfApi

    from slack_ties.report.report import Report
    from slack_ties.rule.collect import Trial

__all__ = ["METRICS", "folder_of", "geometric", "harmonic", "score_kept", "tokenizer_of"]

METRICS = ("kept", "perplexity")

IMPORTANT = TOPS.index(0.2)  # what slack 0.2 protects: docs/report.md


def tokenizer_of(recipe: Recipe) -> tuple[str, str]:
    """Return the base, and the model whose tokenizer the merged model has."""
    section = recipe.data.get("tokenizer") or {}
    source = section.get("source") or recipe.data.get("tokenizer_source") or "base"
    if source == "base":
        return recipe.base, recipe.base
    name = reference(source)
    if name not in recipe.models:
        msg = f"{recipe.where}: perplexity cannot be had with the tokenizer source {name!r}"
        raise RecipeError(msg, hint="use --metric kept, or a tokenizer of one of the models")
    return recipe.base, name


def folder_of(name: str, api: HfApi | None) -> Path:
    """Return the folder of a model, which is downloaded if need be."""
    from slack_ties.models.find import find_model  # noqa: PLC0415 - imports the client
    from slack_ties.models.names import split_reference  # noqa: PLC0415 - imports the client

    path, revision = split_reference(name)[0]
    return find_model(path, revision, api=api).path


def score_kept(report: Report, trial: Trial) -> dict[str, float]:
    """Return, by role, the share of the models' top that is in the merge, averaged over models."""
    counted = replace(report, tensors=trial.tallies)
    parts = {}
    for role in ("ct", "sft"):
        shares = []
        for place in report.of_role(role):
            share = Figures(counted.total, place).top_kept(IMPORTANT, CONFIG)
            if share is None:
                msg = f"{report.models[place].model} does not differ from the base"
                raise SlackTiesError(msg, hint="there is nothing to tune: is it the right model?")
            shares.append(share)
        parts[role] = sum(shares) / len(shares)
    return parts


def harmonic(parts: Mapping[str, float]) -> float:
    """Return the harmonic mean: it is low if one part is low."""
    return len(parts) / sum(1 / max(part, 1e-9) for part in parts.values())


def geometric(parts: Mapping[str, float]) -> float:
    """Return the geometric mean."""
    product = 1.0
    for part in parts.values():
        product *= part ** (1 / len(parts))
    return product

"""The metrics of `tune`. To add a metric, write its class here and add it to `METRICS`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from slack_ties.errors import RecipeError, SlackTiesError
from slack_ties.recipe.recipe import Recipe, reference

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slack_ties.explore.perplexity import Scorer, Text
    from slack_ties.report.report import Report
    from slack_ties.rule.collect import Trial
    from slack_ties.settings import Settings

__all__ = ["METRICS", "Kept", "Metric", "Perplexity"]


class Metric(Protocol):
    """How to score a candidate. Each search has its own instance."""

    name: ClassVar[str]  # as `--metric` takes it
    more_is_better: ClassVar[bool]
    is_share: ClassVar[bool]  # whether scores are from 0 to 1
    roles: ClassVar[tuple[str, ...]]  # the recipe must name a model for each
    runs_models: ClassVar[bool]  # whether it needs the tensors of each candidate in memory
    legend: ClassVar[Mapping[str, str]]  # what the score and its parts are, each in one line
    asks: ClassVar[str]  # the question that the score answers

    def __init__(self, recipe: Recipe, texts: Sequence[Text], settings: Settings) -> None:
        """Prepare a search."""

    @classmethod
    def check_texts(cls, texts: Sequence[str | Path | None]) -> None:
        """Refuse texts that the metric cannot use.

        Args:
            texts: The files of `--text` and `--text-sft`; None for a file that was not given.

        Raises:
            SlackTiesError: A text is missing, or would not be read.

        """

    @classmethod
    def check_recipe(cls, recipe: Recipe) -> None:
        """Refuse a recipe that the metric cannot score, before a model is read.

        Raises:
            RecipeError: The message says what is missing.

        """

    def parts(self, report: Report, trial: Trial) -> dict[str, float]:
        """Return the partial scores of a candidate, by their names."""

    def score(self, parts: Mapping[str, float]) -> float:
        """Return the score to compare candidates by."""


class Kept:
    """The share of each side's most important parameters that the merge keeps.

    It runs no model. The score is the harmonic mean of both sides: it is low if one side is low.
    """

    name = "kept"
    more_is_better = True
    is_share = True
    roles = ("sft", "ct")
    runs_models = False
    legend: ClassVar = {
        "kept": "harmonic mean of ct and sft: low if one of them is low",
        "ct": "share of the 20 % largest deltas of the CT models that is in the merge",
        "sft": "the same, of the SFT models",
    }
    asks = "which values keep most of the CT and the SFT models together"

    def __init__(self, recipe: Recipe, texts: Sequence[Text], settings: Settings) -> None:
        """Prepare a search: this metric needs nothing."""

    @classmethod
    def check_texts(cls, texts: Sequence[str | Path | None]) -> None:
        """Refuse texts: this metric would not read them."""
        if any(texts):
            msg = "a text needs --metric perplexity"
            raise SlackTiesError(msg)

    @classmethod
    def check_recipe(cls, recipe: Recipe) -> None:
        """Accept any recipe."""

    def parts(self, report: Report, trial: Trial) -> dict[str, float]:
        """Return, by role, the share of the models' top 20 % that the merge keeps."""
        from slack_ties.report.figures import Figures  # noqa: PLC0415 - imports numpy
        from slack_ties.rule.tally import CONFIG, TOPS  # noqa: PLC0415 - imports numpy

        top_20_percent = TOPS.index(0.2)  # slack 0.2 protects it: docs/report.md
        counted = replace(report, tensors=trial.tallies)
        parts = {}
        for role in ("ct", "sft"):
            shares = []
            for number in report.of_role(role):
                share = Figures(counted.total, number).top_kept(top_20_percent, CONFIG)
                if share is None:
                    msg = f"{report.models[number].model} does not differ from the base"
                    hint = "choose another model: with this one there is nothing to tune"
                    raise SlackTiesError(msg, hint=hint)
                shares.append(share)
            parts[role] = sum(shares) / len(shares)
        return parts

    def score(self, parts: Mapping[str, float]) -> float:
        """Return the harmonic mean."""
        return len(parts) / sum(1 / max(part, 1e-9) for part in parts.values())


class Perplexity:
    """The perplexity of each candidate on the user's texts; for two, the geometric mean."""

    name = "perplexity"
    more_is_better = False
    is_share = False
    roles = ("sft",)
    runs_models = True
    legend: ClassVar = {
        "perplexity": "that of the merged model; for two texts, their geometric mean",
        "text": "perplexity on the text of --text",
        "text sft": "perplexity on the text of --text-sft",
    }
    asks = "which values predict your texts best"

    def __init__(self, recipe: Recipe, texts: Sequence[Text], settings: Settings) -> None:
        """Prepare a search. The first candidate builds the model."""
        self.recipe, self.texts, self.settings = recipe, texts, settings
        self.scorer: Scorer | None = None

    @classmethod
    def check_texts(cls, texts: Sequence[str | Path | None]) -> None:
        """Refuse a missing text in the language."""
        if not texts[0]:
            msg = "perplexity needs a text in the language"
            raise SlackTiesError(msg, hint="--text FILE, some KB in UTF-8")

    @classmethod
    def check_recipe(cls, recipe: Recipe) -> None:
        """Refuse a tokenizer that does not come from one of the models."""
        _tokenizer_of(recipe)

    def parts(self, report: Report, trial: Trial) -> dict[str, float]:  # noqa: ARG002 - see Metric
        """Return the perplexity on each text."""
        if self.scorer is None:
            from slack_ties.explore.perplexity import Scorer  # noqa: PLC0415 - heavy

            base, tokenizer = map(self._folder, _tokenizer_of(self.recipe))
            self.scorer = Scorer(base, tokenizer, self.texts, self.settings.device)
        found = self.scorer.score(trial.tensors)
        return dict(zip(("text", "text sft"), found, strict=False))

    def score(self, parts: Mapping[str, float]) -> float:
        """Return the geometric mean."""
        product = 1.0
        for part in parts.values():
            product *= part ** (1 / len(parts))
        return product

    def _folder(self, name: str) -> Path:
        """Return the folder of a model; download it if necessary."""
        from slack_ties.models.find import find_model  # noqa: PLC0415 - imports the client
        from slack_ties.models.names import split_reference  # noqa: PLC0415 - imports the client

        path, revision = split_reference(name)[0]
        return find_model(path, revision, api=self.settings.api).path


def _tokenizer_of(recipe: Recipe) -> tuple[str, str]:
    """Return the base, and the model that gives the merged model its tokenizer."""
    section = recipe.data.get("tokenizer") or {}
    source = section.get("source") or recipe.data.get("tokenizer_source") or "base"
    if source == "base":
        return recipe.base, recipe.base
    name = reference(source)
    if name not in recipe.models:
        msg = f"{recipe.where}: perplexity does not work with the tokenizer source {name!r}"
        raise RecipeError(msg, hint="use --metric kept, or a tokenizer of one of the models")
    return recipe.base, name


METRICS: Mapping[str, Any] = {metric.name: metric for metric in (Kept, Perplexity)}

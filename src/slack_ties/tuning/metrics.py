"""The metrics of `tune` that need no task. To add one, write its class and add it to `METRICS`."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from slack_ties.errors import RecipeError, SlackTiesError
from slack_ties.tuning.means import Means

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from slack_ties.harness.how import Loaded
    from slack_ties.recipe.recipe import Recipe
    from slack_ties.report.report import Report
    from slack_ties.settings import Settings
    from slack_ties.tuning.perplexity import Text

__all__ = ["METRICS", "Kept", "Made", "Measured", "Metric", "Perplexity"]

LOG = logging.getLogger("slack_ties")

ALONE = (
    "a text in the language alone does not show what the SFT model can do, so the best perplexity "
    "has little or no slack; tasks show it: slack-ties tune CONFIG --metric tasks"
)


@dataclass(frozen=True)
class Made:
    """A candidate that was merged in memory."""

    report: Report | None  # what it keeps and loses; of slack_ties and ties
    # Builds the model, on the device of the settings; the argument is its type, as torch names it.
    build: Callable[[str], Loaded]


@dataclass(frozen=True)
class Measured:
    """What a metric says of a candidate."""

    score: float  # to compare candidates by
    parts: Mapping[str, float]  # partial scores, by their names
    errors: Mapping[str, float] = field(default_factory=dict)  # as in TrialResult
    items: Mapping[str, tuple[float, ...]] = field(default_factory=dict)  # as in TrialResult


class Metric(Protocol):
    """How to score a candidate. Each search has its own instance."""

    @property
    def name(self) -> str:
        """What the score is called, in the table."""

    @property
    def more_is_better(self) -> bool:
        """Whether a larger score is better."""

    @property
    def is_share(self) -> bool:
        """Whether scores are from 0 to 1."""

    @property
    def roles(self) -> tuple[str, ...]:
        """The recipe must name a model for each."""

    @property
    def runs_models(self) -> bool:
        """Whether it needs the tensors of each candidate in memory."""

    @property
    def means(self) -> Means:
        """How tasks count in the score."""

    @property
    def legend(self) -> Mapping[str, str]:
        """What the score and its parts are, each in one line."""

    @property
    def asks(self) -> str:
        """The question that the score answers."""

    def check_texts(self, texts: Sequence[str | Path | None]) -> None:
        """Refuse texts that the metric cannot use.

        Args:
            texts: The files of `--text` and `--text-sft`; None for a file that was not given.

        Raises:
            SlackTiesError: A text is missing, or would not be read.

        """

    def check_recipe(self, recipe: Recipe, methods: Sequence[str]) -> None:
        """Refuse a recipe or a method that the metric cannot score, before a model is read.

        Raises:
            RecipeError: The message says what is missing.

        """

    def prepare(self, texts: Sequence[Text], settings: Settings) -> None:
        """Get ready to measure."""

    def measure(self, made: Made) -> Measured:
        """Return the score of a candidate."""


class Kept:
    """The share of each side's most important parameters that the merge keeps.

    It runs no model. The score is the harmonic mean of both sides: it is low if one side is low.
    """

    name = "kept"
    more_is_better = True
    is_share = True
    roles = ("sft", "ct")
    runs_models = False
    means = Means()
    legend: ClassVar = {
        "kept": "harmonic mean of ct and sft: low if one of them is low",
        "ct": "share of the 20 % largest deltas of the CT models that is in the merge",
        "sft": "the same, of the SFT models",
    }
    asks = "which values keep most of the CT and the SFT models together"

    def check_texts(self, texts: Sequence[str | Path | None]) -> None:
        """Refuse texts: this metric would not read them."""
        if any(texts):
            msg = "a text needs --metric perplexity"
            raise SlackTiesError(msg)

    def check_recipe(self, recipe: Recipe, methods: Sequence[str]) -> None:
        """Refuse all methods but slack_ties and ties: only they say what they keep."""
        from slack_ties.tuning.candidates import IN_ONE_PASS  # noqa: PLC0415 - heavy

        if others := [name for name in (recipe.method, *methods) if name not in IN_ONE_PASS]:
            msg = f"--metric kept scores only {' and '.join(IN_ONE_PASS)}, not {others[0]}: what "
            msg += "a merge keeps is counted in their election"
            hint = "--metric perplexity --text FILE  # or tasks of lm-eval: --metric TASKS"
            raise RecipeError(msg, hint=hint)

    def prepare(self, texts: Sequence[Text], settings: Settings) -> None:
        """Do nothing: this metric needs nothing."""

    def measure(self, made: Made) -> Measured:
        """Return, by role, the share of the models' top 20 % that the merge keeps, and the mean."""
        from slack_ties.report.figures import Figures  # noqa: PLC0415 - imports numpy
        from slack_ties.rule.tally import CONFIG, TOPS  # noqa: PLC0415 - imports numpy

        top_20_percent = TOPS.index(0.2)  # slack 0.2 protects it: docs/report.md
        counted: Any = made.report
        parts = {}
        for role in ("ct", "sft"):
            shares = []
            for number in counted.of_role(role):
                share = Figures(counted.total, number).top_kept(top_20_percent, CONFIG)
                if share is None:
                    msg = f"{counted.models[number].model} does not differ from the base"
                    hint = "choose another model: with this one there is nothing to tune"
                    raise SlackTiesError(msg, hint=hint)
                shares.append(share)
            parts[role] = sum(shares) / len(shares)
        return Measured(len(parts) / sum(1 / max(part, 1e-9) for part in parts.values()), parts)


class Perplexity:
    """The perplexity of each candidate on the user's texts; for two, the geometric mean."""

    name = "perplexity"
    more_is_better = False
    is_share = False
    roles = ("sft",)
    runs_models = True
    means = Means()
    legend: ClassVar = {
        "perplexity": "that of the merged model; for two texts, their geometric mean",
        "text": "perplexity on the text of --text",
        "text sft": "perplexity on the text of --text-sft",
    }
    asks = "which values predict your texts best"

    def __init__(self) -> None:
        """Prepare nothing: the first candidate brings the tokenizer."""
        self.texts: Sequence[Text] = ()
        self.dtype = "float32"

    def check_texts(self, texts: Sequence[str | Path | None]) -> None:
        """Refuse a missing text in the language."""
        if not texts[0]:
            msg = "perplexity needs a text in the language"
            raise SlackTiesError(msg, hint="--text FILE, some KB in UTF-8")

    @property
    def doubts(self) -> list[str]:
        """What weakens the result: there is no text of the SFT model's language or task."""
        return [ALONE] if len(self.texts) == 1 else []

    def check_recipe(self, recipe: Recipe, methods: Sequence[str]) -> None:
        """Accept any recipe."""

    def prepare(self, texts: Sequence[Text], settings: Settings) -> None:
        """Take the texts; half precision is slow on a CPU."""
        self.texts = texts
        for line in self.doubts:
            LOG.warning("  %s", line)
        self.dtype = "float32" if settings.device == "cpu" else "float16"

    def measure(self, made: Made) -> Measured:
        """Return the perplexity on each text, and their geometric mean."""
        from slack_ties.tuning.perplexity import perplexities  # noqa: PLC0415 - heavy

        found = perplexities(made.build(self.dtype), self.texts)
        parts = dict(zip(("text", "text sft"), found, strict=False))
        product = 1.0
        for part in parts.values():
            product *= part ** (1 / len(parts))
        return Measured(product, parts)


METRICS: Mapping[str, Any] = {metric.name: metric for metric in (Kept, Perplexity)}

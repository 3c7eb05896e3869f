"""Merge and score the candidates of `tune`."""

from __future__ import annotations

import logging
import math
from contextlib import contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from slack_ties.explore.study import Study, TrialResult, key_of
from slack_ties.files import sha256_of
from slack_ties.recipe.recipe import FACTS_KEY, RECIPE_VERSION, Recipe, reference
from slack_ties.rule.collect import Trial
from slack_ties.rule.parameters import PARAMETERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from slack_ties.explore.metrics import Metric
    from slack_ties.explore.search import Search
    from slack_ties.merge.inputs import Found
    from slack_ties.settings import Settings

__all__ = ["Trials", "config_values", "is_unedited", "with_values"]

LOG = logging.getLogger("slack_ties")

# The second line of a tuned config begins so: by the checksum we see whether somebody edited it.
SEAL = "# slack-ties tune replaces this file only if all other lines have the checksum "

MOST_SLACK = 0.5  # upper limit for Optuna: above it, the SFT model decides almost everything

# The share of free memory that the candidates of one pass may use.
MEMORY_SHARE = 0.4

AT_ONCE = 8  # trials in a pass if memory is no limit; an interruption loses at most these


class Trials:
    """One search: it takes results from the study, and merges candidates that are not in it."""

    def __init__(
        self,
        recipe: Recipe,
        metric: Metric,
        study: Study,
        settings: Settings,
    ) -> None:
        """Prepare a search; nothing is merged yet."""
        self.recipe, self.metric, self.study, self.settings = recipe, metric, study, settings
        self.as_it_is = config_values(recipe)
        self.found: Found | None = None

    @contextmanager
    def resumable(self) -> Iterator[None]:
        """Say, if the search is stopped, how to go on."""
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            LOG.warning(
                "  stopped: the same command goes on; %d finished trials are in %s",
                len(self.study.results),
                self.study.path,
            )
            raise

    def by_grid(self, grid: Sequence[dict[str, float]]) -> list[dict[str, float]]:
        """Try all candidates of a grid, as many in a pass as memory allows; return the trials."""
        grid = list({key_of(one): one for one in map(self._changed, grid)}.values())
        left = [values for values in grid if key_of(values) not in self.study.results]
        if len(left) < len(grid):
            LOG.info(
                "  %d of %d trials are in %s", len(grid) - len(left), len(grid), self.study.path
            )
        at_once = self._fit() if self.metric.runs_models else AT_ONCE
        for start in range(0, len(left), at_once):
            self._try(left[start : start + at_once], start, len(left))
        return grid

    def by_optuna(self, search: Search) -> list[dict[str, float]]:
        """Let Optuna choose one trial after the other; do not repeat a trial of the study."""
        import optuna  # noqa: PLC0415 - an extra

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        limits = {
            name: (min(values), max(values))
            for name in ("density", "weight")
            if (values := getattr(search, name))
        }
        limits["slack"] = (0.0, MOST_SLACK)
        # With a fixed seed, the same scores lead to the same trials, so a study can be continued.
        study = optuna.create_study(
            direction="maximize" if self.metric.more_is_better else "minimize",
            sampler=optuna.samplers.TPESampler(seed=0),
        )
        tried: list[dict[str, float]] = [{}]
        self.by_grid(tried)
        for number in range(search.trials):
            trial = study.ask()
            values = {
                name: trial.suggest_float(name, low, high, step=0.01 if low < high else None)
                for name, (low, high) in sorted(limits.items())
            }
            values = self._changed({name: round(value, 6) for name, value in values.items()})
            if key_of(values) not in self.study.results:
                self._try([values], number, search.trials)
            study.tell(trial, self.study.results[key_of(values)].score)
            if values not in tried:
                tried.append(values)
        return tried

    def _changed(self, values: dict[str, float]) -> dict[str, float]:
        """Return a candidate; {} if it has the values of the config: that is one trial, not two."""
        same = all(self.as_it_is.get(name) == value for name, value in values.items())
        return {} if same else values

    def _fit(self) -> int:
        """Return how many candidates fit into memory besides the model that runs."""
        import psutil  # noqa: PLC0415

        from slack_ties.plan.make import plan_merge  # noqa: PLC0415 - imports the Hub client

        plan = plan_merge(self.recipe, **vars(self.settings))
        size = max(plan.parameters * 4, 1)  # at most float32
        return max(1, int(MEMORY_SHARE * psutil.virtual_memory().available / size) - 1)

    def _try(self, batch: Sequence[dict[str, float]], done: int, total: int) -> None:
        """Merge a batch in one pass over the models, and score each candidate."""
        from slack_ties.merge.in_memory import merge_in_memory  # noqa: PLC0415 - heavy
        from slack_ties.merge.inputs import find_all  # noqa: PLC0415 - as above

        if not batch:
            return
        if self.found is None:  # once for all trials: candidates have the same models
            self.found = find_all(self.recipe, None, self.settings)
        keep = self.metric.runs_models
        trials = [Trial(values, keep=keep) for values in batch]
        names = [key_of(values) for values in batch]
        LOG.info(
            "  trials %d to %d of %d: %s", done + 1, done + len(batch), total, "; ".join(names)
        )
        report = merge_in_memory(
            self.recipe,
            self.study.path.parent,
            take=lambda name, tensor: _cast(trials, name, tensor) if keep else None,
            trials=trials,
            settings=self.settings,
            found=self.found,
        )
        for trial in trials:
            parts = self.metric.parts(report, trial)
            score = self.metric.score(parts)
            self.study.add(TrialResult(trial.values, score, parts))
            trial.tensors.clear()
            LOG.info("  %s: %s %.4f", key_of(trial.values), self.metric.name, score)


def _cast(trials: Sequence[Trial], name: str, tensor: Any) -> None:
    """Store a tensor for each candidate in the result's type; unmerged tensors are the same."""
    for trial in trials:
        trial.tensors[name] = trial.tensors.get(name, tensor).to(tensor.dtype).cpu()


def config_values(recipe: Recipe) -> dict[str, float]:
    """Return the values that a config has now, of what `tune` changes.

    A value is left out if it is no plain number, or differs among the models that `tune` changes.
    """
    shared = recipe.data.get("parameters") or {}
    sft = recipe.models_of("sft")
    values = {}
    for parameter in PARAMETERS:
        if not parameter.per_model:
            continue
        found = set()
        for part in recipe.data["models"]:
            name = reference(part["model"])
            if name != recipe.base and (parameter.name == "density" or name in sft):
                own = {**shared, **(part.get("parameters") or {})}
                try:
                    found.add(float(parameter.check(own.get(parameter.name, parameter.default))))
                except ValueError:  # for example a gradient
                    found.add(math.nan)
        if len(found) == 1 and math.isfinite(value := found.pop()):
            values[parameter.name] = value
    return values


def with_values(recipe: Recipe, best: TrialResult, metric: str) -> str:
    """Return the text of a config with the values of a trial and the roles of its models."""
    import yaml  # noqa: PLC0415

    data: dict[str, Any] = deepcopy(dict(recipe.data))
    sft = recipe.models_of("sft")
    for part in data["models"]:
        name = reference(part["model"])
        if name == recipe.base:
            continue
        parameters = part.setdefault("parameters", {})
        for key, value in best.values.items():
            if key == "density" or name in sft:
                parameters[key] = value
    if "slack" in best.values:
        data["merge_method"] = "slack_ties"
    if not recipe.facts.roles:  # with slack 0, nothing else would identify the SFT model
        facts = dict(data.get(FACTS_KEY) or {"recipe": RECIPE_VERSION})
        roles = {role: list(recipe.models_of(role)) for role in ("ct", "sft")}
        data[FACTS_KEY] = {**facts, "roles": {k: v for k, v in roles.items() if v}}
    head = (
        f"# The best of `slack-ties tune` by {metric}: {key_of(best.values)} ({best.score:.6g})\n"
    )
    return _sealed(head, yaml.safe_dump(data, sort_keys=False, allow_unicode=True))


def _sealed(head: str, body: str) -> str:
    """Return the text of a tuned config: the head, a line with a checksum, and the body."""
    return f"{head}{SEAL}{sha256_of(head + body)}\n{body}"


def is_unedited(path: Path) -> bool:
    """Return whether `tune` wrote a file, and nobody edited it since."""
    try:
        text = path.read_bytes().decode()
    except (OSError, ValueError):
        return False
    head, _, rest = text.partition(SEAL)
    return text == _sealed(head, rest.partition("\n")[2])

"""Merge and score the candidates of `tune`."""

from __future__ import annotations

import itertools
import logging
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from slack_ties.errors import SlackTiesError
from slack_ties.models.state import commits_of
from slack_ties.rule.collect import Trial
from slack_ties.tuning.alike import mark_of, result_of
from slack_ties.tuning.candidates import (
    IN_ONE_PASS,
    Candidate,
    as_method,
    changed_recipe,
    config_values,
    parameters_of,
)
from slack_ties.tuning.metrics import Made, Measured, Metric
from slack_ties.tuning.search import MOST_SLACK, Search
from slack_ties.tuning.verdict import in_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch

    from slack_ties.merge.inputs import Found
    from slack_ties.recipe.recipe import Recipe
    from slack_ties.settings import Settings
    from slack_ties.tuning.study import Study, TrialResult

__all__ = ["Trials"]

LOG = logging.getLogger("slack_ties")

# The share of free memory that the candidates of one pass may use.
MEMORY_SHARE = 0.4

AT_ONCE = 8  # trials in a pass if memory is no limit; an interruption loses at most these

SEED = 0  # for methods that draw random numbers, if no option sets another: mergekit's own draws


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
        self.found: dict[str, Found] = {}  # by the name of the method
        self.made: dict[str, TrialResult] = {}  # of what this process merged, by `mark_of`
        self.passes = 0  # over the models, of all that are left to try

    @contextmanager
    def resumable(self) -> Iterator[None]:
        """Say, if the search is stopped, how to go on."""
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            LOG.warning(
                "  stopped: %s", self.study.when_stopped(items=self.metric.means.tasks != ())
            )
            raise

    def by_grid(self, search: Search) -> list[Candidate]:
        """Try all candidates of a grid, as many in a pass as memory allows; return the trials."""
        return self._all(
            [
                Candidate(method, values)
                for method in ("", *self._others(search))
                for values in self._grid(search, method)
            ]
        )

    def by_optuna(self, search: Search) -> list[Candidate]:
        """Let Optuna choose one trial after the other; do not repeat a trial of the study."""
        import optuna  # noqa: PLC0415 - an extra

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        # With a fixed seed, the same scores lead to the same trials, so a study can be continued.
        study = optuna.create_study(
            direction="maximize" if self.metric.more_is_better else "minimize",
            sampler=optuna.samplers.TPESampler(seed=0),
        )
        self.passes = search.trials + 1
        tried = self._all([Candidate()])
        methods = [name for name in ("", *self._others(search)) if name or self._own(search)]
        for number in range(search.trials):
            trial = study.ask()
            method = methods[0]
            if len(methods) > 1:
                method = trial.suggest_categorical("method", methods)
            values = {}
            for name, found in sorted(search.ranges(self._parameters(search, method)).items()):
                low, high = (0.0, MOST_SLACK) if name == "slack" else (min(found), max(found))
                step = 0.01 if low < high else None
                values[name] = round(trial.suggest_float(name, low, high, step=step), 6)
            candidate = self._changed(Candidate(method, values))
            if candidate.key not in self.study.results:
                self._try([candidate], number, search.trials)
            study.tell(trial, self.study.results[candidate.key].score)
            if candidate not in tried:
                tried.append(candidate)
        return tried

    def hold_out(
        self, candidates: Sequence[Candidate], measure: Callable[[Made], Measured]
    ) -> list[TrialResult]:
        """Score candidates on held-out items, each once in the life of the study.

        Args:
            candidates: The config as it is, and the best one.
            measure: Scores a candidate on the held-out items.

        """
        left = [one for one in candidates if one.key not in self.study.held_out]
        if left:
            LOG.info("  held-out items: %s", "; ".join(one.key for one in left))
        for group in self._passes(left):
            for candidate, made in self._merge(group):
                self.study.add_held_out(result_of(candidate, measure(made), made))
        return [self.study.held_out[one.key] for one in candidates]

    def _own(self, search: Search) -> bool:
        """Say whether other values of the config's own method are tried."""
        return not search.methods or self.recipe.method in search.methods

    def _others(self, search: Search) -> list[str]:
        return [name for name in search.methods if name != self.recipe.method]

    def _parameters(self, search: Search, method: str) -> tuple[str, ...]:
        """Return the parameters to try; a config of ties is tried with slack too."""
        own = self.recipe.method
        if not method and not search.methods and own in IN_ONE_PASS:
            return parameters_of("slack_ties")
        return parameters_of(method or own)

    def _grid(self, search: Search, method: str) -> list[dict[str, float]]:
        if not method and not self._own(search):
            return [{}]
        grid = search.grid(self._parameters(search, method))
        # Only the config's own method has candidates without values: the config as it is.
        return grid if not method or len(grid) == 1 else grid[1:]

    def _all(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        grid = list({one.key: one for one in map(self._changed, candidates)}.values())
        left = [one for one in grid if one.key not in self.study.results]
        if len(left) < len(grid):
            LOG.info(
                "  %d of %d trials are in %s", len(grid) - len(left), len(grid), self.study.path
            )
        done, groups = 0, list(self._passes(left))
        self.passes = self.passes or len(groups)
        for group in groups:
            self._try(group, done, len(left))
            done += len(group)
        return grid

    def _changed(self, candidate: Candidate) -> Candidate:
        """Return a candidate, or the config as it is if the values are its own: one trial."""
        same = not candidate.method and all(
            self.as_it_is.get(name) == value for name, value in candidate.values.items()
        )
        return Candidate() if same else candidate

    def _passes(self, candidates: Sequence[Candidate]) -> Iterator[list[Candidate]]:
        """Yield the candidates of each pass over the models."""
        for (_, several), group in itertools.groupby(
            candidates, key=lambda one: (one.method, self._in_one_pass(one))
        ):
            at_once = (self._fits if self.metric.runs_models else AT_ONCE) if several else 1
            every = list(group)
            for start in range(0, len(every), at_once):
                yield every[start : start + at_once]

    def _in_one_pass(self, candidate: Candidate) -> bool:
        """Say whether our method can make a candidate while it makes others.

        It merges `ties` as mergekit does but for the last bits. That is enough to count. A model
        that runs is the one that mergekit merges: its scores are those of the written model.
        """
        method = "slack_ties" if "slack" in candidate.values else candidate.method
        method = method or self.recipe.method
        return method == "slack_ties" or (method in IN_ONE_PASS and not self.metric.runs_models)

    @cached_property
    def _fits(self) -> int:
        """How many candidates fit into memory besides the model that runs."""
        import psutil  # noqa: PLC0415

        from slack_ties.plan.make import plan_merge  # noqa: PLC0415 - imports the Hub client

        plan = plan_merge(self.recipe, **vars(self.settings))
        size = max(plan.parameters * 4, 1)  # at most float32
        return max(1, int(MEMORY_SHARE * psutil.virtual_memory().available / size) - 1)

    def _try(self, batch: Sequence[Candidate], done: int, total: int) -> None:
        """Merge a batch in one pass over the models, and score each candidate."""
        names = "; ".join(one.key for one in batch)
        first, last = done + 1, done + len(batch)
        which = f"trial {first}" if first == last else f"trials {first} to {last}"
        LOG.info("  %s of %d: %s", which, total, names)
        for candidate, made in self._merge(batch):
            mark = mark_of(candidate, made, self.as_it_is)
            if twin := self.made.get(mark):
                LOG.info("  %s: the same merge as %s", candidate.key, twin.key)
                result = replace(twin, values=candidate.values, method=candidate.method)
            else:
                result = result_of(candidate, self.metric.measure(made), made)
            if mark:
                self.made.setdefault(mark, result)
            self.study.add(result)
            LOG.info("  %s: %s %s", candidate.key, self.metric.name, in_words(result))

    def _merge(self, batch: Sequence[Candidate]) -> Iterator[tuple[Candidate, Made]]:
        """Yield candidates of one method, merged in memory in one pass over the models."""
        from slack_ties.merge.in_memory import make_collector, merge_unwritten  # noqa: PLC0415
        from slack_ties.report.describe import describe  # noqa: PLC0415 - heavy
        from slack_ties.running.in_memory_model import Builder  # noqa: PLC0415 - heavy

        found = self._find(batch[0].method)
        recipe, keep = found.recipe, self.metric.runs_models
        trials = [Trial(one.values, keep=keep) for one in batch]
        collector = None
        if self._in_one_pass(batch[0]):
            collector = make_collector(recipe, found.snapshots, trials)
        else:
            found = found._replace(recipe=changed_recipe(recipe, batch[0].values))
        unwritten = merge_unwritten(
            found.recipe,
            self.study.path.parent,
            take=lambda name, tensor: _cast(trials, name, tensor) if keep else None,
            collector=collector,
            settings=self._seeded(recipe.method),
            found=found,
        )
        report = describe(recipe, collector) if collector else None
        builder = Builder(unwritten) if keep else None
        for candidate, trial in zip(batch, trials, strict=True):

            def build(dtype: str, trial: Trial = trial) -> Any:
                if builder is None:
                    msg = f"the metric {self.metric.name} runs no models"
                    raise SlackTiesError(msg)
                return builder.build(trial.tensors, device=self.settings.device, dtype=dtype)

            own = replace(report, tensors=trial.tallies) if report else None
            yield candidate, Made(own, build)
            trial.tensors.clear()

    def _find(self, method: str) -> Found:
        """Check all inputs of a method's merge, once: its candidates have the same models."""
        from slack_ties.merge.inputs import find_all  # noqa: PLC0415 - heavy
        from slack_ties.running.in_memory_model import check_memory  # noqa: PLC0415 - heavy

        if method not in self.found:
            recipe = as_method(self.recipe, method) if method else self.recipe
            self.found[method] = find_all(recipe, None, self.settings)
            self.study.check_commits(commits_of(self.found[method].snapshots))
            self.found[method].say_reads(self.passes if len(self.found) == 1 else 0)
            if self.metric.runs_models:
                check_memory(self.found[method])
        return self.found[method]

    def _seeded(self, method: str) -> Settings:
        """Return the settings with a seed, or a method that draws could not be resumed."""
        from slack_ties.config.methods import RANDOM  # noqa: PLC0415

        options = self.settings.options
        if method not in RANDOM or (options and options.random_seed is not None):
            return self.settings
        from mergekit.options import MergeOptions  # noqa: PLC0415 - seconds to import

        from slack_ties.merge.options import DEFAULTS  # noqa: PLC0415

        options = options or MergeOptions(**DEFAULTS, quiet=self.settings.quiet)
        return replace(self.settings, options=options.model_copy(update={"random_seed": SEED}))


def _cast(trials: Sequence[Trial], name: str, tensor: torch.Tensor) -> None:
    """Store a tensor for each candidate in the result's type; unmerged tensors are the same."""
    for trial in trials:
        trial.tensors[name] = trial.tensors.get(name, tensor).to(tensor.dtype).cpu()

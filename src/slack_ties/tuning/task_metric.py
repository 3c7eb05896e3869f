"""The metric of `tune` that runs tasks of lm-eval: on one half of the items of each task.

The other half is for the winner and the config as it was, when all is chosen. A score that was the
best of several on some items is too high for these items: it was lucky there, too.
"""

from __future__ import annotations

import gc
import itertools
import logging
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slack_ties.errors import RecipeError, SlackTiesError, nearest
from slack_ties.evaluation.differences import is_mean_of_items
from slack_ties.evaluation.statistics import standard_error
from slack_ties.harness.extra import check_lm_eval
from slack_ties.harness.items import contents_of, corpus_tasks, definitions_of
from slack_ties.harness.score import How, score_model
from slack_ties.harness.tasks import known_tasks, load_tasks
from slack_ties.progress import Progress
from slack_ties.running.tasks import chosen_tasks, load_usual, offering_tasks
from slack_ties.tuning.means import Means
from slack_ties.tuning.metrics import METRICS, Made, Measured
from slack_ties.tuning.split import FEW, split_tasks
from slack_ties.wording import counted, join_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from slack_ties.recipe.recipe import Recipe
    from slack_ties.settings import Settings
    from slack_ties.tuning.perplexity import Text

__all__ = ["OF_LANGUAGE", "TaskMetric", "TaskOptions", "named_tasks"]

LOG = logging.getLogger("slack_ties")

OF_LANGUAGE = "tasks"  # the tasks of the config's language, and the English ones


@dataclass(frozen=True)
class TaskOptions:
    """How tasks are run."""

    include: tuple[Path, ...] = ()  # folders with task files of the user
    limit: int | None = None  # items of each task; all if None
    fewshot: int | None = None  # examples before each item; as each task says if None
    batch_size: str = ""  # as lm-eval takes it; empty: auto on a GPU, 1 on a CPU
    chat_template: bool = False  # put each item into that of the model
    seed: int = 0  # decides which items are held out


class TaskMetric:
    """The mean of the tasks' main metrics, on the items to choose by; see `Means`."""

    more_is_better = True
    is_share = True
    roles = ("sft",)
    runs_models = True
    asks = "which values answer these tasks best"

    def __init__(self, names: str, options: TaskOptions, recipe: Recipe) -> None:
        """Load tasks and data, and split the items.

        Args:
            names: Names of tasks as `--metric` takes them, with commas; or OF_LANGUAGE.
            options: How to run them.
            recipe: The config: it says its language.

        Raises:
            SlackTiesError: lm-eval is not installed, or a task cannot be used.

        """
        wanted, about, usual = named_tasks(names, recipe)
        self.version = check_lm_eval()
        _check_names(wanted, options.include)
        self.options = options
        how: dict[str, Any] = {
            "about": about,
            "include": options.include,
            "limit": options.limit,
            "fewshot": options.fewshot,
        }
        # The usual tasks go without those whose data is behind a gate.
        with offering_tasks(recipe, recipe.where):
            self.loaded = load_usual(wanted, **how) if usual else load_tasks(wanted, **how)
        self.tasks = self.loaded.tasks
        self.means = Means(tuple(self.tasks))
        self._check_tasks()
        self.contents = contents_of(self.loaded)
        self.halves = split_tasks(self.contents, seed=options.seed)
        for line in self.doubts:
            LOG.warning("  %s", line)

    @property
    def name(self) -> str:
        """The task, or what the score of several is."""
        return self.tasks[0].name if len(self.tasks) == 1 else "mean"

    @property
    def legend(self) -> Mapping[str, str]:
        """What the score and the parts are."""
        found = self.means.legend()
        for task in self.tasks:
            count = counted(len(self.halves[task.name][0]), "item")
            guess = (
                f"; guessing scores {100 * task.chance:.1f} %" if task.chance is not None else ""
            )
            found[task.name] = f"{task.metric} of {count}{guess}"
        return found

    @property
    def doubts(self) -> list[str]:
        """What weakens the result: tasks with few items, or with the same items."""
        return [*self._few(), *self._shared()]

    def _few(self) -> list[str]:
        few = [name for name, (_, other) in self.halves.items() if len(other) < FEW]
        if not few:
            return []
        least = min(len(half) for name in few for half in self.halves[name])
        line = f"{join_names(few)}: {counted(least, 'item')} in a half; with fewer than {FEW}, "
        return [line + "hardly any difference can be decided"]

    def _shared(self) -> list[str]:
        """Name tasks with the same items: then their errors are not independent."""
        contents = {name: set(found) for name, found in self.contents.items()}
        pairs = itertools.combinations(contents, 2)
        alike = [f"{a} and {b}" for a, b in pairs if contents[a] & contents[b]]
        line = "have items in common, so the error of the mean is larger than it says"
        return [f"{one} {line}" for one in alike[:1]]

    @property
    def about(self) -> dict[str, object]:
        """What the scores of a study depend on, beside the config."""
        defined = definitions_of(self.loaded)
        groups = {name: len(tasks) for name, tasks in self.means.groups.items()}
        return {
            "tasks": [
                [
                    *(task.name, task.version, task.metric, task.fewshot, task.items, task.docs),
                    defined[task.name],
                ]
                for task in self.tasks
            ],
            "chat_template": self.options.chat_template,
            "seed": self.options.seed,
            "lm_eval": self.version,
            **({"counts": groups} if groups else {}),
        }

    def check_texts(self, texts: Sequence[str | Path | None]) -> None:
        """Refuse texts: tasks bring their own."""
        if any(texts):
            msg = "--text and --text-sft are for --metric perplexity: tasks have texts of their own"
            raise SlackTiesError(msg, hint="leave --text out  # or --metric perplexity")

    def check_recipe(self, recipe: Recipe, methods: Sequence[str]) -> None:
        """Accept any recipe."""

    def prepare(self, texts: Sequence[Text], settings: Settings) -> None:  # noqa: ARG002 - see Metric
        """Take the device."""
        self.quiet = settings.quiet or bool(settings.options and settings.options.quiet)
        self.how = How(
            device=settings.device,
            batch_size=self.options.batch_size,
            chat_template=self.options.chat_template,
        )

    def measure(self, made: Made) -> Measured:
        """Return the scores of a candidate on the items to choose by."""
        return self._score(made, 0)

    def measure_held_out(self, made: Made) -> Measured:
        """Return the scores of a candidate on the other items."""
        return self._score(made, 1)

    def _score(self, made: Made, half: int) -> Measured:
        items = {name: halves[half] for name, halves in self.halves.items()}
        # In the type of the written model: so scores equal those of the folder of the merge.
        total = self.loaded.count_requests(items)
        model = made.build("auto")
        still_here = weakref.ref(model.model)
        with Progress("answered", total, quiet=self.quiet, unit="requests") as progress:
            scores = score_model(model, self.loaded, how=self.how, items=items, done=progress.at)
        del model
        if still_here():  # references in a circle; beside lm-eval's list of tasks this takes 1 s
            gc.collect()
        parts, errors, values = {}, {}, {}
        for task in self.tasks:
            of_task = scores[task.name]
            if not is_mean_of_items(of_task, task.metric):
                raise _no_mean(task.name, task.metric)
            values[task.name] = of_task.values
            parts[task.name] = of_task.metrics[task.metric].value
            if (error := standard_error(of_task.values)) is not None:
                errors[task.name] = error
        score = self.means.add_means(parts, errors)
        return Measured(score, parts if len(self.tasks) > 1 else {}, errors, values)

    def _check_tasks(self) -> None:
        """Refuse tasks that cannot be compared item by item, or with each other."""
        less = [task for task in self.tasks if not task.more_is_better]
        if less:
            msg = f"task {less[0].name!r}: less is better in its metric {less[0].metric}, expected "
            msg += "one in which more is better"
            raise SlackTiesError(
                msg, hint="choose another task, or --metric perplexity --text FILE"
            )
        if corpus := corpus_tasks(self.loaded):
            metrics = {task.name: task.metric for task in self.tasks}
            raise _no_mean(corpus[0], metrics[corpus[0]])


def _no_mean(task: str, metric: str) -> SlackTiesError:
    msg = f"task {task!r}: its metric {metric} is no mean of its items, so candidates cannot be "
    msg += "compared item by item"
    return SlackTiesError(msg, hint="choose a task that counts right answers, such as acc")


def named_tasks(names: str, recipe: Recipe) -> tuple[list[str], dict[str, str], bool]:
    """Return the tasks to run, what each is about, and whether the usual ones are among them.

    Args:
        names: As `--metric` takes them.
        recipe: The config: it says its language.

    Raises:
        SlackTiesError: No task is named, or none is known for the language.

    """
    wanted = [one.strip() for one in names.split(",") if one.strip()]
    if not wanted:
        msg = f"--metric is {names!r}, expected {', '.join(METRICS)}, or names of tasks"
        raise SlackTiesError(msg, hint="slack-ties tune --help")
    if both := [one for one in wanted if one in METRICS]:
        msg = f"the metric {both[0]!r} cannot be combined with tasks"
        raise SlackTiesError(msg, hint=f"--metric {both[0]}  # or names of tasks alone")
    if OF_LANGUAGE not in wanted:
        return *chosen_tasks(recipe, wanted, recipe.where), False
    if not any(one.get("tag") for one in recipe.facts.languages):
        msg = f"{recipe.where} does not say its language, so its tasks are not known"
        raise RecipeError(msg, hint="name tasks: --metric NAMES")
    usual, about = chosen_tasks(recipe, (), recipe.where)
    found = [name for one in wanted for name in (usual if one == OF_LANGUAGE else [one])]
    return list(dict.fromkeys(found)), about, True


def _check_names(names: Sequence[str], include: Sequence[Path]) -> None:
    """Refuse a name that is nearly the name of a metric, and not the name of a task."""
    for name in names:
        close = nearest(name, [*METRICS, OF_LANGUAGE])
        if close and name not in known_tasks(include):
            msg = f"{name!r} is neither a metric nor a task of lm-eval.{close}"
            raise SlackTiesError(msg, hint=f"metrics: {', '.join(METRICS)}, or names of tasks")

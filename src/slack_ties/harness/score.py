"""Score one model on tasks with lm-eval."""

from __future__ import annotations

import random
from contextlib import contextmanager
from numbers import Real
from typing import TYPE_CHECKING, Any

from slack_ties.errors import SlackTiesError
from slack_ties.evaluation.scores import Score, TaskScore
from slack_ties.harness.answers import AnswersFile
from slack_ties.harness.facts import metric_key
from slack_ties.harness.how import How, Loaded
from slack_ties.harness.model import check_how, check_room, is_out_of_memory, opened, out_of_memory
from slack_ties.harness.quiet import quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from slack_ties.harness.tasks import LoadedTasks
    from slack_ties.private.lm_eval import Counts, TooLongError

__all__ = ["SEEDS", "How", "Loaded", "score_model"]

# lm-eval's defaults; `few-shot` chooses the examples before an item.
SEEDS = {"python": 0, "numpy": 1234, "torch": 1234, "few-shot": 1234}


def score_model(  # noqa: PLR0913 - all by name
    model: Path | Loaded,
    tasks: LoadedTasks,
    *,
    how: How,
    items: Mapping[str, Sequence[int]] | None = None,
    cache: Path | None = None,
    done: Callable[[int], None] | None = None,
    kept: Callable[[int], None] | None = None,
) -> dict[str, TaskScore]:
    """Return the score of a model on each task, by the task's name.

    The numbers are those of `lm_eval run` with the same settings. A model in memory stays as it
    is, on its device and in its dtype; its tokenizer gets a token for padding if it has none.

    Args:
        model: A folder that transformers can load, or a model in memory.
        tasks: From `load_tasks`.
        how: How to run it.
        items: Score only these items, by the task's name; all that `tasks` has if not given.
        cache: A file in which lm-eval keeps answers: a second run goes on there. It must be for
            this model and `how` only: see `answers_file`.
        done: Called with the number of requests that are answered so far; those whose answer is
            in `cache` count, too. `LoadedTasks.count_requests` says how many there are.
        kept: Called before the model is asked, with the number of requests whose answer is in
            `cache`; again for each kind of request.

    Raises:
        CheckpointError: The model cannot be loaded, or does not fit in memory.
        OutputError: The file with answers cannot be used.
        SlackTiesError: A score cannot be computed; or the model has no chat template, and `how`
            asks for one.

    """
    from slack_ties.private.lm_eval import Counts, TooLongError  # noqa: PLC0415 - imports lm-eval

    check_how(how)
    chosen = _chosen(tasks, items)
    if not isinstance(model, Loaded):
        check_room(model, how)
    counts = Counts(done, kept)
    name = model.model.name_or_path if isinstance(model, Loaded) else str(model)
    with AnswersFile(cache) as answers, opened(model, how, counts) as lm:
        if how.chat_template and not lm.tokenizer.chat_template:
            msg = f"model {name!r} has no chat template, and one is asked for"
            raise SlackTiesError(msg, hint="run it without --chat-template")
        try:
            with quiet():
                results = _evaluate(answers.around(lm), tasks, chosen, how)
        except SlackTiesError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise out_of_memory(model, how) from error
            if isinstance(error, TooLongError):
                raise _too_long(name, tasks, error) from None
            if of_the_file := answers.reason(error):
                raise of_the_file from error
            reason = f"{type(error).__name__}: {str(error)[:300]}".removesuffix(": ")
            msg = f"lm-eval cannot score model {name!r}: {reason}"
            raise SlackTiesError(msg, hint="--debug shows where it stopped") from error
        return {
            task.name: _task_score(
                results, task.name, task.metric, _truncated(tasks.loaded[task.name], counts)
            )
            for task in tasks.tasks
        }


def _too_long(model: str, tasks: LoadedTasks, error: TooLongError) -> SlackTiesError:
    """Return the error for an answer that the model cannot read: which task and item it is of."""
    from slack_ties.private.lm_eval import request_key  # noqa: PLC0415 - imports lm-eval

    wanted = request_key(error.request)
    where = [
        f"task {name!r}, item {one.doc_id + 1}: "
        for name, task in tasks.loaded.items()
        for one in task.instances
        if request_key(one.args) == wanted
    ]
    msg = f"{where[0] if where else ''}the answer {error.request[1]!r:.40} has {error.tokens} "
    msg += f"tokens in model {model!r}, which reads {error.most} at most"
    return SlackTiesError(msg, hint="leave this task out: --tasks NAMES")


def _chosen(
    tasks: LoadedTasks, items: Mapping[str, Sequence[int]] | None
) -> dict[str, list[int]] | None:
    """Return the items of each task, in their order; None for all that `tasks` has."""
    if items is None:
        return None
    chosen: dict[str, list[int]] = {}
    for task in tasks.tasks:
        wanted = items.get(task.name)
        found = sorted(set(range(task.items) if wanted is None else wanted))
        if not found or found[0] < 0 or found[-1] >= task.items:
            msg = f"task {task.name!r}: expected items from 0 to {task.items - 1}, got "
            raise SlackTiesError(msg + (f"{found[0]} to {found[-1]}" if found else "none"))
        chosen[task.name] = found
    return chosen


def _evaluate(
    lm: Any, tasks: LoadedTasks, chosen: dict[str, list[int]] | None, how: How
) -> dict[str, Any]:
    """Return lm-eval's results, with the value of each item.

    `lm_eval.evaluate` is what `simple_evaluate` calls, without its report on the machine, which
    takes seconds for each model.
    """
    from lm_eval import evaluate  # noqa: PLC0415 - heavy

    from slack_ties.private.lm_eval import no_code_from_hub  # noqa: PLC0415 - imports lm-eval

    for task in tasks.loaded.values():
        task.set_fewshot_seed(seed=SEEDS["few-shot"])
    with _seeded(), no_code_from_hub():
        found = evaluate(
            lm,
            {"tasks": dict(tasks.loaded)},
            samples=chosen,
            limit=tasks.limit if chosen is None else None,
            apply_chat_template=how.chat_template,
            fewshot_as_multiturn=how.chat_template,
        )
    return dict(found)


@contextmanager
def _seeded() -> Iterator[None]:
    """Seed random numbers as lm-eval does; afterwards they are the caller's again."""
    import numpy as np  # noqa: PLC0415 - heavy
    import torch  # noqa: PLC0415 - heavy

    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - lm-eval's
    with torch.random.fork_rng():
        random.seed(SEEDS["python"])
        np.random.seed(SEEDS["numpy"])  # noqa: NPY002 - as above
        torch.manual_seed(SEEDS["torch"])
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002 - as above


def _task_score(results: Mapping[str, Any], name: str, main: str, truncated: int) -> TaskScore:
    """Return a task's part of lm-eval's results."""
    metrics = {}
    found = results["results"][name]
    for key, value in found.items():
        metric, comma, filter_name = key.partition(",")
        if not comma or metric.endswith("_stderr"):
            continue
        stderr = found.get(f"{metric}_stderr,{filter_name}")
        known = isinstance(stderr, Real)
        metrics[metric_key(metric, filter_name)] = Score(
            float(value), float(stderr) if known else None
        )
    return TaskScore(metrics, _values(results["samples"][name], main), truncated)


def _values(samples: Sequence[Mapping[str, Any]], main: str) -> tuple[float, ...]:
    """Return the main metric of each item, in the order of the items; () if it has no such."""
    metric, _, filter_name = main.partition(",")
    rows = [one for one in samples if one["filter"] == (filter_name or "none")]
    values = [one.get(metric) for one in sorted(rows, key=lambda one: one["doc_id"])]
    found = tuple(float(one) for one in values if isinstance(one, Real))
    return found if len(found) == len(values) else ()


def _truncated(task: Any, counts: Counts) -> int:
    """Return how many items have a request of which the model read only the end."""
    from slack_ties.private.lm_eval import request_key  # noqa: PLC0415 - imports lm-eval

    if not counts.truncated:
        return 0
    return len({one.doc_id for one in task.instances if request_key(one.args) in counts.truncated})

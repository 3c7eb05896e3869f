"""Say in a few sentences what an evaluation found.

Each sentence follows from one rule, for the tasks in the target language and for those in English:

| What was found | What we say |
| --- | --- |
| always | the merged model's score, the scores of the others, and chance |
| no model scores above chance | none is better than guessing: this says nothing about the model |
| some do, but not decidedly | none can be told from guessing with these items |
| only the merged model is not decidedly above chance | the same, of it alone |
| it cannot be told, and the task has more items | more items are needed |
| decidedly better than others | it is better than these, by more than the uncertainty |
| decidedly worse than others | it is worse than these, by more than the uncertainty |
| some comparisons are not decided | against these nothing is decided |
| there are no values of items | it cannot be compared item by item with these |

Several tasks of one subject have one sentence about their mean, if a mean says something; see
`differences.comparable`. No rule praises a model. The notes say what weakens all of it: only the
first items, another dtype for some models, a score that is missing, items that were cut.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

from slack_ties.evaluation.differences import (
    at_chance,
    comparable,
    difference_on,
    main_score,
    mean_at_chance,
    mean_difference,
    mean_score,
)
from slack_ties.evaluation.table import SUBJECTS, is_share, number, role_names
from slack_ties.wording import counted, join_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from slack_ties.evaluation.differences import Difference
    from slack_ties.evaluation.scores import Evaluated, Evaluation, Score, Task

__all__ = ["doubt_of", "notes_of", "says_something", "sentences_of"]

MOST_SINGLE = 3  # tasks of a subject with a sentence of their own


class _Found(NamedTuple):
    """What one sentence is about: a task, or the mean of several."""

    on: str  # "On belebele_bod_Tibt", "On 3 tasks in Tibetan, in the mean"
    scores: list[Score | None]  # one for each model
    guesses: list[bool]
    differences: list[Difference | None]  # one for each model after the merged one
    chance: float | None
    share: bool  # the scores are shares
    items: int  # that were scored
    more: bool  # there are items that were not scored


def sentences_of(evaluation: Evaluation, language: str = "") -> list[str]:
    """Return what an evaluation found, in plain text: one paragraph for each subject.

    Args:
        evaluation: An evaluation.
        language: The name of the target language in English, if it is known.

    """
    said = []
    for about, default in SUBJECTS.items():
        where = f"in {language}" if language and about == "language" else default
        where = where if about else ""
        said += [" ".join(_say(one, evaluation.models)) for one in _found(evaluation, about, where)]
        tasks = [task for task in evaluation.tasks if task.about == about]
        rest = len(_single(evaluation, about, tasks)) - MOST_SINGLE
        if rest > 0:
            said.append(f"The table shows {counted(rest, 'more task')} {where}".rstrip() + ".")
    return said


def says_something(evaluation: Evaluation) -> bool:
    """Say whether at least one model does better than guessing somewhere."""
    return any(not all(one.guesses) for about in SUBJECTS for one in _found(evaluation, about, ""))


def doubt_of(evaluation: Evaluation, language: str = "") -> str:
    """Return what speaks against the merged model in its language, in a sentence; "" if nothing.

    Args:
        evaluation: An evaluation.
        language: The name of the target language in English, if it is known.

    """
    where = f"in {language or 'the target language'}"
    found = [*_found(evaluation, "language", where)]
    if found and all(one.guesses[0] for one in found):
        return f"The evaluation below cannot tell it from guessing {where}."
    names = [_long(name) for name in role_names(evaluation.models)[1:]]
    better = [
        name
        for i, name in enumerate(names)
        if any(other.sign < 0 for one in found if (other := one.differences[i]))
    ]
    if not better:
        return ""
    return f"In the evaluation below, it is worse {where} than {join_names(better)}."


def _single(evaluation: Evaluation, about: str, tasks: Sequence[Task]) -> list[Task]:
    """Return the tasks that no mean is made of."""
    several = comparable(evaluation, about) if about else ()
    return [task for task in tasks if len(several) < 2 or task not in several]  # noqa: PLR2004


def _found(evaluation: Evaluation, about: str, where: str) -> Iterator[_Found]:
    merged, *others = evaluation.models
    several = comparable(evaluation, about) if about else ()
    if len(several) > 1:
        means = [mean_score(model, several) for model in evaluation.models]
        yield _Found(
            f"On {counted(len(several), 'task')} {where}, in the mean,",
            [mean.score if mean else None for mean in means],
            [bool(mean) and mean_at_chance(mean, several) for mean in means if mean],
            [mean_difference(merged, other, several) for other in others],
            means[0].chance if means[0] else None,
            share=True,
            items=sum(task.items for task in several),
            more=any(task.items < task.of for task in several),
        )
    tasks = [task for task in evaluation.tasks if task.about == about]
    for task in _single(evaluation, about, tasks)[:MOST_SINGLE]:
        scores = [main_score(model, task) for model in evaluation.models]
        if scores[0] is None:
            continue
        yield _Found(
            f"On {task.name} {f'({where})' if where else ''}".rstrip() + ",",
            scores,
            [score is not None and at_chance(task, score) for score in scores],
            [difference_on(task, merged, other) for other in others],
            task.chance,
            share=is_share(evaluation, task),
            items=task.items,
            more=task.items < task.of,
        )


def _say(found: _Found, models: Sequence[Evaluated]) -> Iterator[str]:
    """Yield the sentences, by the rules of the module."""
    names = [_long(name) for name in role_names(models)]
    first, *rest = [_score(score, share=found.share) for score in found.scores]
    others = [f"{name} {score}" for name, score in zip(names[1:], rest, strict=True) if score]
    beside = f" ({', '.join(others)})" if others else ""
    by_chance = found.chance
    chance = f"; guessing gives {_number(by_chance, share=found.share)}" if by_chance else ""
    yield f"{found.on} the merged model scores {first}{beside}{chance}."
    if all(found.guesses):
        said, needed = _of_guesses(found, found.scores, all_of_them=bool(others))
        yield f"{said}: this says nothing about the model.{needed}"
        return
    if found.guesses[0]:
        yield "{}.{}".format(*_of_guesses(found, found.scores[:1], all_of_them=False))
    yield from _compare(found, names)


def _of_guesses(
    found: _Found, scores: Sequence[Score | None], *, all_of_them: bool
) -> tuple[str, str]:
    """Say of scores that are not decidedly above chance whether one is above it, and what helps."""
    if all(score is None or score.value <= (found.chance or 0) for score in scores):
        who = "No model scores" if all_of_them else "The merged model does not score"
        return f"{who} better than guessing", ""
    who = "none of the models can" if all_of_them else "the merged model cannot"
    these = "these" if found.items > 1 else "this"
    said = f"With {these} {counted(found.items, 'item')}, {who} be told from guessing"
    return said, " More items are needed." if found.more else ""


def _compare(found: _Found, names: Sequence[str]) -> Iterator[str]:
    groups: dict[int | None, list[str]] = {1: [], -1: [], 0: [], None: []}
    scored = zip(names[1:], found.differences, found.scores[1:], strict=True)
    for name, difference, score in scored:
        if score is not None:
            groups[difference.sign if difference else None].append(name)
    if groups[1]:
        yield f"It is better than {join_names(groups[1])}, by more than the uncertainty."
    if groups[-1]:
        yield f"It is worse than {join_names(groups[-1])}, by more than the uncertainty."
    if groups[0]:
        yield f"Against {join_names(groups[0])} nothing is decided."
    if groups[None]:
        yield f"It cannot be compared item by item with {join_names(groups[None])}."


def _long(name: str) -> str:
    return "the base" if name == "base" else f"the {name} model"


def _score(score: Score | None, *, share: bool) -> str:
    return "" if score is None else _number(score.value, share=share)


def _number(value: float, *, share: bool) -> str:
    return f"{number(value, share=share)} %" if share else number(value, share=share)


def notes_of(evaluation: Evaluation) -> list[str]:
    """Return what weakens an evaluation, in plain text; none of it is a mistake."""
    notes = []
    if partial := [task for task in evaluation.tasks if task.items < task.of]:
        most = max(task.items for task in partial)
        some = join_names([f"{task.name} (of {task.of:,})" for task in partial])
        where = "each task" if len(partial) == len(evaluation.tasks) else some
        notes.append(
            f"Only the first {counted(most, 'item')} of {where} were scored: these are not the "
            "scores of the whole benchmark."
        )
    notes += [
        f"{one.name} and {other.name} have the same items: the uncertainty of their mean is larger "
        "than shown."
        for one, other in itertools.combinations(evaluation.tasks, 2)
        if one.docs and (one.docs, one.about) == (other.docs, other.about)
    ]
    names = role_names(evaluation.models)
    dtypes = [model.dtype for model in evaluation.models]
    if len(set(filter(None, dtypes))) > 1:
        pairs = [f"{name} {dtype}" for name, dtype in zip(names, dtypes, strict=True) if dtype]
        notes.append(
            f"The models ran in different dtypes ({', '.join(pairs)}): a part of a difference can "
            "come from that."
        )
    if evaluation.settings.get("chat_template") is True:
        notes.append("Each item was put into the model's chat template, if the model has one.")
    for name, model in zip(names, evaluation.models, strict=True):
        missing = [task.name for task in evaluation.tasks if task.name not in model.scores]
        if missing:
            who = _long(name).removeprefix("the")
            notes.append(f"The{who} has no score of {join_names(missing)}.")
    notes += _cut(evaluation, names)
    return notes


def _cut(evaluation: Evaluation, names: Sequence[str]) -> Iterator[str]:
    for task in evaluation.tasks:
        cut = [
            f"{score.truncated:,} for {_long(name)}"
            for name, model in zip(names, evaluation.models, strict=True)
            if (score := model.scores.get(task.name)) and score.truncated
        ]
        if cut:
            yield (
                f"{task.name}: some of its {counted(task.items, 'item')} have too many tokens, and "
                f"the model did not see their beginning: {', '.join(cut)}."
            )

"""Which tasks `evaluate` runs for a merge: those that the user names, or those of its language."""

from __future__ import annotations

import logging
import shlex
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from slack_ties.catalogue.tasks import LANGUAGE, tasks_for
from slack_ties.errors import CatalogueError, GatedError, SlackTiesError
from slack_ties.harness.extra import ANOTHER_TASK
from slack_ties.running.listed import ListedTasks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from slack_ties.harness.tasks import LoadedTasks
    from slack_ties.recipe.recipe import Recipe

__all__ = ["chosen_tasks", "list_tasks_of", "load_usual", "offering_tasks"]

LOG = logging.getLogger("slack_ties")


def chosen_tasks(
    recipe: Recipe, tasks: Sequence[str], what: str | Path
) -> tuple[list[str], dict[str, str]]:
    """Return the names of the tasks, and what each is about, as far as that is known.

    Args:
        recipe: The config of the merge, which says its languages.
        tasks: The names that the user gave; none for the tasks of the languages.
        what: The merge, as the user named it.

    Raises:
        CatalogueError: No task is known for a language, and the user named none.
        SlackTiesError: The config says no language, and the user named no task.

    """
    about: dict[str, str] = {}
    names: dict[str, None] = {}
    english: dict[str, None] = {}
    for tag in _tags(recipe):
        try:
            found = tasks_for(tag)
        except CatalogueError:
            if tasks:
                continue
            raise
        names |= dict.fromkeys(found.default)
        english |= dict.fromkeys(found.english)
        about = {**found.about, **about}
    if tasks:
        return list(tasks), about
    if not names:
        raise _no_language(recipe, what)
    return [*names, *(name for name in english if name not in names)], about


def load_usual(names: Sequence[str], about: Mapping[str, str], **how: Any) -> LoadedTasks:
    """Load tasks that the user did not name; leave out those whose data is behind a gate.

    Args:
        names: The tasks.
        about: What each of them is about.
        how: Further arguments of `load_tasks`.

    Raises:
        GatedError: All tasks in the language are behind a gate.
        SlackTiesError: As for `load_tasks`.

    """
    from slack_ties.harness.tasks import LoadedTasks, load_tasks  # noqa: PLC0415 - heavy

    found, closed = [], []
    for name in names:
        try:
            found.append(load_tasks([name], about=about, **how))
        except GatedError as error:
            closed.append(error)
    tasks = [task for one in found for task in one.tasks]
    if closed and not any(task.about == LANGUAGE for task in tasks):
        raise closed[0]
    for one_closed in closed:
        LOG.warning("  left out: %s. To score it too: %s", one_closed, one_closed.hint)
    return LoadedTasks(
        tuple(tasks),
        {name: task for one in found for name, task in one.loaded.items()},
        found[0].limit,
        {name: counts for one in found for name, counts in one.requests.items()},
    )


@contextmanager
def offering_tasks(recipe: Recipe, what: str | Path) -> Iterator[None]:
    """If a task cannot be used, say how to list those that fit the merge.

    Args:
        recipe: The config of the merge.
        what: The merge, as the user named it.

    """
    try:
        yield
    except SlackTiesError as error:
        if error.hint != ANOTHER_TASK or not _has_tasks(recipe):
            raise
        command = f"slack-ties evaluate {shlex.quote(str(what))} --tasks list"
        raise type(error)(str(error), hint=f"{command}  # choose another task") from error


def list_tasks_of(recipe: Recipe, what: str | Path, include: Sequence[Path] = ()) -> ListedTasks:
    """Return the tasks of the languages of a merge, and those of the user.

    Args:
        recipe: The config of the merge.
        what: The merge, as the user named it.
        include: Folders with task files of the user.

    Raises:
        CatalogueError: No task is known for a language, and there is none of the user.
        SlackTiesError: The config says no language, and there is no task of the user; or a folder
            has no task.

    """
    yours: Sequence[str] = ()
    if include:
        from slack_ties.harness.tasks import tasks_in  # noqa: PLC0415 - imports lm-eval

        yours = tasks_in(include)
    tags, languages = _tags(recipe), []
    if not tags and not yours:
        raise _no_language(recipe, what)
    for tag in tags:
        try:
            languages.append(tasks_for(tag))
        except CatalogueError:
            if not yours:
                raise
    return ListedTasks(tuple(languages), tuple(yours))


def _has_tasks(recipe: Recipe) -> bool:
    """Say whether tasks are known for each language of a merge, and there is one."""
    try:
        return bool([tasks_for(tag) for tag in _tags(recipe)])
    except CatalogueError:
        return False


def _tags(recipe: Recipe) -> list[str]:
    tags = [str(language.get("tag") or "") for language in recipe.facts.languages]
    return [tag for tag in dict.fromkeys(tags) if tag]


def _no_language(recipe: Recipe, what: str | Path) -> SlackTiesError:
    msg = f"{recipe.where} does not say the language of the merge, so no tasks are known for it"
    hint = f"slack-ties evaluate {shlex.quote(str(what))} --tasks NAMES  # lm-eval ls tasks: all"
    return SlackTiesError(msg, hint=hint)

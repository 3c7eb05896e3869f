"""Load lm-eval's tasks and their data, before a model is read."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field
from difflib import SequenceMatcher, get_close_matches
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slack_ties import catalogue
from slack_ties.catalogue.tasks import list_tasks
from slack_ties.errors import SlackTiesError
from slack_ties.harness.extra import ANOTHER_TASK, import_lm_eval
from slack_ties.harness.quiet import quiet
from slack_ties.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from slack_ties.evaluation.scores import Task

__all__ = ["LoadedTasks", "known_tasks", "load_tasks", "tasks_in"]

PACKS = Path(catalogue.__file__).with_name("packs")  # our own tasks

SHORTEST = 4  # letters of a name that may be the beginning of the one that is meant

FITS = 0.1  # by how much a task that fits the merge may be less like a wrong name, of 1

FEWSHOT_SEED = 1234  # lm-eval's default


@dataclass(frozen=True)
class LoadedTasks:
    """Tasks with their data."""

    tasks: tuple[Task, ...]  # groups and tags are taken apart: only what has items
    loaded: Mapping[str, Any]  # lm-eval's own objects, by the names of the tasks
    limit: int | None = None  # items of each task that are scored; all if None
    # How many requests each scored item makes, by the names of the tasks: one for each choice.
    requests: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def items(self) -> int:
        """How many items are scored."""
        return sum(task.items for task in self.tasks)

    def count_requests(self, items: Mapping[str, Sequence[int]] | None = None) -> int:
        """Return how many requests a model answers: of all items, or only of these of a task."""
        chosen = items or {}
        return sum(
            sum(counts[i] for i in chosen[name]) if name in chosen else sum(counts)
            for name, counts in self.requests.items()
        )


def load_tasks(
    names: Sequence[str],
    *,
    include: Sequence[Path] = (),
    limit: int | None = None,
    fewshot: int | None = None,
    about: Mapping[str, str] | None = None,
) -> LoadedTasks:
    """Return the tasks with these names, and their data.

    Args:
        names: Tasks, groups or tags of lm-eval, of our own pack, or of `include`; `*` and `?`
            stand for other letters, as in lm-eval. A name may be there twice.
        include: Folders with task files of the user.
        limit: Score only the first items of each task.
        fewshot: Examples before each item; as each task says if not given. A task whose file says
            0 keeps 0, as in lm-eval.
        about: What each name is about: `Task.about`.

    Raises:
        SlackTiesError: lm-eval is not installed; a task is not known, has no items, runs code, or
            needs data that is not here and cannot be downloaded.

    """
    import_lm_eval()
    from slack_ties.harness.data import load_one, task_errors  # noqa: PLC0415 - imports lm-eval
    from slack_ties.harness.facts import facts_of  # noqa: PLC0415 - as above

    if limit is not None and limit < 1:
        msg = f"the limit is {limit}, expected 1 or more items of each task"
        raise SlackTiesError(msg)
    manager = _manager(include)
    loaded: dict[str, Any] = {}
    abouts: dict[str, str] = {}
    for name in names:
        for found in _matching(name, manager, include, about or {}):
            if found in loaded:
                continue
            for leaf, task in load_one(manager, found).items():
                loaded.setdefault(leaf, task)
                abouts.setdefault(leaf, (about or {}).get(name, ""))
    if not loaded:
        msg = "no task is named"
        raise SlackTiesError(msg, hint="name one or more: --tasks NAMES")
    facts, requests = [], {}
    for name, task in loaded.items():
        with quiet(), task_errors(name, _file_of(manager, name)):
            _set_fewshot(name, task, fewshot)
            one, requests[name] = facts_of(task, limit=limit, about=abouts[name])
        facts.append(one)
    return LoadedTasks(tuple(facts), loaded, limit, requests)


def known_tasks(include: Sequence[Path] = ()) -> list[str]:
    """Return the names of all tasks, groups and tags that `load_tasks` knows."""
    import_lm_eval()
    return sorted(_manager(include).task_index)


def tasks_in(include: Sequence[Path]) -> list[str]:
    """Return the names of the tasks, groups and tags in folders of the user.

    Raises:
        SlackTiesError: lm-eval is not installed; a folder does not exist, or has no task file.

    """
    import_lm_eval()
    found = sorted(_own(include).task_index)
    if not found:
        _check_files(include)
    return found


def _manager(include: Sequence[Path]) -> Any:
    """Return lm-eval's list of tasks, with those in the user's folders, which may replace its own.

    Raises:
        SlackTiesError: A folder does not exist, or has no task file.

    """
    if not include:
        return _defaults()
    found = _own(include)
    for name, entry in _defaults().task_index.items():
        found.task_index.setdefault(name, entry)
    return found


def _own(include: Sequence[Path]) -> Any:
    """Return lm-eval's list of the tasks in the user's folders alone."""
    from lm_eval.tasks import TaskManager  # noqa: PLC0415 - heavy

    folders = [str(_folder(path)) for path in include]
    with quiet():
        return TaskManager(include_path=folders, include_defaults=False)


@cache
def _defaults() -> Any:
    """Return lm-eval's list of its own tasks and ours: it reads 15,000 files, which takes 4 s."""
    from lm_eval.tasks import TaskManager  # noqa: PLC0415 - heavy

    with quiet():
        return TaskManager(include_path=[str(PACKS)] if PACKS.is_dir() else None)


def _file_of(manager: Any, name: str) -> str:
    """Return the file of a task; "" if lm-eval does not say it."""
    return str(getattr(manager.task_index.get(name), "yaml_path", None) or "")


def _folder(path: Path) -> Path:
    """Return a folder of the user's with an absolute path.

    Raises:
        SlackTiesError: It is no folder, or has no task file.

    """
    folder = Path(path).expanduser().absolute()
    if not folder.is_dir():
        msg = f"there is no folder {str(path)!r} with task files"
        raise SlackTiesError(msg, hint="give a folder that exists: --include-path FOLDER")
    if not any(folder.glob("**/*.yaml")):
        msg = f"{str(path)!r} has no task file, expected *.yaml"
        raise SlackTiesError(msg, hint="give a folder with task files: --include-path FOLDER")
    return folder


def _matching(name: str, manager: Any, include: Sequence[Path], about: Iterable[str]) -> list[str]:
    """Return the names in lm-eval's list that a name or a pattern means.

    Args:
        name: What the user wrote.
        manager: lm-eval's list.
        include: Folders with task files of the user.
        about: Names that fit the merge: one of them is rather meant than another one.

    """
    if name in manager.task_index:
        return [name]
    if found := fnmatch.filter(sorted(manager.task_index), name):
        return found
    _check_files(include)
    own = tasks_in(include) if include else []
    close = _nearest(name, [*about, *own], manager.task_index)
    hint = ANOTHER_TASK
    if name.endswith((".yaml", ".yml")):
        hint = "give the task's name, and its folder: --tasks NAME --include-path FOLDER"
    msg = f"lm-eval has no task {name!r}.{close}"
    raise SlackTiesError(msg, hint=hint)


def _nearest(name: str, fitting: Sequence[str], index: Mapping[str, Any]) -> str:
    """Return " Did you mean 'x'?" for a wrong name: a task that fits the merge if there is one."""
    begins = [one for one in fitting if one.lower().startswith(name.lower())]
    if begins and len(name) >= SHORTEST:
        return f" Did you mean {begins[0]!r}?"
    known = [task for one in list_tasks() for task in (*one.default, *one.more)]
    # Not a group of a hundred languages, of which one task fits.
    others = [one for one in index if not any(task.startswith(f"{one}_") for task in fitting)]
    found: dict[str, float] = {}
    for names, more in ((fitting, FITS), (known, FITS / 2), (others, 0.0)):
        lower = {one.lower(): one for one in names}
        for one in get_close_matches(name.lower(), lower, n=1):
            likeness = SequenceMatcher(None, one, name.lower()).ratio()
            found.setdefault(lower[one], likeness + more)
    return f" Did you mean {max(found, key=lambda one: found[one])!r}?" if found else ""


def _check_files(include: Iterable[Path]) -> None:
    """Refuse a damaged task file of the user's: lm-eval passes over it without a word."""
    from slack_ties.private.lm_eval import read_task_file  # noqa: PLC0415 - imports lm-eval

    for folder in include:
        for path in sorted(_folder(folder).glob("**/*.yaml")):
            try:
                read_task_file(path)
            except Exception as error:
                msg = f"the task file {str(path)!r} cannot be read: {error}"
                raise SlackTiesError(msg, hint=f"correct {path.name}") from error


def _set_fewshot(name: str, task: Any, fewshot: int | None) -> None:
    """Set the number of examples as lm-eval's `simple_evaluate` does; check that there are any."""
    default = task.get_config("num_fewshot")
    if default is None or (fewshot is not None and default != 0):
        task.set_config(key="num_fewshot", value=fewshot or 0)
    task.set_fewshot_seed(seed=FEWSHOT_SEED)
    wanted = task.get_config("num_fewshot")
    if not wanted:
        return
    try:
        task.fewshot_context(task.eval_docs[0], wanted)
    except Exception as error:
        msg = f"task {name!r}: it cannot be asked with {counted(wanted, 'example')}: {error}"
        hint = "use fewer examples, as the task's file says: --fewshot NUMBER"
        raise SlackTiesError(msg, hint=hint) from error
    task.set_fewshot_seed(seed=FEWSHOT_SEED)

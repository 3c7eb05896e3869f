"""Read what a batch is to do: languages and configs, and what to vary, as a list of tasks."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from slack_ties.batch.task import Task
from slack_ties.errors import RecipeError, nearest
from slack_ties.private.huggingface_hub import is_repo_id
from slack_ties.recipe.yaml_text import read_text, values_of
from slack_ties.sharing.recipe_of import names_language

__all__ = ["Wanted", "check_distinct", "flags_of", "is_sweep", "read_sweep", "tasks_of"]

KEYS = ["runs", "vary", "publish", "evaluate", "collection", "public"]

UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")

# Other files in the folders of the batch, and names that Windows does not give to a file.
RESERVED = {"batch.json", "batch.html", "batch.csv", "lock", "jobs.json", "hub-pause.json"}
DEVICES = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{name}{i}" for name in ("com", "lpt") for i in range(10)),
}

MOST_TASKS = 1000  # of one sweep; Slurm's own limit of an array is 1001 unless a cluster changes it

LONGEST = 80  # letters of a name: it is part of file names and of names on the Hub

NEXT = "see docs/scale.md for the keys of a sweep"


@dataclass(frozen=True)
class Wanted:
    """What a batch is to do."""

    runs: Sequence[str | Mapping[str, Any]]
    vary: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)  # of `run`, for all: {"slack": 0.1}
    publish: str = ""  # OWNER/NAME with {name} or {language}
    # Options of `evaluate`: {"tasks": ["a"], "limit": 9}; {}: the usual tasks; None: no scores.
    evaluate: Mapping[str, Any] | None = None
    collection: str = ""
    public: bool | None = None

    def with_options(self, typed: Wanted) -> Wanted:
        """Return this with what was typed on the command line, which counts more."""
        return replace(
            self,
            options={**self.options, **typed.options},
            publish=typed.publish or self.publish,
            evaluate=self.evaluate if typed.evaluate is None else typed.evaluate,
            collection=typed.collection or self.collection,
            public=self.public if typed.public is None else typed.public,
        )


def is_sweep(what: str) -> bool:
    """Say whether this is the path of a sweep file: YAML with the key `runs`."""
    path = Path(what)
    if path.suffix not in {".yml", ".yaml"}:
        return False
    try:
        return "runs" in (values_of(read_text(path)) or {})
    except (OSError, RecipeError, yaml.YAMLError, ValueError, RecursionError, TypeError):
        return False  # whoever reads it as a config says what is wrong


def read_sweep(path: Path) -> Wanted:
    """Return what a sweep file asks for.

    Raises:
        RecipeError: It cannot be read, or is no sweep.

    """
    try:
        data = values_of(read_text(path))
    except FileNotFoundError:
        msg = f"no sweep file {str(path)!r}"
        raise RecipeError(msg, hint="slack-ties batch start --help") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        msg = f"{path}: not valid YAML: {error}"
        raise RecipeError(msg, hint="correct that place") from None
    if not isinstance(data, Mapping) or not isinstance(data.get("runs"), list) or not data["runs"]:
        msg = f"{path}: expected the key 'runs' with a list of languages or configs"
        raise RecipeError(msg, hint=NEXT)
    for key in data:
        if key not in KEYS:
            msg = f"{path}: a sweep has no key {key!r}.{nearest(str(key), KEYS)}"
            raise RecipeError(msg, hint=NEXT)
    vary = data.get("vary") or {}
    if not isinstance(vary, Mapping) or not all(isinstance(v, list) and v for v in vary.values()):
        msg = f"{path}: expected under 'vary' lists of values by option, such as slack: [0.1, 0.2]"
        raise RecipeError(msg, hint=NEXT)
    public = data.get("public")
    if public is not None and not isinstance(public, bool):
        msg = f"{path}: expected true or false under 'public', got {public!r}"
        raise RecipeError(msg, hint=NEXT)
    return Wanted(
        data["runs"],
        vary,
        publish=str(data.get("publish") or ""),
        evaluate=_scoring(path, data.get("evaluate")),
        collection=str(data.get("collection") or ""),
        public=public,
    )


def _scoring(path: Path, given: object) -> Mapping[str, Any] | None:
    """Return options of `evaluate`; None if nothing is to be scored."""
    if given is None or isinstance(given, bool):
        return {} if given else None
    if isinstance(given, Mapping):
        return given
    if isinstance(given, str) or (
        isinstance(given, list) and all(isinstance(one, str) for one in given)
    ):
        return {"tasks": given}
    msg = f"{path}: expected under 'evaluate' true, a list of tasks, or a mapping with options of "
    msg += f"`slack-ties evaluate`, got {given!r}"
    raise RecipeError(msg, hint=NEXT)


def tasks_of(wanted: Wanted, out: Path) -> list[Task]:
    """Return the tasks: every run with every combination of what varies.

    Args:
        wanted: What to do.
        out: The folder of the batch.

    Raises:
        RecipeError: An entry is none, or two tasks have the same name or repository.

    """
    count = len(wanted.runs) * math.prod(map(len, wanted.vary.values()))
    if count > MOST_TASKS:
        msg = f"this batch would have {count:,} tasks, expected at most {MOST_TASKS:,}"
        raise RecipeError(msg, hint="vary less, or make several sweeps of it")
    tasks = [task for run in wanted.runs for task in _of_run(run, wanted, out.resolve())]
    check_distinct(tasks)
    return tasks


def check_distinct(tasks: Sequence[Task]) -> None:
    """Refuse two tasks with the same name or repository.

    Raises:
        RecipeError: There are such tasks; the message names one.

    """
    for what in ("name", "publish"):
        values = [getattr(task, what).casefold() for task in tasks]  # as some disks and the Hub do
        twice = next((one for one, n in Counter(values).items() if one and n > 1), "")
        if not twice:
            continue
        msg = f"two tasks of this batch would have the {_WORD[what]} {twice!r}"
        hint = "give one of the two runs a name: {what: ..., name: ...}"
        if what == "publish":
            hint = "write {name} into the name of the repository: --publish 'ME/Llama-2-7b-{name}'"
        raise RecipeError(msg, hint=hint)


_WORD = {"name": "name", "publish": "repository"}


def _of_run(run: object, wanted: Wanted, out: Path) -> Iterator[Task]:
    entry: dict[str, Any] = dict(run) if isinstance(run, Mapping) else {"what": run}
    what = entry.pop("what", None)
    if not isinstance(what, str) or not what or what.startswith("-"):
        msg = f"expected a language, a config or a mapping with 'what' in 'runs', got {run!r}"
        raise RecipeError(msg, hint=NEXT)
    given = entry.pop("name", None)
    language = what if names_language(what) else ""
    name = str(given or (what if language else _stem(what)))
    names = list(wanted.vary)
    for values in itertools.product(*wanted.vary.values()):
        varied = dict(zip(names, values, strict=True))
        several = {key: value for key, value in varied.items() if len(wanted.vary[key]) > 1}
        words = [name, *(f"{key}-{_as_word(value)}" for key, value in several.items())]
        yield _task("-".join(words), what, language, {**entry, **varied}, several, wanted, out)


def _stem(what: str) -> str:
    """Return a short name for a config or a published model."""
    path = Path(what)
    return path.stem if path.suffix in {".yml", ".yaml"} else path.name.partition("@")[0]


def _as_word(value: Any) -> str:
    """Return a value as a part of a name."""
    if isinstance(value, Mapping):
        return "-".join(f"{key}-{_as_word(one)}" for key, one in value.items())
    return "-".join(map(_as_word, value)) if isinstance(value, list) else f"{value}"


def _task(  # noqa: PLR0913, PLR0917 - all that a task is made of
    name: str,
    what: str,
    language: str,
    options: Mapping[str, Any],
    varied: Mapping[str, Any],
    wanted: Wanted,
    out: Path,
) -> Task:
    name = UNSAFE.sub("-", name).strip("-.")
    lower = name.casefold()
    taken = lower in RESERVED or lower.partition(".")[0] in DEVICES
    if not name or len(name) > LONGEST or taken:
        msg = f"{name[: LONGEST + 1] or what!r} cannot be the name of a task: expected 1 to "
        msg += f"{LONGEST} letters, digits, '-', '_' and '.'"
        msg += ", and no name that the system or a batch uses" * taken
        raise RecipeError(msg, hint="give the run another one: {what: ..., name: ...}")
    publish = wanted.publish.replace("{name}", name).replace("{language}", language or name)
    if publish and not is_repo_id(publish):
        msg = f"{publish!r} is no id on the Hub, expected OWNER/NAME"
        raise RecipeError(msg, hint="--publish 'ME/Llama-2-7b-{name}'")
    if wanted.collection and not publish:
        msg = f"the collection {wanted.collection!r} gets published models, and none is published"
        raise RecipeError(msg, hint="add --publish 'ME/NAME-{name}'")
    task = Task(name, language, varied, publish=publish)
    return replace(task, steps=_steps(task, what, {**wanted.options, **options}, wanted, out))


def _steps(
    task: Task, what: str, options: Mapping[str, Any], wanted: Wanted, out: Path
) -> tuple[tuple[str, ...], ...]:
    """Return the commands: merge, evaluate, then publish with the scores in the card."""
    folder = str(out / task.name)
    run = ["run", what, "--out", folder, *flags_of(options)]
    to: list[str] = []
    if task.publish:
        to = ["--publish", task.publish]
        to += {True: ["--public"], False: ["--private"], None: []}[wanted.public]
        to += ["--collection", wanted.collection] if wanted.collection else []
    json = ["--json"]
    if wanted.evaluate is None:
        return (tuple(run + to + json),)
    if options.get("stream"):
        msg = f"{task.name}: evaluate needs the weights here, and --stream keeps none"
        raise RecipeError(msg, hint="leave --stream out, or evaluate later: slack-ties evaluate")
    scoring = dict(wanted.evaluate)
    if isinstance(scoring.get("tasks"), list):
        scoring["tasks"] = ",".join(map(str, scoring["tasks"]))
    evaluate = ["evaluate", folder, *flags_of(scoring)]
    stated = {key: value for key, value in options.items() if key.startswith("license")}
    last = run + to if to else ["card", folder, *flags_of(stated)]
    return tuple(tuple(step + json) for step in (run, evaluate, last))


def flags_of(options: Mapping[str, Any]) -> list[str]:
    """Return options of `slack-ties run` as they are typed."""
    words: list[str] = []
    for name, value in options.items():
        flag = f"--{name.strip('_').replace('_', '-')}"
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
        elif isinstance(value, Mapping):
            for key, one in value.items():
                words += [flag, f"{key}={one}"]
        elif isinstance(value, Sequence) and not isinstance(value, str):
            for one in value:
                words += flags_of({name: one})
        elif value is not None:
            words += [flag, f"{value}"]
    return words

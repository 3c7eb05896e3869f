"""What a job of Hugging Face runs: a short script with the recipe in it, and nothing secret.

The packages are pinned to the versions that are installed here, and the recipe's models to their
commits: the script says all that determines the result.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slack_ties.batch.needs import evaluations_of
from slack_ties.errors import RecipeError
from slack_ties.recipe.pin import used_versions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from slack_ties.batch.task import Task

__all__ = [
    "ATTEMPT",
    "BATCH",
    "MOUNTED_AT",
    "STEPS",
    "TASK",
    "Parent",
    "command_of",
    "digest_of",
    "label_of",
    "labels_of",
    "packages_for",
    "parents_of",
    "script_of",
    "steps_in_job",
    "streams",
]

MOUNTED_AT = "/parents"  # the folder of a job in which its models are

OUT = "merges"  # the folder of the batch in a job

# The keys of our labels. Their values have only letters, digits, '-', '_' and '.', as the
# service's own documentation has them; it names no limits.
BATCH, TASK, ATTEMPT = "slack-ties-batch", "slack-ties-task", "slack-ties-attempt"
STEPS, NAME = "slack-ties-steps", "name"
LONGEST_LABEL = 60

EXTRAS = {"evaluate": "eval", "tune": "tune"}  # what a command needs besides the package

# Options of `slack-ties run` that choose what is in the recipe, and how many values follow them.
CHOICES = {
    **dict.fromkeys(("--base", "--ct", "--sft", "--weight", "--weights", "--density"), 1),
    **dict.fromkeys(("--slack", "--lambda", "--method", "--dtype", "--language-name"), 1),
    **dict.fromkeys(("--normalize", "--no-normalize"), 0),
}

LONGEST_SCRIPT = 100_000  # bytes; Linux starts no program with an argument above 131,072

HUB_ID = re.compile(r"[\w][\w.-]{0,95}(/[\w][\w.-]{0,95})?", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Parent:
    """A model that a merge reads, as it is mounted in the job."""

    repo_id: str
    commit: str

    @property
    def mounted_at(self) -> str:
        """The folder of its files in the job."""
        return f"{MOUNTED_AT}/{self.repo_id.replace('/', '--')}--{self.commit[:12]}"


def parents_of(task: Task, plan: Mapping[str, Any]) -> list[Parent]:
    """Return the models and adapters of a plan, each once.

    Args:
        task: Whose plan it is.
        plan: What `slack-ties run --dry-run --json` printed.

    Raises:
        RecipeError: A model is a folder of this machine.

    """
    found: dict[Parent, None] = {}
    for model in plan.get("models") or ():
        names = [part.partition("@")[0] for part in model["model"].split("+")]
        commits = [*(model.get("commits") or ())]
        for name, commit in zip(names, commits or [""], strict=False):
            if not (HUB_ID.fullmatch(name) and COMMIT.fullmatch(commit)):
                msg = f"{task.name}: {model['model']!r} is a folder of this machine, and a job "
                msg += "reads only models of the Hub"
                raise RecipeError(msg, hint="publish it first, or use --on here")
            found[Parent(name, commit)] = None
    return [*found]


def packages_for(steps: Sequence[Sequence[str]], own: str = "") -> list[str]:
    """Return the packages that a job installs: those that determine bytes, in the versions here.

    Args:
        steps: The commands of the task.
        own: Where slack-ties comes from instead of PyPI: the address of a wheel, or git+https://...

    """
    extras = sorted({EXTRAS[step[0]] for step in steps if step[0] in EXTRAS})
    name = f"slack-ties[{','.join(extras)}]" if extras else "slack-ties"
    versions = dict(used_versions())
    ours = versions.pop("slack-ties")
    first = f"{name} @ {own}" if own else f"{name}=={ours}"
    return [first, *(f"{other}=={number}" for other, number in versions.items())]


def label_of(name: str) -> str:
    """Return the value of a label for the name of a task: the name, if it is not too long."""
    if len(name) <= LONGEST_LABEL:
        return name
    return f"{name[:47]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def digest_of(task: Task) -> str:
    """Return a short text that differs for tasks with different commands."""
    return hashlib.sha256(json.dumps(task.steps).encode()).hexdigest()[:12]


def labels_of(batch: str, task: Task, attempt: int) -> dict[str, str]:
    """Return the labels by which the job of a task and attempt is found again."""
    shown = re.sub(r"[^A-Za-z0-9_-]", "-", label_of(task.name))
    return {
        BATCH: batch,
        TASK: label_of(task.name),
        STEPS: digest_of(task),
        ATTEMPT: f"{attempt}",
        NAME: f"slack-ties-{shown}",
    }


def streams(task: Task) -> bool:
    """Say whether the job keeps no weights: it sends each file when it is merged, if it can.

    An evaluation and a report need all of them on the disk.
    """
    words = {word for step in task.steps for word in step}
    needed = "--report" in words or evaluations_of(task)
    return "--stream" in words or not needed


def steps_in_job(task: Task, out: Path, recipe: str) -> list[list[str]]:
    """Return the commands of a task as they are typed in its job.

    There, the folder of the batch has another path, the pinned recipe takes the place of the
    language or config and of the options that choose its content, and the result is streamed to
    the Hub if that is possible.

    Args:
        task: The task.
        out: The folder of the batch on this machine.
        recipe: The name of the recipe's file in the job.

    """
    folder = str(out / task.name)
    made = [_step(step, folder, f"{OUT}/{task.name}", recipe) for step in task.steps]
    if streams(task):
        made = [
            [*step, "--stream"] if "--publish" in step and "--stream" not in step else step
            for step in made
        ]
    return made


def _step(step: Sequence[str], folder: str, inside: str, recipe: str) -> list[str]:
    words = [
        inside + word.removeprefix(folder).replace("\\", "/")
        if word == folder or word.startswith((f"{folder}/", f"{folder}\\"))
        else word
        for word in step
    ]
    if words[0] != "run":
        return words
    kept, left = ["run", recipe], 0
    for word in words[2:]:
        if left:
            left -= 1
        elif word in CHOICES:
            left = CHOICES[word]
        else:
            kept.append(word)
    return kept


def script_of(task: Task, out: Path, plan: Mapping[str, Any], *, batch: str, attempt: int) -> str:
    """Return the Python script of a job: the recipe as YAML, and the call that does the work.

    Args:
        task: The task.
        out: The folder of the batch on this machine.
        plan: What `slack-ties run --dry-run --json` printed; its `recipe` is pinned.
        batch: The id of the batch.
        attempt: Which attempt of the task it is, from 1.

    Raises:
        RecipeError: The script would be too long, or a model is a folder.

    """
    file = f"{task.name}.yml"
    told = {
        "name": task.name,
        "language": task.language,
        "settings": dict(task.settings),
        "publish": task.publish,
        "steps": steps_in_job(task, out, file),
    }
    parents = [[p.repo_id, p.commit, p.mounted_at] for p in parents_of(task, plan)]
    lines = [
        f'"""Task {task.name} of the batch {batch} of slack-ties, attempt {attempt}."""',
        "from slack_ties.batch.jobs.in_job import work",
        "",
        f"RECIPE = {_quoted(plan['recipe'])}",
        "PARENTS = [  # id, commit, and where it is mounted",
        *(f"    {parent!r}," for parent in parents),
        "]",
        f"TASK = {told!r}",
        f"work(batch={batch!r}, task=TASK, recipe=RECIPE, parents=PARENTS)",
    ]
    text = "\n".join(lines) + "\n"
    if len(text.encode()) > LONGEST_SCRIPT:
        msg = f"{task.name}: the recipe is too long for a job: the script has {len(text):,} letters"
        raise RecipeError(msg, hint="use --on here or --on slurm")
    return text


def _quoted(text: str) -> str:
    """Return a text as Python writes it, on lines of its own where that is possible."""
    if "'''" in text or "\\" in text or "\r" in text or not text.endswith("\n"):
        return json.dumps(text)
    return f"r'''{text}'''"


def command_of(script: str, packages: Sequence[str]) -> list[str]:
    """Return the command of a job: uv installs the packages and runs the script."""
    with_packages = [word for package in packages for word in ("--with", package)]
    return ["uv", "run", *with_packages, "python", "-c", script]

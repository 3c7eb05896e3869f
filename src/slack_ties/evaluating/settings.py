"""What an evaluation notes of how it was made: settings and versions."""

from __future__ import annotations

import platform
import re
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from slack_ties.files import sha256, sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from slack_ties.evaluation.scores import Task
    from slack_ties.harness.score import How

__all__ = ["settings_of", "versions_used"]

MOST_NAMES = 100  # that evaluation.json may have in a list of its settings

PACKAGES = ("lm_eval", "slack-ties", "torch", "transformers", "datasets")

TASK_FILES = (".yaml", ".yml", ".py")

# The name of a task in a task file of lm-eval, whose tags of its own a YAML parser does not know.
NAME = re.compile(r"""^task:[ \t]*["']?([^"'#\s\[{]+)""", re.MULTILINE)


def settings_of(
    how: How,
    *,
    limit: int | None,
    fewshot: int | None,
    include: Sequence[Path],
    tasks: Iterable[Task] = (),
) -> dict[str, Any]:
    """Return the settings of an evaluation, for its file.

    Args:
        how: How the models ran.
        limit: Only the first items of each task were scored; all if None.
        fewshot: Examples before each item, if that was not left to each task.
        include: Folders with task files of the user.
        tasks: The tasks that were scored.

    """
    from slack_ties.harness.score import SEEDS  # noqa: PLC0415 - imports lm-eval

    scored = [task.name for task in tasks]
    return {
        "limit": limit,
        "fewshot": fewshot,
        "device": how.device,
        "dtype": how.dtype,
        "batch_size": how.batch,
        "chat_template": how.chat_template,
        "seeds": dict(SEEDS),
        "include": [
            {
                "folder": one.resolve().name,
                "sha256": _digest_of(one),
                "tasks": [name for name in scored if name in names][:MOST_NAMES],
            }
            for one in include
            for names in [set(_names_in(one))]
        ],
    }


def _names_in(folder: Path) -> Iterator[str]:
    """Yield the names of the tasks in a folder."""
    for file in folder.rglob("*.y*ml"):
        if file.is_file():
            yield from NAME.findall(file.read_text(encoding="utf-8", errors="replace"))


def _digest_of(folder: Path) -> str:
    """Return a checksum of the task files in a folder: their names and contents."""
    files = sorted(one for one in folder.rglob("*") if one.suffix in TASK_FILES and one.is_file())
    return sha256_of("\n".join(f"{sha256(one)}  {one.relative_to(folder)}" for one in files))


def versions_used() -> dict[str, str]:
    """Return the versions of Python and of the packages that scores depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}

"""Load one task with its data; say in one line why that is not possible."""

from __future__ import annotations

import logging
import re
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets import config
from datasets.exceptions import DatasetNotFoundError
from huggingface_hub import HfApi
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from slack_ties import catalogue
from slack_ties.errors import GatedError, HubError, NotOnHubError, SlackTiesError
from slack_ties.harness.extra import ANOTHER_TASK
from slack_ties.harness.quiet import quiet
from slack_ties.hub.errors import first_line, hub_error
from slack_ties.hub.faults import FaultError
from slack_ties.hub.retries import READING
from slack_ties.hub.timeouts import timeouts
from slack_ties.hub.token import has_token, no_token, token_name
from slack_ties.private.huggingface_hub import is_offline
from slack_ties.private.lm_eval import CodeError, metric_functions, no_code_from_hub

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["load_one", "task_errors"]

LOG = logging.getLogger("slack_ties")

# Where it says how a task is written.
GUIDE = "https://github.com/EleutherAI/lm-evaluation-harness/blob/main/docs/task_guide.md"

# `datasets` keeps what it made of the files. `hf download` keeps the files alone, and without
# network `datasets` does not look at those.
ONCE = "then the data is downloaded once and kept in HF_HOME"

# What `datasets` says if it has only other parts of a dataset, and if the dataset has no such part.
PART_NOT_HERE = re.compile(r"Couldn't find cache for .* for config '(?P<part>[^']*)'", re.DOTALL)
NO_PART = re.compile(r"BuilderConfig '(?P<part>[^']*)' not found")

OF_THE_HUB = (HfHubHTTPError, OfflineModeIsEnabled, FaultError)


def load_one(manager: Any, name: str) -> dict[str, Any]:
    """Return the tasks that a name means, by their names: one, or those of a group or a tag.

    Args:
        manager: lm-eval's list of tasks.
        name: A name in it.

    Raises:
        SlackTiesError: The data is not here and cannot be downloaded; a task has no items, runs
            code, or needs pictures or sound; its file is wrong.

    """
    entry = manager.task_index[name]
    _refuse(name, entry.cfg or {})
    file = str(entry.yaml_path or "")
    with task_errors(name, file), quiet(), timeouts(READING), no_code_from_hub():
        found: dict[str, Any] = manager.load([name])["tasks"]
    for leaf, task in found.items():
        asked = {key: task.get_config(key) for key in ("doc_to_image", "doc_to_audio")}
        _refuse(leaf, {**asked, "unsafe_code": getattr(task, "UNSAFE_CODE", False)})
        lost = [one for one, function in metric_functions(task).items() if function is None]
        if lost:
            raise _code(leaf, lost[0])
        with task_errors(leaf, file), quiet():
            _try_own_metrics(task)
    return found


def _try_own_metrics(task: Any) -> None:
    """Let a task that computes its metrics itself do so once, with an answer that nobody gave.

    Some load their metric only then, which would be after hours of work of the model.

    Raises:
        CodeError: The metric is a program on the Hub.

    """
    if not callable(task.get_config("process_results")):
        return
    answer = "-" if task.OUTPUT_TYPE == "generate_until" else (-1.0, False)
    try:
        with no_code_from_hub():
            task.process_results(task.eval_docs[0], [answer])
    except CodeError:
        raise
    except Exception as error:  # noqa: BLE001 - of the task, which expected another answer
        LOG.debug("%s: %r", task.task_name, error)


@contextmanager
def task_errors(name: str, file: str = "") -> Iterator[None]:
    """Turn an error of lm-eval and `datasets` into ours: about a task, or about one of a group.

    Args:
        name: The task or group.
        file: Its file, if it is known.

    """
    try:
        yield
    except SlackTiesError:
        raise
    except Exception as error:
        raise _reason(name, file, error) from error


def _refuse(name: str, settings: Any) -> None:
    """Refuse a task that runs code of the model's, or asks about pictures or sound."""
    if settings.get("unsafe_code"):
        msg = f"task {name!r} runs programs that the model writes: it is not run here"
        raise SlackTiesError(msg, hint=ANOTHER_TASK)
    if settings.get("doc_to_image") or settings.get("doc_to_audio"):
        msg = f"task {name!r} asks about pictures or sound, expected a task about text"
        raise SlackTiesError(msg, hint=ANOTHER_TASK)


def _code(name: str, metric: str) -> SlackTiesError:
    msg = (
        f"task {name!r} needs the metric {metric!r}, a program that the library evaluate "
        "downloads from the Hub and runs: it is not run here"
    )
    return SlackTiesError(msg, hint=ANOTHER_TASK)


def _reason(  # noqa: PLR0911 - one per reason
    name: str, file: str, error: Exception
) -> SlackTiesError:
    """Return why a task cannot be loaded."""
    task = _task_of(error)
    name = _name_of(task) or name
    what = f"task {name!r}"
    chain = list(_chain(error))
    if code := next((one for one in chain if isinstance(one, CodeError)), None):
        return _code(name, str(code))
    path = str(getattr(task, "DATASET_PATH", None) or "")
    if theirs := next((one for one in chain if isinstance(one, OF_THE_HUB)), None):
        return _hub_reason(what, path, theirs)
    if isinstance(error, (ConnectionError, DatasetNotFoundError)):
        return _not_here(what, path, error)
    if part := PART_NOT_HERE.match(str(error)):
        return _part_not_here(what, path, part["part"])
    if part := NO_PART.match(str(error)):
        msg = f"{what}: its dataset {path!r} has no part {part['part']!r}, or no longer has it"
        return SlackTiesError(msg, hint=ANOTHER_TASK)
    if isinstance(error, ImportError) and error.name:
        msg = f"{what} needs the Python package {error.name!r}, which is not installed"
        return SlackTiesError(msg, hint=f"pip install {error.name}")
    if "Dataset scripts are no longer supported" in str(error):
        msg = f"{what}: its dataset {path!r} is a program, which the library datasets does not run"
        return SlackTiesError(msg, hint=ANOTHER_TASK)
    file = _file_of(task) or file
    hint = f"correct the task's file: {GUIDE}"
    if _is_empty(task):
        msg, hint = f"{what} has no items in its data", f"correct the task's file or data  # {file}"
    elif isinstance(error, FileNotFoundError):
        msg = f"{what}: its data is missing: {first_line(error)}"
        hint = "put the data there, or correct the task's file"
    else:
        msg = f"{what} cannot be loaded: {type(error).__name__}: {first_line(error)}"
    return SlackTiesError(msg, hint=hint if _is_users(file) else ANOTHER_TASK)


def _hub_reason(what: str, path: str, error: Exception) -> HubError:
    """Return why a dataset cannot be had, by the error of the Hub client."""
    api = HfApi(endpoint=config.HF_ENDPOINT)
    named = f"{what}: its dataset {path!r}"
    if isinstance(error, GatedRepoError):
        return _gated(named, path, api)
    if isinstance(error, RepositoryNotFoundError):
        return _not_found(named, api)
    if isinstance(error, OfflineModeIsEnabled):
        return _offline(named)
    return hub_error(named, api, error)


def _not_here(what: str, path: str, error: Exception) -> HubError:
    """Return the same by an error of `datasets`, which keeps only the text of the client's."""
    api = HfApi(endpoint=config.HF_ENDPOINT)
    named = f"{what}: its dataset {path!r}"
    if is_offline():
        return _offline(named)
    if "gated dataset" in str(error):
        return _gated(named, path, api)
    if isinstance(error, DatasetNotFoundError):
        return _not_found(named, api)
    return HubError(f"{named}: {first_line(error)}", hint=f"check the network  # {ONCE}")


def _part_not_here(what: str, path: str, part: str) -> HubError:
    """Return the error for a dataset of which only other parts are on this disk."""
    named = f"{what}: the part {part!r} of its dataset {path!r}"
    if is_offline():
        return _offline(named)
    msg = f"{named} is not on this disk, and cannot be downloaded now"
    return HubError(msg, hint=f"check the network  # {ONCE}")


def _offline(named: str) -> HubError:
    msg = f"{named} is not on this disk, and HF_HUB_OFFLINE is set"
    return HubError(msg, hint=f"unset HF_HUB_OFFLINE  # {ONCE}")


def _gated(named: str, path: str, api: HfApi) -> GatedError:
    page = f"{api.endpoint}/datasets/{path}"
    if has_token(api):
        msg = f"{named} is not open to the user of {token_name(api)}"
        return GatedError(msg, hint=f"ask for access on {page}, then run the same command again")
    msg = f"{named} is open only to users with the owner's access, and you are not logged in"
    return GatedError(msg, hint=f"ask for access on {page}, then: {no_token()}")


def _not_found(named: str, api: HfApi) -> NotOnHubError:
    who = f"{token_name(api)} may not see it" if has_token(api) else "you are not logged in"
    return NotOnHubError(
        f"{named} is not on {api.endpoint}, or private and {who}", hint=ANOTHER_TASK
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Return an error and those that it came from."""
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop(0)
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            todo += [one.__cause__, one.__context__]


def _task_of(error: BaseException) -> Any:
    """Return lm-eval's task that an error is about: of a group, lm-eval does not say which."""
    from lm_eval.api.task import Task  # noqa: PLC0415 - lm-eval

    frames = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return next((one for one in reversed(frames) if isinstance(one, Task)), None)


def _name_of(task: Any) -> str:
    name = getattr(getattr(task, "config", None), "task", None)
    return name if isinstance(name, str) else ""


def _file_of(task: Any) -> str:
    data = getattr(getattr(task, "config", None), "metadata", None) or {}
    return str(data.get("config_source", ""))


def _is_users(file: str) -> bool:
    """Say whether a task file is the user's, who can correct it: not lm-eval's, and not ours."""
    import lm_eval  # noqa: PLC0415 - heavy

    ours = (Path(lm_eval.__file__).parent, Path(catalogue.__file__).parent)
    return bool(file) and not any(Path(file).is_relative_to(folder) for folder in ours)


def _is_empty(task: Any) -> bool:
    """Say whether a task has data, but no item to score."""
    try:
        return task is not None and len(task.eval_docs) == 0
    except Exception:  # noqa: BLE001 - the task is not complete
        return False

"""Prepare a merge for mergekit, and explain mergekit's errors in our words."""

from __future__ import annotations

import io
import re
import sys
import tempfile
from contextlib import contextmanager, nullcontext, redirect_stderr
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from safetensors import SafetensorError

from slack_ties.errors import CheckpointError, RecipeError, SlackTiesError, is_bug
from slack_ties.merge.output import is_of_writing, unwritable
from slack_ties.models.model_config import model_config
from slack_ties.plan.method import refused_value
from slack_ties.recipe.recipe import FACTS_KEY, Recipe, places, put, reference
from slack_ties.tensors.modules import stacks_of_modules

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mergekit.config import MergeConfiguration
    from mergekit.options import MergeOptions

    from slack_ties.merge.prepare import Prepared
    from slack_ties.merge.receiver import Streaming
    from slack_ties.models.cached import Snapshot
    from slack_ties.settings import Settings

__all__ = ["Ready", "ready_to_merge"]

PERCENT = re.compile(r"(\d+)%")  # in a bar of tqdm

MORE = "run the same command with --debug: it shows where in mergekit this was raised"


@dataclass(frozen=True)
class Ready:
    """What mergekit needs to merge."""

    config: MergeConfiguration
    prepared: Prepared
    modules: dict[str, str] | None  # for a config with modules: name -> stack of layers


@contextmanager
def ready_to_merge(  # noqa: PLR0913 - one call, and its folders
    recipe: Recipe,
    work: Path,
    options: MergeOptions,
    snapshots: Mapping[str, list[Snapshot]],
    *,
    out: Path,
    settings: Settings | None = None,
    stream: Streaming | None = None,
) -> Iterator[Ready]:
    """Yield the input for mergekit; errors name `out` and the config.

    Arguments are those of `prepare_models`; `work` is on the disk that is written to.
    """
    from mergekit.config import MergeConfiguration  # noqa: PLC0415
    from pydantic import ValidationError  # noqa: PLC0415

    import slack_ties.method  # noqa: F401, PLC0415 - registers it if the start-up hook did not run
    from slack_ties.hub.retries import patiently  # noqa: PLC0415 - imports the Hub client
    from slack_ties.merge.alone import alone  # noqa: PLC0415
    from slack_ties.merge.prepare import prepare_models  # noqa: PLC0415

    data = {key: value for key, value in recipe.data.items() if key != FACTS_KEY}
    is_away = any(part.away for parts in snapshots.values() for part in parts)
    try:
        with (
            alone(),
            tempfile.TemporaryDirectory(
                dir=work.parent, prefix=f".{out.name}.", suffix=".lora.partial"
            ) as adapted,
            redirect_stderr(_bars(sys.stderr, quiet=options.quiet)),
            patiently() if is_away else nullcontext(),
        ):
            prepared = prepare_models(recipe, snapshots, options, Path(adapted), settings, stream)
            try:
                config = MergeConfiguration.model_validate(_localized(data, prepared.models))
                modules = None
                if recipe.data.get("modules"):
                    first = recipe.base or recipe.models[0]
                    base_config = model_config(snapshots[first][0].path, first)
                    modules, _ = stacks_of_modules(recipe, base_config, prepared.layout)
                yield Ready(config, prepared, modules)
            finally:
                prepared.close()  # before the adapters' files are deleted
    except SlackTiesError as error:
        raise type(error)(_renamed(str(error), snapshots), hint=error.hint) from None
    except ValidationError as error:
        refused = refused_value(recipe, error)
        raise RecipeError(_renamed(str(refused), snapshots), hint=refused.hint) from None
    except Exception as error:  # mergekit, transformers and pickle raise errors of many types
        if is_bug(error):
            raise
        if isinstance(error, (SafetensorError, OSError)) and is_of_writing(error, work):
            raise unwritable(out, error) from None
        reason = _renamed(": ".join(filter(None, [type(error).__name__, str(error)])), snapshots)
        msg = f"mergekit cannot merge {recipe.where}: {reason}"
        raise CheckpointError(msg, hint=MORE) from None


def _bars(stream: TextIO, *, quiet: bool) -> Any:
    """Return standard error for progress bars: all of them, some of their updates, or none."""
    if quiet:
        return _WithoutBars(stream)
    return stream if stream.isatty() else _FewerBars(stream)


class _FewerBars(io.TextIOBase):
    """Standard error of a notebook or of a log file, which keep every update of a bar.

    A bar has at most 21 updates: one for each twentieth of its way. A terminal has ten a second.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.last: tuple[str, int] | None = None  # the name of a bar, and its twentieth

    def write(self, text: str) -> int:
        """Write a text; leave it out if it is the same bar in the same twentieth."""
        if "\r" in text and (found := PERCENT.search(text)):
            place = (text[: found.start()].strip(), int(found[1]) // 5)
            if place == self.last:
                return len(text)
            self.last = place
        self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write out what is in the buffer of the stream."""
        self.stream.flush()


class _WithoutBars(io.TextIOBase):
    """Standard error without progress bars: mergekit shows one for tokenizers even if quiet."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write text that is not a bar or the line end after a bar."""
        if "\r" not in text and text.strip():
            self.stream.write(text)
        return len(text)


def _localized(data: Mapping[str, Any], local: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config with every model replaced by the model on this disk."""
    changed = deepcopy(dict(data))
    for path, value in places(data):
        if path[0] != FACTS_KEY and reference(value) in local:
            put(changed, path, local[reference(value)])
    return changed


def _renamed(message: str, snapshots: Mapping[str, list[Snapshot]]) -> str:
    """Replace folders in a message by the config's names of the models."""
    for name, found in snapshots.items():
        # mergekit writes a model as MODEL+ADAPTER. If the config does too, nothing changes.
        text = "+".join(str(part.path) for part in found)
        if text != name:
            message = message.replace(text, name)
        for part, own in zip(found, name.split("+"), strict=False):
            if len(found) > 1 and part.commit:  # in the Hub's cache
                message = message.replace(str(part.path), own)
    return message

"""Check that PEFT applies a LoRA adapter as it was trained; count the entries that it changes.

PEFT ignores tensors that fit no module, with a warning or without one. This module finds them in
the headers of the weight files, before anything is merged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from slack_ties.adapter.adapter import Adapter
from slack_ties.adapter.modules import INCOMPLETE
from slack_ties.adapter.shapes import Shapes

if TYPE_CHECKING:
    from slack_ties.models.header import Header

__all__ = ["read_adapter"]

WRONG = (re.error, TypeError, AttributeError, ValueError, LookupError, ArithmeticError)


def read_adapter(  # noqa: PLR0913 - all by name
    name: str,
    *,
    config: Mapping[str, Any],
    headers: Mapping[str, Header],
    model: Mapping[str, Header],
    zeros: Callable[[Sequence[str]], Collection[str]] = lambda _: (),
    modules: Collection[str] | None = None,
    tied: bool = False,
) -> Adapter:
    """Return the changes that PEFT makes for an adapter; refuse one that PEFT cannot apply in full.

    Args:
        name: The name of model and adapter in errors: BASE+ADAPTER.
        config: The adapter's adapter_config.json.
        headers: The headers of the adapter's weight file.
        model: The headers of the model that the adapter is applied to.
        zeros: Gets some of the adapter's tensors, and returns those that contain only zeros.
        modules: The names in the model's state dict in transformers, if known. If not, they are
            derived from the checkpoint's names.
        tied: Whether the model's head is its embedding.

    Raises:
        CheckpointError: PEFT cannot merge the adapter, or would ignore a part of it, or the
            adapter changes nothing.

    """
    reading = Shapes(name, config, headers, model, modules, tied=tied)
    try:
        reading.check_config()
        reading.sort()
        reading.check_names()
        reading.check_fused()
        reading.check_whole()
        for pair in reading.pairs:
            reading.check_pair(pair)
        reading.add_up(zeros)
        reading.warn()
    except WRONG as error:
        # The files are not trusted: they can have a wrong pattern, or a number instead of a list.
        reading.fail(f"its adapter cannot be read: {error}", INCOMPLETE)
    own = {tensor: count for tensor, count in reading.changes.items() if tensor not in model}
    return Adapter(
        rank=reading.rank,
        changes=reading.changes,
        whole=tuple(reading.whole),
        tensors=len(model) + len(own),
        parameters=sum(header.size for header in model.values()) + sum(own.values()),
        warnings=tuple(reading.warnings),
    )

"""Whether PEFT applies a LoRA adapter as it was trained, and how much of the model it changes.

PEFT leaves out what fits no module, with a warning at most. Here that is found in the headers
of the weight files, before anything is merged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from slack_ties.adapter.adapter import Adapter
from slack_ties.adapter.modules import AGAIN
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
    """Return what PEFT makes of an adapter, and refuse one that it would not apply in full.

    Args:
        name: What to call model and adapter in errors: BASE+ADAPTER.
        config: The adapter's adapter_config.json.
        headers: Of the adapter's weight file.
        model: The headers of the model that it goes onto.
        zeros: Returns those of some tensors of the adapter that hold nothing but zeros.
        modules: The names in the model's state dict in transformers, where they are known.
            Without them they are derived from those of the checkpoint.
        tied: Whether the model's head is its embedding.

    Raises:
        CheckpointError: PEFT cannot merge the adapter, or would leave a part of it out, or
            the adapter changes nothing.

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
        # The files come from anywhere: with a wrong pattern, or a number for a list.
        reading.fail(f"its adapter cannot be understood: {error}", AGAIN)
    own = {tensor: count for tensor, count in reading.changes.items() if tensor not in model}
    return Adapter(
        rank=reading.rank,
        changes=reading.changes,
        whole=tuple(reading.whole),
        tensors=len(model) + len(own),
        parameters=sum(header.size for header in model.values()) + sum(own.values()),
        warnings=tuple(reading.warnings),
    )

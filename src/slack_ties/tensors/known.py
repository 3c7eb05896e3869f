"""Find out how transformers loads a model: from our own table first, then from transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slack_ties.errors import CheckpointError
from slack_ties.tensors.plain_models import plain_model

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slack_ties.models.header import Header
    from slack_ties.tensors.origin import Known

__all__ = ["know"]


def know(name: str, config: Mapping[str, Any], headers: Mapping[str, Header]) -> Known | None:
    """Return how transformers loads a model; None if transformers has no class for it.

    This is fast for plain decoders. For other models it imports transformers.

    Args:
        name: The model's name in errors.
        config: Its config.json.
        headers: The headers of its weights.

    Raises:
        CheckpointError: transformers refuses the config.

    """
    if not config.get("model_type") and "auto_map" not in config:
        msg = f"model {name!r}: config.json names no model_type, so transformers cannot load it"
        hint = "take the config.json of this model: download it again"
        raise CheckpointError(msg, hint=hint)
    if plain := plain_model(config, headers):
        return plain
    from slack_ties.tensors.loading import skeleton_of  # noqa: PLC0415 - seconds to import

    try:
        return skeleton_of(config)
    except CheckpointError as error:
        msg = f"model {name!r}: {error}"
        raise CheckpointError(msg, hint=error.hint) from None

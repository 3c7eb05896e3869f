"""What transformers knows of a model: asked of our own table first, then of transformers."""

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
    """Return what transformers knows of a model; None if it has no class for it.

    For plain decoders that takes no time, for others transformers is imported.

    Args:
        name: What to call the model in errors.
        config: Its config.json.
        headers: Of its weights.

    Raises:
        CheckpointError: transformers does not take the config.

    """
    if not config.get("model_type") and "auto_map" not in config:
        msg = f"model {name!r}: config.json names no model_type, so that nothing can load it"
        raise CheckpointError(msg, hint="is it of this model? Get its config.json again")
    if plain := plain_model(config, headers):
        return plain
    from slack_ties.tensors.loading import skeleton_of  # noqa: PLC0415 - seconds to import

    try:
        return skeleton_of(config)
    except CheckpointError as error:
        msg = f"model {name!r}: {error}"
        raise CheckpointError(msg, hint=error.hint) from None

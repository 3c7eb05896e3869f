"""Functions and attributes of transformers that its documentation does not describe.

They tell which tensors of a checkpoint transformers renames, joins or splits. If one is missing, a
plain decoder (see tensors/plain_models.py) can still be merged. Any other model is refused, and
the error tells the versions of transformers that have the name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from slack_ties.private.lazy import import_lazily

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import (
        WeightConverter,
        WeightRenaming,
        dot_natural_key,
        rename_source_key,
        revert_weight_conversion,
    )
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    set_seed: Callable[[int], None]

__all__ = [
    "CONFIG_MAPPING",
    "NAMES",
    "WeightConverter",
    "WeightRenaming",
    "dot_natural_key",
    "get_model_conversion_mapping",
    "rename_source_key",
    "revert_weight_conversion",
    "set_seed",
]

BOUNDS = ">=5.0,<6"
NAMES = {
    # Old names and layouts of tensors, and how they are converted.
    "get_model_conversion_mapping": "transformers.conversion_mapping",
    "WeightConverter": "transformers.core_model_loading",
    "WeightRenaming": "transformers.core_model_loading",
    "dot_natural_key": "transformers.core_model_loading",
    "rename_source_key": "transformers.core_model_loading",
    "revert_weight_conversion": "transformers.core_model_loading",
    # The class of a config, by its model_type.
    "CONFIG_MAPPING": "transformers.models.auto.configuration_auto",
    # Seeds Python's, numpy's and torch's random numbers.
    "set_seed": "transformers.trainer_utils",
}

__getattr__ = import_lazily("transformers", BOUNDS, NAMES)

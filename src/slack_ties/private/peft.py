"""Classes of PEFT that its documentation does not describe.

They tell which modules of a model an adapter changes. mergekit needs PEFT, and has this bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from slack_ties.private.lazy import import_lazily

if TYPE_CHECKING:
    from peft.tuners.lora import LoraLayer
    from peft.utils import ModulesToSaveWrapper

__all__ = ["NAMES", "LoraLayer", "ModulesToSaveWrapper"]

BOUNDS = ">=0.18"
NAMES = {
    # A module with LoRA matrices: its base layer, and `merge`, which changes the base layer.
    "LoraLayer": "peft.tuners.lora",
    # A module that an adapter replaces as a whole.
    "ModulesToSaveWrapper": "peft.utils",
}

__getattr__ = import_lazily("peft", BOUNDS, NAMES)

"""What a caller says of a model that is to be scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["DTYPES", "How", "Loaded"]

DTYPES = ("auto", "float32", "bfloat16", "float16", "float64")


@dataclass(frozen=True)
class How:
    """How to run models. The defaults are lm-eval's."""

    device: str = "cpu"
    dtype: str = "auto"  # that of the model
    batch_size: str = ""  # a number, or auto; if empty: auto on a GPU, 1 on a CPU
    chat_template: bool = False  # apply the model's chat template to each item

    @property
    def batch(self) -> str:
        """The batch size as lm-eval takes it."""
        return self.batch_size or ("auto" if self.device.startswith("cuda") else "1")


@dataclass(frozen=True)
class Loaded:
    """A model in memory."""

    model: Any  # a transformers model
    tokenizer: Any

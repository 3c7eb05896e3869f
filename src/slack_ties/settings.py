"""What a caller decides once for all stages: mergekit's options, quiet, the Hub client.

Functions that read models take these four by name and hand them on as one value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from mergekit.options import MergeOptions

__all__ = ["Settings", "SettingsByName"]


@dataclass(frozen=True)
class Settings:
    """How to work, whatever is merged."""

    options: MergeOptions | None = None  # mergekit's own; its defaults and ours if not given
    quiet: bool = False  # without `options`: show no progress
    allow_unrelated: bool = False  # merge even if the weights have nothing in common
    api: HfApi | None = None  # the Hub client; the default one if not given

    @property
    def device(self) -> str:
        """The device that merges, in torch's words."""
        return self.options.device if self.options else "cpu"

    @property
    def cache(self) -> str | None:
        """The folder of the Hub cache, if it is not the default one."""
        return self.options.transformers_cache if self.options else None

    @property
    def allow_crimes(self) -> bool:
        """Whether models that do not fit each other may be merged."""
        return bool(self.options and self.options.allow_crimes)


class SettingsByName(TypedDict, total=False):
    """The same four, as arguments of a function; `Settings` says what each is."""

    options: MergeOptions | None
    quiet: bool
    allow_unrelated: bool
    api: HfApi | None

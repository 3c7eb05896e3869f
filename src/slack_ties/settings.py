"""The settings that all stages share: mergekit's options, quiet, the Hub client, and the download.

Functions that read models take these six by name and pass them on as one value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from mergekit.options import MergeOptions

__all__ = ["DEFAULT_WINDOW", "Settings", "SettingsByName"]

DEFAULT_WINDOW = 1_000_000_000  # bytes


@dataclass(frozen=True)
class Settings:
    """How to work. These settings do not depend on the models."""

    options: MergeOptions | None = None  # mergekit's own; None: its defaults, with ours
    quiet: bool = False  # without `options`: show no progress
    allow_unrelated: bool = False  # merge even if the weights are unrelated
    api: HfApi | None = None  # the Hub client; None: the default one
    # Whether weights on the Hub are downloaded. False: they are read as they are needed, and none
    # are kept here. None: downloaded if the disk has room, else read as they are needed.
    download: bool | None = None
    window: int | None = None  # bytes of memory to read ahead without download; None: as needed

    @property
    def device(self) -> str:
        """The device that merges, as torch names it."""
        return self.options.device if self.options else "cpu"

    @property
    def cache(self) -> str | None:
        """The folder of the Hub cache; None for the default one."""
        return self.options.transformers_cache if self.options else None

    @property
    def allow_crimes(self) -> bool:
        """Whether models that do not fit each other may be merged."""
        return bool(self.options and self.options.allow_crimes)


class SettingsByName(TypedDict, total=False):
    """The same six as arguments of a function; `Settings` explains each."""

    options: MergeOptions | None
    quiet: bool
    allow_unrelated: bool
    api: HfApi | None
    download: bool | None
    window: int | None

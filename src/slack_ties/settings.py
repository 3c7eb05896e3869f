"""The settings that all stages share: mergekit's options, quiet, the Hub client, and the download.

Functions that read models take these six by name and pass them on as one value.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypedDict

from slack_ties.errors import SlackTiesError

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from mergekit.options import MergeOptions

__all__ = ["Settings", "SettingsByName"]


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

    def with_download(self, what: str, hint: str = "") -> Settings:
        """Return the settings of a command that loads whole models: it downloads them.

        Args:
            what: The command, or what in it loads models.
            hint: What to do if these settings forbid the download.

        Raises:
            SlackTiesError: They do.

        """
        if self.download is False:
            msg = f"{what} loads whole models, so --no-download cannot be used with it"
            raise SlackTiesError(msg, hint=hint or "leave --no-download out")
        return replace(self, download=True)


class SettingsByName(TypedDict, total=False):
    """The same six as arguments of a function; `Settings` explains each."""

    options: MergeOptions | None
    quiet: bool
    allow_unrelated: bool
    api: HfApi | None
    download: bool | None
    window: int | None

"""Ask the Hub about a model: its commit, and its files with their sizes and checksums."""

from __future__ import annotations

from typing import TYPE_CHECKING

from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from slack_ties.hub.client import TransportError
from slack_ties.hub.errors import hub_errors
from slack_ties.hub.faults import is_server_fault

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from huggingface_hub import HfApi, ModelInfo

    from slack_ties.hub.retries import Retries

__all__ = ["AWAY", "ask_hub", "is_away", "model_errors", "named"]

# Errors after which the cache may serve instead of the Hub, if `is_away` agrees.
AWAY = (OfflineModeIsEnabled, TransportError, OSError)


def ask_hub(path: str, revision: str | None, retries: Retries, api: HfApi) -> ModelInfo:
    """Return what the Hub says about a model at a revision."""
    return retries.ask(lambda: api.model_info(path, revision=revision, files_metadata=True))


def is_away(error: Exception) -> bool:
    """Say whether the Hub cannot be asked now: it did not answer, or the fault is its own."""
    return not isinstance(error, HfHubHTTPError) or is_server_fault(error)


def model_errors(path: str, revision: str | None, api: HfApi) -> AbstractContextManager[None]:
    """Turn errors of the Hub client into ours, about a model that is not a folder here."""
    return hub_errors(named(path, revision), api)


def named(path: str, revision: str | None) -> str:
    """Return how errors name a model that is not a folder here."""
    what = f"model {path!r} (no folder of that name here)"
    return f"{what}, revision {revision!r}" if revision else what

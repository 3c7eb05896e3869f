"""Nothing is waited for without end, and what may be repeated is."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import get_session

from hub_server import Fault
from slack_ties.hub.client import TransportError
from slack_ties.hub.retries import Retries
from slack_ties.hub.timeouts import timeouts

if TYPE_CHECKING:
    from hub_server import Server

QUICK = Retries(timeout=0.5, commit=0.5, tries=3, first_wait=0.01, longest_wait=2)


@pytest.mark.parametrize("how", ["500", "429", "dropped_before", "dropped_after", "stalled"])
def test_asks_again(api: HfApi, hub: Server, how: str) -> None:
    """Once what is the Hub's fault or the line's."""
    hub.hub.faults.append(Fault("whoami", how))

    with timeouts(QUICK):
        assert QUICK.ask(api.whoami)["name"] == "me"

    assert hub.hub.requests == ["GET /api/whoami-v2"] * 2


@pytest.mark.parametrize("how", ["401", "403", "404", "412"])
def test_does_not_ask_again(api: HfApi, hub: Server, how: str) -> None:
    """A clear answer is one."""
    hub.hub.faults.append(Fault("whoami", how))

    with timeouts(QUICK), pytest.raises(HfHubHTTPError):
        QUICK.ask(api.whoami)

    assert len(hub.hub.requests) == 1


def test_ends(api: HfApi, hub: Server) -> None:
    """After as many tries as were said, with the last error."""
    hub.hub.faults.append(Fault("whoami", "500", math.inf))

    with timeouts(QUICK), pytest.raises(HfHubHTTPError, match="500"):
        QUICK.ask(api.whoami)

    assert len(hub.hub.requests) == 3


@pytest.mark.parametrize("how", ["429", "limited"])
def test_waits_as_long_as_the_hub_says(api: HfApi, hub: Server, how: str) -> None:
    """By Retry-After or by RateLimit, but not longer than anybody would."""
    hub.hub.faults.append(Fault("whoami", how))
    began = time.monotonic()

    QUICK.ask(api.whoami)

    assert time.monotonic() - began >= 1  # the server says 1 second
    hub.hub.faults.append(Fault("whoami", how))
    with pytest.raises(HfHubHTTPError):
        Retries(longest_wait=0.5).ask(api.whoami)


def test_listings_time_out_too(api: HfApi, hub: Server) -> None:
    """The client asks for them without a time-out."""
    api.create_repo("me/x", private=True)
    hub.hub.faults.append(Fault("tree", "stalled"))

    with timeouts(QUICK):
        assert [one.path for one in api.list_repo_tree("me/x")] == [".gitattributes"]


def test_the_client_is_left_as_it_was(api: HfApi, hub: Server) -> None:
    """Whoever uses it beside us keeps his own time-outs."""
    before = get_session().timeout
    with timeouts(QUICK):
        assert get_session().timeout.read == 0.5
        hub.hub.faults.append(Fault("whoami", "stalled"))
        with pytest.raises(TransportError, match="timed out"):
            api.whoami()

    assert get_session().timeout == before

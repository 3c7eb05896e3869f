"""Look at everything, in the order in which it is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from slack_ties.doctor.finding import OK, UNKNOWN, Diagnosis, Finding
from slack_ties.doctor.kernel import look_at_kernel
from slack_ties.doctor.method_hook import look_at_imports, look_at_mergekit, started
from slack_ties.doctor.packages import look_at_packages, look_at_python
from slack_ties.doctor.torch_build import broken_torch, import_torch, look_at_torch

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ["TIMEOUT", "check_installation", "look_at_all"]

TIMEOUT = 20.0  # seconds for the Hub


def check_installation(timeout: float = TIMEOUT, *, api: HfApi | None = None) -> Diagnosis:
    """Check what a merge and the other commands need: packages, kernel, GPU, disk, Hub, token.

    Nothing is changed, and no token is in the result.

    Args:
        timeout: Seconds to wait for the Hub, with all retries.
        api: The Hub client; if not given, that of the environment.

    Returns:
        The findings. `check()` raises if a merge needs something that is not in place.

    Raises:
        SlackTiesError: A second Python, which imports what a merge needs, cannot be started.

    """
    return Diagnosis(tuple(look_at_all(timeout, api=api)))


def look_at_all(timeout: float = TIMEOUT, *, api: HfApi | None = None) -> Iterator[Finding]:
    """Yield what `check_installation` returns, one by one."""
    with started() as process:
        yield from look_at_python()
        torch, reason = import_torch()
        for one in look_at_packages():
            if one.name != "torch" or one.state != OK:
                yield one
            elif torch is None:
                yield broken_torch(reason)
            else:
                yield from look_at_torch(torch)
        yield from _if_there("kernel", lambda: iter([look_at_kernel()]))
        yield from _if_there("memory", _memory)
        yield from _if_there("cache", _disks)
        yield from _if_there("Hub", lambda: _hub(timeout, api))
        imports, method, log = look_at_imports(process)
        yield imports
        yield look_at_mergekit(method=method, log=log)
        yield from _if_there("extras", _extras)


def _if_there(name: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Yield findings; one that says that they are unknown if a package for it cannot be used."""
    try:
        yield from look()
    except (ImportError, OSError) as error:  # a library that cannot be loaded is an OSError
        yield Finding(name, UNKNOWN, f"not looked at: {type(error).__name__}: {error}")


def _memory() -> Iterator[Finding]:
    from slack_ties.doctor.room import look_at_memory  # noqa: PLC0415 - psutil may be missing

    yield look_at_memory()


def _disks() -> Iterator[Finding]:
    from slack_ties.doctor.room import look_at_cache, look_at_folder  # noqa: PLC0415 - as above

    yield look_at_folder()
    from slack_ties.private.huggingface_hub import is_offline  # noqa: PLC0415 - the Hub client

    yield look_at_cache(offline=is_offline())


def _hub(timeout: float, api: HfApi | None) -> Iterator[Finding]:
    from slack_ties.doctor.hub_access import look_at_hub  # noqa: PLC0415 - the Hub client

    yield from look_at_hub(timeout, api=api)


def _extras() -> Iterator[Finding]:
    from slack_ties.doctor.extras import look_at_extras  # noqa: PLC0415 - heavy

    yield from look_at_extras()

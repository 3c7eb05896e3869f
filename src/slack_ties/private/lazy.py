"""Import a name of another library when it is used; raise a clear error if it is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from slack_ties.errors import SlackTiesError

__all__ = ["gone", "import_lazily"]


def import_lazily(library: str, bounds: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a module's `__getattr__` (PEP 562) that imports these names on first use.

    Args:
        library: Its name for pip.
        bounds: The versions that have the names, as in pyproject.toml.
        names: Name -> the library's module that has it.

    """

    def find(name: str) -> Any:
        if name not in names:
            msg = f"no such name: {name}"
            raise AttributeError(msg)
        try:
            return getattr(import_module(names[name]), name)
        except AttributeError as error:
            raise gone(library, bounds, f"{names[name]}.{name}") from error
        except ModuleNotFoundError as error:
            # Only if the module itself is gone, not if something that it needs is missing.
            if f"{names[name]}.".startswith(f"{error.name}."):
                raise gone(library, bounds, f"{names[name]}.{name}") from error
            raise

    return find


def gone(library: str, bounds: str, name: str) -> SlackTiesError:
    """Return the error for a name that the installed version of a library lacks."""
    try:
        has = f"{library} {version(library)} has"
    except PackageNotFoundError:
        has = f"{library} is not installed: there is"
    msg = f"{has} no {name}, which slack-ties needs"
    return SlackTiesError(msg, hint=f'pip install "{library}{bounds}"')

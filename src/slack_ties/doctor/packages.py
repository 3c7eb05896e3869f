"""Which packages are installed, in which versions, and whether these are those that we know."""

from __future__ import annotations

import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.doctor.finding import BROKEN, OK, Finding
from slack_ties.recipe.pin import PACKAGES

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["look_at_packages", "look_at_python", "short", "system"]

OURS = "slack-ties"
SHOWN = (*PACKAGES[1:], "huggingface-hub")  # without our own, which comes first

INSTALL = "pip install slack-ties  # in a checkout: pip install ."

# A requirement without extras and markers, as ours are written: NAME>=X,<Y.
NAME = re.compile(r"[A-Za-z0-9._-]+")
BOUND = re.compile(r"(>=|<)\s*([0-9][0-9.]*)")


def system() -> str:
    """Return the version of Python and the kind of machine, for a report of a bug."""
    return f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"


def short(path: Path | str) -> str:
    """Return a path with ~ for the user's folder: its name is nobody's business."""
    try:
        inside = Path(path).relative_to(Path.home())
    except (ValueError, RuntimeError):  # another folder, or there is no home
        return str(path)
    return str(Path("~") / inside)


def look_at_python() -> Iterator[Finding]:
    """Yield slack-ties itself and Python."""
    where = Path(__file__).parent.parent
    try:
        found = version(OURS)
    except PackageNotFoundError:
        msg = f"used from {short(where)}, but not installed: its versions and bounds are not known"
        yield Finding(OURS, BROKEN, msg, INSTALL)
    else:
        yield Finding(OURS, OK, f"{found} in {short(where)}", facts={"version": found})
    python = platform.python_version()
    text = f"{python} on {platform.system()} {platform.release()} {platform.machine()}"
    facts = {"version": python, "system": platform.system(), "machine": platform.machine()}
    yield Finding("Python", OK, f"{text}, {short(sys.executable)}", facts=facts)


def look_at_packages() -> Iterator[Finding]:
    """Yield the packages that a merge depends on; the less known ones only if they do not fit."""
    bounds = _bounds()
    for name in (*SHOWN, *(name for name in bounds if name not in SHOWN)):
        finding = _look_at(name, bounds.get(name, ""))
        if finding.state != OK or name in SHOWN:
            yield finding


def _bounds() -> dict[str, str]:
    """Return the packages that slack-ties needs on every system, with the versions it knows."""
    try:
        needed = [one for one in requires(OURS) or () if ";" not in one]
    except PackageNotFoundError:
        return {}
    found = {match[0]: one[match.end() :] for one in needed if (match := NAME.match(one))}
    return {
        name: ",".join(sorted(bounds.split(","), reverse=True)) for name, bounds in found.items()
    }


def _look_at(name: str, bounds: str) -> Finding:
    """Return whether a package is installed in a version that we know."""
    install = f'pip install "{name}{bounds}"'
    shown = name.replace("-", "_")  # as it is imported
    try:
        found = version(name)
    except PackageNotFoundError:
        return Finding(shown, BROKEN, f"not installed, expected {bounds or 'any version'}", install)
    if not found:  # its METADATA is gone
        install = f'pip install --ignore-installed --no-deps "{name}{bounds}"'
        text = "its installation is damaged: it has no version"
        return Finding(shown, BROKEN, text, install)
    facts = {"version": found}
    if not _fits(found, bounds):
        return Finding(shown, BROKEN, f"{found}, expected {bounds}", install, facts)
    return Finding(shown, OK, found, facts=facts)


def _fits(found: str, bounds: str) -> bool:
    """Say whether a version is within bounds such as >=1.12,<3."""
    return all(
        _numbers(found) >= _numbers(stated) if sign == ">=" else _numbers(found) < _numbers(stated)
        for sign, stated in BOUND.findall(bounds)
    )


def _numbers(stated: str) -> tuple[int, ...]:
    """Return the numbers of a version, without zeros at the end."""
    match = re.match(r"[0-9]+(?:\.[0-9]+)*", stated)
    numbers = [int(part) for part in match[0].split(".")] if match else []
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)

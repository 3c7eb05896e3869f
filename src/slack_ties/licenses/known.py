"""The licences that we know (licenses.toml), and what each of them asks for."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from slack_ties.errors import RecipeError, nearest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = [
    "JOINED",
    "LINK",
    "NAME",
    "UNNAMED",
    "License",
    "Stated",
    "find_license",
    "hub_licenses",
    "list_licenses",
    "parts_of",
]

NAME = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}")  # of a licence, as the Hub takes it

LINK = re.compile(r"(LICENSE|LICENSE\.md|https?://[\w.~:/?#@!$&+,;=%-]{1,300})", re.ASCII)

JOINED = "-and-"  # between the names of licences that hold at once

UNNAMED = ("other", "unknown")  # ids that say nothing of the terms


@dataclass(frozen=True)
class License:
    """One licence; `licenses.toml` explains the fields."""

    id: str
    name: str
    link: str
    derivatives: str  # free, bound, same or none
    source: str
    noncommercial: bool = False
    copy: bool = False
    notice: str = ""
    display: str = ""
    prefix: str = ""
    policy: str = ""
    terms: tuple[str, ...] = ()
    not_with: tuple[str, ...] = ()
    rank: int = 0

    @property
    def binding(self) -> bool:
        """Whether a model made from one under it cannot be under any terms."""
        return self.derivatives != "free"


@dataclass(frozen=True)
class Stated:
    """A licence as somebody stated it: for `other`, with the name and link that the Hub wants."""

    id: str
    name: str = ""
    link: str = ""

    @property
    def key(self) -> str:
        """What it is called here: its id, or its name where the Hub has no id for it."""
        return self.name if self.id == "other" and self.name else self.id

    def flags(self) -> list[str]:
        """Return it as it is typed after a command."""
        named = [("--license-name", self.name), ("--license-link", self.link)]
        known = self.id == "other" and find_license(self.name)
        if known:
            return ["--license", self.name]
        return ["--license", self.id, *(word for pair in named if pair[1] for word in pair)]

    def check(self) -> Stated:
        """Return it as the Hub takes it.

        Raises:
            RecipeError: It is no licence that the Hub takes.

        """
        found = find_license(self.id)
        if not found and parts_of(self.id):  # several at once, as resolve_license names them
            return Stated("other", self.id, self.link or "LICENSE")
        if found and self.id not in hub_licenses():
            return Stated("other", self.id, self.link or found.link)
        if self.id not in hub_licenses():
            known = [*hub_licenses(), *_table()]
            msg = f"{self.id!r} is no licence id of the Hub.{nearest(self.id, known)}"
            hint = "a licence of another name: --license other --license-name NAME "
            raise RecipeError(msg, hint=f"{hint}--license-link URL")
        if self.id == "unknown":
            msg = "the licence 'unknown' is none"
            raise RecipeError(msg, hint="state the one that holds")
        if self.id != "other":
            if self.name or self.link:
                msg = f"the licence {self.id!r} has its name and text on the Hub"
                raise RecipeError(msg, hint="--license-name and --license-link go with other")
            return self
        if not NAME.fullmatch(self.name) or not LINK.fullmatch(self.link):
            msg = f"the licence 'other' needs a name and a link, got {self.name!r}, {self.link!r}"
            hint = "--license other --license-name my-license-1.0 --license-link URL "
            raise RecipeError(msg, hint=f"{hint}(or LICENSE, a file of the folder)")
        return self


def find_license(name: str) -> License | None:
    """Return what is known of a licence, by its id on the Hub or its license_name."""
    return _table().get(name)


def parts_of(name: str) -> list[License]:
    """Return the licences of which a name is made, as llama2-and-cc-by-nc-4.0 is of two."""
    parts = [find_license(one) for one in name.split(JOINED)]
    return [one for one in parts if one] if all(parts) else []


def list_licenses() -> tuple[License, ...]:
    """Return all licences whose terms are known here, in the order of `licenses.toml`."""
    return tuple(_table().values())


def hub_licenses() -> tuple[str, ...]:
    """Return the licence ids that the Hub takes."""
    return tuple(_data()["hub"])


@cache
def _data() -> dict[str, Any]:
    text = files(__package__).joinpath("licenses.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


@cache
def _table() -> dict[str, License]:
    rows: dict[str, dict[str, Any]] = _data()["license"]
    for row in rows.values():
        row.update({key: tuple(one) for key, one in row.items() if isinstance(one, list)})
    return {name: License(name, **row) for name, row in rows.items()}

"""The licences that we know (licenses.toml), and what each of them requires."""

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
    "LICENSE_LINK",
    "LICENSE_NAME",
    "NOT_READ",
    "UNNAMED",
    "License",
    "Stated",
    "find_license",
    "hub_licenses",
    "list_licenses",
    "parts_of",
]

LICENSE_NAME = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}")  # of a licence, as the Hub accepts it

LICENSE_LINK = re.compile(r"(LICENSE|LICENSE\.md|https?://[\w.~:/?#@!$&+,;=%-]{1,300})", re.ASCII)

JOINED = "-and-"  # between the names of licences that apply together

UNNAMED = ("other", "unknown")  # ids that do not say what the terms are

NOT_READ = "not read"  # in the place of a licence: the model's card could not be read


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
    accepts: tuple[str, ...] = ()
    together: tuple[str, ...] = ()
    rank: int = 0

    @property
    def binding(self) -> bool:
        """Whether it limits the terms of models made from one under it."""
        return self.derivatives != "free"


@dataclass(frozen=True)
class Stated:
    """A licence that somebody stated; `other` has the name and link that the Hub requires."""

    id: str
    name: str = ""
    link: str = ""

    @property
    def key(self) -> str:
        """Its id, or its name if the Hub has no id for it."""
        return self.name if self.id == "other" and self.name else self.id

    def flags(self) -> list[str]:
        """Return the options that state it on the command line."""
        named = [("--license-name", self.name), ("--license-link", self.link)]
        known = self.id == "other" and find_license(self.name)
        if known:
            return ["--license", self.name]
        return ["--license", self.id, *(word for pair in named if pair[1] for word in pair)]

    def check(self) -> Stated:
        """Return it as the Hub accepts it.

        Raises:
            RecipeError: The Hub does not accept it.

        """
        found = find_license(self.id)
        if not found and parts_of(
            self.id
        ):  # several licences together, as resolve_license names them
            return Stated("other", self.id, self.link or "LICENSE")
        if found and self.id not in hub_licenses():
            return Stated("other", self.id, self.link or found.link)
        if self.id not in hub_licenses():
            known = [*hub_licenses(), *_table()]
            msg = f"{self.id!r} is not a licence id of the Hub.{nearest(self.id, known)}"
            hint = "for a licence with another name: --license other --license-name NAME "
            raise RecipeError(msg, hint=f"{hint}--license-link URL")
        if self.id == "unknown":
            msg = "'unknown' is not a licence"
            raise RecipeError(msg, hint="state the licence that applies")
        if self.id != "other":
            if self.name or self.link:
                msg = f"the licence {self.id!r} has its name and text on the Hub"
                raise RecipeError(
                    msg, hint="--license-name and --license-link need --license other"
                )
            return self
        if not LICENSE_NAME.fullmatch(self.name) or not LICENSE_LINK.fullmatch(self.link):
            msg = f"the licence 'other' needs a name and a link, got {self.name!r}, {self.link!r}"
            hint = "--license other --license-name my-license-1.0 --license-link URL "
            raise RecipeError(msg, hint=f"{hint}(or LICENSE, a file in the folder)")
        return self


def find_license(name: str) -> License | None:
    """Return a known licence by its id on the Hub or its license_name; None if not known."""
    return _table().get(name)


def parts_of(name: str) -> list[License]:
    """Return the licences in a name such as llama2-and-cc-by-nc-4.0; [] if one is not known."""
    parts = [find_license(one) for one in name.split(JOINED)]
    return [one for one in parts if one] if all(parts) else []


def list_licenses() -> tuple[License, ...]:
    """Return all licences whose terms we know, in the order of `licenses.toml`."""
    return tuple(_table().values())


def hub_licenses() -> tuple[str, ...]:
    """Return the licence ids that the Hub accepts."""
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

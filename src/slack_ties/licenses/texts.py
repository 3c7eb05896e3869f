"""The texts of the licences that anybody may copy: the files in `standard`.

They are for merged models of whose parents none has the text. Sources, and why we may ship them:

- apache-2.0, mit, bsd-2-clause, bsd-3-clause, isc, unlicense, gpl-2.0, gpl-3.0, agpl-3.0, cc0-1.0,
  cc-by-4.0, cc-by-sa-4.0: https://github.com/github/choosealicense.com at commit aed28f9.
- cc-by-nc-4.0: https://github.com/facebookresearch/XLM at commit cd281d3.
- cc-by-nc-sa-4.0: https://github.com/starpeace-project/starpeace-project-website at commit 5459a87.
- We compared every word with the SPDX License List (npm spdx-license-list 6.12.0). They differ only
  in names of holders, addresses, and headings that SPDX leaves out.
- Creative Commons dedicates its texts to the public domain (their last section). The GNU licences
  allow verbatim copies (their second paragraph). The others are there to be copied into a work.

Not shipped:

- llama2 to llama4, gemma, qwen and tongyi-qianwen: nothing in these texts lets somebody copy them
  who has no licence to the models. They ask everybody who passes a model on for a copy (the
  sections are in licenses.toml), so the duty stays: LICENSE tells where the text is.
- openrail and bsd: the id does not say which text of the family it is. The RAIL licences of single
  models are not under terms that let us copy them.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from slack_ties.licenses.known import list_licenses

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["is_standard_text", "licenses_of", "names_owner", "standard_text"]

# The line with the owner, which the text leaves to whoever uses it.
OWNER = re.compile(r"(Copyright \(c\)) \[year\],? \[fullname\]")

TITLE = 300  # characters at the beginning of a licence that contain its name

MOST_OWNERS = 2000  # characters with the owners' names, if these come first

ENOUGH = 80  # letters that tell what follows the owner's name from other texts

FILLED = re.compile(r"Copyright \(c\) the authors of [^\n]*")


def standard_text(license_id: str, owners: Sequence[str]) -> str:
    """Return the text of a licence; "" if we may not ship it.

    Args:
        license_id: The licence's id on the Hub.
        owners: The models under it. Their cards do not name the owner of the rights; we write
            "the authors of" them.

    """
    text = _shipped().get(license_id, "")
    return OWNER.sub(lambda match: f"{match[1]} the authors of {', '.join(owners)}", text)


def licenses_of(text: str) -> list[str]:
    """Return the licences that a text may be, by its title or else by the words below its owner."""
    title, start = _letters(text[:TITLE]), _letters(text[:MOST_OWNERS])
    named = [
        one.id
        for one in list_licenses()
        if any(name and name in title for name in (_letters(one.name), _beginning(one.id)[0]))
    ]
    bodies = {one.id: _beginning(one.id)[1] for one in list_licenses()}
    return named or [license_id for license_id, body in bodies.items() if body and body in start]


def names_owner(license_id: str) -> bool:
    """Say whether each text of a licence names an owner, who must stay named."""
    return license_id == "bsd" or bool(OWNER.search(_shipped().get(license_id, "")))


def is_standard_text(text: str) -> bool:
    """Say whether `standard_text` wrote a text, for whatever models."""
    return FILLED.sub("Copyright (c)", text) in _without_owners()


@cache
def _shipped() -> dict[str, str]:
    texts = files(__package__).joinpath("standard")
    return {
        one.name.removesuffix(".txt"): one.read_text(encoding="utf-8")
        for one in texts.iterdir()
        if one.name.endswith(".txt")
    }


@cache
def _beginning(license_id: str) -> tuple[str, str]:
    """Return the letters of a standard text's title, or else of what follows its owner."""
    text = _shipped().get(license_id, "")
    if OWNER.search(text):  # many copies begin with the owner, without a title
        return "", _letters(OWNER.split(text)[-1])[:ENOUGH]
    lines = [line for line in text.splitlines() if _letters(line)]
    return _letters("".join(lines[:2])), ""


def _letters(text: str) -> str:
    return "".join(c for c in text.lower() if c.isalnum())


@cache
def _without_owners() -> frozenset[str]:
    return frozenset(OWNER.sub("Copyright (c)", text) for text in _shipped().values())

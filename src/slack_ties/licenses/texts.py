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

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["is_standard_text", "standard_text"]

# The line with the owner, which the text leaves to whoever uses it.
OWNER = re.compile(r"(Copyright \(c\)) \[year\],? \[fullname\]")

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
def _without_owners() -> frozenset[str]:
    return frozenset(OWNER.sub("Copyright (c)", text) for text in _shipped().values())

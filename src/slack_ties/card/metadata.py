"""Check a card's metadata by the Hub's documented rules, before anything is uploaded.

Sources: https://github.com/huggingface/hub-docs/blob/main/modelcard.md and the pages
"Model cards" and "Licenses" of https://huggingface.co/docs/hub.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any

from slack_ties.errors import OutputError
from slack_ties.licenses.known import LICENSE_LINK, hub_licenses
from slack_ties.licenses.words import nearest_license
from slack_ties.models.front_matter import front_matter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["LANGUAGE", "MODEL_ID", "check_metadata", "metadata_problems"]

HUB_DATASET = re.compile(r"\w[\w.-]{0,95}(/\w[\w.-]{0,95})?", re.ASCII)

MODEL_ID = re.compile(r"\w[\w.-]{0,95}/\w[\w.-]{0,95}|gpt2", re.ASCII)

LANGUAGE = re.compile(r"[a-z]{2,3}|multilingual|code")

RELATIONS = ("adapter", "merge", "quantized", "finetune")

LISTS = {
    "language": (LANGUAGE, "ISO 639 codes; quote `no`, which YAML reads as false without quotes"),
    "base_model": (MODEL_ID, "ids of models on the Hub"),
    "datasets": (HUB_DATASET, "ids of datasets on the Hub"),
    "tags": (re.compile(r"\S(.{0,98}\S)?"), "short texts"),
}

TEXTS = ("library_name", "pipeline_tag", "model_name", "license_name", "license_link")


def check_metadata(card: Path) -> None:
    """Refuse a card if the Hub would refuse its metadata.

    Raises:
        OutputError: The Hub would refuse the metadata; the text lists all problems.

    """
    again = f"slack-ties card {shlex.quote(str(card.parent))}"
    hint = f"correct the lines between the two --- of {card}, or: {again}"
    try:
        data = front_matter(card.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        msg = f"{card}: the metadata cannot be read: {error}"
        raise OutputError(msg, hint=hint) from None
    if problems := metadata_problems(data):
        msg = f"{card}: {'; '.join(problems)}"
        raise OutputError(msg, hint=hint)


def metadata_problems(data: Mapping[str, Any]) -> list[str]:
    """Return the reasons for which the Hub would refuse a card's metadata."""
    problems = []
    for key, (pattern, what) in LISTS.items():
        value = data.get(key)
        several = value if isinstance(value, list) else [value]
        bad = [one for one in several if not isinstance(one, str) or not pattern.fullmatch(one)]
        if value is not None and bad:
            problems.append(f"{key}: expected {what}, got {str(bad[0])[:60]!r}")
    problems += [
        f"{key}: expected a text, got {str(data[key])[:60]!r}"
        for key in TEXTS
        if data.get(key) is not None and not isinstance(data[key], str)
    ]
    relation = data.get("base_model_relation")
    if relation is not None and relation not in RELATIONS:
        problems.append(f"base_model_relation: expected one of {', '.join(RELATIONS)}")
    license_ = data.get("license")
    if license_ is not None and license_ not in hub_licenses():
        near = nearest_license(str(license_))
        near = near and f". Did you mean {near!r}?"
        problems.append(f"license: {str(license_)[:60]!r} is not a licence id of the Hub{near}")
    if license_ == "other":
        problems += [
            f"license: other needs a {key}"
            for key in ("license_name", "license_link")
            if not data.get(key)
        ]
    link = data.get("license_link")
    if isinstance(link, str) and not LICENSE_LINK.fullmatch(link):
        problems.append("license_link: expected a URL, LICENSE or LICENSE.md")
    return problems

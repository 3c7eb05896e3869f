"""Say which facts of a plan are not known, because a model cannot be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slack_ties.wording import join_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slack_ties.plan.draft import Draft

__all__ = ["unknown_facts", "without_unknown"]

# The beginnings of texts about the chat template that no other model can make false.
SURE = ("template", "no template;", "the base's", "none: the base")

SIZES = ("parameters", "disk", "memory", "device_memory")


def unknown_facts(draft: Draft, chat: str) -> dict[str, str]:
    """Return the fields of the plan that are not known, and why.

    Args:
        draft: What we found out about the models.
        chat: Where the chat template comes from, by the models that we could read.

    """
    recipe, data = draft.recipe, draft.recipe.data
    no_look, no_headers, no_tokens = (
        [name for name in recipe.models if name not in known]
        for known in (draft.looks, draft.headers, draft.vocabularies)
    )
    no_size = [name for name in recipe.models if name in {*no_headers, *no_tokens}]
    given = data.get("tokenizer") or data.get("tokenizer_source")
    no_sft = [name for name in no_tokens if recipe.role(name) == "sft"]
    no_chat = no_sft or ([] if chat.startswith(SURE) else no_tokens)
    missing = {
        "dtype": [] if data.get("out_dtype") or data.get("dtype") else no_headers,
        **dict.fromkeys(SIZES, no_size),
        "vocabulary": [] if given else no_tokens,
        "chat": [] if data.get("chat_template") else no_chat,
        **dict.fromkeys(("license", "license_reason", "download"), no_look),
    }
    return {
        field: f"{join_names(names)} cannot be read" for field, names in missing.items() if names
    }


def without_unknown(facts: Mapping[str, Any], unknown: Mapping[str, str]) -> dict[str, Any]:
    """Return the facts, empty or 0 where they are not known."""
    return {field: type(fact)() if field in unknown else fact for field, fact in facts.items()}

"""What the tokenizer and the chat template of the merged model will be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slack_ties.errors import CheckpointError, RecipeError, nearest
from slack_ties.models.header import check_shapes
from slack_ties.recipe.pin import one_line
from slack_ties.recipe.recipe import places, reference
from slack_ties.tokenizer.section import Section, choose_section
from slack_ties.tokenizer.templates import named_template, read_template, template_names
from slack_ties.wording import first_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slack_ties.plan.draft import Draft

__all__ = ["chat_text", "plan_vocabulary", "result_rows", "vocabulary_text"]

# Tokenizer


def plan_vocabulary(draft: Draft) -> Section | None:
    """Return what the result's vocabulary is; an error if the config has to say more."""
    recipe = draft.recipe
    _check_template(draft)
    _check_sources(draft)
    if draft.first not in draft.words or "models" not in recipe.data:
        return None
    roles = {name: recipe.role(name) for name in recipe.models}
    words = {name: draft.words[name] for name in recipe.models if name in draft.words}
    base = words[draft.first]
    data = recipe.data.get("tokenizer")
    if recipe.data.get("tokenizer_source"):
        data = {"source": recipe.data["tokenizer_source"]}
    if data:
        _check_rows(draft, data)
        return Section(data, _told_text(draft, data))
    _say_what_tokens_lack(draft)
    if draft.errors:  # of what the vocabularies are compared with, too
        return None
    section = choose_section(words, roles)
    options = draft.settings.options
    if options and options.unsafe_truncate_embeddings:
        return None
    if section is None:
        _check_rows_alike(draft)
        return None
    if _check_rows(draft, section.data):
        different = [name for name, one in words.items() if one and base and not one.is_same(base)]
        msg = f"the vocabulary of {', '.join(map(repr, different))} is not the base's, and the "
        msg += f"config has no tokenizer section. It can give the result {section.why}"
        hint = f"slack-ties plan {recipe.where} --pin (adds: tokenizer: {one_line(section.data)})"
        draft.errors.append(CheckpointError(msg, hint=hint))
        draft.warnings += [section.warning] if section.warning else []
    return section


def _say_what_tokens_lack(draft: Draft) -> None:
    """Warn of tokens without a row, and of a base without the tokenizer that others have."""
    for name, words in draft.words.items():
        if not words or not words.beyond:
            continue
        special = [f"{key} {word!r}" for key, word in words.special.items() if word in words.beyond]
        which = f"its {special[0]}" if special else first_of(sorted(words.beyond))
        draft.warnings.append(
            f"{name}: its tokenizer has {which}, for which the embedding has no row: the merged "
            "model will be without it"
        )
    if draft.words.get(draft.first) is None and any(draft.words.values()):
        draft.warnings.append(
            f"the base {draft.first} has no tokenizer that can be read here, and the merged model "
            "gets the base's: copy that of another model into it"
        )


def _check_rows_alike(draft: Draft) -> None:
    """Refuse matrices of different length that no tokenizer explains."""
    if draft.errors or not draft.layout:
        return
    try:
        check_shapes(draft.layout.found)
    except CheckpointError as error:
        draft.errors.append(error)


def _check_rows(draft: Draft, told: Mapping[str, Any]) -> bool:
    """Refuse tokens without a row, at which mergekit would trip while it merges."""
    known = {name: words for name, words in draft.words.items() if words}
    out = _tokens(draft, told)
    added = {token: how or {} for token, how in (told.get("tokens") or {}).items()}
    hint = "remove these tokens from its tokenizer, or choose another tokenizer source"
    for name, words in known.items():
        # mergekit strips them from the base's tokenizer, and from no other.
        if name != draft.first and (bad := sorted(words.beyond & out)):
            msg = f"{name!r}: its tokenizer has {first_of(bad)}, and its embedding only "
            msg += f"{words.rows:,} rows"
            draft.errors.append(CheckpointError(msg, hint=hint))
            return False
    base = known.get(draft.first)
    new = [token for token in added if base and token not in base.tokens]
    if new and base and told.get("source") == "base" and len(base.tokens) >= base.rows:
        msg = f"{draft.recipe.where}: tokenizer.tokens adds {first_of(new)} to the base's own "
        msg += "tokenizer, which mergekit cannot do"
        hint = "name a model as the source, or union"
        draft.errors.append(RecipeError(msg, hint=hint))
        return False
    for token, how in added.items():
        source = how.get("source")
        donor = known.get(reference(source)) if isinstance(source, str) else None
        if donor and token not in donor.tokens:
            msg = f"{draft.recipe.where}: tokenizer.tokens: {source!r} has no token {token!r}"
            draft.errors.append(RecipeError(msg))
            return False
    return True


def _tokens(draft: Draft, told: Mapping[str, Any]) -> set[str]:
    """Return the tokens of the result's tokenizer."""
    source = told.get("source", "union")
    words = draft.words.get(draft.first if source == "base" else reference(source))
    if words:
        found = words.tokens.keys() | (() if source == "base" else words.beyond)
    else:
        found = {token for one in draft.words.values() if one for token in one.tokens}
    return {*found, *(told.get("tokens") or ())}


def _check_sources(draft: Draft) -> None:
    """Refuse tokenizers of models that take no part: nobody would fetch or pin them."""
    recipe = draft.recipe
    for place, value in places(recipe.data):
        outside = reference(value) not in recipe.models
        if place[0] in ("tokenizer", "tokenizer_source") and outside:
            msg = f"{recipe.where}: {place[0]}: {reference(value)!r} is none of the merged models"
            hint = f"expected base, union, or one of {', '.join(recipe.models)}"
            draft.errors.append(RecipeError(msg, hint=hint))


def _check_template(draft: Draft) -> None:
    """Refuse a chat template that mergekit would not find when the merge is done."""
    name = str(draft.recipe.data.get("chat_template") or "auto")
    if name == "auto" or "{" in name or named_template(name) is not None:
        return
    known = template_names()
    if known:
        msg = f"{draft.recipe.where}: chat_template: unknown template {name!r}."
        hint = f"known: auto, {', '.join(known)}, or a template itself"
        draft.errors.append(RecipeError(msg + nearest(name, known), hint=hint))


def _told_text(draft: Draft, told: Mapping[str, Any]) -> str:
    source = told.get("source", "union")
    if source == "union":
        return "all tokens of all models, as the config says"
    words = draft.words.get(draft.first if source == "base" else reference(source))
    count = f"the {len(words.tokens):,} tokens" if words else "the tokens"
    of = "the base" if source == "base" else reference(source).partition("@")[0]
    added = told.get("tokens") or {}
    more = f" and {len(added)} more" if added else ""
    return f"{count} of {of}{more}, as the config says"


def vocabulary_text(draft: Draft, section: Section | None) -> str:
    """Say which tokens the result has."""
    if section:
        return section.why
    known = {name: words for name, words in draft.words.items() if words}
    if draft.recipe.base not in known:
        return "the base has no tokenizer, so the merged model has none" if draft.words else ""
    count = f"{len(known[draft.recipe.base].tokens):,} tokens"
    if all(words.is_same(known[draft.recipe.base]) for words in known.values()):
        silent = "" if len(known) == len(draft.words) else " (one has no tokenizer)"
        return f"the same {count} in all models{silent}"
    return f"the base's {count}; others differ"


def chat_text(draft: Draft) -> str:  # noqa: PLR0911 - one for each place it can be in
    """Say where the chat template of the result comes from."""
    if draft.recipe.data.get("chat_template"):
        return "the template that the config names"
    base = draft.words.get(draft.recipe.base)
    told = draft.recipe.data.get("tokenizer") or draft.recipe.data.get("tokenizer_source")
    if draft.recipe.base in draft.words and not base and not told:
        return "none: the base has no tokenizer"
    for name in draft.recipe.models_of("sft"):
        words = draft.words.get(name)
        if (
            not words
            and name in draft.looks
            and any(read_template(look.folder) for look in draft.looks[name])
        ):
            return f"template of {name}"
        if words and words.chat_template:
            return f"template and special tokens of {name}"
        if words and base and words.special != base.special:
            return f"no template; special tokens of {name}"
    if base and base.chat_template:
        return "the base's template"
    unused = [name for name, words in draft.words.items() if words and words.chat_template]
    if unused:
        return f"none: {unused[0]} has one, but the config does not say that it is the SFT model"
    return "no model has a chat template" if draft.words else ""


def result_rows(draft: Draft, section: Section | None) -> int:
    """Return the rows of the result's embedding; 0 for those of the base."""
    if section is None or not any(draft.words.values()):
        return 0
    rows = len(_tokens(draft, section.data))
    multiple = section.data.get("pad_to_multiple_of") or 1
    return -(-rows // multiple) * multiple

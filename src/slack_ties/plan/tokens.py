"""Find the tokenizer and the chat template of the merged model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slack_ties.errors import CheckpointError, RecipeError, nearest
from slack_ties.models.header import check_shapes
from slack_ties.plan.again import plan_command
from slack_ties.recipe.pin import one_line
from slack_ties.recipe.recipe import places, reference
from slack_ties.tokenizer.section import Section, choose_section
from slack_ties.tokenizer.templates import named_template, read_template, template_names
from slack_ties.wording import first_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slack_ties.plan.draft import Draft

__all__ = ["chat_text", "plan_vocabulary", "result_rows", "vocabulary_text"]


def plan_vocabulary(draft: Draft) -> Section | None:
    """Return the tokenizer section of the result; add an error if the config must name one."""
    recipe = draft.recipe
    _check_template(draft)
    _check_sources(draft)
    if draft.first not in draft.vocabularies or "models" not in recipe.data:
        return None
    roles = {name: recipe.role(name) for name in recipe.models}
    vocabularies = {
        name: draft.vocabularies[name] for name in recipe.models if name in draft.vocabularies
    }
    base = vocabularies[draft.first]
    data = recipe.data.get("tokenizer")
    if recipe.data.get("tokenizer_source"):
        data = {"source": recipe.data["tokenizer_source"]}
    if data:
        _check_rows(draft, data)
        return Section(data, _section_text(draft, data))
    _say_what_tokens_lack(draft)
    if draft.errors:  # also of the models that we would compare
        return None
    section = choose_section(vocabularies, roles)
    options = draft.settings.options
    if options and options.unsafe_truncate_embeddings:
        return None
    if section is None:
        _check_rows_alike(draft)
        return None
    if _check_rows(draft, section.data):
        different = [
            name for name, one in vocabularies.items() if one and base and not one.is_same(base)
        ]
        msg = (
            f"the vocabulary of {', '.join(map(repr, different))} differs from the base's, and the "
        )
        msg += f"config has no tokenizer section. It can give the result {section.why}"
        hint = f"{plan_command(recipe.where, recipe)} --pin  # "
        hint += f"adds: tokenizer: {one_line(section.data)}"
        draft.errors.append(CheckpointError(msg, hint=hint))
        draft.warnings += [section.warning] if section.warning else []
    return section


def _say_what_tokens_lack(draft: Draft) -> None:
    """Warn about tokens without a row, and about a base without a tokenizer."""
    for name, vocabulary in draft.vocabularies.items():
        if not vocabulary or not vocabulary.beyond:
            continue
        special = [
            f"{key} {token!r}"
            for key, token in vocabulary.special.items()
            if token in vocabulary.beyond
        ]
        which = f"its {special[0]}" if special else first_of(sorted(vocabulary.beyond))
        draft.warnings.append(
            f"{name}: its tokenizer has {which}, but the embedding has no row for it: the merged "
            "model will not have it"
        )
    if draft.vocabularies.get(draft.first) is None and any(draft.vocabularies.values()):
        draft.warnings.append(
            f"{'the base ' * bool(draft.recipe.base)}{draft.first} has no tokenizer that we can "
            f"read, and the merged model gets {_called(draft)}'s tokenizer: copy the tokenizer of "
            f"another model into {'the base' if draft.recipe.base else 'its folder'}"
        )


def _check_rows_alike(draft: Draft) -> None:
    """Refuse matrices of different lengths that no tokenizer explains."""
    if draft.errors or not draft.layout:
        return
    try:
        check_shapes(draft.layout.found)
    except CheckpointError as error:
        draft.errors.append(error)


def _check_rows(draft: Draft, section: Mapping[str, Any]) -> bool:
    """Refuse tokens without a row: mergekit would fail on them during the merge."""
    known = {name: vocabulary for name, vocabulary in draft.vocabularies.items() if vocabulary}
    out = _tokens(draft, section)
    added = {token: how or {} for token, how in (section.get("tokens") or {}).items()}
    hint = "remove these tokens from its tokenizer, or choose another tokenizer source"
    for name, vocabulary in known.items():
        # mergekit removes them from the base's tokenizer only.
        if name != draft.first and (bad := sorted(vocabulary.beyond & out)):
            msg = f"{name!r}: its tokenizer has {first_of(bad)}, but its embedding has only "
            msg += f"{vocabulary.rows:,} rows"
            draft.errors.append(CheckpointError(msg, hint=hint))
            return False
    base = known.get(draft.first)
    new = [token for token in added if base and token not in base.tokens]
    if new and base and section.get("source") == "base" and len(base.tokens) >= base.rows:
        msg = f"{draft.recipe.where}: tokenizer.tokens adds {first_of(new)} to the base's own "
        msg += "tokenizer, which mergekit cannot do"
        hint = "use a model or union as the source"
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


def _tokens(draft: Draft, section: Mapping[str, Any]) -> set[str]:
    """Return the tokens of the result's tokenizer."""
    source = section.get("source", "union")
    vocabulary = draft.vocabularies.get(draft.first if source == "base" else reference(source))
    if vocabulary:
        found = vocabulary.tokens.keys() | (() if source == "base" else vocabulary.beyond)
    else:
        found = {token for one in draft.vocabularies.values() if one for token in one.tokens}
    return {*found, *(section.get("tokens") or ())}


def _check_sources(draft: Draft) -> None:
    """Refuse tokenizers of models that are not merged: we would not download or pin them."""
    recipe = draft.recipe
    for key_path, value in places(recipe.data):
        outside = reference(value) not in recipe.models
        if key_path[0] in ("tokenizer", "tokenizer_source") and outside:
            msg = f"{recipe.where}: {key_path[0]}: {reference(value)!r} is not a merged model"
            hint = f"expected base, union, or one of {', '.join(recipe.models)}"
            draft.errors.append(RecipeError(msg, hint=hint))


def _check_template(draft: Draft) -> None:
    """Refuse a chat template that mergekit would not find after the merge."""
    name = str(draft.recipe.data.get("chat_template") or "auto")
    if name == "auto" or "{" in name or named_template(name) is not None:
        return
    known = template_names()
    if known:
        msg = f"{draft.recipe.where}: chat_template: unknown template {name!r}."
        hint = f"known: auto, {', '.join(known)}, or the text of a template"
        draft.errors.append(RecipeError(msg + nearest(name, known), hint=hint))


def _section_text(draft: Draft, section: Mapping[str, Any]) -> str:
    source = section.get("source", "union")
    if source == "union":
        return "all tokens of all models, as the config says"
    vocabulary = draft.vocabularies.get(draft.first if source == "base" else reference(source))
    count = f"the {len(vocabulary.tokens):,} tokens" if vocabulary else "the tokens"
    of = "the base" if source == "base" else reference(source).partition("@")[0]
    added = section.get("tokens") or {}
    more = f" and {len(added)} more" if added else ""
    return f"{count} of {of}{more}, as the config says"


def vocabulary_text(draft: Draft, section: Section | None) -> str:
    """Return which tokens the result has, as text."""
    if section:
        return section.why
    known = {name: vocabulary for name, vocabulary in draft.vocabularies.items() if vocabulary}
    first = _called(draft)
    if draft.first not in known:
        return f"{first} has no tokenizer, so the merged model has none" * bool(draft.vocabularies)
    count = f"{len(known[draft.first].tokens):,} tokens"
    if all(vocabulary.is_same(known[draft.first]) for vocabulary in known.values()):
        without = "" if len(known) == len(draft.vocabularies) else " (one has no tokenizer)"
        return f"the same {count} in all models{without}"
    return f"{first}'s {count}; other models differ"


def _called(draft: Draft) -> str:
    """Return how texts name the model whose tokenizer the result gets."""
    return "the base" if draft.recipe.base else draft.first


def chat_text(draft: Draft) -> str:  # noqa: PLR0911 - one for each source
    """Return where the chat template of the result comes from, as text."""
    if draft.recipe.data.get("chat_template"):
        return "the template that the config names"
    base = draft.vocabularies.get(draft.first)
    given = draft.recipe.data.get("tokenizer") or draft.recipe.data.get("tokenizer_source")
    if draft.first in draft.vocabularies and not base and not given:
        return f"none: {_called(draft)} has no tokenizer"
    for name in draft.recipe.models_of("sft"):
        vocabulary = draft.vocabularies.get(name)
        if (
            not vocabulary
            and name in draft.looks
            and any(read_template(look.folder) for look in draft.looks[name])
        ):
            return f"template of {name}"
        if vocabulary and vocabulary.chat_template:
            return f"template and special tokens of {name}"
        if vocabulary and base and vocabulary.special != base.special:
            return f"no template; special tokens of {name}"
    if base and base.chat_template:
        return f"{_called(draft)}'s template"
    unused = [
        name
        for name, vocabulary in draft.vocabularies.items()
        if vocabulary and vocabulary.chat_template
    ]
    if unused:
        return f"none: {unused[0]} has one, but the config does not name it as the SFT model"
    return "no model has a chat template" if draft.vocabularies else ""


def result_rows(draft: Draft, section: Section | None) -> int:
    """Return the rows of the result's embedding; 0 if it has the rows of the base."""
    if section is None or not any(draft.vocabularies.values()):
        return 0
    rows = len(_tokens(draft, section.data))
    multiple = section.data.get("pad_to_multiple_of") or 1
    return -(-rows // multiple) * multiple

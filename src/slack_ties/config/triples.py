"""Choose the base, CT and SFT models of a config: from the catalogue, or the user's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slack_ties.catalogue.languages import Source, Triple, find_triple, language_of_model
from slack_ties.config.choices import Choices, list_models, with_home
from slack_ties.errors import CatalogueError, RecipeError
from slack_ties.models.model_config import stored_dtype
from slack_ties.recipe.recipe import RECIPE_VERSION
from slack_ties.wording import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["choose_triples", "facts_of", "sft_models", "tokenizer_section"]

SFT_LANGUAGES = ("en",)  # of the catalogue's SFT models: they are instruction-tuned in English


def choose_triples(languages: Sequence[str], choices: Choices) -> list[Triple]:
    """Return the triples of the catalogue, with the chosen models instead of its own."""
    cts = list_models(choices.ct)
    if cts and len(cts) != len(languages):
        msg = f"{counted(len(cts), 'CT model')} for {counted(len(languages), 'language')}, "
        msg += "expected one for each"
        raise RecipeError(msg, hint="give --ct once for each LANG, in their order")
    triples = [
        _triple(language, replace(choices, ct=cts[i] if cts else None))
        for i, language in enumerate(languages)
    ]
    for triple in triples:
        if triple.base.id != triples[0].base.id:
            msg = f"{triple.key!r} is made from {triple.base.id}, and {triples[0].key!r} from "
            msg += f"{triples[0].base.id}: a joint merge needs one base"
            raise RecipeError(msg, hint="slack-ties languages  # lists the bases")
    for i, triple in enumerate(triples):
        if triple.ct.id in [other.ct.id for other in triples[:i]]:
            msg = f"{triple.ct.id} is the CT model of two of the languages: use one config for both"
            raise RecipeError(msg, hint=f"slack-ties config {triple.key}")
    return triples


def _triple(language: str, choices: Choices) -> Triple:
    (ct,) = list_models(choices.ct) or [""]
    if choices.base and ct and choices.sft:
        triple = _own_triple(language, ct, choices.language_name)
    else:
        triple = find_triple(language)
    sft = list_models(choices.sft)
    triple = replace(
        triple,
        base=Source(with_home(choices.base)) if choices.base else triple.base,
        ct=Source(ct) if ct else triple.ct,
        sft=Source(sft[0]) if sft else triple.sft,
        extended=triple.extended and not ct,
    )
    if choices.base:  # the name and type in the catalogue are those of another base
        triple = replace(triple, family="", dtype=stored_dtype(Path(triple.base.id)))
    return triple


def _own_triple(language: str, ct: str, name: str | None) -> Triple:
    """Return a triple for three models of a user: the catalogue's if it has this language."""
    own = language_of_model(language, ct)
    try:
        triple = find_triple(language)
    except CatalogueError:
        pass
    else:
        if triple.language == own:
            return triple
    none = Source("")
    own = replace(own, name=name or own.name)
    return Triple(own.tag, own, family="", dtype="", base=none, ct=none, sft=none)


def sft_models(triples: Sequence[Triple], choices: Choices) -> list[Source]:
    """Return the SFT models: those chosen, or the catalogue's."""
    return [Source(name) for name in list_models(choices.sft)] or [triples[0].sft]


def tokenizer_section(extended: Sequence[str]) -> dict[str, Any] | None:
    """Return mergekit's tokenizer section for CT models with tokens of their own."""
    if not extended:
        return None
    return {"source": extended[0] if len(extended) == 1 else "union"}


def facts_of(
    triples: Sequence[Triple],
    inputs: Mapping[str, tuple[str, str, Source]],
    choices: Choices,
    *,
    merges_base: bool = True,
) -> dict[str, Any]:
    """Return what a config says about its language and its models: the `slack_ties` section.

    Without `merges_base`, the base takes no part in the merge, and is not named.
    """
    bases = [triples[0].base] if merges_base else []
    sources = [*bases, *(source for _, _, source in inputs.values())]
    languages = [
        {
            name: value
            for name in ("tag", "name", "endonym", "script", "iso_639_1", "iso_639_3")
            if (value := getattr(triple.language, name))
        }
        for triple in triples
    ]
    roles: dict[str, Any] = {"base": triples[0].base.id} if merges_base else {}
    for role in ("ct", "sft"):
        names = [model for model, (its_role, _, _) in inputs.items() if its_role == role]
        roles[role] = names[0] if len(names) == 1 else names
    sft_languages = [code for s in sources for code in s.languages] or list(SFT_LANGUAGES)
    if choices.sft:  # only its card says
        sft_languages = list(choices.sft_languages or ())
    facts: dict[str, Any] = {
        "recipe": RECIPE_VERSION,
        "language": languages[0] if len(languages) == 1 else languages,
        "family": triples[0].family,
        "roles": roles,
        "licenses": {s.id: s.license for s in sources if s.license},
        "sft_languages": sft_languages,
    }
    return {name: value for name, value in facts.items() if value}

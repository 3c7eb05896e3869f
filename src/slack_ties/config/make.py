"""Write merge configs: plain mergekit YAML, one per language. `slack-ties config` calls this."""

from __future__ import annotations

import shlex
from dataclasses import replace
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import yaml

from slack_ties.config.choices import (
    Choices,
    check_parameters,
    check_roles,
    chosen_settings,
    list_models,
    value_for,
)
from slack_ties.config.methods import METHODS, RANDOM, config_name, find_method
from slack_ties.config.triples import choose_triples, facts_of, sft_models, tokenizer_section
from slack_ties.errors import visible
from slack_ties.models.model_config import stored_dtype
from slack_ties.recipe.read import parse_recipe
from slack_ties.recipe.recipe import FACTS_KEY, Recipe
from slack_ties.wording import join_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from huggingface_hub import HfApi

    from slack_ties.catalogue.languages import Language
    from slack_ties.tokenizer.section import Section

__all__ = ["finished", "look_at_choices", "make_config", "needed_section"]

HEADER = """\
# {title}
#
# A {method} merge of a {base} continually pre-trained model (CT) and its{english}
# instruction-tuned model (SFT).{about} Run it with either of
#
#   slack-ties run {file} --out OUT{seed}
#   mergekit-yaml {file} OUT{seed}{needs}
#
{note}# Everything under the last key, {key}, is for the model card; mergekit ignores it.

"""


def make_config(
    languages: str | Sequence[str], choices: Choices | None = None, *, file: str = ""
) -> Recipe:
    """Return a merge config without writing it; `where` is its file name.

    Args:
        languages: A language, or several languages for one merge of all their CT models.
        choices: Models and parameters that replace the catalogue's and the recommended ones.
        file: The name of the file, if not LANG.yml or LANG-METHOD.yml.

    Raises:
        CatalogueError: A language is not in the catalogue.
        RecipeError: A parameter is out of range, the method is unknown or lacks a parameter, or
            the languages do not share a base.

    """
    choices = choices or Choices()
    method = find_method(choices.method)
    check_parameters(choices, method)
    languages = [languages] if isinstance(languages, str) else list(languages)
    triples = choose_triples(languages, choices)
    base = triples[0].base
    # If a language has several models in one merge, they count as one role.
    inputs = {t.ct.id: ("ct", name, t.ct) for name, t in zip(languages, triples, strict=True)} | {
        source.id: ("sft", "", source) for source in sft_models(triples, choices)
    }
    check_roles(choices, {"ct", "sft", *languages})
    values = {**method.shared, **chosen_settings(choices)}
    models = []
    for model, (role, language, _) in inputs.items():
        parameters = {
            name: value
            for name in method.per_model
            if (value := value_for(choices, name, role, language)) or name != "slack"
        }
        models.append({"model": model, **({"parameters": parameters} if parameters else {})})
    extended = [t.ct.id for t in triples if t.extended]
    data: dict[str, Any] = {
        "merge_method": method.name,
        "base_model": base.id if method.has_base else None,
        "models": models,
        "parameters": {name: values[name] for name in method.shared},
        "out_dtype": choices.dtype or triples[0].dtype or None,
        "tokenizer": choices.tokenizer or tokenizer_section(extended),
        FACTS_KEY: facts_of(triples, inputs, choices, merges_base=method.has_base),
    }
    data = {key: value for key, value in data.items() if value is not None}
    file = file or config_name("-".join(triple.key for triple in triples), method.name)
    names = " and ".join(_title(triple.language) for triple in triples)
    # `unverified` is about the catalogue's models, not about the user's.
    own = bool(choices.base or choices.ct or choices.sft)
    unverified = (
        "" if own else "; ".join(dict.fromkeys(t.unverified for t in triples if t.unverified))
    )
    title = ", ".join(filter(None, [names, triples[0].family]))
    return finished(data, file, title, unverified=unverified)


def finished(data: Mapping[str, Any], file: str, title: str, *, unverified: str = "") -> Recipe:
    """Return data as a config of ours; comments at its top say what it is and how to run it."""
    note = f"# Not verified on the Hub yet: {unverified}.\n#\n" if unverified else ""
    english = " English" if "en" in (data[FACTS_KEY].get("sft_languages") or ()) else ""
    method = data["merge_method"]
    text = HEADER.format(
        title=" ".join(title.split()),
        file=shlex.quote(visible(file)),
        key=FACTS_KEY,
        note=note,
        english=english,
        method=method,
        base="base, its" if data.get("base_model") else "base's",
        about=_about(method),
        seed=" --random-seed 0" if method in RANDOM else "",
        needs="        (after: pip install slack-ties)" if method == "slack_ties" else "",
    )
    return parse_recipe(text + _yaml(dict(data)), where=file)


def look_at_choices(
    choices: Choices, languages: Sequence[str] = (), api: HfApi | None = None
) -> Choices:
    """Add what the chosen models state: the base's type, the tokenizer section, and languages.

    Reads small files, on this disk or on the Hub; reads nothing if no model was chosen.

    Raises:
        SlackTiesError: A model is missing or cannot be downloaded, the method is unknown, or it
            lacks a parameter.

    """
    method = find_method(choices.method)
    check_parameters(choices, method)
    if not (choices.base or choices.ct or choices.sft):
        return choices
    triples = choose_triples(list(languages), choices)
    roles = {t.base.id: "base" for t in triples} if method.has_base else {}
    roles |= {t.ct.id: "ct" for t in triples}
    roles |= {source.id: "sft" for source in sft_models(triples, choices)}
    section, folders = needed_section(roles, api)
    first = triples[0].base if method.has_base else triples[0].ct
    dtype = stored_dtype(folders[first.id]) if choices.base else None
    return replace(
        choices,
        dtype=choices.dtype or dtype or None,
        tokenizer=choices.tokenizer or (section.data if section else None),
        sft_languages=choices.sft_languages or _languages_of_sft(choices, folders) or None,
    )


def _languages_of_sft(choices: Choices, folders: Mapping[str, Path]) -> list[str]:
    """Return the languages that the cards of the chosen SFT models name."""
    from slack_ties.models.names import split_reference  # noqa: PLC0415 - imports the client
    from slack_ties.models.parent_card import read_parent_card  # noqa: PLC0415 - as above

    names = list_models(choices.sft)
    # The card of a model with an adapter is not that of the adapter, which was tuned.
    cards = [read_parent_card(folders[name]) for name in names if len(split_reference(name)) == 1]
    return list(dict.fromkeys(code for card in cards for code in card.languages))


def needed_section(
    roles: Mapping[str, str], api: HfApi | None = None
) -> tuple[Section | None, dict[str, Path]]:
    """Return mergekit's tokenizer section for models, the base first, and their folders.

    Args:
        roles: base, ct, sft or nothing by the model's name.
        api: The Hub client. If not given: the default one.

    Raises:
        SlackTiesError: A model is missing or cannot be downloaded.

    """
    from slack_ties.models.look_together import look_at_models  # noqa: PLC0415 - imports the client
    from slack_ties.tokenizer.section import choose_section  # noqa: PLC0415
    from slack_ties.tokenizer.vocabulary import read_vocabulary  # noqa: PLC0415

    answers = look_at_models(roles, api=api)
    folders = {name: [one.get().folder for one in found] for name, found in answers.items()}
    vocabularies = {
        name: read_vocabulary(own, name, adapter=adapter[0] if adapter else None)
        for name, (own, *adapter) in folders.items()
    }
    return choose_section(vocabularies, roles), {name: own for name, (own, *_) in folders.items()}


def _about(method: str) -> str:
    """Return comment lines on a stock method: what it does, its names, the source of values."""
    known = METHODS.get(method)
    if method == "slack_ties" or known is None:
        return ""
    lines = [f"{known.title}: {known.formula} ({known.source})."]
    others = join_names([f"{alias.title} ({alias.source})" for alias in known.aliases])
    if others:
        lines.append(f"For one CT and one SFT model, by default: {known.plain}. Known as {others}.")
    lines += [f"Default values: {known.values}."]
    lines += ["The base takes no part, and is not downloaded."] if not known.has_base else []
    if known.random:
        lines.append("It draws random numbers: only the same --random-seed gives the same bytes.")
    wrapped = [part for line in lines for part in wrap(line, 97, break_on_hyphens=False)]
    return "\n#\n" + "".join(f"# {line}\n" for line in wrapped) + "#\n#"


def _title(language: Language) -> str:
    name = language.name or language.tag
    return f"{name}, {language.endonym}" if language.endonym else name


class _Dumper(yaml.SafeDumper):
    """A YAML writer without anchors, also if two keys have the same value."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        """Write every value in full."""
        return True


def _yaml(data: dict[str, Any]) -> str:
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)

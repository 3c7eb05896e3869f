"""Write merge configs: plain mergekit YAML, one per language. `slack-ties config` calls this."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from slack_ties.checkpoint import stored_dtype
from slack_ties.errors import CatalogueError, OutputError, RecipeError, nearest
from slack_ties.files import write_whole
from slack_ties.languages import Language, Source, Triple, find_triple, unlisted_language
from slack_ties.recipe import FACTS_KEY, RECIPE_VERSION, Recipe, parse_recipe

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = [
    "RECOMMENDED",
    "Choices",
    "finished",
    "look_at_choices",
    "make_config",
    "write_configs",
    "write_recipes",
]

# What the project's experiments favour (docs/method.md): the division by the weights, and
# slack for more than the SFT model, cost more than they bring.
RECOMMENDED = {"weight": 1.0, "density": 0.5, "slack": 0.2, "normalize": False, "lambda": 1.0}

SFT_LANGUAGES = ("en",)  # by definition of the role: instruction-tuned in English

HEADER = """\
# {title}
#
# A slack_ties merge of a base, its continually pre-trained model (CT) and its English
# instruction-tuned model (SFT). Run it with either of
#
#   slack-ties run {file} --out OUT
#   mergekit-yaml {file} OUT        (after: pip install slack-ties)
#
{note}# Everything under the last key, {key}, is for the model card; mergekit ignores it.

"""


@dataclass(frozen=True)
class Choices:
    """What a user chose for a config; None leaves it to the catalogue or to RECOMMENDED.

    A parameter is one number, or numbers by role (`ct`, `sft`) or by language as it was
    typed, whose CT model is meant: {"bo": 1.0, "ug": 0.5, "sft": 1.0}.
    """

    base: str | None = None  # Hub id (id@revision) or local folder
    ct: str | Sequence[str] | None = None  # one for each language
    sft: str | Sequence[str] | None = None  # one or more
    weight: float | Mapping[str, float] | None = None  # one number: of all models
    density: float | Mapping[str, float] | None = None  # likewise
    slack: float | Mapping[str, float] | None = None  # one number: of the SFT models alone
    normalize: bool | None = None
    lambda_: float | None = None
    dtype: str | None = None  # of the merged model, by mergekit's names
    language_name: str | None = None  # in English, for a language outside the catalogue
    tokenizer: Mapping[str, Any] | None = None  # mergekit's section; see `look_at_choices`

    def made(self) -> list[str]:
        """Return the names of what was chosen."""
        return [f.name.rstrip("_") for f in fields(self) if getattr(self, f.name) is not None]


def write_configs(
    languages: Iterable[str] | str,
    folder: str | Path = "merge_configs",
    *,
    choices: Choices | None = None,
    joint: bool = False,
    overwrite: bool = False,
) -> list[Path]:
    """Write one merge config per language into `folder` and return their paths.

    Args:
        languages: Keys or languages of the catalogue. One outside it is taken by its ISO
            639 code if `choices` names all three models.
        folder: Made if it is not there.
        choices: Models and parameters other than the catalogue's and the recommended ones.
        joint: Write one config that merges the CT models of all languages.
        overwrite: Replace configs of the same name that say something else.

    Raises:
        CatalogueError: A language is not in the catalogue. Nothing is written then.
        RecipeError: A parameter is out of range. Nothing is written then.
        OutputError: The folder cannot be written to, or a config there was edited.

    """
    folder = Path(folder).expanduser()
    languages = [languages] if isinstance(languages, str) else list(languages)
    groups = [languages] if joint else [[language] for language in languages]
    recipes = {folder / r.where: r for r in (make_config(group, choices) for group in groups)}
    write_recipes(recipes, overwrite=overwrite)
    return list(recipes)


def write_recipes(recipes: Mapping[Path, Recipe], *, overwrite: bool = False) -> None:
    """Write configs to their paths, all or none.

    Raises:
        OutputError: A path cannot be written to, or holds something else.

    """
    for path, recipe in recipes.items():
        try:
            there = path.exists() and path.read_bytes() != recipe.text.encode()
        except OSError:  # a folder of that name
            there = True
        if there and not overwrite:
            msg = f"{str(path)!r} is there already and says something else"
            raise OutputError(msg, hint="add --overwrite, or choose another place with -o")
    for path, recipe in recipes.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, recipe.text)
        except OSError as error:
            msg = f"cannot write configs to {str(path.parent)!r}: {error.strerror or error}"
            raise OutputError(msg, hint="choose another place with -o") from None


def make_config(languages: str | Sequence[str], choices: Choices | None = None) -> Recipe:
    """Return a merge config without writing it; `where` is its file name.

    Args:
        languages: A language, or several whose CT models are merged together.
        choices: Models and parameters other than the catalogue's and the recommended ones.

    Raises:
        CatalogueError: A language is not in the catalogue.
        RecipeError: A parameter is out of range, or the languages have no base in common.

    """
    choices = choices or Choices()
    languages = [languages] if isinstance(languages, str) else list(languages)
    triples = _triples(languages, choices)
    base = triples[0].base
    # Where a language has several models in one merge they count as one role.
    inputs = {t.ct.id: ("ct", name, t.ct) for name, t in zip(languages, triples, strict=True)} | {
        source.id: ("sft", "", source) for source in _sft(triples, choices)
    }
    _check_keys(choices, {"ct", "sft", *languages})
    values = {**RECOMMENDED, **_chosen(choices)}
    models = []
    for model, (role, language, _) in inputs.items():
        parameters = {
            name: _value(choices, name, role, language) for name in ("weight", "density", "slack")
        }
        if not parameters["slack"]:
            del parameters["slack"]
        models.append({"model": model, "parameters": parameters})
    extended = [t.ct.id for t in triples if t.extended]
    data: dict[str, Any] = {
        "merge_method": "slack_ties",
        "base_model": base.id,
        "models": models,
        "parameters": {name: values[name] for name in ("normalize", "lambda")},
        "out_dtype": choices.dtype or triples[0].dtype or None,
        "tokenizer": choices.tokenizer or _section(extended),
        FACTS_KEY: _facts(triples, inputs),
    }
    data = {key: value for key, value in data.items() if value is not None}
    file = f"{'-'.join(triple.key for triple in triples)}.yml"
    names = " and ".join(_title(triple.language) for triple in triples)
    # What is said of the catalogue's models says nothing of others.
    own = bool(choices.base or choices.ct or choices.sft)
    unverified = (
        "" if own else "; ".join(dict.fromkeys(t.unverified for t in triples if t.unverified))
    )
    title = ", ".join(filter(None, [names, triples[0].family]))
    return finished(data, file, title, unverified=unverified)


def finished(data: Mapping[str, Any], file: str, title: str, *, unverified: str = "") -> Recipe:
    """Return data as a config of ours, with what it is and how it is run at its head."""
    note = f"# Not verified on the Hub yet: {unverified}.\n#\n" if unverified else ""
    text = HEADER.format(title=" ".join(title.split()), file=file, key=FACTS_KEY, note=note)
    return parse_recipe(text + _yaml(dict(data)), where=file)


def look_at_choices(
    choices: Choices, languages: Sequence[str] = (), api: HfApi | None = None
) -> Choices:
    """Add what the chosen models themselves say: the base's type, and the tokenizer section.

    Reads small files, on this disk or on the Hub; nothing if no model was chosen.

    Raises:
        SlackTiesError: A model is not there or cannot be had.

    """
    if not (choices.base or choices.ct or choices.sft):
        return choices
    from slack_ties.hub import look_at_model, split_reference  # noqa: PLC0415 - imports the client
    from slack_ties.vocabulary import choose_section, read_vocabulary  # noqa: PLC0415

    triples = _triples(list(languages), choices)
    roles = {t.base.id: "base" for t in triples}
    roles |= {t.ct.id: "ct" for t in triples}
    roles |= {source.id: "sft" for source in _sft(triples, choices)}
    folders = {name: look_at_model(*split_reference(name)[0], api=api).folder for name in roles}
    words = {name: read_vocabulary(folder, name) for name, folder in folders.items()}
    section = choose_section(words, roles)
    dtype = stored_dtype(folders[triples[0].base.id]) if choices.base else None
    return replace(
        choices,
        dtype=choices.dtype or dtype or None,
        tokenizer=choices.tokenizer or (section.data if section else None),
    )


def _triples(languages: Sequence[str], choices: Choices) -> list[Triple]:
    """Return the catalogue's triples with the chosen models in place of its own."""
    cts = _several(choices.ct)
    if cts and len(cts) != len(languages):
        msg = f"{len(cts)} CT models for {len(languages)} languages, expected one for each"
        raise RecipeError(msg, hint="give --ct once for each LANG, in their order")
    triples = [
        _triple(language, replace(choices, ct=cts[i] if cts else None))
        for i, language in enumerate(languages)
    ]
    for triple in triples:
        if triple.base.id != triples[0].base.id:
            msg = f"{triple.key!r} is made from {triple.base.id}, and {triples[0].key!r} from "
            msg += f"{triples[0].base.id}: a joint merge needs one base"
            raise RecipeError(msg, hint="slack-ties languages  (lists the bases)")
    for i, triple in enumerate(triples):
        if triple.ct.id in [other.ct.id for other in triples[:i]]:
            msg = (
                f"{triple.ct.id} is the CT model of two of the languages: one config does for both"
            )
            raise RecipeError(msg, hint=f"slack-ties config {triple.key}")
    return triples


def _triple(language: str, choices: Choices) -> Triple:
    try:
        triple = find_triple(language)
    except CatalogueError:
        if not (choices.base and choices.ct and choices.sft):
            raise
        of = replace(unlisted_language(language), name=choices.language_name or "")
        none = Source("")
        triple = Triple(of.tag, of, family="", dtype="", base=none, ct=none, sft=none)
    (ct,) = _several(choices.ct) or [""]
    sft = _several(choices.sft)
    triple = replace(
        triple,
        base=Source(_here(choices.base)) if choices.base else triple.base,
        ct=Source(ct) if ct else triple.ct,
        sft=Source(sft[0]) if sft else triple.sft,
        extended=triple.extended and not ct,
    )
    if choices.base:  # its name and its type are not the catalogue's
        triple = replace(triple, family="", dtype=stored_dtype(Path(triple.base.id)))
    return triple


def _sft(triples: Sequence[Triple], choices: Choices) -> list[Source]:
    """Return the SFT models: those chosen, or the catalogue's."""
    return [Source(name) for name in _several(choices.sft)] or [triples[0].sft]


def _several(value: str | Sequence[str] | None) -> list[str]:
    if value is None:
        return []
    return [_here(one) for one in ([value] if isinstance(value, str) else value)]


def _here(model: str) -> str:
    """Return a model with the home folder written out: mergekit does not know ~."""
    try:
        return str(Path(model).expanduser()) if model.startswith("~") else model
    except RuntimeError:  # no such user: said when the model is looked for
        return model


def _chosen(choices: Choices) -> dict[str, Any]:
    named = {"normalize": choices.normalize, "lambda": choices.lambda_}
    return {name: value for name, value in named.items() if value is not None}


def _value(choices: Choices, name: str, role: str, language: str) -> float:
    """Return a parameter of one model: as chosen for its language or role, or recommended."""
    chosen = getattr(choices, name)
    recommended = 0.0 if name == "slack" and role == "ct" else RECOMMENDED[name]
    if isinstance(chosen, Mapping):
        return float(chosen.get(language or role, chosen.get(role, recommended)))
    if chosen is None or (name == "slack" and role == "ct"):
        return recommended
    return chosen  # type: ignore[no-any-return]


def _check_keys(choices: Choices, known: set[str]) -> None:
    for name in ("weight", "density", "slack"):
        chosen = getattr(choices, name)
        for key in chosen if isinstance(chosen, Mapping) else ():
            if key not in known:
                msg = f"--{name} {key}=...: expected a role or a language of this config."
                msg += nearest(key, sorted(known))
                raise RecipeError(msg, hint=f"known here: {', '.join(sorted(known))}")


def _section(extended: Sequence[str]) -> dict[str, Any] | None:
    """Return mergekit's tokenizer section for CT models with tokens of their own."""
    if not extended:
        return None
    return {"source": extended[0] if len(extended) == 1 else "union"}


def _facts(
    triples: Sequence[Triple], inputs: Mapping[str, tuple[str, str, Source]]
) -> dict[str, Any]:
    sources = [triples[0].base, *(source for _, _, source in inputs.values())]
    languages = [
        {
            name: value
            for name in ("tag", "name", "endonym", "script", "iso_639_1", "iso_639_3")
            if (value := getattr(triple.language, name))
        }
        for triple in triples
    ]
    roles: dict[str, Any] = {"base": triples[0].base.id}
    for role in ("ct", "sft"):
        names = [model for model, (of, _, _) in inputs.items() if of == role]
        roles[role] = names[0] if len(names) == 1 else names
    sft_languages = [code for s in sources for code in s.languages] or list(SFT_LANGUAGES)
    facts: dict[str, Any] = {
        "recipe": RECIPE_VERSION,
        "language": languages[0] if len(languages) == 1 else languages,
        "family": triples[0].family,
        "roles": roles,
        "licenses": {s.id: s.license for s in sources if s.license},
        "sft_languages": sft_languages,
    }
    return {name: value for name, value in facts.items() if value}


def _title(language: Language) -> str:
    name = language.name or language.tag
    return f"{name}, {language.endonym}" if language.endonym else name


class _Dumper(yaml.SafeDumper):
    """YAML without anchors: the same values may stand in two places."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        """Say that every value is written out."""
        return True


def _yaml(data: dict[str, Any]) -> str:
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)

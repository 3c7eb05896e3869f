"""Write merge configs: plain mergekit YAML, one per language. `slack-ties config` calls this."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

from slack_ties.checkpoint import stored_dtype
from slack_ties.errors import CatalogueError, OutputError
from slack_ties.files import write_whole
from slack_ties.languages import Language, Source, Triple, find_triple, unlisted_language
from slack_ties.recipe import FACTS_KEY, RECIPE_VERSION, Recipe, parse_recipe

__all__ = ["RECOMMENDED", "Choices", "make_config", "write_configs"]

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
# Everything under the last key, {key}, is for the model card; mergekit ignores it.

"""


@dataclass(frozen=True)
class Choices:
    """What a user chose for a config; None leaves it to the catalogue or to RECOMMENDED."""

    base: str | None = None  # Hub id (id@revision) or local folder
    ct: str | None = None
    sft: str | None = None
    weight: float | None = None  # of both models
    density: float | None = None  # of both models
    slack: float | None = None  # of the SFT model; the CT model has none
    normalize: bool | None = None
    lambda_: float | None = None
    dtype: str | None = None  # of the merged model, by mergekit's names

    def made(self) -> list[str]:
        """Return the names of what was chosen."""
        return [f.name.rstrip("_") for f in fields(self) if getattr(self, f.name) is not None]


def write_configs(
    languages: Iterable[str] | str,
    folder: str | Path = "merge_configs",
    *,
    choices: Choices | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write one merge config per language into `folder` and return their paths.

    Args:
        languages: Keys or languages of the catalogue. One outside it is taken by its ISO
            639 code if `choices` names all three models.
        folder: Made if it is not there.
        choices: Models and parameters other than the catalogue's and the recommended ones.
        overwrite: Replace configs of the same name that say something else.

    Raises:
        CatalogueError: A language is not in the catalogue. Nothing is written then.
        RecipeError: A parameter is out of range. Nothing is written then.
        OutputError: The folder cannot be written to, or a config there was edited.

    """
    folder = Path(folder)
    languages = [languages] if isinstance(languages, str) else languages
    recipes = {folder / r.where: r for r in (make_config(name, choices) for name in languages)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, recipe in recipes.items():
            if path.exists() and not overwrite and path.read_bytes() != recipe.text.encode():
                msg = f"{str(path)!r} is there already and says something else"
                raise OutputError(msg, hint="add --overwrite, or -o ANOTHER_FOLDER")
        for path, recipe in recipes.items():
            write_whole(path, recipe.text)
    except OSError as error:
        msg = f"cannot write configs to {str(folder)!r}: {error.strerror or error}"
        raise OutputError(msg, hint="slack-ties config LANG -o ANOTHER_FOLDER") from None
    return list(recipes)


def make_config(language: str, choices: Choices | None = None) -> Recipe:
    """Return the merge config of one language without writing it; `where` is its file name.

    Raises:
        CatalogueError: The language is not in the catalogue.
        RecipeError: A parameter is out of range.

    """
    choices = choices or Choices()
    triple = _triple(language, choices)
    values = dict(RECOMMENDED)
    for name in RECOMMENDED:
        chosen = getattr(choices, "lambda_" if name == "lambda" else name)
        if chosen is not None:
            values[name] = chosen
    shared = {name: values[name] for name in ("weight", "density")}
    data: dict[str, Any] = {
        "merge_method": "slack_ties",
        "base_model": triple.base.id,
        "models": [
            {"model": triple.ct.id, "parameters": shared},
            {"model": triple.sft.id, "parameters": {**shared, "slack": values["slack"]}},
        ],
        "parameters": {name: values[name] for name in ("normalize", "lambda")},
        "out_dtype": choices.dtype or triple.dtype or None,
        FACTS_KEY: _facts(triple),
    }
    data = {key: value for key, value in data.items() if value is not None}
    file = f"{triple.key}.yml"
    title = ", ".join(filter(None, [_title(triple.language), triple.family]))
    text = HEADER.format(title=title, file=file, key=FACTS_KEY)
    return parse_recipe(text + _yaml(data), where=file)


def _triple(language: str, choices: Choices) -> Triple:
    """Return the catalogue's triple with the chosen models in place of its own."""
    try:
        triple = find_triple(language)
    except CatalogueError:
        if not (choices.base and choices.ct and choices.sft):
            raise
        of = unlisted_language(language)
        none = Source("")
        triple = Triple(of.tag, of, family="", dtype="", base=none, ct=none, sft=none)
    triple = replace(
        triple,
        base=Source(choices.base) if choices.base else triple.base,
        ct=Source(choices.ct) if choices.ct else triple.ct,
        sft=Source(choices.sft) if choices.sft else triple.sft,
    )
    if choices.base:  # its name and its type are not the catalogue's
        triple = replace(triple, family="", dtype=stored_dtype(Path(choices.base)))
    return triple


def _facts(triple: Triple) -> dict[str, Any]:
    sources = {"base": triple.base, "ct": triple.ct, "sft": triple.sft}
    language = {
        name: getattr(triple.language, name)
        for name in ("tag", "name", "endonym", "script", "iso_639_1", "iso_639_3")
    }
    facts: dict[str, Any] = {
        "recipe": RECIPE_VERSION,
        "language": {name: value for name, value in language.items() if value},
        "family": triple.family,
        "roles": {role: source.id for role, source in sources.items()},
        "licenses": {s.id: s.license for s in sources.values() if s.license},
        "sft_languages": list(triple.sft.languages or SFT_LANGUAGES),
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

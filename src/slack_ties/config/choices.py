"""What a user chose for a config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from slack_ties.config.methods import MergeMethod, find_method
from slack_ties.errors import RecipeError, nearest
from slack_ties.files import expanded
from slack_ties.wording import join_names

__all__ = [
    "Choices",
    "check_parameters",
    "check_roles",
    "chosen_settings",
    "list_models",
    "value_for",
    "with_home",
]


@dataclass(frozen=True)
class Choices:
    """The choices of a user for a config. None means: use the catalogue, or the defaults.

    A parameter is one number, or a number for each role (`ct`, `sft`) or language. A language
    is written as the user typed it, and means its CT model: {"bo": 1.0, "ug": 0.5, "sft": 1.0}.
    """

    base: str | None = None  # Hub id (id@revision) or local folder
    ct: str | Sequence[str] | None = None  # one for each language
    sft: str | Sequence[str] | None = None  # one or more
    weight: float | Mapping[str, float] | None = None  # one number: for all models
    density: float | Mapping[str, float] | None = None  # one number: for all models
    slack: float | Mapping[str, float] | None = None  # one number: for the SFT models only
    normalize: bool | None = None
    lambda_: float | None = None
    dtype: str | None = None  # of the merged model, as mergekit names it
    language_name: str | None = None  # in English, for a language outside the catalogue
    tokenizer: Mapping[str, Any] | None = None  # mergekit's section; see `look_at_choices`
    sft_languages: Sequence[str] | None = None  # of `sft`, from its card; see `look_at_choices`
    method: str | None = None  # a name that `methods.find_method` knows

    def made(self) -> list[str]:
        """Return the names of the options that the user gave."""
        return [f.name.rstrip("_") for f in fields(self) if getattr(self, f.name) is not None]


def list_models(value: str | Sequence[str] | None) -> list[str]:
    """Return one model, several, or None as a list."""
    if value is None:
        return []
    return [with_home(one) for one in ([value] if isinstance(value, str) else value)]


def with_home(model: str) -> str:
    """Return a model with ~ expanded: mergekit does not do it."""
    try:
        return str(expanded(model)) if model.startswith("~") else model
    except RuntimeError:  # no such user: the search for the model reports it
        return model


def chosen_settings(choices: Choices) -> dict[str, Any]:
    """Return the settings of the merge that the user chose."""
    named = {"normalize": choices.normalize, "lambda": choices.lambda_}
    return {name: value for name, value in named.items() if value is not None}


def value_for(choices: Choices, name: str, role: str, language: str) -> float:
    """Return the value of one model: chosen for its language or role, or the method's own."""
    chosen = getattr(choices, name, None)
    recommended = find_method(choices.method).value(name, role)
    if isinstance(chosen, Mapping):
        return float(chosen.get(language or role, chosen.get(role, recommended)))
    if chosen is None or (name == "slack" and role == "ct"):
        return recommended
    return chosen  # type: ignore[no-any-return]


def check_roles(choices: Choices, known: set[str]) -> None:
    """Refuse a value for a role or language that the config does not have."""
    for name in ("weight", "density", "slack"):
        chosen = getattr(choices, name)
        for key in chosen if isinstance(chosen, Mapping) else ():
            if key not in known:
                msg = f"--{name} {key}=...: expected a role or a language of this config."
                msg += nearest(key, sorted(known))
                raise RecipeError(msg, hint=f"known here: {', '.join(sorted(known))}")


def check_parameters(choices: Choices, method: MergeMethod) -> None:
    """Refuse a chosen parameter that the method does not have.

    Raises:
        RecipeError: The message names the option, and the parameters of the method.

    """
    options = ("weight", "density", "slack", "normalize", "lambda")
    chosen = [name for name in choices.made() if name in options]
    wrong = [f"--{name}" for name in chosen if name not in method.parameters]
    if wrong:
        msg = f"{join_names(wrong)}: no effect in the method {method.name}"
        known = [f"--{name}" for name in options if name in method.parameters]
        hint = f"leave it out; options of {method.name}: {', '.join(known) or 'none'}"
        raise RecipeError(msg, hint=hint)

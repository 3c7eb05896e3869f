"""What a user chose for a config, and the values that we recommend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from slack_ties.errors import RecipeError, nearest

__all__ = [
    "RECOMMENDED",
    "Choices",
    "check_keys",
    "chosen_settings",
    "list_models",
    "value_for",
    "with_home",
]

# What the project's experiments favour (docs/method.md): the division by the weights, and
# slack for more than the SFT model, cost more than they bring.
RECOMMENDED = {"weight": 1.0, "density": 0.5, "slack": 0.2, "normalize": False, "lambda": 1.0}


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


def list_models(value: str | Sequence[str] | None) -> list[str]:
    """Return one model, several, or none as a list."""
    if value is None:
        return []
    return [with_home(one) for one in ([value] if isinstance(value, str) else value)]


def with_home(model: str) -> str:
    """Return a model with the home folder written out: mergekit does not know ~."""
    try:
        return str(Path(model).expanduser()) if model.startswith("~") else model
    except RuntimeError:  # no such user: said when the model is looked for
        return model


def chosen_settings(choices: Choices) -> dict[str, Any]:
    """Return those settings of the merge that the user chose."""
    named = {"normalize": choices.normalize, "lambda": choices.lambda_}
    return {name: value for name, value in named.items() if value is not None}


def value_for(choices: Choices, name: str, role: str, language: str) -> float:
    """Return a parameter of one model: as chosen for its language or role, or recommended."""
    chosen = getattr(choices, name)
    recommended = 0.0 if name == "slack" and role == "ct" else RECOMMENDED[name]
    if isinstance(chosen, Mapping):
        return float(chosen.get(language or role, chosen.get(role, recommended)))
    if chosen is None or (name == "slack" and role == "ct"):
        return recommended
    return chosen  # type: ignore[no-any-return]


def check_keys(choices: Choices, known: set[str]) -> None:
    """Refuse a value for a role or language that the config does not have."""
    for name in ("weight", "density", "slack"):
        chosen = getattr(choices, name)
        for key in chosen if isinstance(chosen, Mapping) else ():
            if key not in known:
                msg = f"--{name} {key}=...: expected a role or a language of this config."
                msg += nearest(key, sorted(known))
                raise RecipeError(msg, hint=f"known here: {', '.join(sorted(known))}")

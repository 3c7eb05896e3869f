"""Find the licence of a merged model, and the duties of the person who publishes it.

`slack-ties plan`, `card` and `publish` call this. The rules come from the licences themselves
(`licenses.toml`). If they leave a choice, we take the strictest licence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slack_ties.licenses.known import (
    JOINED,
    LICENSE_NAME,
    NOT_READ,
    UNNAMED,
    License,
    Stated,
    find_license,
    hub_licenses,
    parts_of,
)
from slack_ties.licenses.parties import Party, catalogue_by_id, list_parties
from slack_ties.licenses.words import nearest_license

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from slack_ties.record import Parent

__all__ = ["Resolution", "resolve_license"]


@dataclass(frozen=True)
class Resolution:
    """The licence of a merged model, and why."""

    license: Stated | None  # None: the person who made the model must state it
    steps: tuple[str, ...]  # the reason for each step, in sentences
    problems: tuple[str, ...]  # why the licence is not known
    warnings: tuple[str, ...]  # parents whose stated licence contradicts their own parents
    duties: tuple[License, ...]  # the licences whose conditions apply
    chosen: bool = False  # whether it was stated and differs from what follows from the parents
    suggestion: str = ""  # the licence if only parents with a known licence counted

    @property
    def reason(self) -> str:
        """All reasons in one text."""
        return " ".join(self.steps + (() if self.license else self.problems))

    @property
    def metadata(self) -> dict[str, str]:
        """license, license_name and license_link, as the Hub accepts them."""
        if not self.license:
            return {}
        named = {"license_name": self.license.name, "license_link": self.license.link}
        return {"license": self.license.id, **{key: text for key, text in named.items() if text}}

    @property
    def display(self) -> tuple[str, ...]:
        """The words that must be displayed."""
        return tuple(dict.fromkeys(one.display for one in self.duties if one.display))

    @property
    def prefix(self) -> str:
        """The words that the model's name must begin with; the longest, if there are several."""
        return max((one.prefix for one in self.duties), key=len, default="")


def resolve_license(parents: Iterable[Parent], stated: Stated | None = None) -> Resolution:
    """Return the licence of a model merged from `parents`.

    Args:
        parents: The merged models, with the licences that their cards or the config state.
        stated: The licence that the maker of the merged model states. It replaces the licence
            that follows from the parents; the parents' conditions still apply.

    """
    parties = list(list_parties(parents))
    warnings: list[str] = []
    problems: list[str] = []
    found: dict[str, list[str]] = {}  # licence -> models under it
    for party in parties:
        _take(party, parties, found, problems, warnings)
    terms = [one for name in found if (one := find_license(name))]
    all_state = all(party.license == name for party in parties for name in found)
    license_id, step = _combined(terms, found, stated=all_state) if terms else ("", "")
    suggestion = _suggestion(terms, parties) if problems else license_id
    if problems:
        license_id = ""
    elif terms and not license_id:
        problems.append(step)
    steps = [step] if license_id else []
    license_ = _as_stated(license_id) if license_id else None
    chosen = bool(stated and (license_ is None or stated.key != license_.key))
    if stated and chosen:
        by_parents = f"By the parents' licences it would be {license_id}." if license_id else ""
        steps = [
            f"{stated.key}, as stated by the person who made this model.",
            by_parents,
            *problems,
        ]
        license_ = stated
        terms += [one for one in parts_of(stated.key) if one not in terms]
    return Resolution(
        license_,
        tuple(filter(None, steps)),
        tuple(problems),
        tuple(warnings),
        tuple(terms),
        chosen,
        suggestion,
    )


def _take(
    party: Party,
    parties: list[Party],
    found: dict[str, list[str]],
    problems: list[str],
    warnings: list[str],
) -> None:
    """Add the licences that apply to one party to `found`, or the reason to `problems`."""
    own = parts_of(party.license)
    above = _above(party, parties)
    if not party.license or party.license in UNNAMED:
        what = "states no licence" if not party.license else f"states only {party.license}"
        stays = [f"the terms of {name} ({one.id}) stay" for name, one in above.values()]
        hint = f"; {_and(stays)} with it in any case" if above else ""
        problems.append(f"{party.name} {what}{hint}.")
    elif party.license == NOT_READ:
        problems.append(f"the card of {party.name} could not be read: its licence is not known.")
    elif not own:
        problems.append(_not_known(party))
    elif above and not any(one.binding for one in own):
        warnings.extend(
            f"{party.name} calls itself {party.license}, but was made from {name}, "
            f"whose licence {one.id} stays with every model made from it ({one.name}, "
            f"{one.source}): its terms are followed"
            for name, one in above.values()
        )
        own = []
    if len(own) > 1:
        ids = _and([one.id for one in own])
        warnings.append(f"{party.name} states {ids}: the terms of each are followed")
    for name, one in [*above.values(), *((party.name, one) for one in own)]:
        whose = found.setdefault(one.id, [])
        holder = party.name if one in own or name in {p.name for p in parties} else name
        whose += [holder] * (holder not in whose)


def _above(party: Party, parties: list[Party]) -> dict[str, tuple[str, License]]:
    """Return the licences of a party's own parents that stay with it, whatever it states."""
    known = {name.lower(): license_ for name, license_ in catalogue_by_id().items()}
    known |= {one.name.lower(): one.license for one in parties}  # ids on the Hub ignore case
    return {
        one.id: (name, one)
        for name in reversed(party.origins)
        if name.lower() != party.name.lower()
        for one in parts_of(known.get(name.lower(), ""))
        if one.binding
    }


def _not_known(party: Party) -> str:
    """Return why a licence that a party states cannot be followed here."""
    near = nearest_license(party.license)
    near = f" (the nearest id: {near})" if near and near != party.license else ""
    if LICENSE_NAME.fullmatch(party.license):
        return (
            f"{party.name} is under {party.license}, whose terms are not known here{near}: read "
            "them."
        )
    return (
        f"{party.name} states {party.license!r}, which is not the id of a licence{near}: read what "
        "its terms are."
    )


def _suggestion(terms: list[License], parties: list[Party]) -> str:
    """Return the licence to propose if the licence of a party is not known; "" if it is unsafe.

    It must not allow more than any party does: for words we take the licence that they are near
    to, and nothing at all if they are near to none.
    """
    guesses = []
    for party in parties:
        if party.license == "other" or (party.license and not parts_of(party.license)):
            guess = find_license(nearest_license(party.license))
            if not guess and party.license != "unknown":
                return ""
            guesses += [guess] if guess else []
    every = [*terms, *(one for one in dict.fromkeys(guesses) if one not in terms)]
    found = {one.id: [one.id] for one in every}
    return _combined(every, found, stated=False)[0] if every else ""


def _combined(
    terms: list[License], found: Mapping[str, list[str]], *, stated: bool
) -> tuple[str, str]:
    """Return the licence that meets all terms, and the reason; or "" and why there is none."""
    none = [one for one in terms if one.derivatives == "none"]
    if none:
        whose = _and(found[none[0].id])
        return "", f"{whose}: {none[0].id} lets nobody share what is made from it."
    if len(terms) == 1:
        whose = "every parent" if stated else "all that it was made from"
        return terms[0].id, f"{terms[0].id}, the licence of {whose}."
    binding = [one for one in terms if one.binding]
    free = sorted((one for one in terms if not one.binding), key=lambda one: (-one.rank, one.id))
    if len(binding) > 1:
        return _bound_together(binding)
    return _bound_by(binding[0] if binding else None, free, found)


def _bound_by(
    one: License | None, free: list[License], found: Mapping[str, list[str]]
) -> tuple[str, str]:
    """Return the binding licence, or the strictest free one. The others only require notices."""
    others = _and([other.id for other in (free if one else free[1:])])
    allow = f"{others} {'allow' if ' and ' in others else 'allows'} other terms for it."
    if one is None:
        first = free[0].id
        return first, f"{first}, the licence with the most conditions among the parents; {allow}"
    if bad := [other.id for other in free if other.id in one.not_with]:
        return "", f"{one.id} and {bad[0]} cannot both be met in one work."
    stays = "which every model made from it must have" if one.derivatives == "same" else ""
    stays = stays or "whose terms stay with every model made from it"
    whose = _and(found[one.id])
    return one.id, f"{one.id}, the licence of {whose}, {stays} ({one.source}); {allow}"


def _bound_together(binding: list[License]) -> tuple[str, str]:
    """Return a licence that meets several binding licences together, if there is one."""
    ids = _and([one.id for one in binding])
    kept = [one for one in binding if not any(other.id in one.accepts for other in binding)]
    gone = [one for one in binding if one not in kept]
    # One merge is one step: what a licence allows must be a licence of the result itself.
    taken = {one.id: [other.id for other in kept if other.id in one.accepts] for one in gone}
    if all(taken.values()):
        why = [f"{one.id} allows {_and(taken[one.id])} for it ({one.source})" for one in gone]
        if len(kept) == 1:
            return kept[0].id, f"{kept[0].id}: {_and(why)}."
        if all(other.id in one.together for one in kept for other in kept if other != one):
            each = f"{_and([one.id for one in kept])}, each for its own part (section 13 of both)"
            return JOINED.join(sorted(one.id for one in kept)), f"{'; '.join([each, *why])}."
    commons = [one for one in binding if one.id.startswith("cc-by-nc-")]
    others = [one for one in binding if one not in commons]
    alike = [one for one in commons if one.derivatives == "same"]
    if not others and len(alike) <= 1:
        # Each requires attribution and forbids commercial use; share-alike decides.
        one = alike[0] if alike else max(commons, key=lambda one: one.id)
        return one.id, f"{one.id}, which contains the terms of {ids}."
    if [one.derivatives for one in others] == ["bound"] and not alike and len(commons) == 1:
        (first,) = others
        return f"{first.id}{JOINED}{commons[0].id}", (
            f"{ids}, both: the terms of {first.id} stay with the model ({first.source}), and so "
            f"does the ban of commercial use of {commons[0].id} ({commons[0].source})."
        )
    return "", f"The terms of {ids} all stay with the model, and no one licence meets them."


def _as_stated(license_id: str) -> Stated:
    if license_id in hub_licenses():
        return Stated(license_id)
    found = find_license(license_id)
    return Stated("other", license_id, found.link if found else "LICENSE")


def _and(names: list[str]) -> str:
    *first, last = names or [""]
    return f"{', '.join(first)} and {last}" if first else last

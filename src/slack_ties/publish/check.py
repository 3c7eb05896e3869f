"""Check whether a model may be published: its card, its licence, and its name.

The checks read the model's folder, or before a merge the cards of the models to merge. The Hub
also checks the card itself.
"""

from __future__ import annotations

import logging
import shlex
from typing import TYPE_CHECKING

from slack_ties.card.evaluation import results_of
from slack_ties.card.license_files import LICENSE_FILE, is_pointer, license_file, missing_duties
from slack_ties.card.metadata import check_metadata
from slack_ties.card.write import CARD_FILE, resolve_for
from slack_ties.errors import HubError, OutputError, RecipeError
from slack_ties.licenses.known import NOT_READ, parts_of
from slack_ties.licenses.names import check_repo_name
from slack_ties.licenses.resolve import Resolution, resolve_license
from slack_ties.models.front_matter import front_matter
from slack_ties.models.look_together import look_at_models
from slack_ties.models.parents import parent_of
from slack_ties.private.hub_requests import post, raise_for_status
from slack_ties.publish.scan import find_in_text, private_texts
from slack_ties.recipe.public import as_known, local_parts
from slack_ties.record import read_record

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from huggingface_hub import HfApi

    from slack_ties.licenses.known import Stated
    from slack_ties.publish.destination import Destination
    from slack_ties.recipe.recipe import Recipe
    from slack_ties.record import MergeRecord, Parent

__all__ = [
    "check_card",
    "check_config_text",
    "check_license",
    "look_at_parents",
    "validate_card",
]

LOG = logging.getLogger("slack_ties")


def look_at_parents(recipe: Recipe, *, api: HfApi | None = None) -> list[Parent]:
    """Return what the models of a config are, from their cards.

    Raises:
        SlackTiesError: A model does not exist, or cannot be reached.

    """
    parents = []
    answers = look_at_models(recipe.models, api=api)
    for name in recipe.models:
        looks = [one.get() for one in answers[name]]
        parents.append(
            parent_of(
                recipe,
                name,
                [look.card for look in looks],
                commits=tuple(look.commit for look in looks),
            )
        )
        for look in looks:
            if look.card.problem:
                LOG.warning("  the card of %s cannot be read: %s", look.path, look.card.problem)
    return parents


def check_license(
    recipe: Recipe, parents: Iterable[Parent], repo_id: str, stated: Stated | None = None
) -> None:
    """Refuse a merge if the licence or the name `repo_id` would prevent publishing the result.

    Args:
        recipe: The merge config.
        parents: Its models; see `look_at_parents`.
        repo_id: The name on the Hub.
        stated: The licence that the user states for the result.

    Raises:
        SlackTiesError: As for `publish_model`.

    """
    resolution = resolve_license(parents, stated.check() if stated else None)
    _check_resolution(resolution, f"the result of {recipe.where}", "the same command with")
    license_ = resolution.license
    if license_ and license_.link.startswith(LICENSE_FILE) and not parts_of(license_.key):
        msg = f"the text of {license_.key!r} has to be in {license_.link} before anything is "
        msg += "published, and the merge makes the folder"
        raise OutputError(
            msg, hint="put the text on the web and give its address: --license-link URL"
        )
    check_repo_name(repo_id, resolution)


def check_config_text(recipe: Recipe, parents: Iterable[Parent]) -> None:
    """Refuse a config that contains private text, in a comment for example: it is published.

    Args:
        recipe: The config as it would be published.
        parents: Its models, with their names on this disk.

    Raises:
        RecipeError: It contains private text; the message names the line.

    """
    if found := find_in_text(recipe.text, private_texts(local_parts(parents))):
        msg = f"{recipe.where}, line {found.line}, contains {found.what}, and would be published"
        raise RecipeError(msg, hint="delete it there, then run the same command again")


def _has_unread(record: MergeRecord) -> bool:
    return any(NOT_READ in {one.license, one.adapter_license} for one in record.parents)


def _check_resolution(resolution: Resolution, what: str, again: str, card: str = "") -> None:
    if resolution.license:
        return
    msg = f"the licence of {what} is not known: {' '.join(resolution.problems)}"
    hint = f"{card}  # reads the cards of its models again; or " if card else ""
    hint += f"ask the authors of the models, then state the result's licence: {again} --license "
    raise OutputError(msg, hint=hint + (resolution.suggestion or "ID"))


def check_card(
    folder: Path,
    to: Destination,
    stated: Stated | None = None,
    *,
    rewritten: bool = False,
    again_later: bool = False,
) -> None:
    """Refuse a model if the Hub or a parent's licence does not allow to publish it.

    Args:
        folder: The model's folder.
        to: Where it will be published.
        stated: The licence with which the card will be written again: then the files that the
            licence requires may still be missing.
        rewritten: The card will be written again for another reason.
        again_later: It will be checked again after that, which says what is doubtful.

    """
    rewritten = rewritten or bool(stated)
    card = folder / CARD_FILE
    again = f"slack-ties card {shlex.quote(str(folder))}"
    if not card.is_file():
        msg = f"{str(folder)!r} has no model card ({CARD_FILE})"
        raise OutputError(msg, hint=again)
    if not rewritten:
        check_metadata(card)
    resolution, record = resolve_for(folder), as_known(read_record(folder))
    if stated:
        resolution = resolve_license(record.parents, stated.check())
    flags = shlex.join(["", *to.flags()]).removeprefix("''")
    publish = f"slack-ties publish {shlex.quote(str(folder))} {to.repo_id}{flags}"
    read_again = again if record.adopted and _has_unread(record) else ""
    _check_resolution(resolution, repr(str(folder)), publish, read_again)
    check_repo_name(to.repo_id, resolution)
    if not rewritten and (missing := missing_duties(folder, resolution, record)):
        own = resolution.license and resolution.license.link in missing
        what = "its licence requires" if own else "its parents' licences require"
        msg = f"{str(folder)!r} lacks what {what}: {'; '.join(missing)}"
        hint = f"put the text of your licence into {folder / missing[0]}" if own else again
        raise OutputError(msg, hint=hint)
    if rewritten:
        check_metadata(card)
    results_of(folder)  # raises if the Hub would refuse the results
    if not rewritten:
        _check_stated(card, resolution, again)
    if not again_later:
        _warn_of_license(folder, resolution)


def _warn_of_license(folder: Path, resolution: Resolution) -> None:
    for warning in resolution.warnings:
        LOG.warning("  %s", warning)
    for one in resolution.duties:
        if one.copy and is_pointer(folder / license_file(one, resolution)):
            file = license_file(one, resolution)
            LOG.warning(
                "  %s contains only a link to the %s: put the licence text into it",
                file,
                one.name,
            )


def _check_stated(card: Path, resolution: Resolution, again: str) -> None:
    """Refuse a card whose metadata state no licence, or another licence than the model's."""
    data = front_matter(card.read_text(encoding="utf-8-sig"))
    keys = ("license", "license_name", "license_link")
    says = {key: data[key] for key in keys if data.get(key)}
    if says != resolution.metadata:
        said = says.get("license_name") or says.get("license") or "no licence"
        expected = resolution.license.key if resolution.license else "none"
        msg = f"{card} states {said}, expected {expected}"
        raise OutputError(msg, hint=again)


def validate_card(card: Path, repo_id: str, api: HfApi) -> None:
    """Let the Hub check the card before anything is created or uploaded there."""
    card_text = {"repoType": "model", "content": card.read_bytes().decode()}
    response = post(api, "/api/validate-yaml", card_text)
    if response.status_code == 400:  # noqa: PLR2004 - HTTP
        try:
            said = "; ".join(one["message"] for one in response.json()["errors"])
        except (ValueError, KeyError, TypeError):
            said = response.text[:300]
        msg = f"{repo_id!r}: the Hub refuses the card: {said}"
        raise HubError(msg, hint=f"correct the lines between the two --- of {card}")
    if response.status_code == 404:  # noqa: PLR2004 - HTTP
        LOG.warning("  this Hub cannot check the card now: it will check it with the commit")
        return
    raise_for_status(response)

"""Check a run before its merge: the recipe, the folder, the models, and the place on the Hub.

`slack-ties run` makes these checks first; with --dry-run it ends after them.
"""

from __future__ import annotations

from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.errors import OutputError
from slack_ties.files import expanded
from slack_ties.hub.timeouts import in_force, timeouts
from slack_ties.licenses.known import Stated
from slack_ties.merge.finished import holds_merge
from slack_ties.merge.output import check_output
from slack_ties.plan.make import plan_merge
from slack_ties.recipe.pin import rename_models
from slack_ties.recipe.public import local_parts, published_names
from slack_ties.record import read_record
from slack_ties.report.describe import check_reportable
from slack_ties.settings import Settings, SettingsByName
from slack_ties.sharing.recipe_of import recipe_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Unpack

    from slack_ties.config.choices import Choices
    from slack_ties.hub.retries import Retries
    from slack_ties.plan.shown import ShownPlan
    from slack_ties.publish.destination import Destination, Target
    from slack_ties.recipe.recipe import Recipe
    from slack_ties.record import Parent

__all__ = ["Ready", "RunByName", "check_destination", "check_run", "get_ready"]


class RunByName(SettingsByName, total=False):
    """What `run_all` takes by name, besides `retries`; it explains each."""

    choices: Choices | None
    publish: str | Destination | None
    stream: bool
    license: str | Stated | None
    known_as: Mapping[str, str] | None
    report: bool


def check_run(
    what: str | Path,
    out: str | Path,
    *,
    retries: Retries | None = None,
    **chosen: Unpack[RunByName],
) -> ShownPlan:
    """Make all checks of `run_all` that come before the merge, and return the plan of the merge.

    Arguments and errors are those of `run_all`. The plan's `errors` are what is wrong with the
    models. Nothing is written, neither here nor on the Hub.
    """
    ready = get_ready(what, out, **chosen)
    plan = plan_merge(ready.recipe, out=ready.out, streamed=ready.stream, **vars(ready.settings))
    if ready.to and not plan.errors:  # the cards of its models can be read
        from slack_ties.hub.retries import Retries  # noqa: PLC0415 - imports the Hub client

        retries = retries or in_force(Retries())
        with timeouts(retries):
            check_destination(ready, retries)
    return plan


@dataclass(frozen=True)
class Ready:
    """What a run knows before it asks the Hub where the result will be published."""

    recipe: Recipe
    out: Path
    to: Destination | None
    stream: bool
    stated: Stated | None
    known_as: Mapping[str, str]
    settings: Settings
    finished: bool  # `out` holds this merge already


def get_ready(  # noqa: PLR0913 - those of `run_all`
    what: str | Path,
    out: str | Path,
    *,
    choices: Choices | None = None,
    publish: str | Destination | None = None,
    stream: bool = False,
    license: str | Stated | None = None,  # noqa: A002 - the Hub's word for it
    known_as: Mapping[str, str] | None = None,
    report: bool = False,
    **by_name: Unpack[SettingsByName],
) -> Ready:
    """Find the recipe, and refuse what cannot be done."""
    settings = Settings(**by_name)
    if (stream or known_as) and not publish:
        msg = f"{'stream' if stream else 'known_as'} needs publish"
        raise ValueError(msg)
    out = expanded(out)
    stated = Stated(license) if isinstance(license, str) else license
    stated = stated.check() if stated else None
    recipe = recipe_of(what, out, choices, settings.api)
    if report:
        check_reportable(recipe, merged=True, streamed=stream)
    finished = holds_merge(out, recipe, settings)
    if finished and not publish:
        finished = read_record(out).has_weights(out)  # not after a run with `stream`
    to: Destination | None = None
    if publish:
        from slack_ties.publish.destination import Destination  # noqa: PLC0415 - the Hub client

        to = Destination(publish) if isinstance(publish, str) else publish
    _check_out(out, publish, streamed=stream, finished=finished)
    return Ready(recipe, out, to, stream, stated, known_as or {}, settings, finished)


def _check_out(
    out: Path, publish: str | Destination | None, *, streamed: bool, finished: bool
) -> None:
    if streamed:
        from slack_ties.publish.stream import check_finished  # noqa: PLC0415 - imports the Hub client

        with suppress(OutputError) if finished else nullcontext():
            check_finished(out)
    if not finished:
        check_output(out, publish if isinstance(publish, str) else getattr(publish, "repo_id", ""))


def check_destination(ready: Ready, retries: Retries) -> tuple[Target, dict[str, str]]:
    """Check all that could prevent the upload; return the state of the Hub, and known folders."""
    from huggingface_hub import HfApi  # noqa: PLC0415 - heavy, as are the others

    from slack_ties.publish.check import (  # noqa: PLC0415
        check_config_text,
        check_license,
        look_at_parents,
    )
    from slack_ties.publish.destination import check_publish  # noqa: PLC0415
    from slack_ties.publish.known import find_known, warn_of_folders, with_known  # noqa: PLC0415
    from slack_ties.publish.rights import with_token  # noqa: PLC0415
    from slack_ties.publish.same_recipe import check_recipe  # noqa: PLC0415
    from slack_ties.publish.somebodys import check_card_there  # noqa: PLC0415

    assert ready.to is not None  # noqa: S101 - the caller publishes
    recipe, api = ready.recipe, with_token(ready.settings.api)
    target = check_publish(ready.to, proposes=False, retries=retries, api=api)
    parents: Sequence[Parent] = look_at_parents(recipe, api=ready.settings.api or HfApi())
    known = find_known(local_parts(parents), ready.known_as, retries=retries, api=api)
    parents = with_known(parents, known)
    public = rename_models(recipe, published_names(parents))
    check_config_text(public, parents)
    check_recipe(public, target, retries, api)
    check_license(recipe, parents, target.to.repo_id, ready.stated)
    warn_of_folders(parents)
    if not ready.finished:
        check_card_there(target, retries=retries, api=api)
    return target, known

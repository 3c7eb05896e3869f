"""Run all stages, from a language to a published model. `slack-ties run` calls this."""

from __future__ import annotations

import logging
import shlex
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.errors import HubError, LostOnHubError, OutputError
from slack_ties.files import expanded
from slack_ties.hub.timeouts import in_force, timeouts
from slack_ties.licenses.known import Stated
from slack_ties.merge.finished import holds_merge
from slack_ties.merge.merge import merge_models
from slack_ties.merge.output import check_output
from slack_ties.publish.result import Result
from slack_ties.recipe.pin import rename_models
from slack_ties.recipe.public import local_parts, published_names
from slack_ties.record import read_record
from slack_ties.report.describe import check_reportable
from slack_ties.report.file import REPORT_FILE
from slack_ties.settings import Settings
from slack_ties.sharing.recipe_of import names_language, recipe_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from huggingface_hub import HfApi
    from typing_extensions import Unpack

    from slack_ties.config.choices import Choices
    from slack_ties.hub.retries import Retries
    from slack_ties.publish.destination import Destination, Target
    from slack_ties.publish.stream import Stream
    from slack_ties.recipe.recipe import Recipe
    from slack_ties.record import MergeRecord, Parent
    from slack_ties.settings import SettingsByName

__all__ = ["run_all"]

LOG = logging.getLogger("slack_ties")


def run_all(  # noqa: PLR0913 - all by name, each a stage's own
    what: str | Path,
    out: str | Path,
    *,
    choices: Choices | None = None,
    publish: str | Destination | None = None,
    stream: bool = False,
    license: str | Stated | None = None,  # noqa: A002 - the Hub's word for it
    known_as: Mapping[str, str] | None = None,
    report: bool = False,
    retries: Retries | None = None,
    **settings: Unpack[SettingsByName],
) -> Result:
    """Merge a language or a config into the folder `out`, write its card, and publish it.

    Args:
        what: A key or language of the catalogue, the path of a merge config, or the Hub id
            of a published model, whose recipe is run again.
        out: A new or empty folder.
        choices: For a language: models and parameters that replace the catalogue's.
        publish: Where to publish the model on the Hub. If not given, nothing is published.
        stream: With `publish`: delete each weight file from this disk as soon as the Hub has it;
            `out` keeps all other files. After an interruption, the same call continues.
        license: The licence of the merged model. If not given, it follows from the parents'.
        known_as: With `publish`: by a folder that is merged, its id on the Hub (ID or ID@COMMIT),
            which is published instead.
        report: Write report.json and report.html beside the model.
        retries: How long to wait for the Hub when publishing.
        settings: All of `Settings`, by name.

    Raises:
        SlackTiesError: A stage failed; the message says what and where. The results of earlier
            stages stay: a merged model in `out` is complete even if publishing fails.
        ValueError: `stream` or `known_as` without `publish`.

    """
    if (stream or known_as) and not publish:
        msg = f"{'stream' if stream else 'known_as'} needs publish"
        raise ValueError(msg)
    shared = Settings(**settings)
    api = shared.api
    out = expanded(out)
    stated = Stated(license) if isinstance(license, str) else license
    stated = stated.check() if stated else None
    recipe = recipe_of(what, out, choices, api)
    if report:
        check_reportable(recipe, merged=True, streamed=stream)
    finished = bool(publish) and holds_merge(out, recipe, shared)
    _check_out(out, publish, streamed=stream, finished=finished)
    if finished and report and not (out / REPORT_FILE).is_file():
        again = shlex.join(["slack-ties", "report", str(out)])
        LOG.warning("  %s has no report; to write it: %s", out, again)
    out = out.resolve() if out.is_symlink() else out  # write into the folder that a link points to
    names = [one.get("name") or one.get("tag", "") for one in recipe.facts.languages]
    language = f" for {' and '.join(names)}" if names else ""
    config = "made" if names_language(what) else recipe.where
    LOG.info("[1/%d] config  %s%s", 4 if publish else 3, config, language)

    merge = partial(merge_models, recipe, out, report=report)
    if not publish:
        from slack_ties.card.write import write_card  # noqa: PLC0415 - imports the Hub client

        LOG.info("[2/3] merge   %s -> %s", recipe.method, out)
        record = merge(**vars(shared))
        card = write_card(out, license=stated, api=api)
        LOG.info("[3/3] card    %s", card)
        return Result(out, record, card)

    from slack_ties.publish.destination import Destination  # noqa: PLC0415 - imports the Hub client

    to = Destination(publish) if isinstance(publish, str) else publish
    return _merge_and_publish(
        recipe,
        out,
        to,
        merge,
        finished=finished,
        stream=stream,
        stated=stated,
        known_as=known_as,
        retries=retries,
        settings=shared,
    )


def _check_out(
    out: Path, publish: str | Destination | None, *, streamed: bool, finished: bool
) -> None:
    if streamed:
        from slack_ties.publish.stream import check_finished  # noqa: PLC0415 - imports the Hub client

        with suppress(OutputError) if finished else nullcontext():
            check_finished(out)
    if not finished:
        check_output(out, publish if isinstance(publish, str) else getattr(publish, "repo_id", ""))


def _merge_and_publish(  # noqa: PLR0913 - all by name
    recipe: Recipe,
    out: Path,
    to: Destination,
    merge: Callable[..., MergeRecord],
    *,
    finished: bool,
    stream: bool,
    stated: Stated | None,
    known_as: Mapping[str, str] | None,
    retries: Retries | None,
    settings: Settings,
) -> Result:
    from huggingface_hub import HfApi  # noqa: PLC0415 - heavy, as are the others

    from slack_ties.card.write import CARD_FILE, write_card  # noqa: PLC0415
    from slack_ties.hub.retries import Retries  # noqa: PLC0415
    from slack_ties.publish.ahead import Ahead  # noqa: PLC0415
    from slack_ties.publish.check import (  # noqa: PLC0415
        check_config_text,
        check_license,
        look_at_parents,
    )
    from slack_ties.publish.destination import check_publish  # noqa: PLC0415
    from slack_ties.publish.finished import find_published, is_edited  # noqa: PLC0415
    from slack_ties.publish.known import (  # noqa: PLC0415
        find_known,
        keep_known,
        warn_of_folders,
        with_known,
    )
    from slack_ties.publish.rights import with_token  # noqa: PLC0415
    from slack_ties.publish.same_recipe import check_recipe  # noqa: PLC0415
    from slack_ties.publish.somebodys import check_card_there  # noqa: PLC0415
    from slack_ties.publish.stream import Stream  # noqa: PLC0415

    reading, api = settings.api or HfApi(), with_token(settings.api)
    retries = retries or in_force(Retries())
    merge = partial(merge, **vars(replace(settings, api=reading)))
    with timeouts(retries):
        target = check_publish(to, proposes=False, retries=retries, api=api)
        to = target.to
        parents: Sequence[Parent] = look_at_parents(recipe, api=reading)
        known = find_known(local_parts(parents), known_as or {}, retries=retries, api=api)
        parents = with_known(parents, known)
        public = rename_models(recipe, published_names(parents))
        check_config_text(public, parents)
        check_recipe(public, target, retries, api)
        check_license(recipe, parents, to.repo_id, stated)
        warn_of_folders(parents)
        if not finished:
            check_card_there(target, retries=retries, api=api)

        def made(folder: Path) -> Path:
            keep_known(folder, known)
            if finished and not (stated or known) and is_edited(folder / CARD_FILE):
                return folder / CARD_FILE  # a person's: publish it as it is
            return write_card(folder, repo_id=to.repo_id, license=stated, api=api)

        if finished:
            record = read_record(out)
            here = record.has_weights(out)  # not after a run with `stream`
            what = ": publishing it" * here
            LOG.info("[2/4] merge   %s holds this merge already%s", out, what)
            if not here:
                there = find_published(out, record, target, retries=retries, api=api)
                return Result(out, record, out / CARD_FILE, there)
            return _publish(out, target, record, made(out), retries, api)
        LOG.info("[2/4] merge   %s -> %s", recipe.method, to.repo_id if stream else out)
        if stream:
            return _stream(Stream(out, target, retries=retries, api=api), merge, made)
        with Ahead(out, target, retries=retries, api=api) as ahead:
            record = merge(ahead=ahead)
            card = made(out)
        return _publish(out, target, record, card, retries, api)


def _publish(  # noqa: PLR0913, PLR0917 - what a run knows by now
    out: Path, target: Target, record: MergeRecord, card: Path, retries: Retries, api: HfApi
) -> Result:
    from slack_ties.publish.publish import publish_model  # noqa: PLC0415 - imports the Hub client

    to = target.to
    LOG.info("[3/4] card    %s", card)
    LOG.info("[4/4] publish %s", to.repo_id)
    try:
        published = publish_model(out, to, retries=retries, api=api)
    except (HubError, OutputError) as error:
        msg = f"the merged model is complete in {str(out)!r}, but was not published: {error}"
        again = shlex.join(["slack-ties", "publish", str(out), to.repo_id, *to.flags()])
        hint = f"{error.hint}; then: {again}" if error.hint else again
        raise type(error)(msg, hint=hint) from None
    return Result(out, record, card, published)


def _stream(
    stream: Stream, merge: Callable[..., MergeRecord], make_card: Callable[[Path], Path]
) -> Result:
    """Merge into the stream's folder, publish from it, then make it the output folder."""
    from slack_ties.publish.publish import publish_model  # noqa: PLC0415 - imports the Hub client

    try:
        record = merge(stream=stream)
        card = make_card(stream.work)
        LOG.info("[3/4] card")
        LOG.info("[4/4] publish %s", stream.target.to.repo_id)
        published = publish_model(
            stream.work,
            stream.target.to,
            sent=stream.sent,
            retries=stream.retries,
            api=stream.api,
        )
    except LostOnHubError:
        stream.forget()
        raise
    except HubError as error:
        goes_on = "it continues from the files that are merged"
        hint = f"run the same command again: {goes_on}"
        if "the same command" in error.hint and "again" not in error.hint:
            hint = f"{error.hint}; {goes_on}"
        elif error.hint and "again" not in error.hint:
            hint = f"{error.hint}; then {hint}"
        raise type(error)(str(error), hint=hint) from None
    else:
        stream.finish()
    finally:
        stream.close()
    return Result(stream.out, record, stream.out / card.name, published)

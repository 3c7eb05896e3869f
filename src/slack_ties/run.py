"""Run all stages, from a language to a published model. `slack-ties run` calls this."""

from __future__ import annotations

import logging
import shlex
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.check_run import check_destination, get_ready
from slack_ties.errors import HubError, LostOnHubError, OutputError
from slack_ties.hub.timeouts import in_force, timeouts
from slack_ties.merge.merge import merge_models
from slack_ties.publish.result import Result
from slack_ties.record import read_record
from slack_ties.report.file import REPORT_FILE
from slack_ties.sharing.recipe_of import names_language

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from huggingface_hub import HfApi
    from typing_extensions import Unpack

    from slack_ties.check_run import Ready
    from slack_ties.config.choices import Choices
    from slack_ties.hub.retries import Retries
    from slack_ties.licenses.known import Stated
    from slack_ties.publish.destination import Destination, Target
    from slack_ties.publish.stream import Stream
    from slack_ties.record import MergeRecord
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
    ready = get_ready(
        what,
        out,
        choices=choices,
        publish=publish,
        stream=stream,
        license=license,
        known_as=known_as,
        report=report,
        **settings,
    )
    recipe, folder = ready.recipe, ready.out
    if ready.finished and report and not (folder / REPORT_FILE).is_file():
        again = shlex.join(["slack-ties", "report", str(folder)])
        LOG.warning("  %s has no report; to write it: %s", folder, again)
    if folder.is_symlink():
        folder = folder.resolve()  # write into the folder that a link points to
        ready = replace(ready, out=folder)
    names = [one.get("name") or one.get("tag", "") for one in recipe.facts.languages]
    language = f" for {' and '.join(names)}" if names else ""
    config = "made" if names_language(what) else recipe.where
    LOG.info("[1/%d] config  %s%s", 4 if publish else 3, config, language)

    merge = partial(merge_models, recipe, folder, report=report)
    if publish:
        return _merge_and_publish(ready, merge, retries)
    return _merge_here(ready, merge)


def _merge_here(ready: Ready, merge: Callable[..., MergeRecord]) -> Result:
    """Merge and write the card; nothing is published."""
    from slack_ties.card.write import CARD_FILE, write_card  # noqa: PLC0415 - the Hub client
    from slack_ties.publish.finished import is_edited  # noqa: PLC0415 - as above

    out, stated = ready.out, ready.stated
    if ready.finished:
        LOG.info("[2/3] merge   %s holds this merge already", out)
        record, card = read_record(out), out / CARD_FILE
        if stated or not card.is_file() or not is_edited(card):
            card = write_card(out, license=stated, api=ready.settings.api)
    else:
        LOG.info("[2/3] merge   %s -> %s", ready.recipe.method, out)
        record = merge(**vars(ready.settings))
        card = write_card(out, license=stated, api=ready.settings.api)
    LOG.info("[3/3] card    %s", card)
    return Result(out, record, card)


def _merge_and_publish(
    ready: Ready, merge: Callable[..., MergeRecord], retries: Retries | None
) -> Result:
    from huggingface_hub import HfApi  # noqa: PLC0415 - heavy, as are the others

    from slack_ties.card.write import CARD_FILE, write_card  # noqa: PLC0415
    from slack_ties.hub.retries import Retries  # noqa: PLC0415
    from slack_ties.publish.ahead import Ahead  # noqa: PLC0415
    from slack_ties.publish.finished import find_published, is_edited  # noqa: PLC0415
    from slack_ties.publish.known import keep_known  # noqa: PLC0415
    from slack_ties.publish.rights import with_token  # noqa: PLC0415
    from slack_ties.publish.stream import Stream  # noqa: PLC0415

    out, finished, settings = ready.out, ready.finished, ready.settings
    reading, api = settings.api or HfApi(), with_token(settings.api)
    retries = retries or in_force(Retries())
    merge = partial(merge, **vars(replace(settings, api=reading)))
    with timeouts(retries):
        target, known = check_destination(ready, retries)
        to = target.to

        def made(folder: Path) -> Path:
            keep_known(folder, known)
            if finished and not (ready.stated or known) and is_edited(folder / CARD_FILE):
                return folder / CARD_FILE  # a person's: publish it as it is
            return write_card(folder, repo_id=to.repo_id, license=ready.stated, api=api)

        if finished:
            record = read_record(out)
            here = record.has_weights(out)  # not after a run with `stream`
            what = ": publishing it" * here
            LOG.info("[2/4] merge   %s holds this merge already%s", out, what)
            if not here:
                there = find_published(out, record, target, retries=retries, api=api)
                return Result(out, record, out / CARD_FILE, there)
            return _publish(out, target, record, made(out), retries, api)
        LOG.info("[2/4] merge   %s -> %s", ready.recipe.method, to.repo_id if ready.stream else out)
        if ready.stream:
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

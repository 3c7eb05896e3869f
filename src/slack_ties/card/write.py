"""Write the model card of a merged model, and the files that its licence requires.

`slack-ties card` calls this. Every sentence follows from the config, from the record of the merge
or from the parents' metadata. An unknown fact is left out, or the card says that it is unknown. A
person's own text stays.
"""

from __future__ import annotations

import json
import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.card.adopt import is_card_of_mergekit, record_of
from slack_ties.card.eval_results import keep_results
from slack_ties.card.evaluation import add_results, results_of
from slack_ties.card.examples import add_examples, examples_of
from slack_ties.card.license_files import plan_notices, write_notices
from slack_ties.card.measured import evaluation_of
from slack_ties.card.own_text import (
    OwnText,
    addressed,
    find_load_line,
    read_own_text,
    sealed,
)
from slack_ties.card.shown import show_report
from slack_ties.card.text import make_card
from slack_ties.errors import OutputError
from slack_ties.files import write_whole
from slack_ties.licenses.known import Stated
from slack_ties.licenses.resolve import Resolution, resolve_license
from slack_ties.models.names import HUB_ID
from slack_ties.recipe.pin import rename_models
from slack_ties.recipe.public import as_known, as_published, published_names
from slack_ties.recipe.read import read_recipe
from slack_ties.record import CONFIG_FILE, MergeRecord, read_record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from huggingface_hub import HfApi

    from slack_ties.card.shown import Shown
    from slack_ties.evaluation.scores import Evaluation

__all__ = ["CARD_FILE", "NOT_EVALUATED", "address_card", "plan_card", "resolve_for", "write_card"]

LOG = logging.getLogger("slack_ties")

CARD_FILE = "README.md"

NOT_EVALUATED = "No evaluation of this model is known"  # in a card

OLD_CARD = ".README.md.old"  # is not published


def write_card(  # noqa: PLR0913 - all by name
    out: str | Path,
    *,
    repo_id: str | None = None,
    license: str | Stated | None = None,  # noqa: A002 - the Hub's word for it
    texts: Mapping[str, str] | None = None,
    results: str | Path | None = None,
    examples: str | Path | None = None,
    overwrite: bool = False,
    api: HfApi | None = None,
) -> Path:
    """Write the card of the merged model in the folder `out` and return its path.

    Also write LICENSE, Notice and other files that the parents' licences require. Everything that
    a person wrote stays: texts in their places of the card, keys and tags of the metadata, the
    licence, and files beside the card.

    Args:
        out: A folder that `merge_models` made, or `mergekit-yaml`.
        repo_id: The repository that the model will be published to; the card's example loads it.
        license: The merged model's licence. If not given: the licence in the existing card, or
            else the licence that follows from the parents.
        texts: A person's own texts by their place in the card: see `own_text.PLACES`.
        results: Results of evaluations, a file in the Hub's `.eval_results` format.
        examples: Answers that the person chose to show, a file of `try_prompts`. They stay when
            the card is made again.
        overwrite: Replace a card that was edited outside of these places; the old card is
            kept as .README.md.old.
        api: The Hub client; the default one if not given.

    Raises:
        OutputError: Neither slack-ties nor mergekit made `out`, or its card was edited elsewhere.
        RecipeError: The Hub does not accept `license`.

    """
    out = Path(out)
    path = out / CARD_FILE
    old = _read(path)
    stated = Stated(license) if isinstance(license, str) else license
    stated = stated.check() if stated else None
    record = record_of(out, api=api)
    of_mergekit = record.adopted and is_card_of_mergekit(old or "")
    _check_edited(out, old, stated, overwrite=overwrite or of_mergekit)
    if results:
        add_results(Path(results), out)
    if examples:
        add_examples(Path(examples), out, record)
    before, now = (_resolution(record, old, one) for one in (None, stated))
    write_notices(out, as_known(record), now, before=before if old else None, api=api)
    evaluation = evaluation_of(out, record)
    text = _card(
        *(out, record, old, stated, texts or {}, repo_id),
        shown=show_report(out),
        evaluation=evaluation,
    )
    keep_results(out, evaluation)
    try:
        if old is not None and read_own_text(old).edited:
            kept = out / OLD_CARD
            while kept.exists() and kept.read_bytes() != path.read_bytes():  # keep older cards too
                kept = kept.with_name(f"{kept.name}.old")
            kept.write_bytes(path.read_bytes())
        write_whole(path, text)
    except OSError as error:
        msg = f"cannot write {path}: {error.strerror or error}"
        raise OutputError(msg) from None
    return path


def plan_card(
    out: Path,
    repo_id: str,
    license: Stated | None = None,  # noqa: A002 - as in `write_card`
    *,
    record: MergeRecord | None = None,
    api: HfApi | None = None,
) -> dict[str, str | None]:
    """Return the text of each file that publishing to `repo_id` would write; None to delete one.

    Nothing is written. Arguments and errors as for `write_card`. Without `license` and `record`
    only the example of the card changes.

    Args:
        out: The merged model.
        repo_id: The repository that the model will be published to.
        license: The merged model's licence, if the user states it.
        record: The record of the merge, if publishing would change it.
        api: The Hub client; the default one if not given.

    """
    old = _read(out / CARD_FILE) or ""
    if not (license or record):
        return {CARD_FILE: addressed(old, repo_id)}
    stated = license.check() if license else None
    _check_edited(out, old, stated)
    record = record or read_record(out)
    text = _card(
        *(out, record, old, stated, {}, None),
        shown=show_report(out, draw=False),
        evaluation=evaluation_of(out, record),
    )
    before, now = (_resolution(record, old, one) for one in (None, stated))
    planned = plan_notices(out, as_known(record), now, before=before if old else None, api=api)
    return {**planned, CARD_FILE: addressed(text, repo_id)}


def _check_edited(
    out: Path, old: str | None, stated: Stated | None, *, overwrite: bool = False
) -> None:
    """Refuse a card that was edited outside of the places for a person's text."""
    if old is None or overwrite or not read_own_text(old).edited:
        return
    msg = (
        f"{out / CARD_FILE} was written or edited by hand, outside of the places for your own text"
    )
    flags = f" {shlex.join(stated.flags())}" if stated else ""
    hint = "move it between the comments `your text: more` and `end of your text`, or: "
    again = f"slack-ties card {shlex.quote(str(out))}{flags} --overwrite"
    hint += f"{again}  # keeps the old one as {OLD_CARD}"
    raise OutputError(msg, hint=hint)


def _resolution(record: MergeRecord, old: str | None, stated: Stated | None) -> Resolution:
    return resolve_license(as_known(record).parents, stated or read_own_text(old or "").license)


def _card(  # noqa: PLR0913, PLR0917 - as write_card
    out: Path,
    record: MergeRecord,
    old: str | None,
    stated: Stated | None,
    texts: Mapping[str, str],
    repo_id: str | None,
    shown: Sequence[Shown],
    evaluation: Evaluation | None,
) -> str:
    """Return the text of the new card."""
    own, public = read_own_text(old) if old is not None else OwnText(), as_published(record)
    for one in own.lost:
        LOG.warning("  %s: left out %s: it is not a text, write it in quotes", out / CARD_FILE, one)
    loaded = find_load_line(old or "")
    if not repo_id and loaded and HUB_ID.fullmatch(name := json.loads(loaded[1])) and "/" in name:
        repo_id = name
    card = make_card(
        rename_models(read_recipe(out / CONFIG_FILE), published_names(record.parents)),
        public,
        folder=out.resolve(),
        repo_id=repo_id,
        resolution=_resolution(public, old, stated),
        own=OwnText({**own.places, **texts}, own.metadata, own.tags, own.datasets),
        results=results_of(out, ours=False),
        evaluation=evaluation,
        examples=examples_of(out, record),
        shown=shown,
    )
    return sealed(str(card))


def resolve_for(folder: Path) -> Resolution:
    """Return the licence of a merged model, from its parents and from its card."""
    return _resolution(read_record(folder), _read(folder / CARD_FILE), None)


def address_card(folder: Path, repo_id: str) -> bool:
    """Make the card's example load the model from the Hub; return whether the card changed."""
    path = folder / CARD_FILE
    text = path.read_bytes().decode()
    new = addressed(text, repo_id)
    if new != text:
        write_whole(path, new)
    return new != text


def _read(path: Path) -> str | None:
    """Return the existing card; None if there is none."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path} cannot be read: {error}"
        raise OutputError(msg, hint="move it away, then run the same command again") from None

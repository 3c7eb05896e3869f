"""Verify a published merge: repeat it from its recipe and compare every tensor.

`slack-ties verify` calls this. A file with the Hub's checksum has the same bytes, so we do not
read it. Of other files we read every tensor, and keep none of them. Unless the user keeps the
repeated merge, each of its files is compared and dropped as soon as it is written.
"""

from __future__ import annotations

import logging
import shlex
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slack_ties.card.repo_id import repo_id_of
from slack_ties.config.methods import RANDOM
from slack_ties.errors import CheckpointError, OutputError, RecipeError, SlackTiesError
from slack_ties.files import any_matches, checksum, expanded
from slack_ties.hub.errors import hub_errors
from slack_ties.hub.retries import READING
from slack_ties.merge.merge import merge_models
from slack_ties.merge.options import DEFAULTS
from slack_ties.models.checksums import stated_sums
from slack_ties.models.hub_info import ask_hub
from slack_ties.private.huggingface_hub import is_offline
from slack_ties.recipe.read import read_recipe
from slack_ties.record import CONFIG_FILE
from slack_ties.settings import Settings
from slack_ties.sharing.differences import WEIGHT_FILES, Verified, compare_published
from slack_ties.sharing.published import PublishedModel
from slack_ties.sharing.pull import pull_recipe
from slack_ties.sharing.rebuilding import Rebuilding
from slack_ties.sharing.untrusted import check_not_here
from slack_ties.wording import join_names

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from mergekit.options import MergeOptions
    from typing_extensions import Unpack

    from slack_ties.recipe.recipe import Recipe
    from slack_ties.settings import SettingsByName

__all__ = ["verify_model"]

LOG = logging.getLogger("slack_ties")

# The options that we take from a recipe: numbers and switches that cannot do harm. The user
# must give other options, such as --trust-remote-code, on the command line.
SAFE_OPTIONS = {
    "out_shard_size": int,
    "random_seed": int,
    "clone_tensors": bool,
    "copy_tokenizer": bool,
    "allow_crimes": bool,
    "unsafe_truncate_embeddings": bool,
    "lora_merge_dtype": str,
}


def verify_model(
    what: str | Path,
    *,
    out: str | Path | None = None,
    against: str | Path | None = None,
    **settings: Unpack[SettingsByName],
) -> Verified:
    """Repeat a published merge from its recipe, and compare every tensor.

    Args:
        what: A Hub id (OWNER/NAME or OWNER/NAME@REVISION), or a merged folder of slack-ties.
        out: Keep the repeated merge in this new folder. If not given, it is deleted.
        against: Compare with this folder instead of merging again.
        settings: All of `Settings`, by name. Without `options`, we use the recipe's options that
            change bytes.

    Raises:
        SlackTiesError: The recipe is refused or cannot be run, or a model is not available.

    """
    shared = Settings(**settings)
    if Path(what).is_dir():
        folder = Path(what)
        recipe = None if against else read_recipe(folder / CONFIG_FILE)
        _check_weights(folder)
        published = PublishedModel(str(what), "", _sums(folder), folder)
    else:
        from huggingface_hub import HfApi  # noqa: PLC0415 - not for folders

        api = shared.api or HfApi()
        shared = replace(shared, api=api)
        if against:  # the recipe is not run: it may name folders of its publisher
            published = _on_hub(*_at_commit(str(what), api), api)
            return compare_published(published, expanded(against), kept=True)
        pulled = pull_recipe(str(what), api=api)
        check_not_here(pulled.recipe)
        LOG.info("  recipe of %s at commit %s", pulled.repo_id, pulled.commit)
        published = _on_hub(pulled.repo_id, pulled.commit, api)
        recipe = pulled.recipe
    if against:
        return compare_published(published, expanded(against), kept=True)
    if recipe is None:
        msg = f"there is no recipe in {str(what)!r}"
        raise OutputError(msg)
    # The publisher already decided to merge these models, even if they are unrelated.
    options = shared.options or _options(recipe, quiet=shared.quiet)
    if recipe.method in RANDOM and options.random_seed is None:
        msg = f"{what}: {recipe.method} draws random numbers, and the recipe has no seed: "
        msg += "each merge has other bytes"
        raise RecipeError(msg, hint=_why_no_seed(what))
    shared = replace(shared, options=options, allow_unrelated=True)
    if out is not None:
        merge_models(recipe, expanded(out), **vars(shared))
        return compare_published(published, expanded(out), kept=True)
    return _rebuild(recipe, published, shared)


def _rebuild(recipe: Recipe, published: PublishedModel, settings: Settings) -> Verified:
    """Repeat a merge, compare each weight file when it is written, and keep nothing."""
    if settings.options and not settings.options.safe_serialization:
        msg = "verify compares safetensors files, which --no-safe-serialization does not write"
        raise SlackTiesError(msg, hint="leave --no-safe-serialization out")
    # In the current folder, because temporary folders are often too small for weight files.
    with tempfile.TemporaryDirectory(prefix=".verify-", dir=".") as folder:
        made = Path(folder) / "model"
        rebuilding = Rebuilding(published, made)
        record = merge_models(recipe, made, stream=rebuilding, **vars(settings))
        found = compare_published(published, made, kept=False, found=rebuilding.result())
    unsure = [f"{file} of {one.model}" for one in record.parents for file in one.not_compared]
    if found.differences and unsure:
        LOG.warning(
            "  the checksum of %s was not compared with the Hub's: with --download it is",
            join_names(unsure),
        )
    return found


def _why_no_seed(what: str | Path) -> str:
    """Return what one can do if a merge drew random numbers without a seed."""
    own = shlex.quote(str(what))
    return f"slack-ties verify {own} --against FOLDER  # compares with a merge that you have"


def _check_weights(folder: Path) -> None:
    """Refuse a folder without weights, as `run --stream` leaves it, before anything is merged."""
    if any(any_matches([path.name], WEIGHT_FILES) for path in folder.iterdir()):
        return
    msg = f"{str(folder)!r} has no safetensors weights to compare"
    raise CheckpointError(
        msg, hint=f"slack-ties verify {repo_id_of(folder)}  # if the Hub has its weights"
    )


def _options(recipe: Recipe, *, quiet: bool) -> MergeOptions:
    """Return the options of the recipe that are harmless."""
    from mergekit.options import MergeOptions  # noqa: PLC0415 - seconds to import

    chosen: dict[str, Any] = {}
    for name, value in recipe.facts.options.items():
        if name in SAFE_OPTIONS and type(value) is SAFE_OPTIONS[name]:
            chosen[name] = value
        else:
            LOG.warning(
                "  the recipe was made with option %s: give it on the command line", name[:60]
            )
    return MergeOptions(**{**DEFAULTS, **chosen}, quiet=quiet)


def _at_commit(what: str, api: HfApi) -> tuple[str, str]:
    """Return the id and the commit of OWNER/NAME or OWNER/NAME@REVISION."""
    path, _, revision = what.partition("@")
    if is_offline():
        return path, revision or "main"
    with hub_errors(f"model {path!r}", api):
        return path, ask_hub(path, revision or None, READING, api).sha or ""


def _on_hub(repo_id: str, commit: str, api: HfApi) -> PublishedModel:
    with hub_errors(f"model {repo_id!r}", api):
        if is_offline():
            allowed = [*WEIGHT_FILES, "*.json", "*.jinja", "*.yml"]
            folder = api.snapshot_download(
                repo_id, revision=commit, allow_patterns=allowed, local_files_only=True
            )
            LOG.warning("  HF_HUB_OFFLINE is set: only files in the cache are compared")
            return PublishedModel(repo_id, commit, _sums(Path(folder)), Path(folder))
        info = ask_hub(repo_id, commit, READING, api)
    sizes = {one.rfilename: one.size or 0 for one in info.siblings or ()}
    return PublishedModel(repo_id, commit, stated_sums(info), api=api, sizes=sizes)


def _sums(folder: Path) -> dict[str, str]:
    return {path.name: checksum(path, "") for path in sorted(folder.iterdir()) if path.is_file()}

"""Verify a published merge: make it again from its recipe and compare every tensor.

`slack-ties verify` calls this. Files with the Hub's checksum are the same bytes, and need not
be downloaded; of those that differ every tensor is compared.
"""

from __future__ import annotations

import logging
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slack_ties.errors import OutputError
from slack_ties.files import checksum
from slack_ties.hub.client import API_TIMEOUT
from slack_ties.hub.errors import hub_errors
from slack_ties.merge.merge import merge_models
from slack_ties.merge.options import DEFAULTS
from slack_ties.models.checksums import stated_sums
from slack_ties.private.huggingface_hub import is_offline
from slack_ties.recipe.read import read_recipe
from slack_ties.record import CONFIG_FILE
from slack_ties.settings import Settings
from slack_ties.sharing.differences import WEIGHTS, Published, Verified, compare_published
from slack_ties.sharing.pull import pull_recipe
from slack_ties.sharing.untrusted import check_not_here

if TYPE_CHECKING:
    from collections.abc import Iterator

    from huggingface_hub import HfApi
    from mergekit.options import MergeOptions
    from typing_extensions import Unpack

    from slack_ties.recipe.recipe import Recipe
    from slack_ties.settings import SettingsByName

__all__ = ["verify_model"]

LOG = logging.getLogger("slack_ties")

# Of a recipe's options those that are numbers or switches and cannot do harm. Whoever
# wants --trust-remote-code says so himself.
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
    """Make a published merge again from its recipe, and compare every tensor.

    Args:
        what: A Hub id (OWNER/NAME or OWNER/NAME@REVISION), or a folder made by us.
        out: Keep what is made here, in a new folder; it is deleted if not given.
        against: Compare with this folder instead of making the model again.
        settings: `options`, `quiet` and `api`, as in `Settings`. Without `options` those of the
            recipe count, as far as they change bytes.

    Raises:
        SlackTiesError: The recipe is refused or cannot be run, or a model cannot be had.

    """
    how = Settings(**settings)
    if Path(what).is_dir():
        folder = Path(what)
        published = Published(str(what), "", _sums(folder), folder)
        recipe = None if against else read_recipe(folder / CONFIG_FILE)
    else:
        from huggingface_hub import HfApi  # noqa: PLC0415 - not for folders

        api = how.api or HfApi()
        how = replace(how, api=api)
        pulled = pull_recipe(str(what), api=api)
        check_not_here(pulled.recipe)
        LOG.info("  recipe of %s at commit %s", pulled.repo_id, pulled.commit)
        published = _on_hub(pulled.repo_id, pulled.commit, api)
        recipe = pulled.recipe
    if against:
        return compare_published(published, Path(against).expanduser(), kept=True)
    if recipe is None:
        msg = f"there is no recipe in {str(what)!r}"
        raise OutputError(msg)
    with _place(out) as place:
        # Whoever merged it has answered for models that have nothing in common.
        options = how.options or _options(recipe, quiet=how.quiet)
        merge_models(recipe, place, **vars(replace(how, options=options, allow_unrelated=True)))
        return compare_published(published, place, kept=out is not None)


@contextmanager
def _place(out: str | Path | None) -> Iterator[Path]:
    """Yield a folder for the model: the one that was asked for, or one that goes away."""
    if out is not None:
        yield Path(out).expanduser()
        return
    # In the current folder, because temporary folders are often too small for a model.
    with tempfile.TemporaryDirectory(prefix=".verify-", dir=".") as folder:
        yield Path(folder) / "model"


def _options(recipe: Recipe, *, quiet: bool) -> MergeOptions:
    """Return the options that the recipe was made with, as far as they are harmless."""
    from mergekit.options import MergeOptions  # noqa: PLC0415 - seconds to import

    chosen: dict[str, Any] = {}
    for name, value in recipe.facts.options.items():
        if name in SAFE_OPTIONS and type(value) is SAFE_OPTIONS[name]:
            chosen[name] = value
        else:
            LOG.warning(
                "  the recipe was made with option %s, which has to be given by hand", name[:60]
            )
    return MergeOptions(**{**DEFAULTS, **chosen}, quiet=quiet)


def _on_hub(repo_id: str, commit: str, api: HfApi) -> Published:
    with hub_errors(f"model {repo_id!r}", api):
        if is_offline():
            allowed = [*WEIGHTS, "*.json", "*.jinja", "*.yml"]
            folder = api.snapshot_download(
                repo_id, revision=commit, allow_patterns=allowed, local_files_only=True
            )
            LOG.warning("  HF_HUB_OFFLINE is set: only files in the cache are compared")
            return Published(repo_id, commit, _sums(Path(folder)), Path(folder))
        info = api.model_info(repo_id, revision=commit, files_metadata=True, timeout=API_TIMEOUT)
    return Published(repo_id, commit, stated_sums(info), api=api)


def _sums(folder: Path) -> dict[str, str]:
    return {path.name: checksum(path, "") for path in sorted(folder.iterdir()) if path.is_file()}

"""Check all inputs of a merge, then find or download the models."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from slack_ties.errors import CheckpointError, NoRangesError, SlackTiesError
from slack_ties.merge.options import traced_options
from slack_ties.models.headers import read_headers
from slack_ties.plan.make import plan_merge
from slack_ties.recipe.pin import rename_models
from slack_ties.wording import size

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mergekit.options import MergeOptions

    from slack_ties.models.cached import Snapshot
    from slack_ties.models.header import Header
    from slack_ties.models.places import FilePlaces
    from slack_ties.plan.plan import Plan
    from slack_ties.recipe.recipe import Recipe
    from slack_ties.settings import Settings

__all__ = ["Found", "find_all", "pin_as_merged"]

LOG = logging.getLogger("slack_ties")

# By the id and the commit of a model: where the tensors lie in its weight files, by file.
Places: TypeAlias = "Mapping[tuple[str, str], Mapping[str, FilePlaces]]"

ON_CPU = "leave the device options out: the CPU can merge too"


class Found(NamedTuple):
    """The inputs of a merge."""

    recipe: Recipe  # pinned
    snapshots: dict[str, list[Snapshot]]  # of each model, and of its adapter if it has one
    headers: dict[str, dict[str, Header]]
    window: int | None = None  # bytes of memory to read ahead, if weights are not on this disk

    @property
    def away(self) -> int:
        """The bytes of weight files that are not on this disk."""
        files = {
            one.on_hub
            for parts in self.snapshots.values()
            for part in parts
            for one in part.away.values()
        }
        return sum(file.size for file in files)

    def say_reads(self, passes: int) -> None:
        """Say how often the models are read, if they are read from the Hub."""
        if self.away and passes > 1:
            LOG.info(
                "  they are read up to %d times, once in each pass over the models: up to %s",
                passes,
                size(passes * self.away),
            )

    def settings(self, settings: Settings) -> Settings:
        """Return settings with the window that the plan has chosen."""
        return replace(settings, window=settings.window or self.window)


def find_all(
    recipe: Recipe,
    out: Path | None,
    settings: Settings,
    *,
    streamed: bool = False,
) -> Found:
    """Check all inputs; return the pinned recipe, and its models and their headers.

    Args:
        recipe: The merge config.
        out: The folder of the result. Without it only the models are written, to the Hub cache:
            only their room is checked.
        settings: How to work.
        streamed: Each weight file is uploaded and deleted when it is written.

    Raises:
        SlackTiesError: An input is wrong.

    """
    options = settings.options
    if options:
        _check_options(options, streamed=streamed)
    for name in recipe.models:
        LOG.info("  %-5s %s", recipe.role(name) or "model", name)
    writes = out is not None
    plan = plan_merge(recipe, out=out, streamed=streamed, writes=writes, **vars(settings))
    plan.check()
    for warning in plan.warnings:
        if warning not in plan.license_warnings:  # `plan`, `card` and `publish` say those
            LOG.warning("  %s", warning)
    if out is not None:
        what = "weight files, at most two at a time, take" if streamed else "the merged model takes"
        LOG.info("  %s %s of the %s free here", what, *map(size, plan.space))
    recipe = _with_full_paths(plan.pinned(traced_options(options) if options else {}))
    away = settings.download is False or (settings.download is None and plan.no_download)
    if away and (length := plan.read):
        how = "are" if settings.download is False else "have no room on this disk: they are"
        LOG.info(
            "  %s of weights %s read from the Hub as the merge needs them, and not kept here",
            size(length),
            how,
        )
    _say_download(plan.download - (plan.read if away else 0), settings)
    snapshots = _find_models(recipe, settings, _places(plan) if away else None)
    headers = {
        name: read_headers(parts[0].path, name, away=parts[0].away)
        for name, parts in snapshots.items()
    }
    return Found(recipe, snapshots, headers, plan.window or None)


def _say_download(length: int, settings: Settings) -> None:
    """Say how many bytes are downloaded, and to where, before it begins."""
    from huggingface_hub import constants  # noqa: PLC0415 - imports the client

    if not length:
        return
    other = "; with --no-download they would be read from the Hub instead, and not kept"
    LOG.info(
        "  %s are downloaded into %s%s",
        size(length),
        settings.cache or constants.HF_HUB_CACHE,
        other if settings.download is None else "",
    )


def pin_as_merged(recipe: Recipe, settings: Settings) -> Recipe:
    """Return the recipe as `find_all` pins it; no model is downloaded."""
    plan = plan_merge(recipe, writes=False, **vars(settings))
    options = traced_options(settings.options) if settings.options else {}
    return _with_full_paths(plan.pinned(options))


def _with_full_paths(recipe: Recipe) -> Recipe:
    """Return the recipe with absolute paths: it can then be repeated from any folder."""
    from slack_ties.models.cached import local_folder  # noqa: PLC0415 - imports the client
    from slack_ties.models.names import split_reference  # noqa: PLC0415

    full = {}
    for name in recipe.models:
        parts = split_reference(name)
        whole = [name] if len(parts) == 1 else name.split("+")
        found = [local_folder(*part) for part in parts]
        new = "+".join(
            str(folder.absolute()) if folder else text
            for folder, text in zip(found, whole, strict=True)
        )
        if len(split_reference(new)) == len(parts):  # not if the current folder has a + in its name
            full[name] = new
    return rename_models(recipe, full)


def _places(plan: Plan) -> Places:
    """Return what the plan has read of the weight files that are not on this disk."""
    from slack_ties.models.names import split_reference  # noqa: PLC0415 - imports the client

    return {
        (split_reference(one.model)[0][0], one.commits[0]): plan.places[one.model]
        for one in plan.models
        if one.model in plan.places
    }


def _find_models(
    recipe: Recipe, settings: Settings, places: Places | None
) -> dict[str, list[Snapshot]]:
    """Return the folder of each model on this disk, and the folder of its LoRA adapter if any.

    Args:
        recipe: The pinned merge config.
        settings: How to work.
        places: What is known of weight files on the Hub, which are not downloaded then: only models
            are whose adapters need them whole. None: all are downloaded.

    """
    from slack_ties.models.names import split_reference  # noqa: PLC0415 - imports the client

    parts = {name: split_reference(name) for name in recipe.models}
    found: dict[str, list[Snapshot]] = {}
    # Those with an adapter first: a model that is also listed without it is then here.
    for name in sorted(parts, key=lambda one: len(parts[one]) == 1):
        model, *adapter = parts[name]
        here = [_find(*one, settings) for one in adapter]
        if adapter and places is not None:
            found[name] = _find_away(name, model, here[0], settings, places)
        else:
            found[name] = [_find(*model, settings, places), *here]
    return {name: found[name] for name in parts}


def _find_away(
    name: str,
    model: tuple[str, str | None],
    adapter: Snapshot,
    settings: Settings,
    places: Places,
) -> list[Snapshot]:
    """Return a model and its adapter; the weights are downloaded only if they are needed whole."""
    from slack_ties.merge.adapters import needs_whole  # noqa: PLC0415 - imports torch

    try:
        found = [_find(*model, settings, places), adapter]
    except (CheckpointError, NoRangesError) as error:
        reason = str(error)
    else:
        reason = needs_whole(found, settings.options, name) if found[0].away else ""
        if not reason:
            return found
    LOG.info("  %s is downloaded: its adapter needs the whole model: %s", model[0], reason)
    return [_find(*model, settings), adapter]


def _find(
    path: str, revision: str | None, settings: Settings, places: Places | None = None
) -> Snapshot:
    """Return a model or an adapter on this disk; its weights too, or only where they lie."""
    from slack_ties.models.find import find_model  # noqa: PLC0415 - imports the client

    return find_model(
        path,
        revision,
        api=settings.api,
        cache=settings.cache,
        code=bool(settings.options and settings.options.trust_remote_code),
        weights=places is None,
        places=(places or {}).get((path, revision or "")),
    )


def _check_options(options: MergeOptions, *, streamed: bool) -> None:
    """Refuse a device that cannot be used, and a file format that cannot be streamed."""
    import torch  # noqa: PLC0415 - the code that made `options` has imported it

    if streamed and not options.safe_serialization:
        msg = "--stream and --no-safe-serialization cannot be used together: --stream uploads "
        msg += "safetensors files only"
        raise SlackTiesError(msg, hint="leave --no-safe-serialization out")

    try:
        torch.empty(0, device=options.device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        msg = f"device {options.device!r} cannot be used here: {reason}"
        raise SlackTiesError(msg, hint=ON_CPU) from None
    if options.multi_gpu and not torch.accelerator.is_available():
        msg = "--multi-gpu: there is no GPU here, or this build of torch cannot use it"
        raise SlackTiesError(msg, hint=ON_CPU)

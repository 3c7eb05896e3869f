"""The result of `plan_merge`: what a merge would do, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from slack_ties.errors import RecipeError, SlackTiesError
from slack_ties.plan.again import plan_command
from slack_ties.recipe.pin import pin_recipe, used_versions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slack_ties.models.ancestry import Likeness
    from slack_ties.models.places import FilePlaces
    from slack_ties.recipe.recipe import Recipe

__all__ = ["Plan", "PlannedModel"]


@dataclass(frozen=True)
class PlannedModel:
    """The facts of one model of a merge that are known before its weights are read."""

    model: str  # as the config names it
    role: str = ""  # base, ct, sft or not known
    roles: tuple[str, ...] = ()  # all of them, if one model is given more than once
    commits: tuple[
        str, ...
    ] = ()  # on the Hub, of the model and its adapter; empty texts for folders
    # What the config sets for it: weight, density, slack. Several if it is listed several times.
    settings: tuple[Mapping[str, Any], ...] = ()
    architecture: str = ""
    dtype: str = ""  # the widest of its tensors
    parameters: int = 0
    format: str = ""  # safetensors or .bin
    bytes: int = 0  # of its weight files
    download: int = 0  # bytes of them that are not on this disk
    tokens: int = 0  # of its tokenizer with a row in the embedding; 0: no tokenizer
    license: str = ""
    adapter_license: str = ""
    adapter: str = ""  # how much of the model its adapter changes
    gated: bool = False
    parents: tuple[str, ...] = ()  # base_model in its card
    copied: int = 0  # of `parameters`: copies of its embedding, which are not merged
    likeness: Likeness | None = None  # how similar its entries are to the base's


@dataclass(frozen=True)
class Plan:
    """What a merge would do."""

    config: str  # its path
    method: str
    languages: tuple[str, ...]
    models: tuple[PlannedModel, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)  # of the merge: normalize, lambda
    dtype: str = ""  # of the result
    parameters: int = 0
    vocabulary: str = ""  # which tokens the result has, for people
    tokenizer: Mapping[str, Any] | None = None  # mergekit's section; None if none is needed
    chat: str = ""  # where its chat template and special tokens come from
    license: str = ""  # of the merged model; empty if it does not follow from the parents
    license_reason: str = ""
    download: int = 0  # bytes
    download_free: int = 0  # bytes that are free on the disk of the Hub cache
    one_disk: bool = False  # whether the cache and the result are on one disk
    disk: int = 0  # bytes, of the result and of temporary models
    disk_free: int = 0
    memory: int = 0  # bytes at the peak, without the file cache; an estimate
    memory_free: int = 0
    device: str = "cpu"
    device_memory: int = 0  # minimum in bytes, on a device other than the CPU
    # The fields above that are not known, and why; they are 0 or empty here, and null in JSON.
    unknown: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    license_warnings: tuple[str, ...] = ()  # those of `warnings` that concern only a licence
    errors: tuple[SlackTiesError, ...] = ()
    # What the merge needs if the weights are downloaded first, and if they are read from the Hub
    # as they are needed: download, disk and memory in bytes, as above, and `cache`, the bytes of
    # the download that stay in the Hub cache. `streamed_disk` is the disk with `run --publish
    # --stream`. Empty if all weights are here.
    with_download: Mapping[str, int] = field(default_factory=dict)
    without_download: Mapping[str, int] = field(default_factory=dict)
    no_download: bool = False  # which of the two the merge would do, and the fields above say
    window: int = 0  # bytes of memory to read ahead, without download
    not_compared: tuple[str, ...] = ()  # ID: FILE, whose checksum cannot be compared then
    window_for_all: int = 0  # bytes of the window with which all could be compared
    recipe: Recipe | None = field(default=None, repr=False)  # as it was given
    # By model and file: where the tensors of the weight files lie that are not on this disk.
    places: Mapping[str, Mapping[str, FilePlaces]] = field(default_factory=dict, repr=False)

    @property
    def space(self) -> tuple[int, int]:
        """The bytes of disk that are needed, and the bytes that are free."""
        return self.disk, self.disk_free

    @property
    def read(self) -> int:
        """The bytes that are read from the Hub and not kept: 0 if the weights are downloaded."""
        return self.download - self.without_download.get("cache", 0) if self.no_download else 0

    def pinned(self, options: Mapping[str, Any] | None = None) -> Recipe:
        """Return the config with the commits of this plan, and the installed versions.

        Raises:
            SlackTiesError: The plan has errors, so not all commits are known.

        """
        self.check()
        if self.recipe is None:
            msg = f"{self.config}: this plan has no config"
            raise RecipeError(msg)
        return pin_recipe(self.recipe, {m.model: m.commits for m in self.models}, options)

    def as_json(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        data = {
            name: None if name in self.unknown else getattr(self, name)
            for name in self.__dataclass_fields__
            if name not in {"errors", "recipe", "models", "places"}
        }
        errors = [{"message": str(e), "next": e.hint} for e in self.errors]
        models = [
            {**vars(m), "likeness": vars(m.likeness) if m.likeness else None} for m in self.models
        ]
        return {**data, "models": models, "errors": errors, "versions": used_versions()}

    def check(self) -> None:
        """Raise the first error, if there is one."""
        if not self.errors:
            return
        first, *others = self.errors
        if others:
            s, every = "s" * (len(others) > 1), plan_command(self.config, self.recipe)
            msg = f"{first}; {len(others)} more error{s}: {every}"
            raise type(first)(msg, hint=first.hint or every)
        raise first

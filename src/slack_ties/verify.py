"""Verify a published merge: make it again from its recipe and compare every tensor.

`slack-ties verify` calls this. Files with the Hub's checksum are the same bytes, and need not
be downloaded; of those that differ every tensor is compared.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slack_ties.checkpoint import read_headers
from slack_ties.errors import CheckpointError, HubError, OutputError, visible
from slack_ties.files import checksum
from slack_ties.finish import what_is_not_loaded
from slack_ties.hub import API_TIMEOUT, any_matches, hub_errors
from slack_ties.intact import stated_sums
from slack_ties.merge import DEFAULTS, merge_models
from slack_ties.recipe import Recipe, read_recipe
from slack_ties.recipes import api_is_offline, check_not_here, pull_recipe
from slack_ties.record import CONFIG_FILE, RECORD_FILE, read_record

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from mergekit.options import MergeOptions

__all__ = ["Difference", "Verified", "checksum", "verify_model"]

LOG = logging.getLogger("slack_ties")

MOST_SHOWN = 20  # differing tensors; --json has all
WEIGHTS = ("*.safetensors",)
# Texts and pictures beside the model: no part of what is loaded.
NOT_COMPARED = (
    *(".*", RECORD_FILE, CONFIG_FILE, "*.md", "LICENSE*", "NOTICE*", "Notice*"),
    *("*.png", "*.jpg", "*.svg", "*.html", "report.json"),
)
# What the same merge writes otherwise with another version of transformers.
VERSION_KEYS = ("transformers_version",)
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


@dataclass(frozen=True)
class Difference:
    """One tensor that is not the same."""

    tensor: str
    file: str  # of the published model
    what: str  # how it differs, for people
    entries: int = 0  # that differ
    largest: float = 0.0  # absolute difference


@dataclass(frozen=True)
class Verified:
    """What a comparison found."""

    model: str  # a Hub id, or a folder
    commit: str  # empty for a folder
    against: str  # the folder it was compared with; empty if that was made and is gone
    tensors: int  # of both models
    compared: int  # of these, entry by entry; the others lie in files with the same checksum
    differences: tuple[Difference, ...]
    files: tuple[str, ...]  # other files of the model that differ, or that only one has
    not_loaded: str = ""  # what transformers would make up, because both lack it

    @property
    def same(self) -> bool:
        """Whether every tensor has the same bytes, and what is loaded with them is the same."""
        return not self.differences and not self.files and not self.not_loaded

    def as_text(self) -> str:
        """Return what a person reads."""
        name = f"{self.model} at {self.commit[:7]}" if self.commit else self.model
        if not self.differences:
            lines = [f"{name}: all {self.tensors:,} tensors have the same bytes"]
        else:
            lines = [f"{name}: {len(self.differences):,} of {self.tensors:,} tensors differ"]
            shown = self.differences[:MOST_SHOWN]
            lines += [f"  {d.tensor}{f' ({d.file})' if d.file else ''} {d.what}" for d in shown]
            if len(self.differences) > MOST_SHOWN:
                lines.append(f"  ... and {len(self.differences) - MOST_SHOWN:,} more: --json")
        if self.files:
            lines.append(f"Files that differ, and change what is loaded: {', '.join(self.files)}")
        if self.not_loaded:
            lines.append(f"transformers would make up weights of this model: {self.not_loaded}")
        return "\n".join(map(visible, lines))


@dataclass(frozen=True)
class _Published:
    """A published model: a folder, or files on the Hub that are fetched when they are needed."""

    name: str
    commit: str
    sums: Mapping[str, str]  # file -> sha256 of large files, git's sha1 of small ones
    folder: Path | None = None
    api: HfApi | None = None

    def file(self, name: str) -> Path:
        """Return the path of a file here."""
        if self.folder:
            return self.folder / name
        if self.api is None:
            raise FileNotFoundError(name)
        with hub_errors(f"{name} of {self.name!r}", self.api):
            path = Path(self.api.hf_hub_download(self.name, name, revision=self.commit))
        if self.sums.get(name) and checksum(path, self.sums[name]) != self.sums[name]:
            msg = f"{self.name!r}: {name} arrived damaged: its checksum is not the Hub's"
            again = f"hf download {self.name} {name} --force-download"
            raise HubError(msg, hint=f"{again}; then verify again")
        return path


def verify_model(  # noqa: PLR0913 - all by name
    what: str | Path,
    *,
    out: str | Path | None = None,
    against: str | Path | None = None,
    options: MergeOptions | None = None,
    quiet: bool = False,
    api: HfApi | None = None,
) -> Verified:
    """Make a published merge again from its recipe, and compare every tensor.

    Args:
        what: A Hub id (OWNER/NAME or OWNER/NAME@REVISION), or a folder made by us.
        out: Keep what is made here, in a new folder; it is deleted if not given.
        against: Compare with this folder instead of making the model again.
        options: mergekit's own; the recipe's, as far as they change bytes, if not given.
        quiet: Without `options`: show no progress.
        api: The Hub client; the default one if not given.

    Raises:
        SlackTiesError: The recipe is refused or cannot be run, or a model cannot be had.

    """
    if Path(what).is_dir():
        folder = Path(what)
        published = _Published(str(what), "", _sums(folder), folder)
        recipe = None if against else read_recipe(folder / CONFIG_FILE)
    else:
        from huggingface_hub import HfApi  # noqa: PLC0415 - not for folders

        api = api or HfApi()
        pulled = pull_recipe(str(what), api=api)
        check_not_here(pulled.recipe)
        LOG.info("  recipe of %s at commit %s", pulled.repo_id, pulled.commit)
        published = _on_hub(pulled.repo_id, pulled.commit, api)
        recipe = pulled.recipe
    if against:
        return _compare(published, Path(against).expanduser(), kept=True)
    if recipe is None:
        msg = f"there is no recipe in {str(what)!r}"
        raise OutputError(msg)
    with _place(out) as place:
        merge_models(
            recipe,
            place,
            options=options or _options(recipe, quiet=quiet),
            quiet=quiet,
            allow_unrelated=True,  # whoever merged it has answered for that
            api=api,
        )
        return _compare(published, place, kept=out is not None)


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


def _on_hub(repo_id: str, commit: str, api: HfApi) -> _Published:
    with hub_errors(f"model {repo_id!r}", api):
        if api_is_offline():
            allowed = [*WEIGHTS, "*.json", "*.jinja", "*.yml"]
            folder = api.snapshot_download(
                repo_id, revision=commit, allow_patterns=allowed, local_files_only=True
            )
            LOG.warning("  HF_HUB_OFFLINE is set: only files in the cache are compared")
            return _Published(repo_id, commit, _sums(Path(folder)), Path(folder))
        info = api.model_info(repo_id, revision=commit, files_metadata=True, timeout=API_TIMEOUT)
    return _Published(repo_id, commit, stated_sums(info), api=api)


def _sums(folder: Path) -> dict[str, str]:
    return {path.name: checksum(path, "") for path in sorted(folder.iterdir()) if path.is_file()}


def _compare(published: _Published, made: Path, *, kept: bool) -> Verified:
    if not made.is_dir():
        msg = f"there is no folder {str(made)!r} to compare with"
        raise OutputError(msg)
    here = read_headers(made, "rebuilt model")
    named = [name for name in published.sums if not any_matches([name], NOT_COMPARED)]
    same = {
        name: (made / name).is_file()
        and checksum(made / name, published.sums[name]) == published.sums[name]
        for name in sorted(named)
    }
    weights = [name for name in same if any_matches([name], WEIGHTS)]
    equal = [name for name in weights if same[name]]
    other = [name for name in weights if not same[name]]
    files = [
        name
        for name in same
        if name not in weights
        and not same[name]
        and not (
            _leads_to(published, name, weights, set(here))
            if name.endswith(".index.json")
            else _says_the_same(published, name, made)
        )
    ]
    if not api_is_offline() and (made / RECORD_FILE).is_file():
        files += [
            name
            for name in read_record(made).beside
            if name not in published.sums and not name.endswith(".index.json")
        ]
    if not weights:
        where = " in the cache" if api_is_offline() else ""
        msg = f"{published.name!r} has no safetensors weights to compare{where}"
        raise CheckpointError(msg)
    LOG.info("  %d of %d weight files have the same checksum", len(equal), len(weights))
    differences: list[Difference] = []
    seen = {tensor for tensor, header in here.items() if header.file in equal}
    compared = 0
    for name in other:
        for tensor, found in _differences(published.file(name), made, here):
            seen.add(tensor)
            compared += 1
            if found:
                differences.append(Difference(tensor, name, **found))
    differences += [
        Difference(tensor, "", "is not in the published model")
        for tensor in here
        if tensor not in seen
    ]
    return Verified(
        model=published.name,
        commit=published.commit,
        against=str(made) if kept else "",
        tensors=len(seen | here.keys()),
        compared=compared,
        differences=tuple(differences),
        files=tuple(files),
        not_loaded=what_is_not_loaded(made, here, "rebuilt model"),
    )


def _says_the_same(published: _Published, name: str, made: Path) -> bool:
    """Say whether two JSON files differ in nothing but the version that wrote them."""
    if not name.endswith(".json") or not (made / name).is_file():
        return False
    pair = [_json(published.file(name)), _json(made / name)]
    for data in pair:
        for key in VERSION_KEYS if isinstance(data, dict) else ():
            data.pop(key, None)
    return pair[0] is not None and bool(pair[0] == pair[1])


def _leads_to(published: _Published, name: str, weights: list[str], tensors: set[str]) -> bool:
    """Say whether an index leads to every tensor, in files that are compared.

    Files of another size have another index, and hold the same model.
    """
    index = _json(published.file(name))
    places = index.get("weight_map") if isinstance(index, dict) else None
    return (
        isinstance(places, dict) and tensors == set(places) and set(places.values()) <= {*weights}
    )


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError):
        return None


def _differences(
    file: Path, made: Path, here: Mapping[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every tensor of a published file with how it differs from the one made here."""
    import torch  # noqa: PLC0415 - only if a file differs
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415

    try:
        with safe_open(file, framework="pt") as theirs:
            for tensor in sorted(theirs.keys()):
                if tensor not in here:
                    yield tensor, {"what": "is only in the published model"}
                    continue
                with safe_open(made / here[tensor].file, framework="pt") as ours:
                    a, b = theirs.get_tensor(tensor), ours.get_tensor(tensor)
                if a.shape != b.shape or a.dtype != b.dtype:
                    kinds = [f"{tuple(t.shape)} {t.dtype}".replace("torch.", "") for t in (a, b)]
                    yield tensor, {"what": f"is {kinds[0]} there and {kinds[1]} here"}
                    continue
                # Bit for bit: NaN is equal to itself, and 0 is not -0.
                bits = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[a.itemsize]
                count = int((a.view(bits) != b.view(bits)).sum())
                if not count:
                    yield tensor, {}
                    continue
                far = float((a.double() - b.double()).abs().max())
                what = f"{count:,} of {a.numel():,} entries differ, by at most {far:.3g}"
                yield tensor, {"what": what, "entries": count, "largest": far}
    except SafetensorError as error:
        msg = f"{file.name} of the published model cannot be read: {error}"
        raise CheckpointError(msg) from None

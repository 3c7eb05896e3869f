"""Compare a published merge with the same merge, repeated here."""

from __future__ import annotations

import json
import logging
import shlex
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slack_ties.card.examples import EXAMPLES_FILE
from slack_ties.errors import CheckpointError, HubError, OutputError, visible
from slack_ties.evaluation.file import EVALUATION_FILE
from slack_ties.files import any_matches, checksum
from slack_ties.hub.errors import hub_errors
from slack_ties.hub.retries import READING
from slack_ties.merge.finish import what_is_not_loaded
from slack_ties.models.download import fetch_files
from slack_ties.models.headers import read_headers
from slack_ties.notebook import Shown
from slack_ties.private.huggingface_hub import is_offline
from slack_ties.record import CONFIG_FILE, RECORD_FILE, read_record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from huggingface_hub import HfApi

__all__ = ["WEIGHT_FILES", "Difference", "PublishedModel", "Verified", "compare_published"]

LOG = logging.getLogger("slack_ties")

MOST_SHOWN = 20  # differing tensors; --json shows all

WEIGHT_FILES = ("*.safetensors",)

# Texts and pictures beside the model: nothing loads them.
NOT_COMPARED = (
    *(".*", RECORD_FILE, CONFIG_FILE, "*.md", "LICENSE*", "NOTICE*", "Notice*"),
    *("*.png", "*.jpg", "*.svg", "*.html", "report.json", EVALUATION_FILE, EXAMPLES_FILE),
)

# Keys whose values depend on the version of transformers.
VERSION_KEYS = ("transformers_version",)


@dataclass(frozen=True)
class Difference:
    """One tensor that differs."""

    tensor: str
    file: str  # of the published model
    what: str  # how it differs, for people
    entries: int = 0  # number of entries that differ
    largest: float = 0.0  # largest absolute difference


@dataclass(frozen=True, repr=False)
class Verified(Shown):
    """The result of a comparison."""

    model: str  # a Hub id, or a folder
    commit: str  # empty for a folder
    against: str  # the folder that we compared with; empty if it was temporary
    tensors: int  # in both models
    compared: int  # tensors compared entry by entry; the others are in files with equal checksums
    differences: tuple[Difference, ...]
    files: tuple[str, ...]  # other files of the model that differ, or that only one has
    not_loaded: str = ""  # weights that both models lack: transformers would make them up

    @property
    def same(self) -> bool:
        """Whether all tensors have the same bytes, and the other loaded files are the same."""
        return not self.differences and not self.files and not self.not_loaded

    def summary(self) -> str:
        """Return whether it is the same model."""
        return self.as_text().partition("\n")[0]

    def as_text(self) -> str:
        """Return the result as text for people."""
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
            lines.append(f"Other files that are loaded and differ: {', '.join(self.files)}")
        if self.not_loaded:
            lines.append(f"transformers would make up weights of this model: {self.not_loaded}")
        return "\n".join(map(visible, lines))


@dataclass(frozen=True)
class PublishedModel:
    """A published model: a folder, or files on the Hub that we download when we need them."""

    name: str
    commit: str
    sums: Mapping[str, str]  # file -> sha256 of large files, git's sha1 of small ones
    folder: Path | None = None
    api: HfApi | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)  # file -> bytes, on the Hub

    def file(self, name: str) -> Path:
        """Return the path of a file on this disk; download it if necessary."""
        if self.folder:
            return self.folder / name
        if self.api is None:
            raise FileNotFoundError(name)
        with hub_errors(f"{name} of {self.name!r}", self.api):
            fetch_files(
                self.name,
                {name: (self.sizes.get(name, 0), self.sums.get(name, ""))},
                commit=self.commit,
                what=f"{name} of {self.name!r}",
                retries=READING,
                api=self.api,
            )
            get = partial(self.api.hf_hub_download, self.name, name, revision=self.commit)
            path = Path(READING.ask(get))
        if self.sums.get(name) and checksum(path, self.sums[name]) != self.sums[name]:
            msg = f"{self.name!r}: {name} is damaged: its checksum differs from the Hub's"
            again = f"hf download {self.name} {name} --force-download"
            raise HubError(msg, hint=f"{again}  # then run verify again")
        return path


def compare_published(published: PublishedModel, made: Path, *, kept: bool) -> Verified:
    """Compare every tensor and file of a published merge with a repeated merge."""
    if not made.is_dir():
        msg = f"there is no folder {str(made)!r} to compare with"
        raise OutputError(msg)
    name_here = str(made) if kept else "rebuilt model"
    here = read_headers(made, name_here)
    named = [name for name in published.sums if not any_matches([name], NOT_COMPARED)]
    same = {
        name: (made / name).is_file()
        and checksum(made / name, published.sums[name]) == published.sums[name]
        for name in sorted(named)
    }
    weights = [name for name in same if any_matches([name], WEIGHT_FILES)]
    equal = [name for name in weights if same[name]]
    other = [name for name in weights if not same[name]]
    files = [
        name
        for name in same
        if name not in weights
        and not same[name]
        and not (
            _index_is_complete(published, name, weights, set(here))
            if name.endswith(".index.json")
            else _same_json(published, name, made)
        )
    ]
    if not is_offline() and (made / RECORD_FILE).is_file():
        files += [
            name
            for name in read_record(made).beside
            if name not in published.sums and not name.endswith(".index.json")
        ]
    if not weights:
        where = " in the cache" if is_offline() else ""
        msg = f"{published.name!r} has no safetensors weights to compare{where}"
        raise CheckpointError(msg)
    LOG.info("  %d of %d weight files have the same checksum", len(equal), len(weights))
    differences: list[Difference] = []
    seen = {tensor for tensor, header in here.items() if header.file in equal}
    compared = 0
    for name in other:
        for tensor, found in _differences(published, name, made, here):
            seen.add(tensor)
            compared += 1
            if found:
                differences.append(Difference(tensor, name, **found))
    differences += [
        Difference(tensor, "", f"is not in {published.name!r}")
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
        not_loaded=what_is_not_loaded(made, here, name_here),
    )


def _same_json(published: PublishedModel, name: str, made: Path) -> bool:
    """Return whether two JSON files are equal, except for the version that wrote them."""
    if not name.endswith(".json") or not (made / name).is_file():
        return False
    pair = [_json(published.file(name)), _json(made / name)]
    for data in pair:
        for key in VERSION_KEYS if isinstance(data, dict) else ():
            data.pop(key, None)
    return pair[0] is not None and bool(pair[0] == pair[1])


def _index_is_complete(
    published: PublishedModel, name: str, weights: list[str], tensors: set[str]
) -> bool:
    """Return whether an index lists exactly the model's tensors, in files that we compare.

    With another file size, the same model has another index.
    """
    index = _json(published.file(name))
    files = index.get("weight_map") if isinstance(index, dict) else None
    return isinstance(files, dict) and tensors == set(files) and set(files.values()) <= {*weights}


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError):
        return None


def _differences(
    published: PublishedModel, name: str, made: Path, here: Mapping[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every tensor of a file of the model and its difference from the repeated merge."""
    import torch  # noqa: PLC0415 - only if a file differs
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415

    try:
        with ExitStack() as files:
            theirs = files.enter_context(safe_open(published.file(name), framework="pt"))
            ours: dict[str, Any] = {}  # each file is opened once
            for tensor in sorted(theirs.keys()):
                if tensor not in here:
                    yield tensor, {"what": f"is only in {published.name!r}"}
                    continue
                file = here[tensor].file
                if file not in ours:
                    ours[file] = files.enter_context(safe_open(made / file, framework="pt"))
                a, b = theirs.get_tensor(tensor), ours[file].get_tensor(tensor)
                if a.shape != b.shape or a.dtype != b.dtype:
                    kinds = [f"{tuple(t.shape)} {t.dtype}".replace("torch.", "") for t in (a, b)]
                    yield tensor, {"what": f"is {kinds[0]}, expected {kinds[1]}"}
                    continue
                # Compare bits: NaN equals itself, and 0 does not equal -0.
                bits = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[a.itemsize]
                count = int((a.view(bits) != b.view(bits)).sum())
                if not count:
                    yield tensor, {}
                    continue
                far = float((a.double() - b.double()).abs().max())
                what = f"{count:,} of {a.numel():,} entries differ, by at most {far:.3g}"
                yield tensor, {"what": what, "entries": count, "largest": far}
    except SafetensorError as error:
        msg = f"{published.name!r}: {name} cannot be read: {error}"
        raise CheckpointError(msg, hint=_instead_of(published)) from None


def _instead_of(published: PublishedModel) -> str:
    """Return the next step for a model with a weight file that cannot be read."""
    if not published.folder or published.commit:
        return "the file on the Hub is the same: ask who published the model"
    folder = published.name.rstrip("/")
    config, again = shlex.quote(f"{folder}/{CONFIG_FILE}"), shlex.quote(f"{folder}-again")
    return f"make it again: slack-ties run {config} --out {again}"

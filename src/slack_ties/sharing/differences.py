"""Compare a published merge with the same merge, repeated here."""

from __future__ import annotations

import json
import logging
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from slack_ties.card.examples import EXAMPLES_FILE
from slack_ties.errors import CheckpointError, OutputError, visible
from slack_ties.evaluation.file import EVALUATION_FILE
from slack_ties.files import any_matches, checksum
from slack_ties.merge.finish import what_is_not_loaded
from slack_ties.models.headers import read_headers
from slack_ties.notebook import Shown
from slack_ties.private.huggingface_hub import is_offline
from slack_ties.record import CONFIG_FILE, RECORD_FILE, read_record
from slack_ties.sharing.published import PublishedModel, PublishedWeights

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import torch

    from slack_ties.models.header import Header

__all__ = [
    "WEIGHT_FILES",
    "ComparedWeights",
    "Difference",
    "Verified",
    "compare_published",
    "difference_of",
    "published_weights",
]

LOG = logging.getLogger("slack_ties")

MOST_SHOWN = 20  # differing tensors; --json shows all

WEIGHT_FILES = ("*.safetensors",)

# Texts and pictures beside the model: nothing loads them.
NOT_COMPARED = (
    *(".*", RECORD_FILE, CONFIG_FILE, "*.md", "LICENSE*", "NOTICE*", "Notice*"),
    *("*.png", "*.jpg", "*.svg", "*.html", "report.json", EVALUATION_FILE, EXAMPLES_FILE),
)

ENTRIES_AT_ONCE = 1 << 22  # of two tensors, as float64

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


@dataclass
class ComparedWeights:
    """What a comparison of weights has found."""

    equal: list[str] = field(default_factory=list)  # published files with a checksum of ours
    seen: set[str] = field(default_factory=set)  # tensors that the published model has
    compared: int = 0  # tensors compared entry by entry
    differences: list[Difference] = field(default_factory=list)

    def add(self, tensor: str, file: str, difference: Mapping[str, Any]) -> None:
        """Add a tensor of a published file, and its difference if there is one."""
        self.seen.add(tensor)
        self.compared += 1
        if difference:
            self.differences.append(Difference(tensor, file, **difference))


def published_weights(published: PublishedModel) -> list[str]:
    """Return the names of the published weight files.

    Raises:
        CheckpointError: There are none.

    """
    weights = [name for name in sorted(published.sums) if _is_weights(name)]
    if not weights:
        where = " in the cache" if is_offline() else ""
        msg = f"{published.name!r} has no safetensors weights to compare{where}"
        raise CheckpointError(msg)
    return weights


def _is_weights(name: str) -> bool:
    return any_matches([name], WEIGHT_FILES) and not any_matches([name], NOT_COMPARED)


def compare_published(
    published: PublishedModel,
    made: Path,
    *,
    kept: bool,
    found: ComparedWeights | None = None,
) -> Verified:
    """Compare every tensor and file of a published merge with a repeated merge.

    Args:
        published: The published merge.
        made: The folder of the repeated one.
        kept: Whether the user has chosen that folder.
        found: What was found of the weights, if they were compared while they were merged: then
            the weight files in `made` are only headers.

    """
    if not made.is_dir():
        msg = f"there is no folder {str(made)!r} to compare with"
        raise OutputError(msg)
    name_here = str(made) if kept else "rebuilt model"
    headers_only = [path.name for path in made.glob("*.safetensors")] if found else []
    here = read_headers(made, name_here, without_data=headers_only)
    weights = published_weights(published)
    named = [name for name in sorted(published.sums) if not any_matches([name], NOT_COMPARED)]
    files = [
        name
        for name in named
        if name not in weights
        and not _is_same_file(published, name, made)
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
    found = found or _compare_weights(published, weights, made, here)
    found.differences.sort(key=lambda one: (one.file, one.tensor))
    found.differences += [
        Difference(tensor, "", f"is not in {published.name!r}")
        for tensor in here
        if tensor not in found.seen
    ]
    return Verified(
        model=published.name,
        commit=published.commit,
        against=str(made) if kept else "",
        tensors=len(found.seen | here.keys()),
        compared=found.compared,
        differences=tuple(found.differences),
        files=tuple(files),
        not_loaded=what_is_not_loaded(made, here, name_here),
    )


def _is_same_file(published: PublishedModel, name: str, made: Path) -> bool:
    stated = published.sums[name]
    return (made / name).is_file() and checksum(made / name, stated) == stated


def _compare_weights(
    published: PublishedModel, weights: Sequence[str], made: Path, here: Mapping[str, Header]
) -> ComparedWeights:
    """Compare the weight files by their checksums, and the tensors of the others."""
    found = ComparedWeights()
    found.equal = [name for name in weights if _is_same_file(published, name, made)]
    LOG.info("  %d of %d weight files have the same checksum", len(found.equal), len(weights))
    found.seen = {tensor for tensor, header in here.items() if header.file in found.equal}
    reader = PublishedWeights(published)
    for name in weights:
        if name not in found.equal:
            for tensor, difference in _differences(reader, name, made, here):
                found.add(tensor, name, difference)
    return found


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
    reader: PublishedWeights, name: str, made: Path, here: Mapping[str, Header]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every tensor of a file of the model and its difference from the repeated merge."""
    from safetensors import safe_open  # noqa: PLC0415 - only if a file differs

    with ExitStack() as files:
        ours: dict[str, Any] = {}  # each file is opened once
        for tensor, theirs in reader.tensors(name, reader.places(name).tensors):
            if tensor not in here:
                yield tensor, {"what": f"is only in {reader.published.name!r}"}
                continue
            file = here[tensor].file
            if file not in ours:
                ours[file] = files.enter_context(safe_open(made / file, framework="pt"))
            yield tensor, difference_of(theirs, ours[file].get_tensor(tensor))


def difference_of(theirs: torch.Tensor, ours: torch.Tensor) -> dict[str, Any]:
    """Return how a published tensor differs from ours, as `Difference` names it; {} if not."""
    import torch  # noqa: PLC0415 - only if a file differs

    if theirs.shape != ours.shape or theirs.dtype != ours.dtype:
        kinds = [f"{tuple(t.shape)} {t.dtype}".replace("torch.", "") for t in (theirs, ours)]
        return {"what": f"is {kinds[0]}, expected {kinds[1]}"}
    # Compare bits: NaN equals itself, and 0 does not equal -0.
    bits = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[theirs.itemsize]
    count, largest = 0, []
    for at in range(0, theirs.numel(), ENTRIES_AT_ONCE):
        a, b = (one.flatten()[at : at + ENTRIES_AT_ONCE] for one in (theirs, ours))
        if more := int((a.view(bits) != b.view(bits)).sum()):
            count += more
            largest.append((a.double() - b.double()).abs().max())
    if not count:
        return {}
    far = float(torch.stack(largest).max())
    what = f"{count:,} of {theirs.numel():,} entries differ, by at most {far:.3g}"
    return {"what": what, "entries": count, "largest": far}

"""Estimate the cost of a merge: download, disk, memory."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.files import nearest_folder
from slack_ties.models.header import ENTRY_BYTES, PER_TOKEN, main_type
from slack_ties.plan.room import Need, cache_folder, no_room, on_one_disk
from slack_ties.plan.tokens import result_rows
from slack_ties.plan.waiting import waiting_bytes
from slack_ties.tensors.layers import layer_place
from slack_ties.tensors.result import layers_of_result

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slack_ties.errors import OutputError
    from slack_ties.plan.draft import Draft
    from slack_ties.plan.reading import Reading
    from slack_ties.tokenizer.section import Section

__all__ = ["Result", "check_room", "free_here", "merge_cost", "result_dtype", "result_size"]

DEFAULT_FILE_BYTES = 1_000_000_000  # of a result file, if no option sets it

# Options for smaller files of the result, and their bytes; 0: those of the command that was typed.
SMALLER_FILES = {
    "": 0,
    **{f" --out-shard-size {size}M": size * 1_000_000 for size in (500, 200, 100, 50)},
}

# Bytes of memory that a merge needs besides tensors: Python, torch, transformers and mergekit.
# Measured with the CPU build of torch 2.13.0: see benchmarks/README.md.
PROCESS = 350_000_000


@dataclass(frozen=True)
class Result:
    """What a merge makes, and where."""

    section: Section | None
    dtype: str
    parameters: int
    out: str | Path | None = None  # the folder; None: the current one
    writes: bool = True  # whether it is written
    streamed: bool = False  # whether each file is uploaded and deleted when it is written
    file_bytes: int = 0  # of a file of the result; 0: what the options say


def result_dtype(draft: Draft) -> str:
    """Return the type of the result; warn if mixed inputs make it wider than they are."""
    named = draft.recipe.data.get("out_dtype") or draft.recipe.data.get("dtype")
    if named:
        return str(named).removeprefix("torch.")
    types = {name: main_type(headers) for name, headers in draft.headers.items() if headers}
    if set(types.values()) == {"float16", "bfloat16"}:
        narrow = types.get(draft.recipe.models[0], "bfloat16")
        draft.warnings.append(
            "the models mix float16 and bfloat16, so the result is float32 and twice as large; "
            f"to prevent it, add to the config: out_dtype: {narrow} (or, with a language, --dtype)"
        )
        return "float32"
    return max(types.values(), key=ENTRY_BYTES.__getitem__, default="")


def result_size(draft: Draft, section: Section | None) -> int:
    """Return the number of entries of the result: those of the first model, with its own rows."""
    headers = draft.layout.tensors if draft.layout else draft.headers.get(draft.first, {})
    rows = result_rows(draft, section)
    layers = Counter(layers_of_result(draft.recipe) if not draft.errors else ())
    return sum(
        header.size // header.shape[0] * rows
        if rows and header.shape and _is_per_token(draft, name)
        else header.size * (layers[layer.number] if layers and layer else 1)
        for name, header in headers.items()
        for layer in [layer_place(name)]
    )


def _is_per_token(draft: Draft, name: str) -> bool:
    return name in draft.layout.vocabulary if draft.layout else name.endswith(PER_TOKEN)


def merge_cost(draft: Draft, result: Result, reading: Reading | None = None) -> dict[str, int]:
    """Return what the merge needs, in bytes.

    Args:
        draft: What we found out about the models.
        result: What is made.
        reading: If weights are read from the Hub as they are needed: how.

    """
    options = draft.settings.options
    size = result.parameters * ENTRY_BYTES.get(result.dtype, 2)
    usual = options.out_shard_size if options else DEFAULT_FILE_BYTES
    file_bytes = result.file_bytes or usual
    largest = _largest_tensors(draft, result)
    buffered = size if options and options.async_write else min(file_bytes, size)
    whole = [looks[0] for name, looks in draft.looks.items() if name in draft.whole]
    pairs = [sum(look.weights.values()) for look in whole]
    # We write one file while we upload the last one; a file may be as large as a tensor.
    stored = size
    if result.streamed:
        stored = min(size, 2 * max(file_bytes, _largest_of_result(draft, result)))
    # A repository that occurs twice, alone and with an adapter, is downloaded once.
    once = {(look.path, look.commit): look for looks in draft.looks.values() for look in looks}
    download = cached = sum(look.download for look in once.values())
    memory = PROCESS + buffered + largest + _in_common_type(draft, result)
    memory += max(draft.merging.values(), default=0)
    if reading:
        cached = reading.downloaded
        download = reading.bytes + cached
        memory += reading.window
        stored += _texts(draft)  # some MB, which a small disk may lack
    # On a device: the largest tensor of each model and of the result. We have not measured what
    # the method itself needs there.
    working = 0
    if options and options.device != "cpu":
        kept = options.low_cpu_memory or options.gpu_rich
        working = largest + (buffered if kept else 0)
    return {
        "device_memory": working,
        "download": download,
        "cache": cached,
        "disk": stored + sum(pairs),  # we write a model with its adapter before we merge it
        "memory": max(memory, PROCESS + max(pairs, default=0)),
    }


def _largest_tensors(draft: Draft, result: Result) -> int:
    """Return the bytes of one tensor of all models, where that is most."""
    rows = result_rows(draft, result.section)
    largest: Counter[str] = Counter()
    for headers in draft.headers.values():
        for name, header in headers.items():
            entries = header.size
            if rows and _is_per_token(draft, name) and header.shape:
                entries = entries // header.shape[0] * rows * 2  # before and after alignment
            largest[name] += entries * ENTRY_BYTES.get(header.dtype, 4)
    return max(largest.values(), default=0)


def _in_common_type(draft: Draft, result: Result) -> int:
    """Return the bytes of the copies in which mergekit merges one tensor, where that is most.

    It casts tensors of several types to a common one: bfloat16 and float16 to float32. The merged
    tensor has that type too, before it is cast to the result's.
    """
    rows = result_rows(draft, result.section)
    named = str(draft.recipe.data.get("dtype") or "").removeprefix("torch.")
    most = 0
    for name, header in draft.headers.get(draft.first, {}).items():
        types = [one[name].dtype for one in draft.headers.values() if name in one]
        common = named or _common_type(set(types))
        copies = sum(one != common for one in types)
        per_token = rows and header.shape and _is_per_token(draft, name)
        entries = header.size // header.shape[0] * rows if per_token else header.size
        size = (copies + 1 if copies else 0) * ENTRY_BYTES.get(common, 4) * entries
        most = max(most, size)
    return most


def _common_type(types: set[str]) -> str:
    """Return the type that holds all numbers of some types."""
    if len(types) == 1:
        return next(iter(types))
    return "float64" if "float64" in types else "float32"


def _largest_of_result(draft: Draft, result: Result) -> int:
    """Return the bytes of the largest tensor of the result."""
    rows, width = result_rows(draft, result.section), ENTRY_BYTES.get(result.dtype, 2)
    return max(
        (
            width * (header.size // header.shape[0] * rows if per_token else header.size)
            for name, header in draft.headers.get(draft.first, {}).items()
            for per_token in [rows and header.shape and _is_per_token(draft, name)]
        ),
        default=0,
    )


def _texts(draft: Draft) -> int:
    """Return the bytes of the first model's config, tokenizer and card: the result has the like."""
    if draft.first not in draft.looks:
        return 0
    look = draft.looks[draft.first][0]
    files = [path for path in look.folder.iterdir() if path.name not in look.weights]
    return sum(path.stat().st_size for path in files if path.is_file())


def check_room(
    draft: Draft,
    result: Result,
    cost: Mapping[str, int],
    *,
    reading: Reading | None = None,
    chosen: bool = False,
) -> OutputError | None:
    """Return an error if what the merge downloads and writes does not fit on the disks.

    Args:
        draft: What we found out about the models.
        result: What is made, and where.
        cost: What that needs.
        reading: How weights could be read from the Hub as they are needed.
        chosen: Whether `cost` is for that.

    """
    cache = draft.settings.cache
    streamed = replace(result, streamed=True)
    least = merge_cost(draft, streamed, reading if chosen else None)
    kept = {
        (look.path, look.commit): look
        for name, looks in draft.looks.items()
        for look in (looks[1:] if chosen and name not in draft.whole else looks)
    }
    moved = sum(sum(look.weights.values()) for look in kept.values() if look.commit)
    needs = _needs(result, cost, cache, moved=moved)
    smaller: dict[str, list[Need]] = {}
    can_read = reading and not reading.errors and draft.settings.download is not True
    if can_read and result.writes:
        for words, file_bytes in SMALLER_FILES.items():
            made = replace(streamed, file_bytes=file_bytes)
            smaller[words] = _needs(made, merge_cost(draft, made, reading), cache)
    spared = cost["disk"] - least["disk"]
    return no_room(
        needs, draft.recipe, spared=spared, cache=cache, smaller=smaller, no_download=chosen
    )


def _needs(
    result: Result, cost: Mapping[str, int], cache: str | None, *, moved: int = 0
) -> list[Need]:
    """Return what is written, and where."""
    what, size = "the merged model", cost["disk"]
    if result.streamed:
        what = "the merged model, two files at a time,"
        size = max(0, size - waiting_bytes(result.out or "OUT"))
    here = nearest_folder(Path(result.out or "OUT"))
    needs = [Need("the download", cache_folder(cache), cost["cache"], "download", moved)]
    return needs + ([Need(what, here, size, "result")] if result.writes else [])


def free_here(out: str | Path | None, cache: str | None) -> dict[str, int]:
    """Return the free bytes of memory, and of the disks that are written to."""
    import psutil  # noqa: PLC0415 - not for --help

    cached, here = cache_folder(cache), nearest_folder(Path(out or "OUT"))
    return {
        "one_disk": on_one_disk(cached, here),
        "download_free": shutil.disk_usage(cached).free,
        "disk_free": shutil.disk_usage(here).free,
        "memory_free": int(psutil.virtual_memory().available),
    }

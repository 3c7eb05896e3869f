"""The compiled rule: pass tensors to `native/merge.c`, on as many CPU threads as torch uses.

A wheel for a platform contains `native/merge.c`, built as a library that needs no other library.
If slack-ties was built without a compiler, the library is missing, and `blockwise.py` makes the
same bytes.
"""

from __future__ import annotations

import ctypes
import logging
import threading
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from slack_ties.rule.tally import BINS, CLASSES, COLUMNS, GRID, LEVELS, SUMS, TOPS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slack_ties.rule.shares import Share
    from slack_ties.rule.tally import Tally

__all__ = [
    "MOST_THREADS",
    "REINSTALL",
    "can_merge",
    "kernel_problem",
    "load_kernel",
    "merge_on_cpu",
]

LOG = logging.getLogger("slack_ties")

LIBRARY = Path(__file__).with_name("_kernel.so")  # the same name on every platform

SOURCE = Path(__file__).with_name("native")

# Without --no-cache-dir pip would reuse the wheel that it made without a compiler.
REINSTALL = (
    "install a C compiler, then the same `pip install` again with "
    "--force-reinstall --no-deps --no-cache-dir"
)

# native/numbers.h has the same constants under the same names.
KERNEL_TYPES = (torch.float16, torch.bfloat16, torch.float32)

COUNTS = 1 << 18  # numbers of 32 bits: 1 MiB

MOST_THREADS = 16  # more threads would only wait for memory

MOST_ENTRIES = 1 << 32  # of a tensor: counts have 32 bits

MIN_SHARE = 1 << 17  # entries per thread; with fewer, two threads take as long as one

# Entries that a thread takes at a time: small slices let all threads end at the same time, but
# slices that are too small make reading slower.
SLICES, MIN_SLICE, MAX_SLICE = 64, 1 << 13, 1 << 16

ROWS, BLOCK, STRIP = 1 << 16, 256, 64  # of a table; entries per block; sums side by side


class _Tensor(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("type", ctypes.c_int32))


class _Model(ctypes.Structure):
    _fields_ = (
        ("tensor", _Tensor),
        ("weight", ctypes.c_float),
        ("ranks", ctypes.c_int64 * 2),
        ("bits", ctypes.c_int32 * 2),
    )


class _Watched(ctypes.Structure):
    _fields_ = (
        ("ranks", ctypes.c_int64 * (len(TOPS) + len(GRID))),
        ("bits", ctypes.c_int32 * (len(TOPS) + len(GRID))),
        ("reached", ctypes.c_int64 * (2 + len(TOPS) + len(GRID))),
        ("varied", ctypes.c_int32),
    )


class _Tally(ctypes.Structure):
    _fields_ = (
        ("models", ctypes.POINTER(_Watched)),
        *((name, ctypes.c_void_p) for name in ("histogram", "lower", "deltas", "strips", "ways")),
        *((name, ctypes.c_void_p) for name in ("way_energy", "used", "counts", "sums")),
        *((name, ctypes.c_int64) for name in ("count_size", "sum_size")),
    )


class _Merge(ctypes.Structure):
    _fields_ = (
        ("base", _Tensor),
        ("out", ctypes.c_void_p),
        ("size", ctypes.c_int64),
        ("slice", ctypes.c_int64),
        ("models", ctypes.POINTER(_Model)),
        ("number", ctypes.c_int64),
        ("lambda_", ctypes.c_float),
        ("normalize", ctypes.c_int32),
        ("counts", ctypes.POINTER(ctypes.c_uint32)),
        ("started", ctypes.POINTER(ctypes.c_int64)),
        ("wanted", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("tops", ctypes.c_int32 * MOST_THREADS),
        ("arrived", ctypes.c_int32),
        ("wrong", ctypes.c_int32),
        ("tally", ctypes.POINTER(_Tally)),
    )


@cache
def load_kernel() -> ctypes.CDLL | None:
    """Return the library; None if it is missing, or was built from another source."""
    kernel, problem = _open()
    if problem:
        LOG.warning("%s: merging takes longer. Next: %s", problem, REINSTALL)
        return None
    assert kernel is not None  # noqa: S101 - either the library or a problem
    kernel.slack_ties_run.argtypes = [ctypes.POINTER(_Merge)]
    kernel.slack_ties_run.restype = None
    return kernel


def kernel_problem() -> str:
    """Return why the library cannot be used; "" if it can."""
    return _open()[1]


def _open() -> tuple[ctypes.CDLL | None, str]:
    """Return the library, or why it cannot be used."""
    if not LIBRARY.exists():
        return None, "slack-ties was built without its compiled kernel"
    try:
        kernel = ctypes.CDLL(str(LIBRARY))
        kernel.slack_ties_source.restype = ctypes.c_char_p
        same = kernel.slack_ties_source().decode() == _checksum(SOURCE)
    except (OSError, AttributeError) as error:
        return None, f"the compiled kernel cannot be used ({error})"
    return kernel, "" if same else f"the compiled kernel was not built from {SOURCE}"


def _checksum(source: Path) -> str:
    """Return the SHA-256 of all C files, computed as in hatch_build.py."""
    files = sorted(source.glob("*.[ch]"))
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def can_merge(*tensors: torch.Tensor) -> bool:
    """Say whether `merge_on_cpu` can merge these: on the CPU, no float64, below 2^32 entries."""
    return all(map(_is_plain, tensors)) and load_kernel() is not None


def _is_plain(tensor: torch.Tensor) -> bool:
    """Say whether the kernel can read a tensor's numbers directly from memory."""
    return (
        type(tensor) in {torch.Tensor, torch.nn.Parameter}
        and tensor.device.type == "cpu"
        and tensor.layout == torch.strided
        and tensor.dtype in KERNEL_TYPES
        and tensor.numel() < MOST_ENTRIES
        and not tensor.is_neg()
        and (tensor.data_ptr() != 0 or tensor.numel() == 0)
    )


def merge_on_cpu(  # noqa: PLR0913 - what the definition needs
    base: torch.Tensor,
    models: Sequence[torch.Tensor],
    shares: Sequence[Share],
    *,
    normalize: bool,
    lambda_: float,
    tally: Tally | None = None,
) -> tuple[torch.Tensor, bool]:
    """Do the same as `blockwise.merge_blocks`, for contiguous tensors that `can_merge` accepts.

    Beside inputs and output it needs 1 MiB per thread, with at most 16 threads. A tally needs 4 MiB
    more per thread and 0.3 MiB per model, and less than 2 KiB per model for every 65,536 entries.
    """
    kernel = load_kernel()
    assert kernel is not None  # noqa: S101 - the caller has called can_merge
    size, out = base.numel(), torch.empty_like(base)
    threads = max(1, min(torch.get_num_threads(), MOST_THREADS, size // MIN_SHARE))
    passes = 2 * len(models) + 1
    merge = _Merge(
        base=_tensor(base),
        out=out.data_ptr(),
        size=size,
        slice=min(max(size // (threads * SLICES), MIN_SLICE), MAX_SLICE),
        models=(_Model * len(models))(
            *(
                _Model(_tensor(model), share.weight, (share.kept, share.protected))
                for model, share in zip(models, shares, strict=True)
            )
        ),
        number=len(models),
        lambda_=lambda_,
        normalize=normalize,
        counts=_counts(threads),
        started=(ctypes.c_int64 * passes)(),
        wanted=threads,
    )
    if tally is None:
        kernel.slack_ties_run(merge)
    else:
        _run_with_tally(kernel, merge, shares, tally)
    return out, not merge.wrong


def _run_with_tally(
    kernel: ctypes.CDLL, merge: _Merge, shares: Sequence[Share], tally: Tally
) -> None:
    """Merge, and count for `tally`: numbers of entries per thread, sums per slice."""
    n, threads = merge.number, merge.wanted
    merge.slice = MAX_SLICE  # for any number of threads, which must not change the sums
    slices = -(-merge.size // merge.slice)
    counts = np.zeros((threads, n * (1 + CLASSES * LEVELS + 2 * n) + 2), np.int64)
    sums = np.zeros((slices, n * (SUMS + CLASSES * LEVELS + n) + 1))
    tally.histogram = np.zeros((n, BINS), np.int64)
    ways = n * CLASSES * (1 << LEVELS)
    buffers = {
        name: _buffer(name, kind, threads * number)
        for name, kind, number in (
            ("lower", ctypes.c_uint32, (3 + len(TOPS) + len(GRID)) * ROWS),
            ("deltas", ctypes.c_float, 3 * n * BLOCK),
            ("strips", ctypes.c_double, (n * (SUMS + n) + 1) * STRIP),
            ("ways", ctypes.c_uint32, ways),
            ("way_energy", ctypes.c_double, ways),
            ("used", ctypes.c_uint32, ways),
        )
    }
    watched = (_Watched * n)(
        *(
            _Watched(ranks=share.marks, varied=varied)
            for share, varied in zip(shares, tally.varied, strict=True)
        )
    )
    counted_for = _Tally(
        models=watched,
        histogram=tally.histogram.ctypes.data,
        **{name: ctypes.addressof(buffer) for name, buffer in buffers.items()},
        counts=counts.ctypes.data,
        sums=sums.ctypes.data,
        count_size=counts.shape[1],
        sum_size=sums.shape[1],
    )
    merge.tally = ctypes.pointer(counted_for)
    kernel.slack_ties_run(merge)
    counted = counts.sum(axis=0)
    columns = np.empty((n, COLUMNS), np.int64)
    columns[:, 0] = counted[:n]
    for one, watch in zip(columns, watched, strict=True):
        found = np.array(watch.reached[: COLUMNS - 1], np.int64)
        one[1:] = np.where(found < 0, one[0], found)
    counted = np.concatenate([columns.ravel(), counted[n:]])
    tally.fill(merge.size, counted, np.add.reduce(sums, axis=0))


def _tensor(tensor: torch.Tensor) -> _Tensor:
    return _Tensor(tensor.data_ptr(), KERNEL_TYPES.index(tensor.dtype))


_OWN = threading.local()


def _counts(threads: int) -> ctypes.Array[ctypes.c_uint32]:
    """Return the buffer for the counts of all threads."""
    return _buffer("counts", ctypes.c_uint32, threads * COUNTS)


def _buffer(name: str, kind: Any, number: int) -> ctypes.Array[Any]:
    """Return a buffer of the calling thread, reused from call to call: allocating takes longer."""
    buffer: ctypes.Array[Any] | None = getattr(_OWN, name, None)
    if buffer is None or len(buffer) < number:
        buffer = (kind * number)()
        setattr(_OWN, name, buffer)
    return buffer

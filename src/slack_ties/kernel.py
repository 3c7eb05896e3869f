"""The compiled rule: hands tensors to `kernel.c`, on as many CPU threads as torch uses.

Wheels of a platform hold `kernel.c` built as a library that needs neither Python nor anything
else. Where slack-ties was built without a compiler there is none, and `blockwise.py` does the
work, to the same bytes.
"""

from __future__ import annotations

import ctypes
import logging
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from slack_ties.blockwise import Share

__all__ = ["can_merge", "load_kernel", "merge_on_cpu"]

LOG = logging.getLogger("slack_ties")
LIBRARY = Path(__file__).with_name("_kernel.so")  # so called on every platform
SOURCE = Path(__file__).with_name("kernel.c")

# What kernel.c calls by the same names.
TYPES = (torch.float16, torch.bfloat16, torch.float32)
COUNTS = 1 << 18  # numbers of 32 bits: 1 MiB

MOST_ENTRIES = 1 << 32  # of a tensor, so that 32 bits are enough to count them
MOST_THREADS = 16  # more would only wait for memory, and each has counts to be added up
MIN_SHARE = 1 << 17  # entries; with fewer for each, two threads take as long as one
SLICE = 1 << 15  # entries that a thread takes at a time, so that all are done together


class _Tensor(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("type", ctypes.c_int32))


class _Model(ctypes.Structure):
    _fields_ = (
        ("tensor", _Tensor),
        ("weight", ctypes.c_float),
        ("ranks", ctypes.c_int64 * 2),
        ("bits", ctypes.c_int32 * 2),
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
        ("threads", ctypes.c_int32),
        ("arrived", ctypes.c_int32),
        ("wrong", ctypes.c_int32),
    )


@cache
def load_kernel() -> ctypes.CDLL | None:
    """Return the library, or None where there is none or it is not that of this source."""
    if not LIBRARY.exists():
        LOG.debug("built without a compiler: torch merges, which takes longer")
        return None
    try:
        kernel = ctypes.CDLL(str(LIBRARY))
        kernel.slack_ties_source.restype = ctypes.c_char_p
        source = kernel.slack_ties_source().decode()
    except (OSError, AttributeError) as error:
        LOG.warning("the compiled kernel cannot be loaded, merging takes longer: %s", error)
        return None
    if source != sha256(SOURCE.read_bytes()).hexdigest():
        LOG.warning("the compiled kernel is not that of %s, merging takes longer", SOURCE)
        return None
    run, call_off = kernel.slack_ties_run, kernel.slack_ties_call_off
    run.restype = call_off.restype = None
    run.argtypes = [ctypes.POINTER(_Merge), ctypes.c_int, ctypes.c_int]
    call_off.argtypes = [ctypes.POINTER(_Merge)]
    return kernel


def can_merge(*tensors: torch.Tensor) -> bool:
    """Say whether `merge_on_cpu` takes these: on the CPU, of a type below float64."""
    return load_kernel() is not None and all(
        tensor.device.type == "cpu" and tensor.dtype in TYPES and tensor.numel() < MOST_ENTRIES
        for tensor in tensors
    )


def merge_on_cpu(
    base: torch.Tensor,
    models: Sequence[torch.Tensor],
    shares: Sequence[Share],
    *,
    normalize: bool,
    lambda_: float,
) -> tuple[torch.Tensor, bool]:
    """Do what `blockwise.merge_blocks` does, for contiguous tensors that `can_merge` takes.

    Beyond inputs and output it needs one MiB per thread, and there are at most 16.
    """
    kernel = load_kernel()
    assert kernel is not None  # noqa: S101 - can_merge was asked
    size, out = base.numel(), torch.empty_like(base)
    crew = _crew(max(1, min(torch.get_num_threads(), MOST_THREADS)))
    threads = max(1, min(crew.most, size // MIN_SHARE))
    passes = 2 * len(models) + 1
    merge = _Merge(
        base=_tensor(base),
        out=out.data_ptr(),
        size=size,
        slice=SLICE,
        models=(_Model * len(models))(
            *(
                _Model(_tensor(model), share.weight, (share.kept, share.protected))
                for model, share in zip(models, shares, strict=True)
            )
        ),
        number=len(models),
        lambda_=lambda_,
        normalize=normalize,
        counts=crew.counts,
        started=(ctypes.c_int64 * passes)(),
    )
    merge.owners = (base, models, out)  # as long as a thread may be at their memory
    others = []
    try:
        for thread in range(1, threads):
            other = crew.pool.submit(kernel.slack_ties_run, merge, thread, 0)
            others.append(other)  # one by one: the next may fail
        kernel.slack_ties_run(merge, 0, threads)
    finally:  # also after Ctrl-C
        kernel.slack_ties_call_off(merge)
        wait(others)
    return out, not merge.wrong


def _tensor(tensor: torch.Tensor) -> _Tensor:
    return _Tensor(tensor.data_ptr(), TYPES.index(tensor.dtype))


class _Crew:
    """Threads, and room for each to count in."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.process = os.getpid()
        self.pool = ThreadPoolExecutor(most, thread_name_prefix="slack-ties")
        self.counts = (ctypes.c_uint32 * (most * COUNTS))()


_OWN = threading.local()


def _crew(most: int) -> _Crew:
    """Return the crew of the calling thread: to start one takes as long as to merge a norm."""
    crew: _Crew | None = getattr(_OWN, "crew", None)
    if crew is None or crew.most != most or crew.process != os.getpid():  # forked
        crew = _OWN.crew = _Crew(most)
    return crew

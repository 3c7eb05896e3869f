"""The compiled rule: hands tensors to `kernel.c`, on as many CPU threads as torch uses.

Wheels of a platform hold `kernel.c` built as a library that needs neither Python nor anything
else. Where slack-ties was built without a compiler there is none, and `blockwise.py` does the
work, to the same bytes.
"""

from __future__ import annotations

import ctypes
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

if TYPE_CHECKING:
    from slack_ties.blockwise import Share

__all__ = ["can_merge", "load_kernel", "merge_on_cpu"]

LOG = logging.getLogger("slack_ties")
LIBRARY = Path(__file__).with_name("_kernel.so")  # so called on every platform
SOURCE = Path(__file__).with_name("kernel.c")

# What kernel.c calls by the same names.
TYPES = (torch.float16, torch.bfloat16, torch.float32)
DIGIT, ROWS, LANES = 16, 1 << 16, 4

NO_PREFIX = 0xFFFFFFFF  # more than any magnitude begins with
# Bits of magnitudes: one that no finite entry reaches, one that all do, one that all but 0 do.
NONE, ALL, NOT_ZERO = 0x7FFFFFFF, 0, 1

MOST_ENTRIES = 1 << 32  # of a tensor: counts have 32 bits
MOST_THREADS = 16  # more would only wait for memory, and each has counts to be added up
MIN_SHARE = 1 << 18  # entries; with fewer for each, two threads take longer than one
SLICES = 4  # per thread, so that whoever is done early takes another

Result = TypeVar("Result")


class _Tensor(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("type", ctypes.c_int32))


class _Model(ctypes.Structure):
    _fields_ = (
        ("tensor", _Tensor),
        ("weight", ctypes.c_float),
        ("trim", ctypes.c_int32),
        ("protect", ctypes.c_int32),
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
    tensor, pointer, integer, number = _Tensor, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "count": (None, [tensor, tensor, integer, integer, pointer]),
        "count_rest": (None, [tensor, tensor, integer, integer, pointer, pointer]),
        "find": (ctypes.c_uint32, [pointer, integer, integer, integer, ctypes.POINTER(integer)]),
        "merge": (
            number,
            [tensor, pointer, integer, number, ctypes.c_float, integer, integer, pointer],
        ),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(kernel, f"slack_ties_{name}")
        function.restype, function.argtypes = result, arguments
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

    Beyond inputs and output it needs half a MiB per thread, and there are at most 16.
    """
    kernel = load_kernel()
    assert kernel is not None  # noqa: S101 - can_merge was asked
    size = base.numel()
    threads = max(1, min(torch.get_num_threads(), MOST_THREADS, size // MIN_SHARE))
    origin, out = _tensor(base), torch.empty_like(base)
    terms = (_Model * len(models))()

    def merge(_: int, slices: Iterator[tuple[int, int]]) -> bool:
        wrong = [
            kernel.slack_ties_merge(
                origin, terms, len(models), normalize, lambda_, start, end, out.data_ptr()
            )
            for start, end in slices
        ]
        return any(wrong)

    with ThreadPoolExecutor(threads) as pool:
        crew = _Crew(pool, threads, size)
        counts = (ctypes.c_uint32 * (threads * 2 * ROWS))()
        for term, model, share in zip(terms, models, shares, strict=True):
            term.tensor, term.weight = _tensor(model), share.weight
            found = {size: ALL, 0: NONE}
            ranks = sorted({share.kept, share.protected} - found.keys())
            if ranks:
                bits = _kth_largest(kernel, origin, term.tensor, ranks, crew=crew, counts=counts)
                found |= dict(zip(ranks, bits, strict=True))
            term.trim, term.protect = found[share.kept], max(found[share.protected], NOT_ZERO)
        return out, not any(crew.work(merge))


def _tensor(tensor: torch.Tensor) -> _Tensor:
    return _Tensor(tensor.data_ptr(), TYPES.index(tensor.dtype))


@dataclass(frozen=True)
class _Crew:
    """Threads, the calling one included, that share out the entries of a tensor."""

    pool: ThreadPoolExecutor
    threads: int
    size: int

    def work(self, task: Callable[[int, Iterator[tuple[int, int]]], Result]) -> list[Result]:
        """Let each thread call `task` with its number and the slices (start, end) it gets."""
        step = max(1, -(-self.size // (self.threads * SLICES)))
        starts = deque(range(0, self.size, step))

        def slices() -> Iterator[tuple[int, int]]:
            with suppress(IndexError):  # none is left
                while True:
                    start = starts.popleft()
                    yield start, min(start + step, self.size)

        others = [self.pool.submit(task, i, slices()) for i in range(1, self.threads)]
        return [task(0, slices()), *(other.result() for other in others)]


def _kth_largest(  # noqa: PLR0913 - internal
    kernel: ctypes.CDLL,
    base: _Tensor,
    model: _Tensor,
    ranks: Sequence[int],
    *,
    crew: _Crew,
    counts: ctypes.Array[ctypes.c_uint32],
) -> list[int]:
    """Return the bits of the k-th largest of abs(model - base) for each of one or two ranks k."""
    left = [ctypes.c_int64(rank) for rank in ranks]  # rank among what shares the prefix
    prefixes = (ctypes.c_uint32 * 2)(NO_PREFIX, NO_PREFIX)
    per_thread = ctypes.sizeof(counts) // crew.threads

    def cleared(thread: int) -> Any:
        mine = ctypes.byref(counts, thread * per_thread)
        ctypes.memset(mine, 0, per_thread)
        return mine

    def count(thread: int, slices: Iterator[tuple[int, int]]) -> None:
        mine = cleared(thread)
        for start, end in slices:
            kernel.slack_ties_count(base, model, start, end, mine)

    def count_rest(thread: int, slices: Iterator[tuple[int, int]]) -> None:
        mine = cleared(thread)
        for start, end in slices:
            kernel.slack_ties_count_rest(base, model, start, end, prefixes, mine)

    crew.work(count)
    number = crew.threads * LANES
    for i, rank in enumerate(left):
        prefixes[i] = kernel.slack_ties_find(counts, number, ROWS // 2, ROWS // 2, rank)
    crew.work(count_rest)
    bits = []
    for i, rank in enumerate(left):
        tables = ctypes.byref(counts, i * ROWS * ctypes.sizeof(ctypes.c_uint32))
        row = kernel.slack_ties_find(tables, crew.threads, 2 * ROWS, ROWS, rank)
        bits.append(prefixes[i] << DIGIT | row)
    return bits

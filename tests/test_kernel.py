"""The compiled kernel gives the bytes that torch gives, and is never trusted blindly."""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from slack_ties.rule import kernel
from slack_ties.rule.blockwise import merge_blocks
from slack_ties.rule.definition import slack_ties_merge
from slack_ties.rule.kernel import can_merge, load_kernel, merge_on_cpu
from slack_ties.rule.shares import Share

DTYPES = [torch.float16, torch.bfloat16, torch.float32]
INTEGERS = {2: torch.int16, 4: torch.int32}
MIB = 1 << 20
HAS_KERNEL = load_kernel() is not None
pytestmark = pytest.mark.skipif(
    not HAS_KERNEL and not shutil.which((sysconfig.get_config_var("CC") or "cl").split()[0]),
    reason="no C compiler was here when slack-ties was installed",
)


@pytest.fixture
def fresh() -> Iterator[None]:
    """Forget the library that is loaded, before and after."""
    load_kernel.cache_clear()
    yield
    load_kernel.cache_clear()


@pytest.fixture
def threads() -> Iterator[None]:
    """Let a test set the number of torch's threads."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def random_bits(size: int, dtype: torch.dtype, seed: int) -> torch.Tensor:
    """Return finite numbers of all magnitudes, denormals and both zeros among them."""
    integer = INTEGERS[dtype.itemsize]
    limits = torch.iinfo(integer)
    random = torch.Generator().manual_seed(seed)
    bits = torch.randint(limits.min, limits.max + 1, (size,), generator=random).to(integer)
    values = bits.view(dtype)
    # So large that their sums overflow: half of a tensor's range is enough.
    return torch.where(values.abs() < torch.finfo(dtype).max / 64, values, 0)


def same_bytes(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Compare zeros by their sign too."""
    integer = INTEGERS[one.dtype.itemsize]
    return torch.equal(one.view(integer), other.view(integer))


def test_is_built_wherever_there_is_a_compiler() -> None:
    """Otherwise every test of this file would be one of torch against torch."""
    assert HAS_KERNEL
    assert can_merge(torch.ones(1), torch.ones(1).half(), torch.ones(1).bfloat16())


def test_leaves_the_rest_to_torch() -> None:
    """Float64, and tensors that are not in memory."""
    assert not can_merge(torch.ones(1), torch.ones(1).double())
    assert not can_merge(torch.ones(1, device="meta"))


FINITE = st.floats(-4, 4, width=32)


@given(st.data())
def test_gives_the_bytes_of_torch(data: st.DataObject) -> None:
    """Any finite bits, types mixed, any parameters: also denormals, ties, zeros of both signs."""
    size = data.draw(st.sampled_from([0, 1, 3, 8, 255, 256, 257, 1000]))
    count = data.draw(st.integers(0, 4))
    base, *models = (
        random_bits(size, data.draw(st.sampled_from(DTYPES)), data.draw(st.integers(0, 1 << 30)))
        for _ in range(count + 1)
    )
    if count and data.draw(st.booleans()):  # many deltas of 0 and many that tie
        models[0] = torch.where(torch.arange(size) % 3 > 0, base, models[0])
    shares = []
    for _ in models:
        kept = data.draw(st.integers(0, size))
        weight = data.draw(st.one_of(FINITE, st.sampled_from([0.0, 1e-45, 1e38, -3.4e38])))
        shares.append(Share(weight, kept, data.draw(st.integers(0, kept))))
    normalize, lambda_ = data.draw(st.booleans()), data.draw(FINITE)

    ours, finite = merge_on_cpu(base, models, shares, normalize=normalize, lambda_=lambda_)

    expected, also = merge_blocks(base, models, shares, normalize=normalize, lambda_=lambda_)
    assert finite == also
    assert not finite or same_bytes(expected, ours)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("number", [1, 2, 5])
@pytest.mark.usefixtures("threads")
def test_gives_the_bytes_of_torch_at_real_sizes(dtype: torch.dtype, number: int) -> None:
    """Over many blocks and slices, for any number of threads."""
    random = torch.Generator().manual_seed(0)
    base = torch.randn(1_500_001, generator=random).mul_(0.02).to(dtype)
    models = [
        (base + torch.randn(base.shape, generator=random) * spread).to(dtype)
        for spread in (0.003, 0.001, 0.002)
    ]
    parameters = {"weight": [1.0, 0.5, -0.3], "density": [0.5, 0.7, 1.0], "slack": [0.0, 0.2, 0.1]}
    torch.set_num_threads(number)

    merged = slack_ties_merge(base, models, engine=merge_on_cpu, **parameters)

    assert same_bytes(slack_ties_merge(base, models, engine=merge_blocks, **parameters), merged)


@pytest.mark.parametrize(
    "delta",
    [
        [0.0] * 9,
        [2.0] * 9,
        [1e-45, -1e-45, 1e-40, -1.1754944e-38, 0.0],  # denormals, and the smallest normal one
        [3.0, -1.0, 3.0, -3.0, 0.5, 1.0, 0.5, 3.0, 0.0],  # many ties
        [1.0, -1.0000001, 1.0000002, 0.99999994],  # differences in the last bits only
        [3.4028235e38, 1.0, -3.4028233e38],
        [5.0],
        [0.0, 0.0, 2.0, 0.0, -0.0, 0.0, 1e-45, 0.0, -1.0, 0.0],
    ],
    ids=["zeros", "equal", "denormals", "ties", "last bits", "largest", "one", "mostly zeros"],
)
def test_finds_the_threshold_that_a_sort_finds(delta: list[float]) -> None:
    """Every rank keeps exactly what is at least as large as the entry that sorting puts there."""
    model = torch.tensor(delta)
    ordered = model.abs().sort(descending=True).values

    for rank in range(1, len(delta) + 1):
        for protected in (0, 1, rank):
            shares = [Share(1.0, rank, protected)]
            merged, finite = merge_on_cpu(
                torch.zeros(len(delta)), [model], shares, normalize=False, lambda_=1.0
            )

            kept = model.abs() >= ordered[rank - 1]
            assert finite
            assert torch.where(kept, model, 0).tolist() == merged.tolist()


def test_reads_and_writes_every_half() -> None:
    """All 65,536 patterns of both 16-bit types survive a merge that changes nothing."""
    patterns = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16)
    for dtype in (torch.float16, torch.bfloat16):
        values = patterns.view(dtype)
        values = values[values.isfinite()]

        merged, finite = merge_on_cpu(
            values, [values], [Share(1.0, 10, 0)], normalize=True, lambda_=1.0
        )

        assert finite
        assert same_bytes(values, merged)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rounds_as_torch_does(dtype: torch.dtype) -> None:
    """Float32 numbers of every exponent, halfway cases among them, to either 16-bit type."""
    upper = torch.arange(1 << 19, dtype=torch.int64) << 12  # sign 0, 8 bits exponent, 11 fraction
    bits = torch.cat([upper + low for low in (0, 1, 0x7FF, 0x800, 0x801, 0xFFF)])
    numbers = bits.to(torch.int32).view(torch.float32)
    numbers = numbers[numbers.to(dtype).isfinite() & (numbers != 0)]
    numbers = torch.cat([numbers, -numbers])

    merged, finite = merge_on_cpu(
        torch.zeros_like(numbers, dtype=dtype),
        [numbers],
        [Share(1.0, numbers.numel(), 0)],
        normalize=False,
        lambda_=1.0,
    )

    assert finite
    assert same_bytes(numbers.to(dtype), merged)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [math.nan, -math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", [0, 1])
@pytest.mark.parametrize("place", [0, 299])
def test_finds_what_is_not_finite(dtype: torch.dtype, bad: float, where: int, place: int) -> None:
    """In the base and in a model, in the first block and in the last entry, kept or not."""
    tensors = [torch.ones(300, dtype=dtype), torch.ones(300, dtype=dtype)]
    tensors[where][place] = bad

    for share in (Share(1.0, 300, 0), Share(1.0, 0, 0), Share(0.0, 1, 0)):
        _, finite = merge_on_cpu(tensors[0], tensors[1:], [share], normalize=True, lambda_=1.0)

        assert not finite


@pytest.mark.parametrize(
    ("dtype", "more"), [(torch.float16, 65_520.0), (torch.bfloat16, 3.4e38), (torch.float32, 1e38)]
)
def test_finds_what_overflows(dtype: torch.dtype, more: float) -> None:
    """A sum that rounds to infinity in the result's type; the base alone does not."""
    largest = torch.finfo(dtype).max
    base, model = torch.full((9,), largest).to(dtype), torch.full((9,), more)
    weight = -1.0 if dtype == torch.float32 else 1.0
    shares = [Share(weight, 9, 0)]

    _, finite = merge_on_cpu(base, [model], shares, normalize=False, lambda_=1.0)
    _, alone = merge_on_cpu(base, [model], shares, normalize=False, lambda_=0.0)

    assert (finite, alone) == (False, True)


class Operations(TorchDispatchMode):
    """Notes what torch is asked to do."""

    def __torch_dispatch__(
        self, func: object, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        """Run the operation, and note its name."""
        self.names = [*getattr(self, "names", []), str(func)]
        return func(*args, **kwargs or {})


def test_makes_no_tensor_but_the_result() -> None:
    """Torch is asked for room, and for nothing else."""
    base, *models = (torch.randn(1000).bfloat16() for _ in range(3))
    shares = [Share(1.0, 500, 200) for _ in models]

    with Operations() as operations:
        merge_on_cpu(base, models, shares, normalize=True, lambda_=1.0)

    assert operations.names == ["aten.empty_like.default"]


@pytest.mark.usefixtures("threads")
def test_needs_one_mebibyte_per_thread() -> None:
    """Python lends the kernel no more, for any size of tensor and any number of models."""
    base = torch.randn(2_000_000)
    models = [torch.randn(2_000_000) for _ in range(4)]
    shares = [Share(1.0, 1_000_000, 400_000) for _ in models]
    torch.set_num_threads(3)
    tracemalloc.start()
    try:
        # In a thread of its own, which has nothing yet.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(merge_on_cpu, base, models, shares, normalize=True, lambda_=1.0).result()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert 3 * MIB <= peak < 3 * MIB + MIB // 4


@pytest.mark.usefixtures("threads")
def test_threads_may_merge_at_the_same_time() -> None:
    """Each calling thread has helpers and counts of its own."""
    torch.set_num_threads(2)
    random = torch.Generator().manual_seed(0)
    inputs = [[torch.randn(600_000, generator=random) for _ in range(3)] for _ in range(6)]

    def merge(tensors: list[torch.Tensor]) -> torch.Tensor:
        base, *models = tensors
        return slack_ties_merge(base, models, weight=[1, 0.5], density=[0.5, 0.5], slack=[0, 0.2])

    alone = [merge(tensors) for tensors in inputs]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(merge, inputs))

    assert all(map(torch.equal, alone, together))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.usefixtures("threads")
def test_works_after_a_fork() -> None:
    """A child process starts threads of its own, and does not wait for its parent's."""
    torch.set_num_threads(2)
    base, model = torch.zeros(600_000), torch.ones(600_000)
    merge_on_cpu(base, [model], [Share(1.0, 5, 0)], normalize=True, lambda_=1.0)

    child = os.fork()
    if child == 0:
        code = 2
        try:
            signal.alarm(60)
            merged, _ = merge_on_cpu(base, [model], [Share(1.0, 5, 0)], normalize=True, lambda_=1.0)
            code = 0 if merged[0] == 1.0 else 1
        finally:
            os._exit(code)  # the rest of the tests is the parent's

    assert os.waitpid(child, 0)[1] == 0


def run_python(code: str) -> str:
    """Run Python code that imports what is needed for a merge; return what it prints."""
    head = (
        "import torch\nfrom slack_ties.rule.blockwise import merge_blocks\n"
        "from slack_ties.rule.kernel import merge_on_cpu\n"
        "from slack_ties.rule.shares import Share\n"
        "how = {'normalize': True, 'lambda_': 1.0}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", head + code], capture_output=True, text=True, check=False, timeout=90
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_threads_that_cannot_start_are_done_without() -> None:
    """Where there is no memory for the stack of another thread, the calling one does all of it."""
    said = run_python("""if True:
        import pathlib, resource, threading
        torch.set_num_threads(1)
        base, model, share = torch.zeros(900_000), torch.ones(900_000), Share(1.0, 5, 0)
        merge_on_cpu(base, [model], [share], **how)
        torch.set_num_threads(3)
        import slack_ties.rule.kernel
        slack_ties.rule.kernel._counts(3)
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + (6 << 20)
        before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
        try:
            threading.Thread(target=print).start()
        except RuntimeError as error:
            print(error)
        merged, finite = merge_on_cpu(base, [model], [share], **how)
        resource.setrlimit(resource.RLIMIT_AS, before)  # torch itself needs threads
        print(finite, torch.equal(merged, model))
        """)

    assert said == "can't start new thread\nTrue True\n"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_stops_between_two_merges() -> None:
    """However often it is interrupted: no merge hangs, and neither does the end of Python."""
    said = run_python("""if True:
        import signal
        torch.set_num_threads(3)
        base, model, share = torch.zeros(900_000), torch.ones(900_000), Share(1.0, 5, 2)
        stopped = 0
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        for turn in range(150):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0002 + turn % 50 * 0.00005)
                merge_on_cpu(base, [model], [share], **how)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                stopped += 1
        merged, finite = merge_on_cpu(base, [model], [share], **how)
        print(stopped > 10, finite, torch.equal(merged, model))
        """)

    assert said == "True True True\n"


def test_denormals_count_whatever_the_caller_set() -> None:
    """The bytes do not depend on a mode of the processor, which stays the caller's."""
    said = run_python("""if True:
        torch.set_num_threads(3)
        base, model, share = torch.zeros(900_000), torch.full((900_000,), 1e-40), Share(1.0, 5, 2)
        torch.set_flush_denormal(True)
        merged, _ = merge_on_cpu(base, [model], [share], **how)
        flushed = 5e-324 * 1.0 == 0.0
        torch.set_flush_denormal(False)
        print(torch.equal(merged, model), flushed or not torch.set_flush_denormal(True))
        """)

    assert said == "True True\n"


@pytest.mark.filterwarnings("ignore:.*conj.*:UserWarning")
def test_leaves_to_torch_what_does_not_lie_in_memory() -> None:
    """Tensors that say something else than their bytes, or have none."""
    negative = torch.complex(torch.ones(4), torch.tensor([1.0, 2.0, 3.0, 4.0])).conj().imag
    with FakeTensorMode():
        fake = torch.ones(4)

    for tensor in (negative, fake, torch.ones(4).to_sparse(), torch._efficientzerotensor(4)):  # noqa: SLF001
        assert not can_merge(tensor)
    merged = slack_ties_merge(negative, [-3 * negative], weight=[0.5], normalize=False)
    assert merged.tolist() == [1.0, 2.0, 3.0, 4.0]


def test_layouts_do_not_matter() -> None:
    """Transposed, strided and expanded tensors are read as what they say."""
    random = torch.Generator().manual_seed(0)
    wide = torch.randn(40, 60, generator=random)
    row = torch.randn(60, generator=random)
    for base, model in [
        (wide.t(), (wide + 1).t()),
        (wide[:, ::2], wide[:, 1::2]),
        (row[::2], row[1::2]),
        (row.expand(40, 60), wide),
    ]:
        merged = slack_ties_merge(base, [model], weight=[0.5], density=[0.5])

        expected = slack_ties_merge(
            base.clone(memory_format=torch.contiguous_format),
            [model.clone(memory_format=torch.contiguous_format)],
            weight=[0.5],
            density=[0.5],
            engine=merge_blocks,
        )
        assert torch.equal(expected, merged)


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("state", ["missing", "damaged", "of another source", "without source"])
def test_a_library_that_does_not_fit_is_not_used(
    state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Merging goes on in torch, and the log says that it takes longer."""
    other = tmp_path / "file"
    if state == "damaged":
        other.write_text("not a library")
    elif state == "of another source":
        other.mkdir()
        for file in kernel.SOURCE.iterdir():
            (other / file.name).write_bytes(file.read_bytes() + b"/* changed since */\n")
    monkeypatch.setattr(kernel, "SOURCE" if "source" in state else "LIBRARY", other)

    with caplog.at_level("DEBUG", "slack_ties"):
        merged = slack_ties_merge(torch.zeros(2), [torch.tensor([1.0, -2.0])], weight=[1])

    assert merged.tolist() == [1.0, -2.0]
    assert len(caplog.messages) == 1
    assert "merging takes longer" in caplog.messages[0]
    assert "Next: install a C compiler, then" in caplog.messages[0]
    assert caplog.messages[0].startswith(f"{kernel.kernel_problem()}: ")

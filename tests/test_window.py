"""Reading ahead within a window: right bytes, each once, in little memory, and an end at once."""

from __future__ import annotations

import hashlib
import mmap
import random
import threading
import time
import tracemalloc
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slack_ties.errors import HubError, SlackTiesError, WrongBytesError
from slack_ties.hub.ranges import HubFile, Ranges
from slack_ties.hub.transfer import StoppedError
from slack_ties.models.places import FilePlaces, Span
from slack_ties.remote import blocks
from slack_ties.remote.schedule import Use, largest_wait, make_schedule
from slack_ties.remote.window import Window
from test_schedule import Case, cases, places

SOON = 20.0  # seconds; a thread that is slower hangs


class Store:
    """Files whose ranges are read from memory, as `Ranges` reads them from the Hub."""

    def __init__(self, contents: Sequence[bytes]) -> None:
        """Hold these files."""
        self.contents = {f"{number}.safetensors": one for number, one in enumerate(contents)}
        self.asked: Counter[tuple[str, int]] = Counter()  # how often each byte was asked for
        self.counts = True
        self.order: list[tuple[str, int, int]] = []
        self.before: Callable[[HubFile, int], None] = lambda *_: None
        self.lock, self.stopped = threading.Lock(), threading.Event()

    @property
    def files(self) -> list[HubFile]:
        """The files as the Hub states them."""
        return [
            HubFile("a/b", "0" * 40, name, len(one), hashlib.sha256(one).hexdigest())
            for name, one in self.contents.items()
        ]

    def read_into(self, file: HubFile, first: int, buffer: memoryview) -> None:
        """Fill a buffer."""
        with self.lock:
            self.order.append((file.name, first, first + len(buffer)))
            if self.counts:
                self.asked.update((file.name, at) for at in range(first, first + len(buffer)))
        self.before(file, first)
        buffer[:] = self.contents[file.name][first : first + len(buffer)]

    def stop(self) -> None:
        """Note it."""
        self.stopped.set()


def store_for(found: Sequence[FilePlaces]) -> Store:
    """Return files of these sizes with random bytes."""
    chance = random.Random(1)
    return Store([chance.randbytes(one.size) for one in found])


@contextmanager
def reading(
    store: Store,
    found: Sequence[FilePlaces],
    uses: Sequence[Use],
    *,
    window: int,
    largest: int = 16 << 20,
    compared: Callable[[HubFile], None] | None = None,
    files: Sequence[HubFile] = (),
    wrong: Callable[[], None] | None = None,
) -> Iterator[Window]:
    """Read ahead within a window."""
    one = Window(
        make_schedule(found, uses, window=window, largest=largest),
        files or store.files,
        found,
        ranges=cast("Ranges", store),
        size=window,
        compared=compared,
        wrong=wrong,
    )
    one.start()
    try:
        yield one
    finally:
        one.close()


def content(store: Store, found: Sequence[FilePlaces], use: Use) -> bytes:
    """Return the bytes of a span."""
    first, end = found[use.file].spans[use.span]
    return store.contents[f"{use.file}.safetensors"][first:end]


@settings(max_examples=60)
@given(cases(), st.integers(0, 400), st.sampled_from([7, 30, 1000]), st.integers(0, 3))
def test_each_span_has_its_bytes_and_each_byte_is_asked_for_once(
    case: Case, window: int, largest: int, seed: int
) -> None:
    """So it is in the order of the merge and in any other; compared files are read completely."""
    found, uses = case
    store, order, done = store_for(found), list(uses), list[str]()
    if seed:  # else in the order that was told
        random.Random(seed).shuffle(order)
    note = lambda file: done.append(file.name)  # noqa: E731
    with reading(store, found, uses, window=window, largest=largest, compared=note) as one:
        for use in order:
            assert bytes(one.take(*use)) == content(store, found, use)
        one.finish()
        assert one.held == one.own == 0
    compared = make_schedule(found, uses, window=window, largest=largest).compared
    assert sorted(done) == [f"{number}.safetensors" for number in sorted(compared)]
    assert set(store.asked.values()) <= {1}
    for number in compared:
        name = f"{number}.safetensors"
        assert sum(file == name for file, _ in store.asked) == found[number].size


@settings(max_examples=60)
@given(cases(), st.integers(0, 400), st.sampled_from([7, 30, 1000]))
def test_memory_stays_within_the_window_and_what_the_merge_waits_for(
    case: Case, window: int, largest: int
) -> None:
    """Beyond the window come only the span that is waited for and the bytes of one request."""
    found, uses = case
    schedule = make_schedule(found, uses, window=window, largest=largest)
    spans = [found[use.file].spans[use.span].size for use in uses]
    request = max((one.end - one.first for one in schedule.requests), default=0)
    with reading(store_for(found), found, uses, window=window, largest=largest) as one:
        for use in uses:
            one.take(*use)
        one.finish()
        assert one.most_held <= max(window, schedule.waits) + max(spans, default=0) + request


def test_several_threads_that_take_in_any_order_never_wait_for_ever() -> None:
    """Four threads take from a window that holds less than one span; all get their bytes."""
    found = [places(*[3000] * 12, tail=5000) for _ in range(3)]
    uses = [Use(file, span) for span in range(12) for file in range(3)]
    store, wrong = store_for(found), list[Use]()
    for seed in range(5):
        order = list(uses)
        random.Random(seed).shuffle(order)
        with reading(store, found, uses, window=2000, largest=700) as one:

            def take(part: Sequence[Use], window: Window = one) -> None:
                wrong.extend(
                    use for use in part if bytes(window.take(*use)) != content(store, found, use)
                )

            threads = [threading.Thread(target=take, args=(order[n::4],)) for n in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(SOON)
            assert not any(thread.is_alive() for thread in threads)
            one.finish()
    assert wrong == []


def test_eight_requests_run_at_once_and_the_first_wanted_is_among_them() -> None:
    """Reading begins before anything is taken, in the order of the merge."""
    found = [places(*[1000] * 20, header=0)]
    uses = [Use(0, span) for span in range(20)]
    store, full, go = store_for(found), threading.Event(), threading.Event()

    def wait(*_: object) -> None:
        if len(store.order) == 8:
            full.set()
        go.wait(SOON)

    store.before = wait
    with reading(store, found, uses, window=16_000, largest=1000) as one:
        assert full.wait(SOON)
        assert sorted(store.order) == [
            ("0.safetensors", n * 1000, n * 1000 + 1000) for n in range(8)
        ]
        go.set()
        assert bytes(one.take(0, 19)) == content(store, found, Use(0, 19))


def test_wrong_bytes_are_found_before_the_end() -> None:
    """The error names the model and the file, and comes with the next step; nothing is noted."""
    found = [places(1000, 1000), places(1000, 1000)]
    uses = [Use(file, span) for span in range(2) for file in range(2)]
    store, noted = store_for(found), list[HubFile]()
    files = store.files
    store.contents["1.safetensors"] = b"x" + store.contents["1.safetensors"][1:]
    with reading(store, found, uses, window=1 << 20, files=files, compared=noted.append) as one:
        with suppress(WrongBytesError):  # raised here only if it is known already
            for use in uses:
                one.take(*use)
        with pytest.raises(WrongBytesError, match=r"'a/b': 1\.safetensors arrived .* exp") as error:
            one.finish()
        assert "again" in error.value.hint
    assert files[1] not in noted


def test_a_wrong_checksum_ends_the_next_take_of_another_file() -> None:
    """It is raised as soon as it is known, although the bytes that are asked for are there."""
    found = [places(1000), places(1000, 1000)]
    uses = [Use(0, 0), Use(1, 0), Use(1, 1)]
    store = store_for(found)
    files = store.files
    store.contents["0.safetensors"] = b"x" * len(store.contents["0.safetensors"])
    with reading(store, found, uses, window=1 << 20, files=files) as one:
        until = time.monotonic() + SOON
        while one.error is None and time.monotonic() < until:
            time.sleep(0.01)
        with pytest.raises(WrongBytesError):
            one.take(1, 0)


def test_wrong_bytes_are_said_even_if_another_error_came_first() -> None:
    """Who hears of them keeps nothing that was merged; an error after them is not said."""
    found = [places(1000) for _ in range(3)]
    store, said, opened = store_for(found), list[str](), list[Window]()
    files, all_run = store.files, threading.Barrier(4)
    store.contents["1.safetensors"] = b"x" * len(store.contents["1.safetensors"])

    def has(kind: type[Exception]) -> bool:
        before = time.monotonic()
        while not isinstance(opened[0].error, kind) and time.monotonic() < before + SOON:
            time.sleep(0.01)
        return isinstance(opened[0].error, kind)

    def go(file: HubFile, _: int) -> None:
        all_run.wait(SOON)
        if file.name == "1.safetensors":
            assert has(HubError)
        elif file.name == "0.safetensors" or has(WrongBytesError):
            raise HubError(file.name)

    store.before = go
    uses = [Use(file, 0) for file in range(3)]
    with reading(
        store, found, uses, window=1 << 20, files=files, wrong=lambda: said.append("x")
    ) as one:
        opened.append(one)
        all_run.wait(SOON)
        assert has(WrongBytesError)
        with pytest.raises(WrongBytesError, match=r"1\.safetensors"):
            one.finish()
    assert said == ["x"]


def test_gits_checksum_of_a_small_file_is_compared_too() -> None:
    """The Hub states git's SHA-1 of files that it keeps in git."""
    found = [places(1000)]
    store, noted = store_for(found), list[HubFile]()
    data = store.contents["0.safetensors"]
    sum_of_git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()  # noqa: S324
    file = HubFile("a/b", "0" * 40, "0.safetensors", len(data), sum_of_git)
    with reading(
        store, found, [Use(0, 0)], window=1 << 20, files=[file], compared=noted.append
    ) as one:
        one.take(0, 0)
        one.finish()
    assert noted == [file]


def test_an_error_of_a_thread_is_raised_where_the_merge_reads() -> None:
    """`take` and `finish` raise it with its next step."""
    found = [places(1000, 1000)]
    store = store_for(found)

    def fail(*_: object) -> None:
        msg = "the Hub is gone"
        raise HubError(msg, hint="try again later")

    store.before = fail
    with reading(store, found, [Use(0, 0)], window=1 << 20) as one:
        with pytest.raises(HubError, match="gone") as error:
            one.take(0, 0)
        assert error.value.hint == "try again later"
        with pytest.raises(HubError, match="gone"):
            one.finish()


@pytest.mark.parametrize("how", ["fails", "wrong"])
def test_an_error_that_is_kept_keeps_no_memory(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook keeps the last error: what was read is freed when the window is closed."""
    taken = list[weakref.ref[mmap.mmap]]()

    class Mapped(mmap.mmap):
        """Memory that is watched."""

        def __init__(self, *_: object, **__: object) -> None:
            """Watch it."""
            taken.append(weakref.ref(self))

    monkeypatch.setattr(blocks, "MAPPED", 1000)
    monkeypatch.setattr("slack_ties.remote.blocks.mmap.mmap", Mapped)
    found = [places(*[1000] * 20, tail=5000)]
    store, files = store_for(found), store_for(found).files
    arrived = threading.Event()

    def fail(_: HubFile, first: int) -> None:
        if first < 1000:
            assert arrived.wait(SOON)
            if how == "fails":
                raise HubError("the Hub is gone") from ValueError(str(first))  # noqa: EM101, TRY003
        if first >= 7000:
            arrived.set()

    store.before = fail
    wrong = [] if how == "fails" else [replace(files[0], checksum="0" * 64)]
    kept: BaseException | None = None
    uses = [Use(0, n) for n in range(20)]
    with reading(store, found, uses, window=100_000, largest=1000, files=wrong) as one:
        try:
            one.take(0, 0)
            one.finish()
        except SlackTiesError as error:
            kept = error
    assert kept
    before = time.monotonic()
    while any(ref() for ref in taken) and time.monotonic() < before + SOON / 4:
        time.sleep(0.01)
    assert len(taken) > 4
    assert [ref() for ref in taken if ref()] == []
    del one


def test_a_closed_window_waits_for_no_request() -> None:
    """While all requests hang, `close` returns at once, and a thread that takes is woken."""
    found = [places(*[1000] * 20)]
    store, hang, hangs = store_for(found), threading.Event(), threading.Event()
    ended = list[BaseException]()

    def wait(*_: object) -> None:
        hangs.set()
        hang.wait(SOON)

    store.before = wait
    with reading(store, found, [Use(0, n) for n in range(20)], window=8000) as one:

        def take() -> None:
            try:
                one.take(0, 0)
            except StoppedError as error:
                ended.append(error)

        thread = threading.Thread(target=take)
        thread.start()
        assert hangs.wait(SOON)
        before = time.monotonic()
        one.close()
        assert time.monotonic() - before < 0.5
        thread.join(SOON)
        assert len(ended) == 1
        assert store.stopped.is_set()
        mine = [t for t in threading.enumerate() if t.name == "reads weights"]
        assert mine
        assert all(t.daemon for t in mine)
        hang.set()


def test_a_span_that_was_not_expected_is_refused() -> None:
    """A use is taken once: its memory is gone then."""
    found = [places(1000, 1000)]
    with reading(store_for(found), found, [Use(0, 0)], window=1 << 20) as one:
        one.take(0, 0)
        for span in (0, 1):
            with pytest.raises(ValueError, match="not expected"):
                one.take(0, span)


def test_the_largest_wait_is_enough_for_real() -> None:
    """A file that is wanted backwards is compared with that window, and its bytes are right."""
    found = [places(*[4000] * 10)]
    uses = [Use(0, span) for span in reversed(range(10))]
    window, store, noted = largest_wait(found, uses), store_for(found), list[HubFile]()
    with reading(store, found, uses, window=window, largest=1000, compared=noted.append) as one:
        for use in uses:
            assert bytes(one.take(*use)) == content(store, found, use)
        one.finish()
        assert one.most_held <= window + 4000
    assert noted == store.files


def test_what_nobody_uses_takes_the_memory_of_one_request_beyond_the_window() -> None:
    """The merge waits for a span behind a long part of a file that is only hashed."""
    found = [places(20_000, 100)]
    store = store_for(found)
    store.before = lambda *_: time.sleep(0.002)
    with reading(store, found, [Use(0, 1)], window=100, largest=700) as one:
        one.take(0, 1)
        one.finish()
        assert one.most_held <= 100 + 700 + 100


def test_what_is_read_is_as_aligned_as_in_the_file() -> None:
    """Small and large spans: PyTorch maps a file on this disk, and its sums depend on that."""
    spans = (Span(3, 100), Span(101, 1000), Span(1007, 3 << 20))
    found = [FilePlaces("x.bin", 3 << 20, True, spans)]
    store = store_for(found)
    store.counts = False
    with reading(store, found, [Use(0, n) for n in range(3)], window=16 << 20) as one:
        for span in range(3):
            address = np.frombuffer(one.take(0, span), dtype=np.uint8).ctypes.data
            assert address % 64 == spans[span].first % 64


def test_memory_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own count of allocated bytes agrees, with requests that end in any order."""
    monkeypatch.setattr(blocks, "MAPPED", 1 << 40)  # Python does not count what is mapped
    sizes = [900_000, 3000, 2_000_000, 500_000] * 6
    found = [places(*sizes, tail=700_000) for _ in range(2)]
    uses = [Use(file, span) for span in range(len(sizes)) for file in range(2)]
    store = store_for(found)
    store.before = lambda _, first: time.sleep(first % 7 / 2000)
    store.counts = False
    for window in (1 << 20, 8 << 20):
        tracemalloc.start()
        try:
            with reading(store, found, uses, window=window) as one:
                for use in uses:
                    one.take(*use)
                one.finish()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak <= window + max(sizes) + window // 8 + 500_000  # what the test itself uses


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is read from /proc")
def test_memory_goes_back_to_the_system() -> None:
    """What is between blocks that are still used, too; malloc would keep it."""

    def used() -> int:
        return psutil.Process().memory_info().rss

    for _ in range(2):  # malloc learns which sizes are usual
        before = used()
        taken = [(blocks.memory(8 << 20), blocks.memory(100_000)) for _ in range(16)]
        for large, small in taken:
            large[:] = bytes(len(large))
            small[:] = bytes(len(small))
        assert used() > before + (100 << 20)
        del large
        still_used = [small for _, small in taken]
        del taken
        assert used() < before + (24 << 20)
    assert len(still_used) == 16

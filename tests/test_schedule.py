"""Which bytes are read, in which order, and what waits in memory: laws for all files and orders."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from slack_ties.models.places import FilePlaces, Span
from slack_ties.remote.schedule import Schedule, Use, largest_wait, make_schedule

Case = tuple[list[FilePlaces], list[Use]]


def places(*sizes: int, header: int = 8, gap: int = 0, tail: int = 0) -> FilePlaces:
    """Return a file with spans of these sizes."""
    spans, at = [], header
    for size in sizes:
        spans.append(Span(at, at + size))
        at += size + gap
    return FilePlaces("model.safetensors", at + tail, False, tuple(spans))


@st.composite
def files(draw: st.DrawFn) -> FilePlaces:
    """Return a file with gaps, empty spans, and bytes of no span at both ends."""
    small = st.integers(0, 40)
    spans, at = [], draw(small)
    for size in draw(st.lists(st.integers(0, 60), max_size=6)):
        spans.append(Span(at, at + size))
        at += size + draw(st.sampled_from([0, 0, 3]))
    return FilePlaces("model.safetensors", at + draw(small), False, tuple(spans))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Return files and an order of uses; some spans are used twice, and some never."""
    found = draw(st.lists(files(), min_size=1, max_size=4))
    every = [Use(f, s) for f, one in enumerate(found) for s in range(len(one.spans))]
    uses = draw(st.permutations(every)) if every else []
    uses = uses[: draw(st.integers(0, len(uses)))]
    if uses:
        uses += draw(st.lists(st.sampled_from(uses), max_size=2))
    return found, uses


def most_in_memory(schedule: Schedule, case: Case, ahead: int) -> list[tuple[int, int]]:
    """Return for each use the bytes in memory while it is waited for, and its own bytes.

    All requests that it needs have begun, and others in their order while they fit into `ahead`.
    """
    found, uses = case
    left, kept, begun, result = dict(schedule.uses), set[Use](), 0, []
    held = 0

    def touched(number: int) -> set[Use]:
        one = schedule.requests[number]
        return {
            Use(one.file, s)
            for s, span in enumerate(found[one.file].spans)
            if span.first < one.end and one.first < span.end and left.get(Use(one.file, s))
        }

    def size(spans: set[Use]) -> int:
        return sum(found[one.file].spans[one.span].size for one in spans)

    for use in uses:
        span = found[use.file].spans[use.span]
        whole = use.file in schedule.compared
        needed = [
            n
            for n, one in enumerate(schedule.requests)
            if one.file == use.file
            and one.first < span.end
            and (whole or one.end > span.first)
            and span.size
        ]
        while begun < len(schedule.requests):
            more = size(touched(begun) - kept)
            if not any(n >= begun for n in needed) and held + more > ahead:
                break
            kept |= touched(begun)
            held, begun = held + more, begun + 1
        result.append((held, span.size))
        left[use] -= 1
        if not left[use] and use in kept:
            kept.remove(use)
            held -= span.size
    return result


@given(cases(), st.integers(0, 400), st.sampled_from([7, 30, 1000]))
def test_no_byte_is_read_twice_and_none_is_missing(case: Case, window: int, largest: int) -> None:
    """Compared files are read from 0 to their size in order; of the others all used spans are."""
    found, uses = case
    schedule = make_schedule(found, uses, window=window, largest=largest)
    for number, one in enumerate(found):
        mine = [r for r in schedule.requests if r.file == number]
        assert all(0 <= r.first < r.end <= min(one.size, r.first + largest) for r in mine)
        if number in schedule.compared:
            assert [r.first for r in mine] == [0, *(r.end for r in mine[:-1])]
            assert mine[-1].end == one.size
        ordered = sorted(mine)
        assert all(a.end <= b.first for a, b in pairwise(ordered))
        read = {at for r in mine for at in range(r.first, r.end)}
        for use in uses:
            if use.file == number:
                assert read.issuperset(range(*one.spans[use.span]))
    assert schedule.total == sum(r.end - r.first for r in schedule.requests)
    assert schedule.compared <= {use.file for use in uses}
    assert sum(schedule.uses.values()) == len(uses)


@given(cases(), st.integers(0, 400), st.sampled_from([7, 30, 1000]))
def test_memory_stays_within_the_window_and_what_is_waited_for(
    case: Case, window: int, largest: int
) -> None:
    """Read-ahead stays in the window; the wait of the merge for a span adds this span."""
    schedule = make_schedule(case[0], case[1], window=window, largest=largest)
    allowed = max(window, schedule.waits)
    for held, blocked in most_in_memory(schedule, case, window):
        assert held <= allowed + blocked


@example(([places(60, 60)], [Use(0, 0), Use(0, 1)]), 0, 1000)
@given(cases(), st.integers(0, 400), st.sampled_from([7, 30, 1000]))
def test_files_are_compared_only_if_what_waits_fits(case: Case, window: int, largest: int) -> None:
    """At most three quarters of the window wait, or what would wait with no file compared."""
    found, uses = case
    schedule = make_schedule(found, uses, window=window, largest=largest)
    none = make_schedule(found, uses, window=0, partly=range(len(found)), largest=1)
    assert schedule.waits <= max(window * 3 // 4, none.waits)


@given(cases())
def test_the_largest_wait_is_the_least_window_that_compares_all(case: Case) -> None:
    """With it no file is given up; with one byte less, one is."""
    found, uses = case
    window = largest_wait(found, uses)
    used = {use.file for use in uses if found[use.file].size}
    assert make_schedule(found, uses, window=window).compared == used
    if window:
        assert make_schedule(found, uses, window=window - 1).compared < used


@given(cases(), st.integers(0, 400))
def test_no_file_is_given_up_without_need(case: Case, window: int) -> None:
    """Not one of the files that are given up could be compared beside those that are."""
    found, uses = case
    schedule = make_schedule(found, uses, window=window)
    used = {use.file for use in uses if found[use.file].size}
    for number in used - schedule.compared:
        others = used - schedule.compared - {number}
        assert largest_wait(found, uses, partly=others) > window


def test_the_file_that_waits_most_is_given_up() -> None:
    """Of files that do not fit together, the one that the merge reads backwards goes first."""
    found = [places(100, 100, 100), places(100, 100, 100), places(10, 10, 10)]
    orders: Sequence[Sequence[int]] = [(0, 1, 2), (2, 1, 0), (2, 1, 0)]
    uses = [Use(file, orders[file][turn]) for turn in range(3) for file in range(3)]
    assert make_schedule(found, uses, window=1000, largest=50).compared == {0, 1, 2}
    assert make_schedule(found, uses, window=200, largest=50).compared == {0, 2}


def test_of_two_files_the_one_that_waits_more_is_given_up() -> None:
    """Either would fit alone; the other one is compared."""
    for more, less in ((0, 1), (1, 0)):
        found = [places(200 if file == more else 100, 1) for file in range(2)]
        uses = [Use(0, 1), Use(1, 1), Use(0, 0), Use(1, 0)]
        assert make_schedule(found, uses, window=280).compared == {less}


def test_a_file_is_compared_after_all_when_another_makes_room() -> None:
    """The first file waits most at the worst time, but the second does not fit even alone."""
    found = [places(90, 1), places(80, 1, 80, 1)]
    uses = [Use(1, 1), Use(0, 1), Use(0, 0), Use(1, 3), Use(1, 0), Use(1, 2)]
    assert make_schedule(found, uses, window=134).compared == {0}


def test_a_file_of_which_a_part_was_read_before_is_not_compared() -> None:
    """Of such a file only what the merge wants is read."""
    found = [places(1 << 20, 1 << 20)]
    schedule = make_schedule(found, [Use(0, 1)], window=1 << 30, partly=[0])
    assert not schedule.compared
    assert [tuple(one) for one in schedule.requests] == [(0, 8 + (1 << 20), 8 + (2 << 20))]


def test_small_neighbours_are_one_request() -> None:
    """A hundred small tensors with small gaps are one request, not a hundred."""
    found = [places(*[8192] * 100, gap=64)]
    uses = [Use(0, number) for number in range(100)]
    for partly in ((), (0,)):
        assert len(make_schedule(found, uses, window=1 << 30, partly=partly).requests) == 1


def test_a_large_span_is_cut_into_equal_requests() -> None:
    """A request has about 16 MiB, or less than an eighth of the window."""
    found = [places(100 << 20)]
    for window, count in ((1 << 30, 7), (64 << 20, 14)):
        schedule = make_schedule(found, [Use(0, 0)], window=window, partly=[0])
        sizes = {one.end - one.first for one in schedule.requests}
        assert len(schedule.requests) == count
        assert max(sizes) - min(sizes) <= 1
        assert max(sizes) <= window // 8


@example([places(5, 5, 5)], 10)
@given(st.lists(files(), min_size=1, max_size=3), st.integers(0, 100))
def test_what_nobody_uses_is_not_read(found: list[FilePlaces], window: int) -> None:
    """Without uses there are no requests and nothing is compared."""
    schedule = make_schedule(found, [], window=window)
    assert (schedule.requests, schedule.compared, schedule.waits) == ((), frozenset(), 0)

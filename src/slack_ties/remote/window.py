"""Read ahead of the merge, several ranges at once, within a window of memory.

Threads ask for the ranges of a schedule in its order, as long as their bytes fit into the window.
What the merge waits for is asked for first, also if it does not fit: so nothing waits for ever.
"""

from __future__ import annotations

import heapq
import threading
from bisect import bisect_right
from functools import partial
from traceback import clear_frames
from typing import TYPE_CHECKING, TypeVar

from slack_ties.errors import WrongBytesError
from slack_ties.hub.transfer import StoppedError
from slack_ties.remote.blocks import Block, Job, Part, memory
from slack_ties.remote.schedule import Use
from slack_ties.remote.sums import Sums
from slack_ties.threads import CHECK_INTERVAL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from slack_ties.hub.ranges import HubFile, Ranges
    from slack_ties.models.places import FilePlaces
    from slack_ties.remote.schedule import Request, Schedule

__all__ = ["Window"]

T = TypeVar("T")

AT_ONCE = 8  # requests


class Window:
    """The bytes that were read and are not used yet."""

    def __init__(  # noqa: PLR0913 - all by name
        self,
        schedule: Schedule,
        files: Sequence[HubFile],
        places: Sequence[FilePlaces],
        *,
        ranges: Ranges,
        size: int,
        compared: Callable[[HubFile], None] | None = None,
        wrong: Callable[[], None] | None = None,
        moved: Callable[[], None] | None = None,
    ) -> None:
        """Prepare; `start` begins to read.

        Args:
            schedule: The ranges to ask for.
            files: The files that its numbers mean.
            places: Their spans.
            ranges: Asks for them.
            size: Bytes that may be in memory at once; what the merge waits for is read beyond it.
            compared: Called when the checksum of a file was found to be the Hub's, in any thread.
            wrong: Called when it was found to be another, in any thread.
            moved: Called when a request has ended, and from time to time, in any thread.

        """
        self.requests, self.files, self.ranges, self.size = schedule.requests, files, ranges, size
        self.spans = [one.spans for one in places]
        self.wrong, self.moved = wrong or (lambda: None), moved or (lambda: None)
        self.sums = {number: Sums(files[number], compared) for number in schedule.compared}
        self.to_take = dict(schedule.uses)  # how often each span may still be asked for
        self.left = dict(schedule.uses)  # the same, with those that are waited for
        self.changed = threading.Condition()
        self.blocks: dict[Use, Block] = {}
        self.held = self.most_held = 0  # bytes in memory, now and at most
        self.own = 0  # of these, the bytes that no span has: gaps, and copies of small spans
        self.begun = [False] * len(self.requests)
        self.next, self.left_to_end = 0, len(self.requests)
        self.urgent: list[int] = []  # requests that somebody waits for, a heap
        self.of_file: dict[int, list[int]] = {}  # the requests of a file, by position
        for number, one in sorted(enumerate(self.requests), key=lambda pair: pair[1].first):
            self.of_file.setdefault(one.file, []).append(number)
        self.error: BaseException | None = None
        self.closed = False

    def start(self) -> None:
        """Begin to read ahead, in threads."""
        for _ in range(min(AT_ONCE, len(self.requests))):
            threading.Thread(target=self._work, name="reads weights", daemon=True).start()

    def take(self, file: int, span: int) -> memoryview:
        """Wait for the bytes of a span and return them; each use is taken once.

        Raises:
            HubError: They cannot be read.
            WrongBytesError: A file has another checksum than the Hub states.

        """
        use = Use(file, span)
        with self.changed:
            if not self.to_take.get(use):
                msg = f"span {span} of {self.files[file].name} was not expected, or taken before"
                raise ValueError(msg)
            self.to_take[use] -= 1
            if not self._is_ready(use):
                self._hurry(use)
        return self._wait(lambda: self._taken(use))

    def finish(self) -> None:
        """Read what is left of the files that are read from front to back, and compare them.

        What was not taken is not kept any longer.

        Raises:
            SlackTiesError: As for `take`.

        """
        with self.changed:
            self.left.clear()
            for use in list(self.blocks):
                self._drop(use)
            for number, one in enumerate(self.requests):
                if not self.begun[number]:
                    if one.file in self.sums:
                        heapq.heappush(self.urgent, number)
                    else:
                        self.begun[number] = True
                        self.left_to_end -= 1
            self.changed.notify_all()
        self._wait(lambda: None if self.left_to_end else True)

    def close(self) -> None:
        """Stop reading; never waits for a request."""
        with self.changed:
            self.closed = True
            self.blocks.clear()
            self.changed.notify_all()
        for one in self.sums.values():
            one.close()
        self.ranges.stop()

    def _wait(self, look: Callable[[], T | None]) -> T:
        """Look, with the lock, until something is there; raise what went wrong in a thread."""
        while True:
            with self.changed:
                if self.error:
                    raise self.error
                if self.closed:
                    raise StoppedError
                if (found := look()) is not None:
                    return found
                self.changed.wait(CHECK_INTERVAL)  # on Windows, Ctrl-C does not end a longer wait
            self.moved()  # without the lock: a terminal may be slow

    def _taken(self, use: Use) -> memoryview | None:
        """Take a span if its bytes are there."""
        if not self._is_ready(use):
            return None
        self.left[use] -= 1
        block = self.blocks.get(use)
        if block and not self.left[use]:
            self._drop(use)
        return block.view if block else memory(0)

    def _is_ready(self, use: Use) -> bool:
        """Say whether all bytes of a span are there, and hashed if their file is."""
        span = self.spans[use.file][use.span]
        if not span.size:
            return True
        if use.file in self.sums:
            return self.sums[use.file].at >= span.end
        return use in self.blocks and not self.blocks[use].missing

    def _hurry(self, use: Use) -> None:
        """Put the requests that a span needs before all others."""
        span = self.spans[use.file][use.span]
        for number in self.of_file.get(use.file, ()):
            one = self.requests[number]
            needed = one.first < span.end and (use.file in self.sums or one.end > span.first)
            if needed and not self.begun[number] and span.size:
                heapq.heappush(self.urgent, number)
        self.changed.notify_all()

    def _work(self) -> None:
        """Make one request after the other."""
        job = None
        try:
            while job := self._next():
                self.ranges.read_into(self.files[job.request.file], job.request.first, job.view)
                self._arrived(job)
                file = job.request.file
                job = None  # its memory may be free before other parts of the file are hashed
                if file in self.sums:
                    self.sums[file].work()
                self.moved()
        except BaseException as error:  # noqa: BLE001 - raised in `take` and `finish`
            job = None
            _let_go(error)
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """Let `take` and `finish` raise an error: the first one, or that bytes were wrong."""
        is_wrong = isinstance(error, WrongBytesError)
        try:
            if is_wrong and not self.closed:
                self.wrong()
        finally:
            with self.changed:
                self.error = error if is_wrong or not self.error else self.error
                self.changed.notify_all()

    def _next(self) -> Job | None:
        """Wait for the next request that may begin; None if there will be none."""
        with self.changed:
            while not (self.closed or self.error):
                while self.urgent and self.begun[self.urgent[0]]:
                    heapq.heappop(self.urgent)
                while self.next < len(self.requests) and self.begun[self.next]:
                    self.next += 1
                if self.next == len(self.requests):
                    return None
                number = self.urgent[0] if self.urgent else self.next
                if job := self._begin(number, urgent=bool(self.urgent)):
                    return job
                self.changed.wait()
            return None

    def _begin(self, number: int, *, urgent: bool) -> Job | None:
        """Take the memory for a request; None if there is none."""
        request = self.requests[number]
        parts = self._parts(request)
        size = request.end - request.first
        own = 0 if len(parts) == 1 and parts[0].end - parts[0].first == size else size
        new = {one: self.spans[request.file][one.span] for one in parts}
        new = {one: span for one, span in new.items() if self._key(request, one) not in self.blocks}
        more = own + sum(span.size for span in new.values())
        if self.held + more > self.size and not (urgent and not (own and self.own)):
            return None
        for one, span in new.items():
            self.blocks[self._key(request, one)] = Block(span)
        self.begun[number] = True
        self.own += own
        self.held += more
        self.most_held = max(self.most_held, self.held)
        found = [(one, self.blocks[self._key(request, one)]) for one in parts]
        view = memory(own) if own else found[0][1].part(request.first, request.end)
        return Job(request, view, found, own)

    @staticmethod
    def _key(request: Request, part: Part) -> Use:
        return Use(request.file, part.span)

    def _parts(self, request: Request) -> list[Part]:
        """Return the parts of a request that belong to spans that will be taken."""
        spans, found = self.spans[request.file], []
        at = max(0, bisect_right(spans, (request.first, 1 << 63)) - 1)
        while at < len(spans) and spans[at].first < request.end:
            part = Part(at, max(spans[at].first, request.first), min(spans[at].end, request.end))
            if part.first < part.end and self.left.get(Use(request.file, at)):
                found.append(part)
            at += 1
        return found

    def _arrived(self, job: Job) -> None:
        """Keep the bytes of a request."""
        request = job.request
        if job.own:
            for part, block in job.parts:
                begin, end = part.first - request.first, part.end - request.first
                block.part(part.first, part.end)[:] = job.view[begin:end]
        if sums := self.sums.get(request.file):
            sums.add(request.first, job.view, partial(self._ended, job.own))
        else:
            with self.changed:
                for part, block in job.parts:
                    block.missing -= part.end - part.first
            self._ended(job.own)

    def _ended(self, own: int) -> None:
        """Note that a request needs no memory of its own any more."""
        with self.changed:
            self.own -= own
            self.held -= own
            self.left_to_end -= 1
            self.changed.notify_all()

    def _drop(self, use: Use) -> None:
        """Forget the memory of a span, which is freed when whoever took it needs it no more."""
        del self.blocks[use]
        self.held -= self.spans[use.file][use.span].size
        self.changed.notify_all()


def _let_go(error: BaseException | None) -> None:
    """Keep only the lines of an error's traceback: its variables keep the memory of a request."""
    while error:
        clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__

"""All weight files of one merge that are not on this disk, read as the merge wants them."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

from slack_ties.hub.ranges import Ranges
from slack_ties.progress import Progress
from slack_ties.remote.beginning import read_beginning
from slack_ties.remote.blocks import memory
from slack_ties.remote.schedule import Use, make_schedule
from slack_ties.remote.size import fitting_window
from slack_ties.remote.tensor import copy_of, tensor_of
from slack_ties.remote.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    import torch
    from huggingface_hub import HfApi

    from slack_ties.hub.ranges import HubFile
    from slack_ties.models.cached import AwayFile

__all__ = ["Away", "key_of"]


def key_of(file: HubFile) -> str:
    """Return what names a file of a commit: ID@COMMIT/FILE."""
    return f"{file.repo_id}@{file.commit}/{file.name}"


class Away:
    """Reads tensors of models on the Hub.

    The order of all reads is told beforehand with `expect`. Each of them is then made once.
    """

    def __init__(  # noqa: PLR0913 - all by name
        self,
        models: Mapping[str, Mapping[str, AwayFile]],
        *,
        api: HfApi | None = None,
        window: int | None,
        quiet: bool = False,
        known: Collection[str] = (),
        compared: Callable[[str], None] | None = None,
        begin: Callable[[str], None] | None = None,
        wrong: Callable[[], None] | None = None,
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            models: By name: the weight files that are not here. Two models may share a file.
            api: The Hub client; the default one if not given.
            window: Bytes of memory for what is read ahead and waits; if not given, what lets
                every file be read from front to back, within limits.
            quiet: Show no progress.
            known: The files, as `key_of` names them, of which no earlier run has read bytes that
                were not compared.
            compared: Called with the name of each file whose checksum was found to be the Hub's,
                in any thread.
            begin: Called with the name of each such file of which this run reads bytes, before
                it does.
            wrong: Called when a checksum was found to be another than the Hub's, in any thread.

        """
        if api is None:
            from huggingface_hub import HfApi as DefaultApi  # noqa: PLC0415 - not for --help

            api = DefaultApi()
        self.models, self.size, self.quiet = models, window, quiet
        self.ranges = Ranges(api=api)
        self.known, self.note = set(known), compared or (lambda _: None)
        self.note_read, self.wrong = begin or (lambda _: None), wrong
        self.files = list({one.on_hub: one for files in models.values() for one in files.values()})
        self.numbers = {file: number for number, file in enumerate(self.files)}
        by_file = {one.on_hub: one.places for files in models.values() for one in files.values()}
        self.places = [by_file[file] for file in self.files]
        self.of_tensor = {
            (model, tensor): one
            for model, files in models.items()
            for one in files.values()
            for tensor in one.places.tensors
        }
        self.left: dict[Use, int] = {}  # how often each span will still be read
        self.shared: set[Use] = set()  # the spans that are read more than once
        self.again: set[HubFile] = set()  # the files of which a span was read twice from the Hub
        self.lock = threading.Lock()
        self.read_now: set[int] = set()  # the files that this run reads
        self.read_before: set[int] = set()  # those that an earlier run has read
        self.compared_now: set[str] = set()
        self.window: Window | None = None
        self.shown = ExitStack()

    def expect(
        self, reads: Sequence[tuple[str, str]], *, finished: Collection[tuple[str, str]] = ()
    ) -> None:
        """Begin to read ahead.

        Args:
            reads: (model, tensor) in the order in which `read` will be called; others than those
                in files that are away are left out.
            finished: (model, tensor) that an earlier run has read: files with such tensors that
                are not read again are not read from front to back, so they are not compared.

        """
        uses = [self._use(*one) for one in reads if one in self.of_tensor]
        before = {self._use(*one) for one in finished if one in self.of_tensor}
        partly = {use.file for use in before.difference(uses)}
        unknown = {number for number, file in enumerate(self.files) if not file.checksum}
        pieces = partly | unknown
        size = self.size or fitting_window(self.places, uses, partly=pieces)
        schedule = make_schedule(self.places, uses, window=size, partly=pieces)
        self.left = dict(schedule.uses)
        self.shared = {use for use, count in schedule.uses.items() if count > 1}
        self.read_before, self.read_now = ({use.file for use in found} for found in (before, uses))
        for number in self.read_now:
            if (key := key_of(self.files[number])) in self.known:
                self.note_read(key)
        progress = Progress("read", max(schedule.total, 1), quiet=self.quiet, rate=True)
        begun_at = self.ranges.received

        def moved() -> None:
            progress.at(min(self.ranges.received - begun_at, schedule.total))

        self.window = Window(
            schedule,
            self.files,
            self.places,
            ranges=self.ranges,
            size=size,
            compared=self._note,
            wrong=self.wrong,
            moved=moved,
        )
        if schedule.requests:
            self.shown.enter_context(progress)
        self.window.start()

    def read(self, model: str, tensor: str) -> torch.Tensor:
        """Return a tensor; errors as of `Window.take`. Several threads may read."""
        file, use = self.of_tensor[model, tensor], self._use(model, tensor)
        window = self._window()
        with self.lock:
            expected = self.left.get(use, 0)
            self.left[use] = expected - 1
        if expected < 1:
            return self._read_again(file, tensor)
        found = tensor_of(file.places, tensor, window.take(*use))
        # What one reader of a span makes of it, another must not see.
        return copy_of(found) if use in self.shared else found

    def begin(self, model: str, tensor: str, count: int) -> torch.Tensor:
        """Return the first entries of a tensor, flat; this may be called before `expect`.

        Raises:
            HubError: They cannot be read.
            CheckpointError: The bytes are not those of such a file.

        """
        file = self.of_tensor[model, tensor]
        return read_beginning(self.ranges, file.on_hub, file.places, tensor, count)

    def finish(self) -> dict[str, tuple[str, ...]]:
        """Compare the checksums that are left; return by model the files that were not compared.

        Raises:
            SlackTiesError: As for `Window.finish`.

        """
        if self.window:
            self.window.finish()
        self.shown.close()
        found = {
            model: tuple(sorted(name for name, one in files.items() if self._is_open(one)))
            for model, files in self.models.items()
        }
        return {model: files for model, files in found.items() if files}

    def close(self) -> None:
        """Stop reading; never waits for a request."""
        self.shown.close()
        if self.window:
            self.window.close()
        else:
            self.ranges.stop()

    def _is_open(self, file: AwayFile) -> bool:
        """Say whether bytes of a file were read, now or by an earlier run, that were not compared.

        What one run has compared says nothing of the bytes that another has read.
        """
        if file.on_hub in self.again or self._was_open(file.on_hub):
            return True
        read = self.numbers[file.on_hub] in self.read_now
        return read and key_of(file.on_hub) not in self.compared_now

    def _was_open(self, file: HubFile) -> bool:
        """Say whether an earlier run has read bytes of a file, and has not compared them."""
        return self.numbers[file] in self.read_before and key_of(file) not in self.known

    def _read_again(self, file: AwayFile, tensor: str) -> torch.Tensor:
        """Return a tensor that was not expected: with several GPUs the order is not certain.

        Its bytes come a second time, and those are not compared with anything.
        """
        self.again.add(file.on_hub)
        first, end = file.places.spans[file.places.tensors[tensor].span]
        data = memory(end - first, first)
        self.ranges.read_into(file.on_hub, first, data)
        return tensor_of(file.places, tensor, data)

    def _note(self, file: HubFile) -> None:
        self.compared_now.add(key_of(file))
        if not self._was_open(file):  # a later run would take the earlier bytes for compared
            self.note(key_of(file))

    def _use(self, model: str, tensor: str) -> Use:
        file = self.of_tensor[model, tensor]
        return Use(self.numbers[file.on_hub], file.places.tensors[tensor].span)

    def _window(self) -> Window:
        if self.window is None:
            msg = "Away.read needs Away.expect before it"
            raise ValueError(msg)
        return self.window

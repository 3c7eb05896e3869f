"""Upload weight files while the merge still makes others, and keep them on this disk."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import uuid
from typing import TYPE_CHECKING

from slack_ties.hub.retries import Retries
from slack_ties.hub.timeouts import in_force
from slack_ties.publish.manifest import SentFile
from slack_ties.publish.sender import Sender, SentShard

if TYPE_CHECKING:
    from pathlib import Path

    from huggingface_hub import HfApi

    from slack_ties.publish.destination import Target

__all__ = ["Ahead"]

LOG = logging.getLogger("slack_ties")


class Ahead:
    """Uploads weight files while the merge continues, and keeps them here. A `Receiver`.

    It only saves time: after an error it logs a warning and stops, and the files are uploaded when
    the model is published after the merge.
    """

    done: tuple[SentShard, ...] = ()
    takes_all = False  # the last file is uploaded when the model is published

    def __init__(
        self, out: Path, target: Target, *, retries: Retries | None = None, api: HfApi
    ) -> None:
        """Prepare for a merge into `out` that will be published to `target`."""
        self.sender = Sender(target, retries=retries or in_force(Retries()), api=api)
        # The merge renames its files during the upload: so upload hard links with other names.
        self.links = out.absolute().parent / f".{out.name}.{uuid.uuid4().hex[:8]}.sent.partial"
        self.waiting: list[Path] = []
        self.stopped = target.to.pull_request  # its title contains a checksum that is not known yet
        self.lock = threading.Lock()
        self.sending = False  # a thread will look at `waiting` again before it ends

    def __enter__(self) -> Ahead:  # noqa: PYI034 - Self is Python 3.11's
        """Start the receiver."""
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Start no other upload; wait for the present one."""
        self.stopped = True
        try:
            if error:
                self.sender.end(error)
            else:
                self.sender.wait()
        finally:
            shutil.rmtree(self.links, ignore_errors=True)

    def take(self, path: Path) -> None:
        """Upload a file after the files before it."""
        if self.stopped:
            return
        try:
            self.links.mkdir(parents=True, exist_ok=True)
            link = self.links / path.name
            os.link(path, link)
        except OSError:  # this file system has no hard links
            self.stopped = True
            return
        with self.lock:
            self.waiting.append(link)
            start, self.sending = not self.sending, True
        if start:
            self.sender.start(self._send_waiting)

    def settle(self) -> None:
        """On Windows wait until no file is open, so that the merge can rename its files."""
        if os.name == "nt":
            self.sender.wait()

    def _send_waiting(self) -> None:
        while True:
            with self.lock:
                if not self.waiting:
                    self.sending = False
                    return
                link = self.waiting.pop(0)
            try:
                self.sender.send(SentFile(link.name, link.stat().st_size, link))
            except Exception as error:
                LOG.debug("upload during the merge", exc_info=True)
                LOG.warning("  no more uploads until the merge is complete: %s", error)
                self.stopped = True
            link.unlink(missing_ok=True)
            if self.stopped:
                return

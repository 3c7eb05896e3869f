"""Upload weight files while others are still merged, and keep them on this disk."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import uuid
from typing import TYPE_CHECKING

from slack_ties.hub.retries import Retries
from slack_ties.publish.manifest import SentFile
from slack_ties.publish.sender import Sender, SentShard

if TYPE_CHECKING:
    from pathlib import Path

    from huggingface_hub import HfApi

    from slack_ties.publish.destination import Target

__all__ = ["Ahead"]

LOG = logging.getLogger("slack_ties")


class Ahead:
    """Weight files that are sent while the merge goes on, and stay here. A `Receiver`.

    It only saves time: what goes wrong is said, and left to the publishing after the merge.
    """

    done: tuple[SentShard, ...] = ()

    def __init__(
        self, out: Path, target: Target, *, retries: Retries | None = None, api: HfApi
    ) -> None:
        """Prepare for the merge that goes to `out`, and to `target` on the Hub."""
        self.sender = Sender(target, retries=retries or Retries(), api=api)
        # The merge moves its files while they are sent; these are the same under other names.
        self.links = out.absolute().parent / f".{out.name}.{uuid.uuid4().hex[:8]}.sent.partial"
        self.waiting: list[Path] = []
        self.stopped = target.to.pull_request  # which is named after what is not known yet
        self.lock = threading.Lock()

    def __enter__(self) -> Ahead:  # noqa: PYI034 - Self is Python 3.11's
        """Begin."""
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Send no other file; wait for the one that is being sent."""
        self.stopped = True
        try:
            if error:
                self.sender.end(error)
            else:
                self.sender.wait()
        finally:
            shutil.rmtree(self.links, ignore_errors=True)

    def take(self, path: Path) -> None:
        """Send a file when the ones before it are sent."""
        if self.stopped:
            return
        try:
            self.links.mkdir(parents=True, exist_ok=True)
            link = self.links / path.name
            os.link(path, link)
        except OSError:  # this file system has no links
            self.stopped = True
            return
        with self.lock:
            self.waiting.append(link)
        if not (self.sender.thread and self.sender.thread.is_alive()):
            self.sender.start(self._send_waiting)

    def settle(self) -> None:
        """Let files be renamed: they are sent by other names, which is not enough on Windows."""
        if os.name == "nt":
            self.sender.wait()

    def _send_waiting(self) -> None:
        while True:
            with self.lock:
                if not self.waiting:
                    return
                link = self.waiting.pop(0)
            try:
                self.sender.send(SentFile(link.name, link.stat().st_size, link))
            except Exception as error:
                LOG.debug("sending ahead", exc_info=True)
                LOG.warning("  nothing more is sent before the merge is complete: %s", error)
                self.stopped = True
            link.unlink(missing_ok=True)
            if self.stopped:
                return

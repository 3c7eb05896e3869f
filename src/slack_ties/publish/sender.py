"""The thread that uploads finished weight files, and what it has sent."""

from __future__ import annotations

import logging
import re
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from slack_ties.errors import HubError
from slack_ties.private.huggingface_hub import was_sent
from slack_ties.publish.commit import upload_files
from slack_ties.publish.make_branch import make_branch
from slack_ties.wording import size

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from slack_ties.hub.retries import Retries
    from slack_ties.publish.branch import Branch
    from slack_ties.publish.destination import Target
    from slack_ties.publish.manifest import SentFile

__all__ = ["Sender", "SentShard"]

LOG = logging.getLogger("slack_ties")

SHA256 = re.compile(r"[0-9a-f]{64}")

SHARD = re.compile(r"model-[0-9]+\.safetensors")


@dataclass(frozen=True)
class SentShard:
    """A weight file of which the Hub has the content, and this disk the header."""

    file: str  # as mergekit calls it while it merges
    sha256: str
    size: int  # bytes
    tensors: dict[str, int] = field(default_factory=dict)  # name -> bytes

    def __post_init__(self) -> None:
        """Refuse what was not written by us."""
        if not (SHARD.fullmatch(self.file) and SHA256.fullmatch(self.sha256) and self.size > 0):
            msg = f"no weight file: {self.file!r}"
            raise ValueError(msg)


class Sender:
    """Sends files one after the other, beside the merge."""

    def __init__(self, target: Target, *, retries: Retries, api: HfApi) -> None:
        """Prepare to upload to a target; nothing is sent yet."""
        self.target, self.retries, self.api = target, retries, api
        self.branch: Branch | None = None
        self.thread: threading.Thread | None = None
        self.error: BaseException | None = None
        self.given_up = False

    def send(self, file: SentFile) -> None:
        """Send one file; what the Hub has of it already is not sent again.

        Raises:
            HubError: The Hub refuses, or cannot be reached.

        """
        if self.branch is None:
            self.branch = make_branch(self.target, {}, retries=self.retries, api=self.api)
        if self.given_up:
            return
        LOG.info("  sending %s, %s", file.name, size(file.size))
        for sent in upload_files([file], self.branch, retries=self.retries, api=self.api):
            if not was_sent(sent):
                msg = f"{self.target.to.repo_id!r} does not take {file.name} as a large file"
                raise HubError(msg, hint="look at .gitattributes and .gitignore there")

    def start(self, work: Any, *arguments: Any) -> None:
        """Call `work` in a thread, which does not keep Python from ending."""

        def run() -> None:
            try:
                work(*arguments)
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                self.error = error

        self.thread = threading.Thread(target=run, name="slack-ties sends", daemon=True)
        self.thread.start()

    def end(self, error: BaseException) -> None:
        """After an error of the merge's, wait for the file that is being sent; Ctrl-C does not."""
        try:
            if not isinstance(error, Exception):
                return
            if self.thread and self.thread.is_alive():
                LOG.warning("  the merge failed; waiting for the file that is being sent")
            with suppress(Exception):  # the merge's own error is the one to tell
                self.wait()
            if self.branch and self.target.branch is None:
                LOG.warning("  %s was made, and is empty", self.branch.repo_id)
        finally:
            self.given_up = True

    def wait(self) -> None:
        """Wait until nothing is being sent.

        Raises:
            BaseException: What went wrong with it.

        """
        while self.thread and self.thread.is_alive():
            self.thread.join(0.5)  # so that Ctrl-C is heard on Windows too
        self.thread = None
        if self.error:
            error, self.error = self.error, None
            raise error

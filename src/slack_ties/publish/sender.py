"""Upload finished weight files in a thread."""

from __future__ import annotations

import logging
import re
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from slack_ties.errors import HubError
from slack_ties.hub.transfer import StoppedError
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

SHARD_NAME = re.compile(r"model-[0-9]+\.safetensors")


@dataclass(frozen=True)
class SentShard:
    """A weight file whose content is on the Hub, and whose header is on this disk."""

    file: str  # mergekit's name for it during the merge
    sha256: str
    size: int  # bytes
    tensors: dict[str, int] = field(default_factory=dict)  # name -> bytes

    def __post_init__(self) -> None:
        """Refuse values that slack-ties did not write."""
        if not (
            SHARD_NAME.fullmatch(self.file) and SHA256.fullmatch(self.sha256) and self.size > 0
        ):
            msg = f"not a weight file: {self.file!r}"
            raise ValueError(msg)


class Sender:
    """Uploads files one after the other, during the merge."""

    def __init__(self, target: Target, *, retries: Retries, api: HfApi) -> None:
        """Prepare to upload to a target; nothing is sent yet."""
        self.target, self.retries, self.api = target, retries, api
        self.branch: Branch | None = None
        self.thread: threading.Thread | None = None
        self.error: BaseException | None = None
        self.stopped = threading.Event()

    def send(self, file: SentFile) -> None:
        """Upload one file; content that the Hub already has is not uploaded again.

        Raises:
            HubError: The Hub refuses, or cannot be reached.

        """
        if self.branch is None:
            self.branch = make_branch(self.target, {}, retries=self.retries, api=self.api)
        if self.stopped.is_set():
            return
        LOG.info("  uploading %s, %s", file.name, size(file.size))
        try:
            uploaded = upload_files(
                [file], self.branch, retries=self.retries, api=self.api, stop=self.stopped
            )
        except StoppedError:
            return
        for sent in uploaded:
            if not was_sent(sent):
                msg = f"{self.target.to.repo_id!r} does not accept {file.name} as a large file"
                raise HubError(msg, hint="check .gitattributes and .gitignore in that repository")

    def start(self, work: Any, *arguments: Any) -> None:
        """Call `work` in a daemon thread."""

        def run() -> None:
            try:
                work(*arguments)
            except BaseException as error:  # noqa: BLE001 - `wait` raises it
                self.error = error

        self.thread = threading.Thread(target=run, name="slack-ties sends", daemon=True)
        self.thread.start()

    def end(self, error: BaseException) -> None:
        """After an error of the merge, wait for the present upload; after Ctrl-C, end it."""
        try:
            if not isinstance(error, Exception):
                return
            if self.thread and self.thread.is_alive():
                LOG.warning("  the merge failed; waiting for the present upload")
            with suppress(Exception):  # the merge's error is the one to report
                self.wait()
            if self.branch and self.target.branch is None:
                LOG.warning("  %s was created, and is empty", self.branch.repo_id)
        finally:
            self.stopped.set()

    def wait(self) -> None:
        """Wait until no upload is running.

        Raises:
            BaseException: The error of the upload.

        """
        while self.thread and self.thread.is_alive():
            self.thread.join(0.5)  # with a timeout Ctrl-C works on Windows too
        self.thread = None
        if self.error:
            error, self.error = self.error, None
            raise error

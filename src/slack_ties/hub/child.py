"""The program that transfers large files, in a process of its own: `transfer.py` starts it.

It reads one job, a line of JSON, from its standard input, and writes lines of JSON: log lines,
how many bytes are done, and the result or an error. It ends when its standard input ends: then
the command that started it is gone.
"""

from __future__ import annotations

import glob
import json
import logging
import os
import signal
import sys
import threading
import time
import traceback
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from huggingface_hub import CommitOperationAdd, HfApi

from slack_ties.errors import SlackTiesError
from slack_ties.files import sha256
from slack_ties.hub.client import CLIENT_ERRORS, UPLOAD_ERRORS
from slack_ties.hub.errors import hub_error
from slack_ties.hub.half_files import complete_half_file, in_use, remove_half_files
from slack_ties.hub.limit import PART
from slack_ties.hub.retries import Retries
from slack_ties.hub.timeouts import timeouts
from slack_ties.private.huggingface_hub import (
    counting_bar,
    report_uploads_to,
    set_checksum,
    was_sent,
)
from slack_ties.threads import in_threads
from slack_ties.wording import duration, size

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Output", "Watch", "main"]

LOG = logging.getLogger("slack_ties")

REPORT_INTERVAL = 0.2  # seconds between two reports of progress

WAIT = 1.0  # seconds between two looks at whether another process has downloaded a file

FILES_AT_ONCE = 8  # as the Hub client

SHORT_UPLOAD = 2.0  # seconds; a shorter upload does not measure the speed: the Hub had the file

XET_BLOCK, XET_BLOCK_TIME = 64_000_000, 3600.0  # bytes that hf_xet sends at once; seconds for them

ALMOST_ALL = 0.99


class Output:
    """Writes lines of JSON to the command that started us."""

    def __init__(self) -> None:
        """Take the standard output; what else prints there goes to standard error."""
        self.stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self.lock = threading.Lock()
        self.last = 0.0

    def send(self, **message: Any) -> None:
        """Send a message; end if nobody reads it."""
        try:
            with self.lock:
                self.stream.write(json.dumps(message) + "\n")
                self.stream.flush()
        except OSError:
            os._exit(1)

    def moved(self, done: int, *, grace: float = 0.0, seldom: bool = True) -> None:
        """Report that bytes moved.

        Args:
            done: The bytes that are done.
            grace: Seconds that may pass until the next report, beside the time-out.
            seldom: Leave out reports that follow another one closely.

        """
        now = time.monotonic()
        if not seldom or now - self.last >= REPORT_INTERVAL:
            self.last = now
            self.send(moved=done, grace=grace)


class _Logged(logging.Handler):
    """Sends log lines to the command, which prints them."""

    def __init__(self, output: Output) -> None:
        super().__init__()
        self.output = output

    def emit(self, record: logging.LogRecord) -> None:
        """Send a line."""
        self.output.send(log=[record.name, record.levelno, record.getMessage()])


def main() -> NoReturn:
    """Do the job."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command ends us
    output = Output()
    line = sys.stdin.buffer.readline()
    if not line:  # the command was killed meanwhile
        os._exit(1)
    job = json.loads(line)
    threading.Thread(target=_end_with_command, daemon=True).start()
    for name, level in job["levels"].items():
        logger = logging.getLogger(name)
        logger.handlers[:], logger.propagate = [_Logged(output)], False
        logger.setLevel(level)
    retries = Retries(**job["retries"])
    api = HfApi(endpoint=job["endpoint"], token=job["token"])
    work = partial({"download": _download, "upload": _upload}[job["do"]], job, api, retries, output)
    output.send(waits=True)
    try:
        with timeouts(retries):
            output.send(result=work())
    except SlackTiesError as error:
        _send_error(error, output)
    except CLIENT_ERRORS as error:
        LOG.debug("the Hub client's error", exc_info=True)
        _send_error(hub_error(job["what"], api, error), output)
    except BaseException:  # noqa: BLE001 - a bug; the command reports it
        output.send(bug=traceback.format_exc())
    os._exit(0)  # without waiting for other files


def _send_error(error: SlackTiesError, output: Output) -> None:
    output.send(error=[type(error).__name__, str(error), error.hint])


def _end_with_command() -> None:
    """End when the command ends, even if it was killed."""
    while sys.stdin.buffer.read(1):
        pass
    os._exit(1)


# Downloads


def _download(job: dict[str, Any], api: HfApi, retries: Retries, output: Output) -> None:
    """Download files into the Hub cache, and complete half files that a killed run has left."""
    repo_id, cache, files = job["repo_id"], job["cache"], job["files"]
    counts: dict[object, int] = {}

    def count_as(key: object, done: int) -> None:
        counts[key] = max(done, counts.get(key, 0))  # the client has two bars for a file
        output.moved(sum(counts.values()))

    def hashed(path: Path) -> str:
        done = threading.Event()

        def report() -> None:
            while not done.wait(WAIT):
                output.moved(sum(counts.values()), seldom=False)

        threading.Thread(target=report, daemon=True).start()
        try:
            return sha256(path)
        finally:
            done.set()

    def complete(name: str) -> None:
        blob = files[name]["blob"]
        if blob and in_use(cache, repo_id, blob):
            LOG.info("  %s: waiting for another process that downloads it", name)
        while blob and in_use(cache, repo_id, blob):
            output.moved(sum(counts.values()), seldom=False)
            time.sleep(WAIT)
        bar = counting_bar(partial(count_as, name))
        complete_half_file(
            api, repo_id, name, commit=job["commit"], blob=blob, cache=cache, bar=bar, hashed=hashed
        )

    retries.ask(lambda: in_threads(complete, files, most=FILES_AT_ONCE))
    retries.ask(
        lambda: api.snapshot_download(
            repo_id,
            revision=job["commit"],
            cache_dir=cache,
            force_download=job["again"],
            allow_patterns=[glob.escape(name) for name in files],
            tqdm_class=counting_bar(partial(count_as, "")),
        )
    )
    remove_half_files(cache, repo_id)


# Uploads


class Watch:
    """What hf_xet reports of an upload."""

    def __init__(self, retries: Retries, output: Output) -> None:
        """Prepare for the first file."""
        self.retries, self.output = retries, output
        self.start, self.seen = time.monotonic(), (0, 0, 0, 0)
        self.before = 0  # bytes of the files before this one

    def begin(self) -> None:
        """Note that hf_xet begins; before that the client has its own time-outs."""
        self.start, self.seen = time.monotonic(), (0, 0, 0, 0)
        self.output.moved(self.before, seldom=False)

    def look(self, report: Any) -> None:
        """Pass on a report, if something moved and it has the fields that we know."""
        names = ("bytes", "bytes_completed", "transfer_bytes", "transfer_bytes_completed")
        if not all(hasattr(report, f"total_{name}") for name in names):
            return
        seen = tuple(int(getattr(report, f"total_{name}") or 0) for name in names)
        if seen == self.seen:
            return
        self.seen = (seen[0], seen[1], seen[2], seen[3])
        self.output.moved(self.before + self.done, grace=self.grace, seldom=False)

    @property
    def done(self) -> int:
        """Bytes of the file that are read and, as far as the Hub lacks them, sent."""
        total, read, to_send, sent = self.seen
        return min(read, total - to_send + sent)

    @property
    def grace(self) -> float:
        """Seconds that may pass until the next report, beside the time-out.

        hf_xet counts the last bytes when it has the answer. It does not count bytes that it sends
        again after an error: they get the time for a whole block, at the speed so far.
        """
        total, read, to_send, sent = self.seen
        if read >= ALMOST_ALL * total and sent >= ALMOST_ALL * to_send:
            return self.retries.timeout * (1 - PART)  # the Hub checks what it got
        speed = sent / max(time.monotonic() - self.start, REPORT_INTERVAL)
        return min(min(XET_BLOCK, to_send) / speed if speed else 0.0, XET_BLOCK_TIME)


def _upload(
    job: dict[str, Any], api: HfApi, retries: Retries, output: Output
) -> list[dict[str, Any]]:
    """Upload the contents, each large file by itself: a finished one is not uploaded again.

    Return, for each file, whether the Hub took it as a large file, with its size and SHA-256.
    """
    watch = Watch(retries, output)
    report_uploads_to(watch.begin, watch.look)
    files: list[dict[str, Any]] = job["files"]
    large = [file for file in files if file["large"]]
    left, sent, took, uploaded = sum(file["size"] for file in large), 0, 0.0, []
    for i, file in enumerate(large, 1):
        if job["tell"]:
            about = f", about {duration(left * took / sent)} left" if sent else ""
            LOG.info(
                "  %s, %s (%d of %d%s)", file["name"], size(file["size"]), i, len(large), about
            )
        began = time.monotonic()
        uploaded += _upload_together([file], job, api, retries)
        output.send(waits=True)
        watch.before += file["size"]
        left -= file["size"]
        if (seconds := time.monotonic() - began) > SHORT_UPLOAD:
            sent, took = sent + file["size"], took + seconds
    if rest := [file for file in files if not file["large"]]:
        uploaded += _upload_together(rest, job, api, retries)
    return [
        {"name": one.path_in_repo, "size": one.upload_info.size, "sha256": _sum(one)}
        for one in uploaded
    ]


def _upload_together(
    files: list[dict[str, Any]], job: dict[str, Any], api: HfApi, retries: Retries
) -> list[CommitOperationAdd]:
    operations = []
    for file in files:
        operation = CommitOperationAdd(file["name"], file["path"])
        if file["sha256"]:
            set_checksum(operation, file["sha256"])
        operations.append(operation)
    send = partial(api.preupload_lfs_files, job["repo_id"], operations, free_memory=False)
    try:
        retries.ask(partial(send, revision=job["revision"]))
    except UPLOAD_ERRORS as error:
        LOG.debug("the Hub client's error", exc_info=True)
        raise hub_error(job["what"], api, error) from None
    return operations


def _sum(operation: CommitOperationAdd) -> str:
    """Return the SHA-256 of a file that was uploaded as a large file; "" for another."""
    return operation.upload_info.sha256.hex() if was_sent(operation) else ""

"""Commands as processes: forked where that is possible, and started anew where it is not.

Both have an environment, a folder, output and an exit status of their own. A forked command
skips the imports, which take seconds: see fork_server.py. Every command of the program is run at
least once as a new process, in test_cli.py.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

CAN_FORK = sys.platform == "linux"  # macOS and Windows start new processes
OURS = "from slack_ties.cli.main import main; main()"
# What the commands import in the end.
MODULES = (
    "slack_ties.run",
    "slack_ties.cli.main",
    "slack_ties.tuning.tune",
    "slack_ties.explore.compare",
    "slack_ties.sharing.verify",
    "slack_ties.sharing.search",
    "slack_ties.sharing.adapt",
    "slack_ties.publish.stream",
    "mergekit.merge",
    "mergekit.scripts.run_yaml",
)


class Process(Protocol):
    """What the tests use of `subprocess.Popen`."""

    @property
    def returncode(self) -> int | None:
        """How it ended; None before."""

    def send_signal(self, sig: int, /) -> None:
        """Send it a signal."""

    def kill(self) -> None:
        """End it."""

    def communicate(self, *, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end, and return what it said."""


@dataclass
class Forked:
    """A command in a child of the fork server."""

    connection: socket.socket
    pid: int
    files: tuple[Path, Path]
    returncode: int | None = None

    def send_signal(self, sig: int, /) -> None:
        """Send it a signal."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended
                os.kill(self.pid, sig)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, *, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end, and return what it said."""
        self.connection.settimeout(timeout)
        try:
            answer = self.connection.recv(20)
        except TimeoutError:
            raise subprocess.TimeoutExpired(["a forked command"], timeout or 0) from None
        self.returncode = int(answer)
        self.connection.close()
        output, errors = (path.read_text("utf-8") for path in self.files)
        return output, errors if self.files[0] != self.files[1] else ""


@dataclass(frozen=True)
class ForkServer:
    """A running fork server."""

    socket: Path

    @classmethod
    def start(
        cls,
        python: str,
        modules: Sequence[str],
        environment: Mapping[str, str],
    ) -> ForkServer:
        """Start one, of a Python, that imports these modules first."""
        folder = tempfile.TemporaryDirectory(prefix="slack-ties-forks-")
        path = Path(folder.name, "socket")
        program = Path(__file__).with_name("fork_server.py")
        process = subprocess.Popen(
            [python, str(program), str(path), *modules],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=folder.name,
        )
        atexit.register(folder.cleanup)
        atexit.register(process.wait)
        atexit.register(process.kill)  # the last is called first
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        return cls(path)

    def fork(
        self,
        code: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        folder: Path | str,
        *,
        merged: bool,
    ) -> Forked:
        """Run code in a child; with the errors among the output if they are to be merged."""
        handle, output = tempfile.mkstemp(dir=self.socket.parent, suffix=".output")
        os.close(handle)
        errors = output
        if not merged:
            handle, errors = tempfile.mkstemp(dir=self.socket.parent, suffix=".errors")
            os.close(handle)
        request = {
            "code": code,
            "arguments": list(arguments),
            "environment": dict(environment),
            "folder": str(folder),
            "output": output,
            "errors": errors,
        }
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self.socket))
        connection.sendall(json.dumps(request).encode() + b"\n")
        pid = b""
        while not pid.endswith(b"\n"):
            pid += connection.recv(1)
        return Forked(connection, int(pid), (Path(output), Path(errors)))

    def run(
        self, code: str, arguments: Sequence[str], environment: Mapping[str, str], folder: Path
    ) -> subprocess.CompletedProcess[str]:
        """Run code in a child to its end."""
        return completed(self.fork(code, arguments, environment, folder, merged=False), arguments)


def completed(process: Process, words: Sequence[object]) -> subprocess.CompletedProcess[str]:
    """Wait for the end of a process, which is killed if it takes longer than ten minutes."""
    try:
        output, errors = process.communicate(timeout=600)
    finally:
        process.kill()
    assert process.returncode is not None
    return subprocess.CompletedProcess([*map(str, words)], process.returncode, output, errors)


STARTING = threading.Lock()  # several tests start commands from threads


def fork_server(
    python: Path | str = sys.executable, modules: Sequence[str] = MODULES
) -> ForkServer:
    """Return this process's server of a Python and modules; it is started when first needed."""
    with STARTING:
        return _fork_server(str(python), tuple(modules))


@functools.cache
def _fork_server(python: str, modules: tuple[str, ...]) -> ForkServer:
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return ForkServer.start(python, modules, variables)


def start(
    words: Sequence[object],
    *,
    env: Mapping[str, str],
    cwd: Path | str | None = None,
    merged: bool = False,
    code: str = OURS,
    imported: Sequence[str] = MODULES,
) -> Process:
    """Start `slack-ties` with these words, or other code with these arguments."""
    arguments = [str(word) for word in words]
    if CAN_FORK:
        return fork_server(modules=imported).fork(
            code, arguments, env, cwd or Path.cwd(), merged=merged
        )
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env=env,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if merged else subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def run(words: Sequence[object], **how: Any) -> subprocess.CompletedProcess[str]:
    """Run to its end what `start` starts, with the same arguments."""
    process = start(words, **how)
    return completed(process, words)

"""A process that has imported what the commands import, and forks a child for each command.

Importing mergekit, torch and transformers takes most of a short command's time. Here they are
imported once. Each child gets the environment, the folder and the output files of its command,
and reads the settings of the Hub client anew, as a new process would.

    python tests/fork_server.py SOCKET MODULE ...

Who asks sends one line of JSON (see `Request`). The answers are a line with the child's process
id, and a line with its exit status when it has ended. The server ends with the process that
started it. It is for Linux: on macOS, system libraries may not be used after a fork.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypedDict

LOOK = 2.0  # seconds between two looks at whether the parent lives


class Request(TypedDict):
    """What a child is to be."""

    code: str
    arguments: list[str]
    environment: dict[str, str]
    folder: str
    output: str  # the path of the file that takes the standard output
    errors: str  # and of the one for errors: it may be the same


def serve(server: socket.socket) -> Request:
    """Fork a child for each request and say how it ended; return, in a child, its request."""
    parent = os.getppid()
    children: dict[int, socket.socket] = {}
    ended, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # so that the end of a child is written there
    while os.getppid() == parent:
        ready, _, _ = select.select([server, ended], [], [], LOOK)
        if ended in ready:
            os.read(ended, 1000)
        for pid, status in ended_children():
            say(children.pop(pid), f"{os.waitstatus_to_exitcode(status)}")
        if server not in ready:
            continue
        connection, _ = server.accept()
        with connection.makefile("r") as lines:
            request: Request = json.loads(lines.readline())
        if pid := os.fork():
            children[pid] = connection
            say(connection, f"{pid}")
            continue
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for file in (server, connection, *children.values()):
            file.close()
        return request
    os._exit(0)


def ended_children() -> Iterator[tuple[int, int]]:
    """Yield the process ids of children that have ended, and how."""
    with contextlib.suppress(ChildProcessError):  # there are no others
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            yield found


def say(connection: socket.socket, text: str) -> None:
    """Send a line, if somebody waits for it still."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.sendall(f"{text}\n".encode())


def become(request: Request) -> None:
    """Take on the environment, the folder, the files and the arguments of a command."""
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    for number, name in ((1, "output"), (2, "errors")):
        file = os.open(request[name], os.O_WRONLY | os.O_APPEND)  # type: ignore[literal-required]
        os.dup2(file, number)
        os.close(file)
    sys.argv[:] = ["-c", *request["arguments"]]
    # Whoever runs the tests in the background ignores Ctrl-C, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    read_settings_anew()


def read_settings_anew() -> None:
    """Let the Hub client read its environment again, which it does when it is imported."""
    constants = sys.modules.get("huggingface_hub.constants")
    if not constants:
        return
    before = dict(vars(constants))
    importlib.reload(constants)
    changed = {
        name: value
        for name, value in vars(constants).items()
        if name.isupper() and value != before.get(name)
    }
    # Some modules have copies of their own.
    for module in [m for name, m in sys.modules.items() if name.startswith("huggingface_hub.")]:
        for name, value in changed.items():
            if vars(module).get(name, value) == before.get(name):
                setattr(module, name, value)
    if "huggingface_hub.hf_api" in sys.modules:
        # The client behind its functions, which mergekit calls.
        sys.modules["huggingface_hub.hf_api"].api.endpoint = constants.ENDPOINT
    if api := sys.modules.get("huggingface_hub.hf_api"):
        # The client behind `huggingface_hub.snapshot_download` and the like.
        api.api.endpoint = constants.ENDPOINT
    if constants.HF_DEBUG:
        sys.modules["huggingface_hub.utils.logging"].set_verbosity_debug()


@dataclass
class End:
    """Ends the process at once when all is done that Python does at its end.

    Otherwise Python would take apart hundreds of modules, which is a copy of all their memory.
    """

    status: int | None = None  # known by then, or Python ends as it does

    def __call__(self) -> None:
        """Be the last that Python calls."""
        if self.status is not None:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(self.status)


def main() -> Request:
    """Serve; return, in a child, what it is to run."""
    path, *modules = sys.argv[1:]
    sys.path[0] = ""  # not the folder of the tests
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"  # as every command sets it
    for name in modules:
        importlib.import_module(name)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(100)
        print("ready", flush=True)  # noqa: T201 - who started it waits for this
        gc.collect()
        gc.freeze()
        request = serve(server)
    become(request)
    return request


if __name__ == "__main__":
    end = End()
    atexit.register(end)  # before all others, which are called before it
    code = main()["code"]
    # At the top, so that Python ends as after `python -c`: threads, exit codes, Ctrl-C.
    try:
        exec(code, {"__name__": "__main__"})  # noqa: S102
        end.status = 0
    except SystemExit as stop:
        if stop.code is None or isinstance(stop.code, int):
            end.status = (stop.code or 0) & 0xFF
        raise

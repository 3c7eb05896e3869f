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

import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import sys
from typing import Any, TypedDict

LOOK = 2.0  # seconds between two looks at whether the parent lives


class Request(TypedDict):
    """What a child is to be."""

    code: str
    arguments: list[str]
    environment: dict[str, str]
    folder: str
    output: str  # the path of the file that takes the standard output
    errors: str  # and of the one for errors: it may be the same


def next_request(server: socket.socket) -> socket.socket:
    """Wait for a connection, and return it in a child; the server itself never returns."""
    parent = os.getppid()
    server.settimeout(LOOK)
    while True:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        try:
            connection, _ = server.accept()
        except TimeoutError:
            if os.getppid() != parent:
                os._exit(0)
            continue
        if not os.fork():
            server.close()
            connection.settimeout(None)
            return connection
        connection.close()


def watch(pid: int, connection: socket.socket) -> None:
    """Say which process it is and, once it has ended, how; then end."""
    with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
        connection.sendall(f"{pid}\n".encode())
        _, status = os.waitpid(pid, 0)
        connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


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
    if constants.HF_DEBUG:
        sys.modules["huggingface_hub.utils.logging"].set_verbosity_debug()


def main() -> dict[str, Any]:
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
        connection = next_request(server)
    with connection.makefile("r") as lines:
        request: Request = json.loads(lines.readline())
    if pid := os.fork():
        watch(pid, connection)
    connection.close()
    become(request)
    return {"__name__": "__main__", "code": request["code"]}


if __name__ == "__main__":
    child = main()
    # At the top, so that Python ends as after `python -c`: threads, exit codes, Ctrl-C.
    exec(child.pop("code"), child)  # noqa: S102

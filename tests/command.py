"""The command line in a process of its own, against a Hub of the tests."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from click.testing import Result

from hub_server import Hub, Server, Token
from processes import start
from slack_ties.publish.public_files import public_files
from slack_ties.record import read_record

PROGRAM = Path(sys.executable).with_name("slack-ties")

# How a next step begins that is a command; another one is a sentence.
COMMAND = re.compile(r"(slack-ties|hf|pip|git|unset|export|iconv|mergekit-\w+) ")

Invoke = Callable[..., Result]  # of the fixture `invoke`


@dataclass
class Killed:
    """How a command ended."""

    code: int
    output: str
    requests: list[str]


def assert_refused(result: Result, message: str) -> None:
    """Check that a command printed no result, but a line with what is wrong, and the next step."""
    assert result.exit_code in (1, 2)
    assert result.stdout == ""
    error, step = result.stderr.strip().splitlines()[-2:]
    assert error.startswith("Error: ")
    assert message in error
    assert step.startswith("Next: ")


def environment(server: Server, home: Path, token: str, *, xet: bool = False) -> dict[str, str]:
    """Return the environment of a command that is to speak to this Hub; by hf_xet if asked for."""
    own = {"HF_ENDPOINT": server.url, "HF_TOKEN": token, "HF_HOME": str(home)}
    variables = {**os.environ, **own}
    if xet:
        del variables["HF_HUB_DISABLE_XET"]
    return variables


def kill_at(
    count: int, words: Sequence[str], server: Server, environment: dict[str, str]
) -> Killed:
    """Run `slack-ties` with these words, and kill it when it makes its request `count`."""
    process = start(words, env=environment, merged=True)

    def watch(_: str) -> None:
        if len(server.hub.requests) == count:
            process.kill()
            server.hub.stopped = True  # the process that uploads for it ends a moment later

    server.hub.watcher = watch
    output, _ = process.communicate(timeout=300)
    assert process.returncode is not None
    return Killed(process.returncode, output, server.hub.requests)


def files_on_main(hub: Hub, repo_id: str, user: str) -> dict[str, bytes]:
    """Return the files of a repository's main without the Hub's own; none if there is none."""
    if repo_id not in hub.repos():
        return {}
    files = hub.revision(hub.repo(repo_id, Token(user)), "main")["files"]
    return {
        name: hub.blob(file["lfs"] or file["oid"]).read_bytes()
        for name, file in files.items()
        if name != ".gitattributes"
    }


def public_bytes(model: Path) -> dict[str, bytes]:
    """Return the files of a merged model as they are published: folders without their paths."""
    with public_files(model, read_record(model)) as instead:
        paths = {**{path.name: path for path in model.iterdir()}, **instead}
        return {name: path.read_bytes() for name, path in paths.items()}


def is_typable(step: str) -> bool:
    """Say whether a next step, if it is a command, can be typed: what explains it is a comment."""
    if not COMMAND.match(step):
        return True
    words = shlex.shlex(step, posix=True, punctuation_chars=True)
    try:
        found = list(words)
        split = shlex.split(step, comments=True)
    except ValueError:
        return False
    prose = {"(", ")", "or", "or:", "then", "then:"}
    return prose.isdisjoint(found) and not any(one.endswith((",", ":")) for one in split)

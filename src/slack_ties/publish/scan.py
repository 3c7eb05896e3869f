"""Search the files of a model for what a user would publish only by mistake.

Secrets are refused everywhere. The home folder, the user's name in a path and the folders of the
merged models are refused unless the user asks to send that file as it is.
"""

from __future__ import annotations

import getpass
import html
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from slack_ties.errors import CheckpointError
from slack_ties.files import any_matches, expanded
from slack_ties.models.safetensors_file import safetensors_header

__all__ = ["Found", "Private", "find_in_text", "find_private", "find_secret", "private_texts"]

Private = Sequence[tuple[str, re.Pattern[bytes]]]  # what it is, and how it is written

MOST_READ = 20_000_000  # bytes; larger files are not searched

WEIGHTS = ("*.safetensors", "*.bin")

# Their text comes from a parent's tokenizer, and a token may look like a path.
VOCABULARIES = ("tokenizer.json", "vocab*", "merges.txt", "*.model", "added_tokens.json")

SECRETS: Private = tuple(
    (what, re.compile(pattern))
    for what, pattern in {
        "a Hugging Face token": rb"\b(?:hf|api_org)_[A-Za-z0-9]{30,}",
        "a private key": rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY",
        "an AWS key": rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
        "a GitHub token": rb"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{60,})",
        "an API key": rb"(?<![\w/.-])sk-(?=[\w-]*[0-9])(?=[\w-]*[A-Z])[\w-]{40,}",
        "an address with a password": rb"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@\"'<>]{1,80}"
        rb":[^\s/:@\"'<>]{1,80}@[\w.-]",
    }.items()
)

# Names that say nothing about a person.
SHARED_NAMES = {"root", "user", "users", "home", "ubuntu", "admin", "runner", "jovyan", "vscode"}

SHORTEST = 2  # folders in a path that is searched for: `/data` alone says nothing


@dataclass(frozen=True)
class Found:
    """Something that must not be published."""

    what: str
    line: int = 0  # from 1; 0 if the file has no lines

    def where(self, path: Path) -> str:
        """Return the file and the line."""
        return f"{path}, line {self.line}," if self.line else str(path)


def find_secret(path: Path) -> Found | None:
    """Return the kind of secret that a text file seems to contain; never the secret itself."""
    return _first(_content(path), SECRETS)


def find_private(path: Path, private: Private) -> Found | None:
    """Return the private text that a file contains, if any."""
    return None if any_matches([path.name], VOCABULARIES) else _first(_content(path), private)


def find_in_text(text: str, private: Private) -> Found | None:
    """Return the secret or the private text in a text, if any."""
    return _first(text.encode(), [*SECRETS, *private])


def private_texts(folders: Iterable[str] = ()) -> Private:
    """Return what is private on this machine.

    Args:
        folders: The paths of merged models, as the config names them.

    """
    return [
        *((what, _pattern(text)) for what, text in _texts(folders)),
        *(("your user name, in a path", _in_a_path(name)) for name in _user_names()),
    ]


def _texts(folders: Iterable[str]) -> Iterator[tuple[str, str]]:
    home, here = _home(), os.getcwd()  # noqa: PTH109 - as text
    if len(Path(home).parts) > 1:
        yield "your home folder", home
    if len(Path(here).parts) > SHORTEST:
        yield "the path of the current folder", here
    for folder in folders:
        what = "the path of a merged model"
        full = expanded(folder).absolute()
        if len(Path(folder).parts) >= SHORTEST:
            yield what, folder
        if len(full.parts) > SHORTEST:
            yield what, str(full)
        if len(full.parent.parts) > SHORTEST:
            yield what, str(full.parent)


def _home() -> str:
    """Return the user's home folder, or "/" if this user has none, as in some containers."""
    home = os.path.expanduser("~")  # noqa: PTH111 - Path.home raises then
    return "/" if home == "~" else home


def _user_names() -> set[str]:
    names = {Path(_home()).name}
    with suppress(OSError, KeyError, ImportError):  # in a container a user may have no name
        names.add(getpass.getuser())
    return {name for name in names if name and name.lower() not in SHARED_NAMES}


def _pattern(text: str) -> re.Pattern[bytes]:
    """Return a pattern for a path: as it is, and as JSON and HTML write it."""
    written = {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    written |= {html.escape(one) for one in written}
    ways = b"|".join(sorted(re.escape(os.fsencode(one)) for one in written))
    return re.compile(rb"(?<![\w.%%-])(?:%s)(?![\w-])" % ways)


def _in_a_path(name: str) -> re.Pattern[bytes]:
    """Return a pattern for an absolute path with a folder of this name; no address has one."""
    begin = rb"(?:(?<=file://)|(?<![\w.%/-]))/(?!/)|\b[A-Za-z]:[/\\]+"
    folders = rb"(?:[^/\\\s\"'<>|*?]+[/\\]+)*"
    return re.compile((rb"(?:%s)" % begin) + folders + re.escape(os.fsencode(name)) + rb"(?![\w-])")


def _content(path: Path) -> bytes:
    """Return what of a file is searched: of weights only what describes them."""
    if any_matches([path.name], WEIGHTS):
        if path.suffix != ".safetensors":
            return b""
        try:
            header = safetensors_header(path)[0]
            described = json.loads(header[8:]).get("__metadata__", {})
        except (CheckpointError, ValueError, AttributeError):
            return b""
        return json.dumps(described, ensure_ascii=False).encode()
    return b"" if path.stat().st_size > MOST_READ else path.read_bytes()


def _first(content: bytes, wanted: Private) -> Found | None:
    for what, pattern in wanted:
        if match := pattern.search(content):
            line = content.count(b"\n", 0, match.start()) + 1
            return Found(what, 0 if b"\0" in content else line)
    return None

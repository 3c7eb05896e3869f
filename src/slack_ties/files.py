"""Write a text file completely or not at all, and compare files by checksum."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shlex
import stat
import tempfile
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slack_ties.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "SHA256_DIGITS",
    "any_matches",
    "as_pattern",
    "begin_checksum",
    "check_writable",
    "checksum",
    "expanded",
    "git_hash",
    "json_text",
    "mode_of_new_files",
    "nearest_folder",
    "read_json",
    "sha256",
    "sha256_of",
    "sync",
    "write_all",
    "write_whole",
]

SHA256_DIGITS, GIT_DIGITS = 64, 40  # the Hub has git's SHA-1 of small files

READ_BYTES = 1 << 20  # read at a time


def expanded(path: str | Path) -> Path:
    """Return a path with the home folder in place of `~`; a user who does not exist stays."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser raises an error there


def check_writable(path: Path, hint: str = "choose another file with -o") -> None:
    """Refuse a path that `write_whole` could not write to, before long work.

    Args:
        path: The file.
        hint: The next step if its folder cannot be written to.

    Raises:
        OutputError: Its folder does not exist, or cannot be written to.

    """
    folder = _followed(path).parent
    if not folder.is_dir():
        msg = f"there is no folder {str(folder)!r} for {path.name}"
        raise OutputError(msg, hint=f"mkdir -p {shlex.quote(str(folder))}")
    try:  # modes do not tell: root may do more, and some file systems take nothing
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        msg = f"cannot write {str(path)!r}: {error.strerror or error}"
        raise OutputError(msg, hint=hint) from None


def write_whole(path: Path, text: str) -> None:
    """Write `text` as UTF-8, the same bytes on every system; `path` never has half of it.

    Several processes may write at once: each writes its own temporary file, and the last one
    wins. When this function returns, the text is on the disk and survives a power cut.

    Raises:
        OSError: The disk is full, or the folder cannot be written to.

    """
    path = _followed(path)
    new = _staged(path, text)
    try:
        os.replace(new, path)  # noqa: PTH105 - replaces on Windows too
    finally:
        new.unlink(missing_ok=True)
    _sync_folder(path.parent)


def write_all(texts: Mapping[Path, str], *, removed: Iterable[Path] = ()) -> None:
    """Write several files as `write_whole` does, and remove others: all of it, or nothing.

    Raises:
        OSError: As for `write_whole`; then the files are as they were.

    """
    texts = {_followed(path): text for path, text in texts.items()}
    removed = list(removed)
    before = {path: path.read_bytes() if path.is_file() else None for path in (*texts, *removed)}
    staged: dict[Path, Path] = {}
    try:
        for path, text in texts.items():
            staged[path] = _staged(path, text)
        for path, new in staged.items():
            os.replace(new, path)  # noqa: PTH105 - replaces on Windows too
        for path in removed:
            path.unlink(missing_ok=True)
    except BaseException:
        for path, content in before.items():
            if content is not None and (not path.is_file() or path.read_bytes() != content):
                path.write_bytes(content)
            elif content is None and path.is_file():
                path.unlink()
        raise
    finally:
        for new in staged.values():
            new.unlink(missing_ok=True)
    for folder in {path.parent for path in texts}:
        _sync_folder(folder)


def _staged(path: Path, text: str) -> Path:
    """Write a text to a new file beside `path`; return its path."""
    # In the same folder: only there can one step move the file to `path`.
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    new = Path(name)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        new.chmod(_mode_for(path))
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    return new


def _followed(path: Path) -> Path:
    """Follow a link of this user; in a shared folder, a link of somebody else is replaced."""
    whose = getattr(os, "getuid", None)  # not on Windows
    if whose and path.is_symlink() and path.lstat().st_uid != whose():
        return path.parent.resolve() / path.name
    return path.resolve()


def _mode_for(path: Path) -> int:
    """Return the mode of the file that is there, or of a new file."""
    with contextlib.suppress(FileNotFoundError):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode):
            return stat.S_IMODE(status.st_mode)
    return mode_of_new_files()


def mode_of_new_files() -> int:
    """Return the mode that the umask gives a new file; only the owner can read a temporary one."""
    # To read the umask, Python must set it, which affects other threads. Linux shows it in a file.
    with contextlib.suppress(OSError, StopIteration, ValueError):
        status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return 0o666 & ~int(next(x for x in status if x.startswith("Umask:")).split()[1], 8)
    umask = os.umask(0o022)
    os.umask(umask)
    return 0o666 & ~umask


def sync(path: Path) -> None:
    """Put a file that another library has written on the disk: it then survives a power cut.

    Raises:
        OSError: The disk is full, or fails.

    """
    with path.open("rb+") as file:  # Windows puts only a file on the disk that may be written to
        os.fsync(file.fileno())
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Write the name of a new file to the disk, if the system can: Windows cannot."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; {} if it is missing, damaged, or not an object."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def json_text(data: Mapping[str, Any]) -> str:
    """Return data as JSON for people to read."""
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def sha256(path: Path) -> str:
    """Return a file's SHA-256, 64 hex digits, as the Hub shows it."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def sha256_of(text: str) -> str:
    """Return the SHA-256 of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def checksum(path: Path, like: str) -> str:
    """Return a file's SHA-256, or git's SHA-1 if `like` is one (40 digits)."""
    if len(like) == GIT_DIGITS:
        return git_hash(path.read_bytes())
    return sha256(path)


def git_hash(content: bytes) -> str:
    """Return git's hash of a file: the Hub uses it for small files."""
    digest = begin_checksum("0" * GIT_DIGITS, len(content))
    digest.update(content)
    return digest.hexdigest()


def begin_checksum(like: str, length: int) -> hashlib._Hash:
    """Return what computes the checksum of a file whose bytes follow.

    Args:
        like: A checksum of the same kind: git's SHA-1 (40 digits), else a SHA-256.
        length: The bytes of the file.

    """
    if len(like) == GIT_DIGITS:
        return hashlib.sha1(b"blob %d\0" % length, usedforsecurity=False)
    return hashlib.sha256()


def any_matches(names: list[str], patterns: tuple[str, ...]) -> bool:
    """Return whether one of the file names matches one of the patterns."""
    return any(fnmatch(name, pattern) for name in names for pattern in patterns)


def as_pattern(name: str) -> str:
    """Return a pattern that matches a file name and that a message can show.

    A message is one line: it shows no line break, and two spaces as one.
    """
    escaped = re.sub(r"[*?[]", r"[\g<0>]", name)
    plain = re.sub(r" {2,}", lambda spaces: "?" * len(spaces[0]), escaped)
    return "".join(c if c.isprintable() else "?" for c in plain)


def nearest_folder(out: Path) -> Path:
    """Return the nearest folder above `out` that exists."""
    return next(parent for parent in out.absolute().parents if parent.exists())

"""The Hub of the tests in a process of its own: its memory, disk and time are not the command's.

`HubProcess` starts it and tells it what to do, in lines of JSON; `python hub_process.py FOLDER` is
the process itself. At every request it looks at the disk of the command that is measured.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import IO, Any, cast

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from hub_server import GIT_ATTRIBUTES, Handler, Hub, Server, Token, git_oid
from made_up import Model, make_up
from slack_ties.files import sha256
from watch import disk_of

USER, TOKEN = "bench", "hf_" + "Bench0" * 6
WEIGHTS = (".safetensors", ".bin")
STEP = 1 << 16  # bytes that go through at once


class Measured(Handler):
    """The routes of the tests' Hub; large files are not held in memory."""

    hub: MeasuredHub

    def _read_body(self, path: str) -> None:
        """Read what is sent; the content of a large file goes to the disk at once."""
        if not (self.command == "PUT" and path.startswith("/lfs/")):
            super()._read_body(path)
            return
        oid, left = path.split("/")[2], int(self.headers["Content-Length"])
        self.body, found = b"", hashlib.sha256()
        part = self.hub.blob(f"{oid}.{threading.get_ident()}")
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            while left and (block := self.rfile.read1(min(left, STEP))):
                self.hub.up.take(len(block), self.hub.wake)
                found.update(block)
                file.write(block)
                left -= len(block)
                self.hub.uploaded += len(block)
        if left or found.hexdigest() != oid:
            part.unlink()
        else:
            part.replace(self.hub.blob(oid))

    def _lfs_put(self, oid: str, part: str) -> Any:
        return {} if not part and self.hub.blob(oid).is_file() else super()._lfs_put(oid, part)


class MeasuredHub(Hub):
    """The state of the Hub, and what it measures."""

    def __init__(self, root: Path) -> None:
        """Measure nothing yet."""
        super().__init__(root, {TOKEN: Token(USER)}, watcher=self._watch)
        self.uploaded = 0  # bytes of large files that came in
        self.folder, self.pid, self.disk, self.at = root, 0, 0, ""

    def _watch(self, request: str) -> None:
        if self.pid:
            disk = disk_of(self.folder, self.pid)
            if disk > self.disk:
                self.disk, self.at = disk, request

    # What the process can be told to do.

    def put(self, repo_id: str, folder: str, made_up: dict[str, Any] | None) -> dict[str, int]:
        """Make a model of a folder, whose files are moved, and of weight files that are made up."""
        entries = {}
        for path in sorted(Path(folder).iterdir()):
            large = sha256(path) if path.name.endswith(WEIGHTS) else ""
            entries[path.name] = _entry(path.stat().st_size, large or path.read_bytes())
            self.blob("").mkdir(parents=True, exist_ok=True)
            path.replace(self.blob(large or entries[path.name]["oid"]))
        for name, file in (make_up(Model(**made_up)) if made_up else {}).items():
            large = file.sha256()
            self.generated[large] = file.read
            entries[name] = _entry(file.size, large)
        return self._new(repo_id, entries)

    def _new(self, repo_id: str, entries: dict[str, Any]) -> dict[str, int]:
        state: dict[str, Any] = {"private": False, "commits": [], "refs": {}}
        content = GIT_ATTRIBUTES.encode()
        self.store(content, git_oid(content))
        entries[".gitattributes"] = _entry(len(content), content)
        self.commit(state, "upload", entries)
        self.save(repo_id, {**state, "tags": {}, "discussions": []})
        return {name: one["size"] for name, one in entries.items() if one["lfs"]}

    def begin(self, folder: str, incoming: int, outgoing: int) -> dict[str, Any]:
        """Count anew, and let through so many bytes in a second."""
        self.folder, self.pid, self.disk, self.at = Path(folder), 0, 0, ""
        self.uploaded, self.up.rate, self.down.rate = 0, incoming, outgoing
        self.sent_of.clear()
        self.requests.clear()
        return {}

    def look_at(self, pid: int) -> dict[str, Any]:
        """Look at the open files of this process, too."""
        self.pid = pid
        return {}

    def figures(self) -> dict[str, Any]:
        """Return what was measured."""
        return {
            "weights": {k: v for k, v in self.sent_of.items() if k.endswith(WEIGHTS)},
            "uploaded": self.uploaded,
            "disk": self.disk,
            "at": self.at,
            "requests": len(self.requests),
            "large": [one.stat().st_size for one in self.root.glob("objects/" + "[0-9a-f]" * 64)],
        }

    def published(self, repo_id: str) -> dict[str, Any]:
        """Return the SHA-256 and the size of each weight file on main."""
        state = self.repo(repo_id, Token(USER))
        files = self.revision(state, "main")["files"]
        return {name: [one["lfs"], one["size"]] for name, one in files.items() if one["lfs"]}

    def forget(self, keep: list[str]) -> dict[str, Any]:
        """Delete all models but these, and the large files that are only theirs."""
        for repo_id in set(self.repos()) - set(keep):
            self._state(repo_id).unlink()
        kept = {oid for one in keep for oid, _ in self.published(one).values()}
        for path in self.root.glob("objects/*"):
            if len(path.name) >= 64 and path.name not in kept:  # noqa: PLR2004 - of SHA-256
                path.unlink()
        return {}


def _entry(size: int, content: bytes | str) -> dict[str, Any]:
    """Return what a commit says of a file, by its content or the SHA-256 of a large file."""
    large = isinstance(content, str)
    oid = git_oid(content.encode() if isinstance(content, str) else content)
    return {"oid": oid, "size": size, "lfs": content if large else ""}


class HubProcess:
    """The process, as the benchmark sees it."""

    def __init__(self, root: Path) -> None:
        """Start it with an empty folder."""
        root.mkdir()
        command = [sys.executable, __file__, str(root)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        self.lock = threading.Lock()
        self.url: str = self._read()

    def do(self, what: str, *arguments: Any) -> Any:
        """Let it do something, a method of `MeasuredHub`, and return the answer."""
        with self.lock:
            told = cast("IO[str]", self.process.stdin)
            told.write(json.dumps([what, *arguments]) + "\n")
            told.flush()
            return self._read()

    def _read(self) -> Any:
        line = cast("IO[str]", self.process.stdout).readline()
        if not line:
            sys.exit("the Hub's process has ended; it says above why")
        return json.loads(line)

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()


def main() -> None:
    """Serve, and do what the standard input says."""
    hub = MeasuredHub(Path(sys.argv[1]))
    server = Server(hub)
    server.RequestHandlerClass = cast(
        "type[BaseHTTPRequestHandler]", type("Bound", (Measured,), {"hub": hub})
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps(server.url), flush=True)
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        print(json.dumps(getattr(hub, what)(*arguments)), flush=True)


if __name__ == "__main__":
    main()

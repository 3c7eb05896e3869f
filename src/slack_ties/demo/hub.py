"""A small Hub on this machine: the real client publishes to it and loads from it, over HTTP.

It listens on 127.0.0.1 alone, keeps everything in memory, and belongs to one user, who has one
token. It has the routes that the demo's commands use, with what the real Hub answers there:
repositories, commits with uploads in git-lfs's way, files. docs: https://huggingface.co/docs/hub/api
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from slack_ties.demo.repositories import (
    LARGE_FILES,
    File,
    RefusedError,
    Repository,
    front_matter,
)

__all__ = ["Hub", "serving"]


class Hub(ThreadingHTTPServer):
    """The Hub, listening on a free port of the loopback interface."""

    daemon_threads = True

    def __init__(self, user: str, token: str) -> None:
        """Listen, but answer only once `serve_forever` runs."""
        super().__init__(("127.0.0.1", 0), _Request)
        self.user, self.token = user, token
        self.repositories: dict[str, Repository] = {}
        self.uploads: dict[str, bytes] = {}  # by SHA-256: large files that commits may name
        self.lock = threading.Lock()  # requests of several threads take turns

    @property
    def url(self) -> str:
        """Return what HF_ENDPOINT must be."""
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serving(user: str, token: str) -> Iterator[Hub]:
    """Yield a Hub that answers until the end of the `with` block."""
    with Hub(user, token) as hub:
        thread = threading.Thread(target=hub.serve_forever, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()


class _Request(BaseHTTPRequestHandler):
    """One connection: reads requests, finds the route, answers."""

    protocol_version = "HTTP/1.1"
    server: Hub
    body = b""

    def log_message(self, *_: object) -> None:
        """Log nothing: the demo shows what its commands say."""

    def do_GET(self) -> None:
        """Answer a request of any method."""
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        try:
            with self.server.lock:
                answer = self._route(parts, parse_qs(url.query))
        except RefusedError as refused:
            reason = {"X-Error-Message": refused.message.replace("\n", " ")}
            reason |= {"X-Error-Code": refused.code} if refused.code else {}
            self._send(refused.status, _as_json({"error": refused.message, **refused.more}), reason)
            return
        if isinstance(answer, tuple):
            self._send_file(*answer)
        else:
            self._send(200, _as_json(answer), {"Content-Type": "application/json"})

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815 - the names http.server looks for

    def _route(  # noqa: C901, PLR0911, PLR0912 - a table of routes is long and plain
        self, parts: list[str], query: dict[str, list[str]]
    ) -> Any:
        match (self.command, *parts):
            case ("GET", "api", "whoami-v2"):
                return self._who_am_i()
            case ("POST", "api", "repos", "create"):
                return self._create()
            case ("POST", "api", "validate-yaml"):
                front_matter(self._json()["content"])
                return {"errors": [], "warnings": []}
            case ("GET", "api", "models", owner, name):
                return self._seen(owner, name).as_json("main", sizes="blobs" in query)
            case ("GET", "api", "models", owner, name, "revision", revision):
                return self._seen(owner, name).as_json(revision, sizes="blobs" in query)
            case ("GET", "api", "models", owner, name, "tree", revision, *folder):
                recursive = query.get("recursive", [""])[0].lower() == "true"
                return self._tree(owner, name, revision, folder, recursive=recursive)
            case ("GET", "api", "models", owner, name, "auth-check", "write"):
                self._mine(owner, name)
                return {}
            case ("POST", "api", "models", owner, name, "preupload", revision):
                return self._how_to_upload(self._mine(owner, name), revision)
            case ("POST", "api", "models", owner, name, "commit", revision):
                return self._commit(self._mine(owner, name), revision)
            case ("POST", owner, name, "info", "lfs", "objects", "batch"):
                return self._where_to_upload(owner, name.removesuffix(".git"))
            case ("PUT", "lfs", sha256):
                return self._upload(sha256)
            case ("POST", "lfs", sha256, "verify") if sha256 in self.server.uploads:
                return {}
            case ("GET" | "HEAD", owner, name, "resolve", revision, *path):
                return self._file(owner, name, revision, "/".join(path))
        raise RefusedError(404, f"the demo's Hub has no route {self.command} {self.path}")

    # Who asks, and for what

    def _is_user(self) -> bool:
        given = self.headers.get("Authorization", "")
        if given and given != f"Bearer {self.server.token}":
            raise RefusedError(401, "Invalid credentials in Authorization header")
        return bool(given)

    def _who_am_i(self) -> dict[str, Any]:
        if not self._is_user():
            raise RefusedError(401, "Invalid username or password.")
        token = {"displayName": "demo", "role": "write"}
        auth = {"type": "access_token", "accessToken": token}
        return {"type": "user", "name": self.server.user, "orgs": [], "auth": auth}

    def _seen(self, owner: str, name: str) -> Repository:
        """Return a repository that the asker may read."""
        found = self.server.repositories.get(f"{owner}/{name}")
        if not self._is_user() and (found is None or found.private):
            raise RefusedError(401, "Repository not found", "RepoNotFound")
        if found is None:
            raise RefusedError(404, "Repository not found", "RepoNotFound")
        return found

    def _mine(self, owner: str, name: str) -> Repository:
        """Return a repository that the asker may write to."""
        self._check_owner(owner)
        return self._seen(owner, name)

    def _check_owner(self, owner: str) -> None:
        if not self._is_user():
            raise RefusedError(401, "Invalid username or password.")
        if owner != self.server.user:
            raise RefusedError(403, f"You don't have the rights to write to {owner}")

    def _json(self) -> dict[str, Any]:
        return dict(json.loads(self.body))

    # Writing

    def _create(self) -> dict[str, Any]:
        asked = self._json()
        owner = asked.get("organization") or self.server.user
        self._check_owner(owner)
        repo_id = f"{owner}/{asked['name']}"
        url = f"{self.server.url}/{repo_id}"
        if repo_id in self.server.repositories:
            raise RefusedError(409, "You already created this model repo", url=url)
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        repository = Repository(repo_id, private)
        lines = [f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LARGE_FILES]
        repository.add(
            "initial commit", {".gitattributes": File("".join(lines).encode(), large=False)}
        )
        self.server.repositories[repo_id] = repository
        return {"url": url, "name": repo_id}

    def _how_to_upload(self, repository: Repository, revision: str) -> dict[str, Any]:
        there = repository.at(revision).files
        return {
            "files": [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(LARGE_FILES) else "regular",
                    "shouldIgnore": False,
                    "oid": there[file["path"]].name if file["path"] in there else None,
                }
                for file in self._json()["files"]
            ]
        }

    def _where_to_upload(self, owner: str, name: str) -> dict[str, Any]:
        """Answer as git-lfs does; a file without actions is there already."""
        self._mine(owner, name)
        objects = []
        for one in self._json()["objects"]:
            answer = {"oid": one["oid"], "size": one["size"]}
            if one["oid"] not in self.server.uploads:
                href = f"{self.server.url}/lfs/{one['oid']}"
                answer["actions"] = {"upload": {"href": href}, "verify": {"href": f"{href}/verify"}}
            objects.append(answer)
        return {"transfer": "basic", "objects": objects}

    def _upload(self, sha256: str) -> dict[str, Any]:
        if hashlib.sha256(self.body).hexdigest() != sha256:
            raise RefusedError(400, "the content does not have the announced SHA-256")
        self.server.uploads[sha256] = self.body
        return {}

    def _commit(self, repository: Repository, revision: str) -> dict[str, Any]:
        head, title = repository.at(revision), ""
        if head is not repository.commits[-1]:
            raise RefusedError(400, f"commits go to main, not to {revision}")
        files = dict(head.files)
        for line in self.body.splitlines():
            operation = json.loads(line)
            value = operation["value"]
            match operation["key"]:
                case "header":
                    title = value["summary"]
                    if value.get("parentCommit", head.id) != head.id:
                        raise RefusedError(412, "A commit has happened since. Please refresh.")
                case "file":
                    files[value["path"]] = File(base64.b64decode(value["content"]), large=False)
                case "lfsFile" if value["oid"] in self.server.uploads:
                    files[value["path"]] = File(self.server.uploads[value["oid"]], large=True)
                case "deletedFile":
                    files.pop(value["path"], None)
                case key:
                    raise RefusedError(400, f"cannot do {key} of {value.get('path')}")
        commit = repository.add(title, files)
        url = f"{self.server.url}/{repository.id}/commit/{commit.id}"
        return {"success": True, "commitOid": commit.id, "commitUrl": url}

    # Reading

    def _tree(
        self, owner: str, name: str, revision: str, folder: list[str], *, recursive: bool
    ) -> list[dict[str, Any]]:
        files = self._seen(owner, name).at(revision).files
        prefix = "".join(f"{part}/" for part in folder)
        found = [path for path in sorted(files) if path.startswith(prefix)]
        if folder and not found:
            raise RefusedError(404, f"{prefix} is not on {revision}", "EntryNotFound")
        if not recursive:
            found = [path for path in found if "/" not in path.removeprefix(prefix)]
        return [{"type": "file", "path": path, **files[path].as_json()} for path in found]

    def _file(self, owner: str, name: str, revision: str, path: str) -> tuple[File, str]:
        commit = self._seen(owner, name).at(revision)
        if path not in commit.files:
            raise RefusedError(404, "Entry not found", "EntryNotFound")
        return commit.files[path], commit.id

    def _send_file(self, file: File, commit: str) -> None:
        """Send a file, or the part of it that is asked for."""
        headers = {"X-Repo-Commit": commit, "ETag": f'"{file.name}"', "Accept-Ranges": "bytes"}
        content, status = file.content, 200
        if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(wanted[1]), int(wanted[2] or len(content) - 1)
            last = min(last, len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            content, status = content[first : last + 1], 206
        self._send(status, content, headers)

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _as_json(value: object) -> bytes:
    return json.dumps(value).encode()

"""A Hugging Face Hub on loopback: real HTTP, the Hub's routes, state on disk.

As small as it can be while the real huggingface_hub client publishes to it and loads from
it. Large files are taken the classic LFS way, and by Xet (xet_server.py). It also runs jobs
(hub_jobs.py).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from hub_files import BLOCK, OF_ANSWERS, Addresses, Line, Stored, send_file
from hub_jobs import Events, Jobs, send_events

# https://huggingface.co/docs/hub/repositories-licenses
LICENSES = {
    "apache-2.0", "mit", "openrail", "bigscience-openrail-m", "creativeml-openrail-m",
    "bigscience-bloom-rail-1.0", "bigcode-openrail-m", "afl-3.0", "artistic-2.0", "bsl-1.0",
    "bsd", "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear", "c-uda", "cc", "cc0-1.0",
    "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0",
    "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0",
    "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0",
    "cdla-sharing-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "wtfpl", "ecl-2.0",
    "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1", "eupl-1.2", "agpl-3.0", "gfdl", "gpl",
    "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "isc", "h-research", "intel-research",
    "lppl-1.3c", "ms-pl", "apple-ascl", "apple-amlr", "mpl-2.0", "odc-by", "odbl", "openmdw-1.0",
    "openmdw-1.1", "openrail++", "osl-3.0", "postgresql", "ofl-1.1", "ncsa", "unlicense", "zlib",
    "pddl", "lgpl-lr", "deepfloyd-if-license", "fair-noncommercial-research-license", "llama2",
    "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4", "grok2-community", "gemma",
    "unknown", "other",
}  # fmt: skip
LFS_FILES = (".safetensors", ".bin", ".model")
GIT_ATTRIBUTES = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_FILES)


@dataclass(frozen=True)
class Token:
    """Who a bearer token belongs to, and what it may do: read or write."""

    user: str
    role: str = "write"
    orgs: tuple[tuple[str, str], ...] = ()  # the user's organizations, and the role in each
    scoped: tuple[tuple[str, str], ...] = ()  # of a fine-grained token: a place, a permission

    def may_write(self, owner: str) -> bool:
        """Say whether it may write to what belongs to a user or an organization."""
        if self.role == "fineGrained":
            return (owner, "repo.write") in self.scoped
        role = "admin" if owner == self.user else dict(self.orgs).get(owner)
        return self.role == "write" and role in ("contributor", "write", "admin")


class Refused(Exception):  # noqa: N818 - an answer, not an error
    """An answer other than 200."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str = "",
        headers: dict[str, str] | None = None,
        **body: Any,
    ) -> None:
        """Answer `status` with a JSON body, and the Hub's X-Error-Code header if given."""
        super().__init__(message)
        self.status, self.message, self.code, self.body = status, message, code, body
        self.headers = headers or {}


class Lost(Exception):  # noqa: N818 - no answer at all
    """The connection breaks after the work is done."""


@dataclass
class Fault:
    """Something that goes wrong with requests of one kind.

    `how` is a status (500, 429, 401, ...) that is answered instead of doing the work, or
    dropped_before, dropped_after (the work is done), stalled, busy, limited (429 with a
    RateLimit header and no Retry-After), later (503 with a Retry-After of 100 seconds).
    Of the kinds "file" and "range" also one of hub_files.OF_ANSWERS.
    """

    kind: str  # see KINDS
    how: str
    times: float = 1  # how often; inf for ever
    after: str = ""  # only once there was a request of this kind


# What a request is, by its method and path.
KINDS = {
    "whoami": r"GET /api/whoami-v2",
    "create": r"POST /api/repos/create",
    "validate": r"POST /api/validate-yaml",
    "info": r"GET /api/models/[^/]+/[^/]+(/revision/[^/]+)?",
    "list": r"GET /api/models",
    "auth": r"GET /api/models/.*/auth-check/write",
    "preupload": r"POST /api/models/.*/preupload/.*",
    "batch": r"POST /.*/info/lfs/objects/batch",
    "put": r"PUT /lfs/[0-9a-f]+",
    "part": r"PUT /lfs/[0-9a-f]+/[0-9]+",
    "complete": r"POST /lfs/[0-9a-f]+/complete",
    "verify": r"POST /lfs/[0-9a-f]+/verify",
    "commit": r"POST /api/models/.*/commit/.*",
    "tree": r"GET /api/models/.*/tree/.*",
    "xet token": r"GET /api/models/.*/xet-write-token/.*",
    "xorb": r"POST /cas/v1/xorbs/.*",
    "shard": r"POST /cas/v1/shards",
    "request": r"POST /api/models/[^/]+/[^/]+/discussions",
    "collection": r"POST /api/collections",
    "file": r"GET /[^/]+/[^/]+/resolve/.*",
    "address": r"GET /[^/]+/[^/]+/resolve/.*",
    "storage": r"GET /storage/.*",
    "range": r"GET (/[^/]+/[^/]+/resolve|/storage)/.* bytes=.*",
    "job create": r"POST /api/jobs/[^/]+",
    "job list": r"GET /api/jobs/(?!hardware)[^/]+",
    "job logs": r"GET /api/jobs/[^/]+/[^/]+/logs",
    "any": r".*",
}


@dataclass
class Hub:
    """The state: repositories with their commits, and the files by hash."""

    root: Path
    tokens: dict[str, Token] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)  # "GET /path", for tests
    sent: dict[str, int] = field(default_factory=dict)  # bytes of each file that was asked for
    lock: threading.RLock = field(default_factory=threading.RLock)
    received: dict[str, int] = field(default_factory=dict)  # bytes of each upload, by its hash
    stopped: bool = False
    faults: list[Fault] = field(default_factory=list)
    watcher: Callable[[str], None] | None = None  # called before each request is answered
    part_size: int = 0  # bytes from which an upload comes in parts of this size; 0: never
    page_size: int = 0  # the most models in one page of a list; 0: no pages
    wake: threading.Event = field(default_factory=threading.Event)  # ends all stalls
    rate: int = 0  # bytes of an answer that it sends in a second; 0: as fast as it can
    ranges: list[str] = field(default_factory=list)  # "file bytes=1-2", of downloads in pieces
    reset: int = 1  # seconds after which it answers again, as it says when limited
    refuses: str = ""  # what it says of every card
    heard: list[bytes] | None = None  # all that it is sent, if a test wants to see it
    moved: dict[str, str] = field(default_factory=dict)  # the old id of a repository -> its new id
    mirrored: str = ""  # the address of the Hub that files come from; this one only names it
    regular: bool = False  # whether it takes every file as a small one
    sent_of: dict[str, int] = field(default_factory=dict)  # as `sent`, by OWNER/NAME/FILE
    signed: bool = False  # whether large files come from another server, at signed addresses
    addresses: Addresses = field(default_factory=Addresses)
    storage_url: str = ""  # of that server
    leaked: list[str] = field(default_factory=list)  # requests to it that had a token
    down: Line = field(default_factory=Line)  # all that it sends
    up: Line = field(default_factory=Line)  # all that it is sent
    generated: dict[str, Callable[[int, int], bytes]] = field(default_factory=dict)  # by hash
    sends_now: int = 0  # files that it sends now
    most_at_once: int = 0  # the most of them so far
    jobs: Jobs = field(init=False)

    def __post_init__(self) -> None:
        """Have no jobs yet."""
        self.jobs = Jobs(self)

    def repo(self, repo_id: str, token: Token | None) -> dict[str, Any]:
        """Return a repository's state, if `token` may see it."""
        path = self._state(repo_id)
        state: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        owner = repo_id.partition("/")[0]
        owners = {token.user, *dict(token.orgs)} if token else set()
        if not state or (state["private"] and owner not in owners):
            raise Refused(404, "Repository not found", "RepoNotFound")
        return state

    def save(self, repo_id: str, state: dict[str, Any]) -> None:
        """Store a repository's state, whole or not at all."""
        path = self._state(repo_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        new.write_text(json.dumps(state), encoding="utf-8")
        new.replace(path)

    def revision(self, state: dict[str, Any], name: str) -> dict[str, Any]:
        """Return the commit that a revision names: a branch, a tag or a commit's id."""
        name = state["refs"].get(name) or state["tags"].get(name) or name
        for commit in reversed(state["commits"]):
            if commit["id"] == name:
                return dict(commit)
        raise Refused(404, f"Invalid rev id: {name}", "RevisionNotFound")

    def history(self, state: dict[str, Any], name: str) -> list[dict[str, Any]]:
        """Return the commits that lead to a revision, the newest first."""
        found = [self.revision(state, name)]
        while found[-1]["parent"]:
            found.append(self.revision(state, found[-1]["parent"]))
        return found

    def fault(self, request: str, wanted: str = "") -> str:
        """Return what goes wrong with a request now, if anything.

        Args:
            request: Its method and path.
            wanted: The range that it asks for.

        """
        ranged = f"{request} {wanted}" if self.sends(request) else request
        for fault in self.faults:
            armed = not fault.after or any(
                re.fullmatch(KINDS[fault.after], one) for one in self.requests
            )
            asked = ranged if fault.kind == "range" else request
            if armed and fault.times > 0 and re.fullmatch(KINDS[fault.kind], asked):
                fault.times -= 1
                return fault.how
        return ""

    def sends(self, request: str) -> bool:
        """Say whether the answer to a request for a file has its bytes, and is no address."""
        large = self.signed and "/resolve/" in request and request.endswith(LFS_FILES)
        return not large

    def generate(
        self, repo_id: str, name: str, size: int, oid: str, made: Callable[[int, int], bytes]
    ) -> str:
        """Add a large file that is made while it is sent; return the new commit.

        Args:
            repo_id: A repository that exists.
            name: The file's name.
            size: Its bytes.
            oid: Its SHA-256, or anything that looks like one.
            made: Returns its bytes from one position to another.

        """
        with self.lock:
            state = json.loads(self._state(repo_id).read_text("utf-8"))
            files = dict(self.revision(state, "main")["files"])
            files[name] = {"oid": git_oid(oid.encode()), "size": size, "lfs": oid}
            self.generated[oid] = made
            commit = self.commit(state, f"add {name}", files)
            self.save(repo_id, state)
            return commit

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Count the files that are sent now."""
        with self.lock:
            self.sends_now += 1
            self.most_at_once = max(self.most_at_once, self.sends_now)
        try:
            yield
        finally:
            with self.lock:
                self.sends_now -= 1

    def count(self, file: Stored, count: int) -> None:
        """Count bytes of a file that are sent."""
        with self.lock:
            whole = f"{file.repo_id}/{file.name}"
            self.sent[file.name] = self.sent.get(file.name, 0) + count
            self.sent_of[whole] = self.sent_of.get(whole, 0) + count

    def blob(self, oid: str) -> Path:
        """Return where the file with this hash is kept."""
        return self.root / "objects" / oid

    def store(self, content: bytes, oid: str) -> None:
        """Keep a file under its hash."""
        self.blob(oid).parent.mkdir(parents=True, exist_ok=True)
        self.blob(oid).write_bytes(content)

    def commit(
        self, state: dict[str, Any], title: str, files: dict[str, Any], ref: str = "main"
    ) -> str:
        """Add a commit that holds exactly `files` to a branch; return its id."""
        parent = state["refs"].get(ref, "")
        facts = json.dumps([parent, title, files, time.time_ns()]).encode()
        oid = hashlib.sha1(facts).hexdigest()  # noqa: S324 - as git does
        date = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
        state["commits"].append(
            {"id": oid, "title": title, "date": date, "files": files, "parent": parent}
        )
        state["refs"][ref] = oid
        return oid

    def repos(self) -> list[str]:
        """Return the ids of all repositories."""
        return [
            path.parent.relative_to(self.root / "models").as_posix()
            for path in sorted(self.root.glob("models/*/*/repo.json"))
        ]

    def _state(self, repo_id: str) -> Path:
        return self.root / "models" / repo_id / "repo.json"


def git_oid(content: bytes) -> str:
    """Return git's hash of a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()  # noqa: S324 - as git does


def check_card(text: str) -> list[str]:
    """Return what the Hub would refuse in a card's metadata."""
    match = re.match(r"---\s*\n(.*?)\n---", text, re.DOTALL)
    try:
        data = yaml.safe_load(match[1]) if match else {}
    except yaml.YAMLError as error:
        return [f"invalid YAML: {error}"]
    if not isinstance(data, dict):
        return ["metadata must be keys and values"]
    errors = []
    license_id = data.get("license")
    several = license_id if isinstance(license_id, list) else [license_id]
    if license_id is not None and not set(several) <= LICENSES:
        errors.append(f'"license" must be one of {sorted(LICENSES)}')
    if license_id == "other" and not data.get("license_name"):
        errors.append('"license_name" is required with license: other')
    for key in ("tags", "language", "base_model"):
        values = data.get(key, [])
        values = [values] if isinstance(values, str) else values
        if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
            errors.append(f'"{key}" must be a string or a list of strings')
        elif key == "base_model" and not all(re.fullmatch(r"[\w.-]+/[\w.-]+", v) for v in values):
            errors.append('"base_model" must be Hub ids')
    if data.get("base_model_relation") not in (None, "merge", "finetune", "adapter", "quantized"):
        errors.append('"base_model_relation" is not known')
    return errors


class Handler(BaseHTTPRequestHandler):
    """The routes."""

    protocol_version = "HTTP/1.1"
    hub: Hub
    fault = ""  # what goes wrong with the request
    behind = 0  # bytes that were sent since the last wait

    def log_message(self, *_: object) -> None:
        """Log nothing: tests read `Hub.requests`."""

    def do_GET(self) -> None:
        """Answer a GET."""
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815 - the names http.server looks for

    def _answer(self) -> None:
        if self.hub.stopped:  # a client that kept its connection meets a closed one
            self.close_connection = True
            return
        url = urlsplit(self.path)
        self.query, self.link = parse_qs(url.query), ""
        self._read_body(url.path)
        if self.hub.heard is not None:
            self.hub.heard += [self.path.encode(), bytes(self.headers), self.body]
        request = f"{self.command} {url.path}"
        with self.hub.lock:
            self.hub.requests.append(request)
            fault = self.hub.fault(request, self.headers.get("Range", ""))
            self.fault = fault
        if self.hub.watcher:
            self.hub.watcher(request)
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        if parts[:1] == ["datasets"]:  # a dataset is a repository as a model is
            parts = parts[1:]
        elif parts[:2] == ["api", "datasets"]:
            parts[1] = "models"
        try:
            self._go_wrong(fault)
            for old, new in self.hub.moved.items():
                if f"/{old}" in url.path:
                    there = {"Location": self.path.replace(f"/{old}", f"/{new}", 1)}
                    raise Refused(307, "moved", headers=there)  # noqa: TRY301 - as a route would
            with self.hub.lock:
                answer = self._route(parts)
            if fault == "dropped_after":
                raise Lost  # noqa: TRY301 - as a route would
            self._json(answer)
        except Lost:
            self.close_connection = True
        except Refused as refused:
            body = {"error": refused.message, **refused.body}
            headers = {"X-Error-Message": refused.message, **refused.headers}
            if refused.code:
                headers["X-Error-Code"] = refused.code
            self._json(body, refused.status, headers)

    def _read_body(self, path: str) -> None:
        """Read what is sent; count the bytes of uploads also if the rest never comes."""
        left = int(self.headers.get("Content-Length") or 0)
        blocks = []
        while left and (block := self.rfile.read1(min(left, 1 << 16))):
            blocks.append(block)
            left -= len(block)
            self.hub.up.take(len(block), self.hub.wake)
            upload = path.startswith("/lfs/") and self.command == "PUT"
            if upload or path.startswith("/cas/v1/xorbs/"):
                oid = path.split("/")[2 if upload else 5]
                with self.hub.lock:
                    self.hub.received[oid] = self.hub.received.get(oid, 0) + len(block)
        self.body = b"".join(blocks)

    def _go_wrong(self, fault: str) -> None:
        if fault == "stalled":
            self.hub.wake.wait(600)
        if fault in {"stalled", "dropped_before"}:
            raise Lost
        if fault == "busy":
            raise Refused(409, "Cannot create repo: another conflicting operation is in progress")
        if fault == "later":
            raise Refused(503, "Maintenance", headers={"Retry-After": "100"})
        if fault == "limited":
            limit = {"RateLimit": f'"api";r=0;t={self.hub.reset}'}
            raise Refused(429, "Too many requests", headers=limit)
        if fault.isdigit() and fault != "416":
            wait = {"Retry-After": "1"} if fault == "429" else {}
            raise Refused(int(fault), f"fault {fault}", headers=wait)

    def _route(self, parts: list[str]) -> Any:
        method = self.command
        match (method, *parts):
            case ("GET", "api", "whoami-v2"):
                return self._whoami()
            case ("POST", "api", "repos", "create"):
                return self._create()
            case ("POST", "api", "validate-yaml"):
                errors = check_card(self._read_json()["content"])
                errors += [self.hub.refuses] if self.hub.refuses else []
                body = {"errors": [{"message": e} for e in errors], "warnings": []}
                if errors:
                    raise Refused(400, "Invalid metadata", **body)
                return body
            case ("GET", "api", "models"):
                return self._list()
            case ("GET", "api", "models", owner, name):
                return self._info(f"{owner}/{name}", "main")
            case ("GET", "api", "models", owner, name, "revision", rev):
                return self._info(f"{owner}/{name}", rev)
            case ("GET", "api", "models", owner, name, "tree", rev, *path):
                return self._tree(f"{owner}/{name}", rev, "/".join(path))
            case ("POST", "api", "models", owner, name, "paths-info", rev):
                return self._paths_info(f"{owner}/{name}", rev)
            case ("GET", "api", "models", owner, name, "auth-check", "write"):
                self.hub.repo(f"{owner}/{name}", self._token())
                self._writer(owner)
                return {}
            case ("GET", "api", "models", owner, name, "refs"):
                return self._refs(f"{owner}/{name}")
            case ("GET", "api", "models", owner, name, "commits", rev):
                return self._commits(f"{owner}/{name}", rev)
            case ("POST", "api", "models", owner, name, ("branch" | "tag") as what, which):
                return self._name_commit(f"{owner}/{name}", what, which)
            case ("GET" | "POST", "api", "models", owner, name, "discussions", *number):
                return self._discussions(f"{owner}/{name}", "".join(number))
            case (_, "api", "jobs", *what):
                return self.hub.jobs.answer(self, what)
            case (_, "api", "collections", *slug):
                return self._collections("/".join(slug))
            case ("POST", "api", "models", owner, name, "preupload", rev):
                return self._preupload(f"{owner}/{name}", rev)
            case ("POST", "api", "models", owner, name, "commit", rev):
                return self._commit(f"{owner}/{name}", rev)
            case ("POST", owner, name, "info", "lfs", "objects", "batch"):
                return self._lfs_batch(f"{owner}/{name.removesuffix('.git')}")
            case ("GET", "api", "models", owner, name, "xet-write-token", rev):
                self._proposer(f"{owner}/{name}", rev)
                expires = int(time.time()) + 3600
                return {"casUrl": self._url("cas"), "accessToken": "xet", "exp": expires}
            case ("POST", "cas", "v1", "xorbs", _, xorb):
                self.hub.store(self.body, f"xorbs/{xorb}")
                return {"was_inserted": True}
            case ("POST", "cas", "v1", "shards"):
                return self._shard()
            case ("POST", "v1", "telemetry"):
                return {}
            case ("PUT", "lfs", oid, *part):
                return self._lfs_put(oid, "".join(part))
            case ("POST", "lfs", oid, "complete"):
                return self._lfs_complete(oid)
            case ("POST", "lfs", oid, "verify"):
                if not self.hub.blob(oid).is_file():
                    raise Refused(404, f"no object {oid}")
                return {}
            case ("GET" | "HEAD", owner, name, "resolve", rev, *path):
                return self._resolve(f"{owner}/{name}", rev, "/".join(path))
            case ("GET" | "HEAD", "storage", _):
                return self._storage()
        raise Refused(404, f"no such route: {method} {self.path}")

    # Who asks

    def _token(self) -> Token | None:
        header = self.headers.get("Authorization", "")
        if not header:
            return None
        token = self.hub.tokens.get(header.removeprefix("Bearer "))
        if token is None:
            raise Refused(401, "Invalid credentials in Authorization header")
        return token

    def _writer(self, owner: str) -> Token:
        token = self._token()
        if token is None:
            raise Refused(401, "Invalid username or password.")
        if not token.may_write(owner):
            raise Refused(403, f"You don't have the rights to write to {owner}")
        return token

    def _whoami(self) -> dict[str, Any]:
        token = self._token()
        if token is None:
            raise Refused(401, "Invalid credentials in Authorization header")
        access: dict[str, Any] = {"displayName": "test", "role": token.role}
        if token.role == "fineGrained":
            scoped = [
                {
                    "entity": {"type": "user", "name": name},
                    "permissions": [may],
                }
                for name, may in token.scoped
            ]
            access["fineGrained"] = {"canReadGatedRepos": True, "global": [], "scoped": scoped}
        return {
            "type": "user",
            "name": token.user,
            "orgs": [{"type": "org", "name": n, "roleInOrg": role} for n, role in token.orgs],
            "auth": {"type": "access_token", "accessToken": access},
        }

    # Repositories

    def _create(self) -> dict[str, Any]:
        asked = self._read_json()
        token = self._token()
        owner = asked.get("organization") or (token.user if token else "")
        self._writer(owner)
        repo_id = f"{owner}/{asked['name']}"
        if repo_id in self.hub.repos():
            raise Refused(409, "You already created this model repo", url=self._url(repo_id))
        state: dict[str, Any] = {
            "private": asked.get("visibility") == "private",
            "commits": [],
            "refs": {},
            "tags": {},
            "discussions": [],
        }
        content = GIT_ATTRIBUTES.encode()
        self.hub.store(content, git_oid(content))
        entry = {"oid": git_oid(content), "size": len(content), "lfs": ""}
        self.hub.commit(state, "initial commit", {".gitattributes": entry})
        self.hub.save(repo_id, state)
        return {"url": self._url(repo_id), "name": repo_id}

    def _describe(self, repo_id: str, state: dict[str, Any], rev: str) -> dict[str, Any]:
        commit = self.hub.revision(state, rev)
        files = commit["files"]
        card = (
            self.hub.blob(files["README.md"]["oid"]).read_text("utf-8")
            if "README.md" in files
            else ""
        )
        match = re.match(r"---\s*\n(.*?)\n---", card, re.DOTALL)
        data = (yaml.safe_load(match[1]) if match else None) or {}
        return {
            "id": repo_id,
            "modelId": repo_id,
            "sha": commit["id"],
            "private": state["private"],
            "gated": state.get("gated", False),
            "tags": self._tags(data),
            "cardData": data,
            "library_name": data.get("library_name"),
            "pipeline_tag": data.get("pipeline_tag"),
            "lastModified": commit["date"],
            "createdAt": state["commits"][0]["date"],
            "siblings": [self._sibling(path, files[path]) for path in sorted(files)],
        }

    @staticmethod
    def _tags(data: dict[str, Any]) -> list[str]:
        """Return what the Hub makes tags of, to be searched for."""

        def several(key: str) -> list[str]:
            value = data.get(key) or []
            return value if isinstance(value, list) else [value]

        bases = [f"base_model:{name}" for name in several("base_model")]
        licenses = [f"license:{name}" for name in several("license")]
        return [*several("tags"), *several("language"), *bases, *licenses]

    def _sibling(self, path: str, file: dict[str, Any]) -> dict[str, Any]:
        if "blobs" not in self.query:
            return {"rfilename": path}
        sibling = {"rfilename": path, "size": file["size"], "blobId": file["oid"]}
        if file["lfs"]:
            sibling["lfs"] = {"sha256": file["lfs"], "size": file["size"], "pointerSize": 134}
        return sibling

    def _info(self, repo_id: str, rev: str) -> dict[str, Any]:
        return self._describe(repo_id, self.hub.repo(repo_id, self._token()), rev)

    def _list(self) -> list[dict[str, Any]]:
        token = self._token()
        found = []
        for repo_id in self.hub.repos():
            try:
                state = self.hub.repo(repo_id, token)
            except Refused:
                continue
            info = self._describe(repo_id, state, "main")
            author = self.query.get("author", [""])[0]
            if set(self.query.get("filter", ())) <= set(info["tags"]) and (
                not author or repo_id.startswith(f"{author}/")
            ):
                found.append(info)
        return self._page(found)

    def _page(self, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return a page of what was found, and say where the next one is."""
        first, size = int(self.query.get("cursor", ["0"])[0]), self.hub.page_size or len(found)
        if first + size < len(found):
            path, _, query = self.path.partition("&cursor=")[0].partition("?")
            more = self._url(f"{path.strip('/')}?{query}&cursor={first + size}")
            self.link = f'<{more}>; rel="next"'
        return found[first : first + size]

    def _tree(self, repo_id: str, rev: str, folder: str) -> list[dict[str, Any]]:
        files = self.hub.revision(self.hub.repo(repo_id, self._token()), rev)["files"]
        prefix = f"{folder}/" if folder else ""
        found = [path for path in sorted(files) if path.startswith(prefix)]
        if folder and not found:
            raise Refused(404, f"{folder} does not exist on {rev}", "EntryNotFound")
        if self.query.get("recursive", ["false"])[0].lower() != "true":
            found = [path for path in found if "/" not in path.removeprefix(prefix)]
        return [{"type": "file", "path": path, **self._entry(files[path])} for path in found]

    def _paths_info(self, repo_id: str, rev: str) -> list[dict[str, Any]]:
        files = self.hub.revision(self.hub.repo(repo_id, self._token()), rev)["files"]
        wanted = parse_qs(self.body.decode()).get("paths", [])
        return [
            {"type": "file", "path": path, **self._entry(files[path])}
            for path in wanted
            if path in files
        ]

    @staticmethod
    def _entry(file: dict[str, Any]) -> dict[str, Any]:
        entry = {"oid": file["oid"], "size": file["size"]}
        if file["lfs"]:
            entry["lfs"] = {"oid": file["lfs"], "size": file["size"], "pointerSize": 134}
        return entry

    def _refs(self, repo_id: str) -> dict[str, Any]:
        state = self.hub.repo(repo_id, self._token())

        def listed(names: dict[str, str], prefix: str) -> list[dict[str, str]]:
            return [
                {"name": name, "ref": f"{prefix}{name}", "targetCommit": commit}
                for name, commit in names.items()
                if not name.startswith("refs/pr/")
            ]

        return {
            "branches": listed(state["refs"], "refs/heads/"),
            "tags": listed(state["tags"], "refs/tags/"),
            "converts": [],
        }

    def _commits(self, repo_id: str, rev: str) -> list[dict[str, Any]]:
        owner = {"user": repo_id.partition("/")[0]}
        return [
            {**one, "message": "", "authors": [owner], "files": None}
            for one in self.hub.history(self.hub.repo(repo_id, self._token()), rev)
        ]

    # Writing

    def _name_commit(self, repo_id: str, what: str, name: str) -> dict[str, Any]:
        """Make a branch (named in the path) or a tag (on the revision in the path)."""
        self._writer(repo_id.partition("/")[0])
        state, asked = self.hub.repo(repo_id, self._token()), self._read_json()
        names = state["refs"] if what == "branch" else state["tags"]
        start = (asked.get("startingPoint") or "main") if what == "branch" else name
        name = name if what == "branch" else asked["tag"]
        if name in names:
            raise Refused(409, f"Reference already exists: {name}")
        names[name] = self.hub.revision(state, start)["id"]
        self.hub.save(repo_id, state)
        return {}

    def _discussions(self, repo_id: str, number: str) -> dict[str, Any]:
        token = self._token()
        state = self.hub.repo(repo_id, token)
        if number:
            return self._discussion(repo_id, state["discussions"][int(number) - 1])
        if self.command == "GET":
            author = self.query.get("author", [""])[0]
            found = [one for one in state["discussions"] if author in ("", one["author"])]
            found = [self._discussion(repo_id, one) for one in found]
            return {"count": len(found), "start": 0, "discussions": found}
        if token is None or token.role != "write":
            raise Refused(403, "You don't have the rights to open a discussion")
        num = len(state["discussions"]) + 1
        made = {"num": num, "title": self._read_json()["title"], "author": token.user}
        state["discussions"].append({**made, "status": "draft"})
        state["refs"][f"refs/pr/{num}"] = state["refs"]["main"]
        self.hub.save(repo_id, state)
        return self._discussion(repo_id, state["discussions"][-1])

    @staticmethod
    def _discussion(repo_id: str, one: dict[str, Any]) -> dict[str, Any]:
        return {
            **one,
            "author": {"name": one["author"]},
            "createdAt": "2026-01-01T00:00:00.000Z",
            "isPullRequest": True,
            "repo": {"name": repo_id, "type": "model"},
            "events": [],
            "changes": {"base": "refs/heads/main"},
            "filesWithConflicts": [],
        }

    def _collections(self, slug: str) -> dict[str, Any]:
        """Make a collection, add to it, or show it."""
        path = self.hub.root / "collections.json"
        known = json.loads(path.read_text()) if path.is_file() else {}
        if not slug:
            asked = self._read_json()
            owner = asked["namespace"]
            self._writer(owner)
            # One for each title, as the client's `create_collection(exists_ok=True)` expects it.
            for one, state in known.items():
                if (state["namespace"], state["title"]) == (owner, asked["title"]):
                    raise Refused(409, "it exists", slug=one)
            name = re.sub(r"\W+", "-", asked["title"].lower())
            slug = f"{owner}/{name}-{secrets.token_hex(12)}"
            known[slug] = {**asked, "items": []}
        elif slug.endswith("/items"):
            slug = slug.removesuffix("/items")
            if slug not in known:
                raise Refused(404, "no such collection")
            self._writer(slug.partition("/")[0])
            item = self._read_json()["item"]["id"]
            if item in known[slug]["items"]:
                raise Refused(409, "it is in there")
            known[slug]["items"].append(item)
        elif slug not in known:
            raise Refused(404, "no such collection")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(known))
        return {
            "slug": slug,
            "title": known[slug]["title"],
            "owner": {"name": slug.partition("/")[0]},
            "items": [
                {"_id": str(i), "id": item, "type": "model", "position": i}
                for i, item in enumerate(known[slug]["items"])
            ],
            "lastUpdated": "2026-01-01T00:00:00.000Z",
            "position": 0,
            "private": known[slug]["private"],
            "theme": "blue",
            "upvotes": 0,
        }

    def _proposer(self, repo_id: str, rev: str) -> None:
        """Let anybody with a token that may write change a pull request."""
        token = self._token()
        if rev.startswith("refs/pr/") and token and token.role == "write":
            self.hub.repo(repo_id, token)
            return
        self._writer(repo_id.partition("/")[0])

    def _preupload(self, repo_id: str, rev: str) -> dict[str, Any]:
        self._proposer(repo_id, rev)
        files = self.hub.revision(self.hub.repo(repo_id, self._token()), rev)["files"]
        answer = []
        for file in self._read_json()["files"]:
            lfs = file["path"].endswith(LFS_FILES) and file["size"] > 0 and not self.hub.regular
            there = files.get(file["path"], {})
            answer.append(
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if lfs else "regular",
                    "shouldIgnore": False,
                    "oid": there.get("lfs") or there.get("oid"),
                }
            )
        return {"files": answer}

    def _lfs_batch(self, repo_id: str) -> dict[str, Any]:
        asked = self._read_json()
        self._proposer(repo_id, asked.get("ref", {}).get("name", "main"))
        objects = []
        for wanted in asked["objects"]:
            oid, size = wanted["oid"], wanted["size"]
            answer = {"oid": oid, "size": size}
            if not self.hub.blob(oid).is_file():
                upload: dict[str, Any] = {"href": self._url(f"lfs/{oid}")}
                if self.hub.part_size and size > self.hub.part_size:
                    count = -(-size // self.hub.part_size)
                    parts = {f"{i:05d}": self._url(f"lfs/{oid}/{i}") for i in range(1, count + 1)}
                    upload["href"] += "/complete"
                    upload["header"] = {"chunk_size": str(self.hub.part_size), **parts}
                verify = {"href": self._url(f"lfs/{oid}/verify")}
                answer["actions"] = {"upload": upload, "verify": verify}
            objects.append(answer)
        return {"transfer": "basic", "objects": objects}

    def _shard(self) -> dict[str, Any]:
        from xet_server import files  # noqa: PLC0415 - needs lz4

        for oid, content in files(self.body, self.hub.blob("xorbs")):
            self.hub.store(content, oid)
        return {"result": 1}

    def _lfs_put(self, oid: str, part: str) -> Any:
        if len(self.body) != int(self.headers["Content-Length"]):
            raise Lost
        if part:
            self.hub.store(self.body, f"{oid}.{part}")
            return Refused(200, "", headers={"ETag": f'"{part}"'})
        return self._lfs_keep(oid, self.body)

    def _lfs_complete(self, oid: str) -> dict[str, Any]:
        parts = self._read_json()["parts"]
        return self._lfs_keep(
            oid, b"".join(self.hub.blob(f"{oid}.{p['partNumber']}").read_bytes() for p in parts)
        )

    def _lfs_keep(self, oid: str, content: bytes) -> dict[str, Any]:
        if hashlib.sha256(content).hexdigest() != oid:
            raise Refused(400, "the content does not have the announced sha256")
        self.hub.store(content, oid)
        return {}

    def _commit(self, repo_id: str, rev: str) -> dict[str, Any]:
        self._proposer(repo_id, rev)
        state = self.hub.repo(repo_id, self._token())
        head = self.hub.revision(state, rev)
        files = dict(head["files"])
        title = ""
        for line in self.body.splitlines():
            operation = json.loads(line)
            value = operation["value"]
            match operation["key"]:
                case "header":
                    title = value["summary"]
                    if value.get("parentCommit", head["id"]) != head["id"]:
                        raise Refused(412, "A commit has happened since. Please refresh.")
                case "file":
                    content = base64.b64decode(value["content"])
                    self.hub.store(content, git_oid(content))
                    entry = {"oid": git_oid(content), "size": len(content), "lfs": ""}
                    files[value["path"]] = entry
                case "lfsFile":
                    blob = self.hub.blob(value["oid"])
                    if not blob.is_file():
                        raise Refused(400, "a large file of this commit is missing")
                    pointer = git_oid(value["oid"].encode())
                    entry = {"oid": pointer, "size": blob.stat().st_size, "lfs": value["oid"]}
                    files[value["path"]] = entry
                case "deletedFile":
                    files.pop(value["path"])
                case key:
                    raise Refused(400, f"unknown operation {key}")
        oid = self.hub.commit(state, title, files, rev)
        self.hub.save(repo_id, state)
        return {
            "success": True,
            "commitOid": oid,
            "commitUrl": self._url(f"{repo_id}/commit/{oid}"),
        }

    # Reading files

    def _resolve(self, repo_id: str, rev: str, path: str) -> Stored:
        if self.hub.mirrored:
            raise Refused(308, "moved", headers={"Location": self.hub.mirrored + self.path})
        token = self._token()
        state = self.hub.repo(repo_id, token)
        if state.get("gated") and (token is None or token.user != repo_id.partition("/")[0]):
            raise Refused(403, "Access to this model is restricted", "GatedRepo")
        commit = self.hub.revision(state, rev)
        if path not in commit["files"]:
            raise Refused(404, "Entry not found", "EntryNotFound")
        file = commit["files"][path]
        oid = file["lfs"] or file["oid"]
        headers = {"X-Repo-Commit": commit["id"], "ETag": f'"{oid}"'}
        made = self.hub.generated.get(oid)
        stored = Stored(path, repo_id, file["size"], oid, headers, self.hub.blob(oid), made)
        if not self.hub.signed or not file["lfs"]:
            return stored
        self.server.start_storage()  # type: ignore[attr-defined]
        there = {
            "Location": self.hub.storage_url + self.hub.addresses.sign(stored),
            "X-Repo-Commit": self._wrongly("other_commit", commit["id"]),
            "X-Linked-Etag": f'"{self._wrongly("other_etag", oid)}"',
            "X-Linked-Size": str(file["size"] + (self.fault == "other_size")),
        }
        raise Refused(302, "Found", headers=there)

    def _wrongly(self, fault: str, value: str) -> str:
        return "0" * 40 if self.fault == fault else value

    def _storage(self) -> Stored:
        """Answer as the server of large files: it knows no token, and has its own ETags."""
        if "Authorization" in self.headers:
            self.hub.leaked.append(self.path)
        signature = self.query.get("Signature", [""])[0]
        file = self.hub.addresses.use(signature, counts=self.command == "GET")
        if file is None:
            raise Refused(403, "Request has expired")
        return replace(file, headers={"ETag": f'"{hashlib.md5(file.oid.encode()).hexdigest()}"'})  # noqa: S324 - no secret

    # HTTP

    def _read_json(self) -> dict[str, Any]:
        return dict(json.loads(self.body))

    def _url(self, path: str) -> str:
        return f"http://{self.headers['Host']}/{path}"

    def _json(self, body: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        headers = headers or {}
        if isinstance(body, Refused):  # no refusal: an answer with headers
            body, headers = {}, body.headers
        if isinstance(body, Events):
            send_events(self, body)
            return
        if isinstance(body, Stored):
            wrong = self.fault if self.fault in {*OF_ANSWERS, "416"} else ""
            send_file(self, body, wrong)
            return
        content = json.dumps(body).encode()
        headers["Content-Type"] = "application/json"
        if self.link:
            headers["Link"] = self.link
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self._write(content)

    def _write(self, content: bytes) -> None:
        """Write an answer, if anybody reads it."""
        try:
            self.write(content)
        except OSError:
            self.close_connection = True

    def write(self, content: bytes) -> None:
        """Write a part of an answer, slowly if it is to be."""
        rate = self.hub.rate
        for at in range(0, len(content), BLOCK):
            block = content[at : at + BLOCK]
            self.hub.down.take(len(block), self.hub.wake)
            step = rate // 10 or len(block)
            for start in range(0, len(block), step or 1):
                self.wfile.write(block[start : start + step])
                self.behind += min(step, len(block) - start)
                if rate and self.behind >= step:
                    self.hub.wake.wait(0.1 * self.behind / step)
                    self.behind = 0


class Server(ThreadingHTTPServer):
    """The Hub, listening on a free port of the loopback interface."""

    daemon_threads = True

    def __init__(self, hub: Hub) -> None:
        """Listen, but answer only once `serve_forever` runs."""
        super().__init__(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"hub": hub}))
        self.hub = hub
        self.storage: Server | None = None  # the server of large files

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print errors of the server, but say nothing of a client that broke a connection."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def start_storage(self) -> None:
        """Let large files come from another port, which is another server for a client."""
        with self.hub.lock:
            if self.storage is None:
                self.storage = Server(self.hub)
                self.hub.storage_url = self.storage.url
                serve = partial(self.storage.serve_forever, poll_interval=0.05)
                threading.Thread(target=serve, daemon=True).start()

    def stop(self) -> None:
        """Be unreachable from now on, also for connections that are open."""
        self.hub.stopped = True
        self.hub.wake.set()
        self.hub.jobs.stop_all()
        self.shutdown()
        self.server_close()
        if self.storage is not None:
            self.storage.shutdown()
            self.storage.server_close()

    @property
    def url(self) -> str:
        """What HF_ENDPOINT must be."""
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serving(root: Path, tokens: dict[str, Token]) -> Iterator[Server]:
    """Yield a Hub on loopback with this folder, in a thread."""
    with Server(Hub(root, tokens)) as server:
        serve = partial(server.serve_forever, poll_interval=0.05)
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server
        server.stop()
        thread.join()
        assert server.hub.leaked == [], "a token was sent to another server than the Hub"

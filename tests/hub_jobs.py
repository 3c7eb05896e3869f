"""The Jobs of the Hub of the tests: each really runs its command, in a process of its own.

A job has its own folder, its own HF_HOME, its secrets and nothing else of the tests' environment.
`uv run` becomes the Python of the tests, as if the dependencies were installed. A volume is a
folder of copies that nobody may write to, below a folder of the job's own instead of `/`: the
variable SLACK_TIES_MOUNTS, which the real service does not set, says below which.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

__all__ = ["HARDWARE", "Events", "Job", "Jobs", "send_events"]

# https://huggingface.co/docs/hub/jobs-pricing, in August 2026; in the form of the client's example.
HARDWARE = [
    {
        "name": name,
        "prettyName": name.replace("-", " "),
        "cpu": cpu,
        "ram": ram,
        "ephemeralStorage": disk,
        "accelerator": accelerator,
        "unitCostMicroUSD": round(price * 1e6 / 60),
        "unitCostUSD": round(price * 1e6 / 60) / 1e6,
        "unitLabel": "minute",
    }
    for name, cpu, ram, disk, price, accelerator in (
        ("cpu-basic", "2 vCPU", "16 GB", "50 GB", 0.01, None),
        ("cpu-upgrade", "8 vCPU", "32 GB", "50 GB", 0.03, None),
        ("cpu-xl", "16 vCPU", "124 GB", "1000 GB", 1.0, None),
        ("cpu-performance", "32 vCPU", "256 GB", "1024 GB", 1.9, None),
        *(
            (name, cpu, ram, disk, price, {"type": "gpu", "model": model, "quantity": "1",
                                           "vram": vram, "manufacturer": "Nvidia"})
            for name, cpu, ram, disk, price, model, vram in (
                ("t4-small", "4 vCPU", "15 GB", "50 GB", 0.4, "T4", "16 GB"),
                ("l4x1", "8 vCPU", "30 GB", "400 GB", 0.8, "L4", "24 GB"),
                ("a100-large", "12 vCPU", "142 GB", "1000 GB", 2.5, "A100", "80 GB"),
            )
        ),
    )
]  # fmt: skip

ENDED = {"COMPLETED", "CANCELED", "ERROR", "DELETED"}

DEFAULT_TIMEOUT = 30 * 60

MOUNTS = "SLACK_TIES_MOUNTS"

UV_FLAGS = {"--no-project", "--quiet"}  # the other options of `uv run` have a value

KEEP_ALIVE = 30.0  # seconds between signs of life of an open stream


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass
class Job:
    """A job: what was asked for, and what has become of it."""

    id: str
    owner: str
    spec: dict[str, Any]  # as it was sent
    folder: Path
    stage: str = "SCHEDULING"
    message: str | None = None
    times: dict[str, str] = field(default_factory=lambda: {"createdAt": _now()})
    lines: list[tuple[str, str]] = field(default_factory=list)  # time and text
    process: subprocess.Popen[str] | None = None

    @property
    def root(self) -> Path:
        """What is `/` for its volumes."""
        return self.folder / "root"

    def as_json(self) -> dict[str, Any]:
        """Return what the Hub says of it: of secrets only the names."""
        started = self.times.get("startedAt")
        ended = self.times.get("finishedAt", _now())
        running = _seconds(started, ended) if started else None
        return {
            "id": self.id,
            **self.times,
            "dockerImage": self.spec.get("dockerImage"),
            "command": self.spec["command"],
            "arguments": self.spec["arguments"],
            "environment": self.spec["environment"],
            "secrets": sorted(self.spec.get("secrets", {})),
            "flavor": self.spec["flavor"],
            "labels": self.spec.get("labels"),
            "volumes": self.spec.get("volumes"),
            "status": {"stage": self.stage, "message": self.message},
            "durations": {"runningSecs": running, "totalSecs": running},
            "owner": {"id": "0" * 24, "name": self.owner, "type": "user"},
        }


def _seconds(first: str, last: str) -> int:
    times = [datetime.fromisoformat(one.replace("Z", "+00:00")) for one in (first, last)]
    return int((times[1] - times[0]).total_seconds())


@dataclass(frozen=True)
class Events:
    """The lines of a job as server-sent events; the stream is open while the job runs."""

    job: Job
    tail: int | None


@dataclass
class Jobs:
    """All jobs of a Hub."""

    hub: Any
    all: dict[str, Job] = field(default_factory=dict)
    credit: bool = True  # whether the users have paid
    unlisted: set[str] = field(default_factory=set)  # jobs that the list does not show yet
    hold: bool = False  # whether new jobs wait until `begin`
    environment: dict[str, str] = field(default_factory=dict)  # of the machine of each job
    threads: list[threading.Thread] = field(default_factory=list)

    def create(self, owner: str, spec: dict[str, Any], url: str) -> Job:
        """Accept a job, and start it."""
        name = secrets.token_hex(12)
        job = Job(name, owner, spec, self.hub.root / "jobs" / name)
        job.folder.mkdir(parents=True)
        self.all[name] = job
        self.url = url
        if not self.hold:
            self.begin(job)
        return job

    def begin(self, job: Job) -> None:
        """Start the process of a job."""
        thread = threading.Thread(target=self._run, args=(job,), daemon=True)
        self.threads.append(thread)
        thread.start()

    def stop(self, job: Job, message: str | None = None, stage: str = "CANCELED") -> None:
        """End a job, as a user or the service does."""
        with self.hub.lock:
            if job.stage in ENDED:
                return
            job.stage, job.message = stage, message
            job.times["finishedAt"] = _now()
        _kill(job)

    def stop_all(self) -> None:
        """Let no process outlive the Hub."""
        for job in [*self.all.values()]:
            self.stop(job)
        for thread in self.threads:
            thread.join(30)
        for job in self.all.values():
            for folder in (one for one in job.root.rglob("*") if one.is_dir()):
                folder.chmod(0o755)  # or nobody could delete it

    def wait(self, *jobs: Job, seconds: float = 300) -> None:
        """Wait until these jobs, or all, have ended."""
        until = time.monotonic() + seconds
        for job in jobs or [*self.all.values()]:
            while job.stage not in ENDED:
                assert time.monotonic() < until, job
                time.sleep(0.05)

    def _run(self, job: Job) -> None:
        try:
            self._mount(job)
            command = _command(job.spec["command"])
        except Exception as error:  # noqa: BLE001 - the service tells the user
            self.stop(job, f"{error}", "ERROR")
            return
        with self.hub.lock:
            if job.stage in ENDED:
                return
            job.stage, job.times["startedAt"] = "RUNNING", _now()
            self._say(job, f"===== Job started at {_now()} =====")
            job.process = subprocess.Popen(
                command,
                cwd=job.folder,
                env=self._environment(job),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                start_new_session=True,
            )
        limit = job.spec.get("timeoutSeconds", DEFAULT_TIMEOUT)
        clock = threading.Timer(limit, self.stop, (job, "Job timeout", "ERROR"))
        clock.daemon = True
        clock.start()
        with job.process:
            for line in job.process.stdout or ():
                self._say(job, line.rstrip("\n"))
        code = job.process.returncode
        clock.cancel()
        message = None if code == 0 else f"Job failed with exit code: {code}"
        self.stop(job, message, "ERROR" if code else "COMPLETED")

    @staticmethod
    def _say(job: Job, text: str) -> None:
        job.lines.append((_now(), text))

    def _environment(self, job: Job) -> dict[str, str]:
        """Return what a job's process knows: nothing of the tests', but where programs are."""
        kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
        quiet = ("HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_TELEMETRY")
        return {
            **kept,
            **dict.fromkeys((*quiet, "OMP_NUM_THREADS"), "1"),
            "HOME": str(job.folder),
            "TMPDIR": str(job.folder),
            "HF_ENDPOINT": self.url,
            "JOB_ID": job.id,
            "ACCELERATOR": "none",
            "CPU_CORES": "2",
            "MEMORY": "16Gi",
            MOUNTS: str(job.root),
            **self.environment,
            **job.spec["environment"],
            **job.spec.get("secrets", {}),
        }

    def _mount(self, job: Job) -> None:
        """Show the files of each volume, at its revision, as read-only files."""
        for volume in job.spec.get("volumes", ()):
            assert (volume["type"], volume["readOnly"]) == ("model", True), volume
            owner = self.hub.tokens.get(job.spec.get("secrets", {}).get("HF_TOKEN"))
            state = self.hub.repo(volume["source"], owner)
            own = owner and owner.user == volume["source"].partition("/")[0]
            assert own or not state.get("gated"), f"no access to {volume['source']}"
            files = self.hub.revision(state, volume["revision"])["files"]
            where = job.root / volume["mountPath"].lstrip("/")
            for name, file in files.items():
                (where / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.hub.blob(file["lfs"] or file["oid"]), where / name)
                (where / name).chmod(0o444)
            for folder in [where, *(one for one in where.rglob("*") if one.is_dir())]:
                folder.chmod(0o555)

    # What the routes answer

    def answer(self, handler: Any, parts: list[str]) -> Any:
        """Answer a request below /api/jobs.

        Args:
            handler: Of the request.
            parts: Of the path: the namespace, the job, and what is wanted of it.

        """
        from hub_server import Refused  # noqa: PLC0415 - it imports this module

        match (handler.command, *parts):
            case ("GET", "hardware"):
                return HARDWARE
            case (_, owner, *rest):
                token = handler._token()  # noqa: SLF001 - its other half
                if token is None:
                    raise Refused(401, "Invalid username or password.")
                if owner != token.user and owner not in dict(token.orgs):
                    raise Refused(403, f"You don't have the rights to run jobs as {owner}")
        match (handler.command, *rest):
            case ("POST",):
                if not self.credit:
                    raise Refused(402, "Pre-paid credit balance is insufficient")
                spec = handler._read_json()  # noqa: SLF001
                return self.create(owner, spec, handler._url("").rstrip("/")).as_json()  # noqa: SLF001
            case ("GET",):
                return self._listed(handler, owner)
        job = self.all.get(rest[0])
        if job is None or job.owner != owner:
            raise Refused(404, "Job not found")
        match (handler.command, *rest[1:]):
            case ("GET",):
                return job.as_json()
            case ("GET", "logs"):
                tail = handler.query.get("tail")
                return Events(job, int(tail[0]) if tail else None)
            case ("POST", "cancel"):
                self.stop(job)
                return job.as_json()
        raise Refused(404, f"no such route: {handler.path}")

    def _listed(self, handler: Any, owner: str) -> list[dict[str, Any]]:
        """Return the jobs of an owner, the newest first, with the labels and stages asked for."""
        wanted = [one.partition("=")[::2] for one in handler.query.get("label", ())]
        stages = handler.query.get("stage", ())
        found = [
            job.as_json()
            for job in reversed([*self.all.values()])
            if job.owner == owner
            and job.id not in self.unlisted
            and (not stages or job.stage in stages)
            and all((job.spec.get("labels") or {}).get(key) == value for key, value in wanted)
        ]
        return list(handler._page(found))  # noqa: SLF001


def _command(words: list[str]) -> list[str]:
    """Return what `uv run` would run in an environment in which its packages are installed."""
    if words[:2] != ["uv", "run"]:
        return words
    rest = words[2:]
    while rest and rest[0].startswith("-"):
        rest = rest[1 if rest[0] in UV_FLAGS or "=" in rest[0] else 2 :]
    return [sys.executable if rest[0] == "python" else rest[0], *rest[1:]]


def _kill(job: Job) -> None:
    """End the processes of a job."""
    if job.process is None or job.process.poll() is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        if hasattr(os, "killpg"):
            os.killpg(job.process.pid, signal.SIGKILL)
        else:
            job.process.kill()


def send_events(handler: Any, events: Events) -> None:
    """Answer with the lines so far, and then with those that come, until the job ends."""
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream")
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.close_connection = True
    try:
        for text in _stream(handler, events):
            handler.wfile.write(text.encode())
            handler.wfile.flush()
    except OSError:  # nobody reads it any more
        return


def _stream(handler: Any, events: Events) -> Iterator[str]:
    job = events.job
    sent = max(0, len(job.lines) - events.tail) if events.tail else 0
    last = time.monotonic()
    while True:
        ended = job.stage in ENDED and (job.process is None or job.process.poll() is not None)
        for when, text in job.lines[sent:]:
            yield f"data: {json.dumps({'timestamp': when, 'data': text})}\n\n"
            sent += 1
        if ended or handler.hub.stopped:
            return
        if time.monotonic() - last > KEEP_ALIVE:
            last = time.monotonic()
            yield ": keep-alive\n\n"
        time.sleep(0.02)

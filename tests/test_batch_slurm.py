"""A batch on a real Slurm of one node: jobs that are cancelled, fail, are preempted or lost."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import HfApi
from mergekit.options import MergeOptions

from conftest import TOKEN
from hub_server import Server, Token
from lao import upload
from processes import run
from slack_ties.batch.marks import Marks
from slack_ties.batch.slurm.commands import NoAnswerError, QueuedJob
from slack_ties.batch.slurm.engine import NEVER_BEGAN, Slurm
from slack_ties.batch.slurm.send import check_submitit
from slack_ties.batch.slurm.words import as_seen, ended_by_log
from slack_ties.batch.state import State, states_of
from slack_ties.batch.task import Task, new_batch, read_batch, write_batch
from slack_ties.config.choices import Choices
from slack_ties.errors import SlackTiesError
from slack_ties.run import run_all
from slurm import Cluster, missing, program, running_slurm
from triple import Folders

needs_slurm = pytest.mark.skipif(bool(missing()), reason=missing() or "Slurm is there")

PATIENCE = 120.0  # seconds, on a busy machine
QUIET = MergeOptions(quiet=True, lazy_unpickle=True)
LONG_TOKEN = "hf_" + "T0kenOfALogin" * 3


@pytest.fixture(scope="module")
def shared_cluster() -> Iterator[Cluster]:
    """A Slurm for all tests of this file."""
    with running_slurm() as cluster:
        yield cluster


@pytest.fixture
def cluster(shared_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """That Slurm, without any job, and as the one of this process."""
    monkeypatch.setenv("SLURM_CONF", str(shared_cluster.conf))
    shared_cluster.clear()
    yield shared_cluster
    shared_cluster.clear()


def batch_of(out: Path, **steps: list[object]) -> tuple[Task, ...]:
    """Write a batch with a task of one command for each name."""
    tasks = [Task(name, name, {}, ((*map(str, words), "--json"),)) for name, words in steps.items()]
    batch = new_batch(tasks, "slurm", {})
    out.mkdir(parents=True, exist_ok=True)
    write_batch(batch, out)
    return batch.tasks


def seen(engine: Slurm, tasks: tuple[Task, ...]) -> dict[str, State]:
    """Return what a user sees of each task."""
    return {one.name: one for one in states_of(engine.out, tasks, engine)}


def wait_for(
    engine: Slurm, tasks: tuple[Task, ...], condition: Callable[[dict[str, State]], bool]
) -> dict[str, State]:
    """Wait until what a user sees is so."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if condition(now := seen(engine, tasks)):
            return now
        time.sleep(0.3)
    msg = f"{now}\n{[list(engine.logs(task)) for task in tasks]}"
    raise TimeoutError(msg)


def holds(**states: str) -> Callable[[dict[str, State]], bool]:
    """Return a condition: these tasks are in these states."""
    return lambda now: all(now[name].state == state for name, state in states.items())


@dataclass
class Gate:
    """Lets requests for a model of the Hub wait: whoever asks works on its task meanwhile."""

    model: str
    opened: threading.Event = field(default_factory=threading.Event)
    asked: threading.Event = field(default_factory=threading.Event)

    def __call__(self, request: str) -> None:
        """Hold a request."""
        if self.model in request:
            self.asked.set()
            self.opened.wait(PATIENCE)


@pytest.fixture
def models(hub: Server, triple: Folders, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A Hub with the triple, whose CT model is also there as three others."""
    hub.hub.tokens.update({"hf_you": Token("you"), LONG_TOKEN: Token("me")})
    for name in ("base", "ct", "sft"):
        upload(hub, TOKEN, f"me/{name}", getattr(triple, name))
    for name in ("slow", "other"):
        upload(hub, TOKEN, f"me/{name}", triple.ct)
    upload(hub, "hf_you", "you/gated", triple.ct)
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    return hub


def set_gate(hub: Server, gate: str) -> None:
    """Let the owner of the gated model ask for permission, or not."""
    hub.hub.save("you/gated", {**hub.hub.repo("you/gated", Token("you")), "gated": gate})


@pytest.fixture
def log_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a login, whose token is in the environment, too."""
    path = tmp_path / "token"
    path.write_text(LONG_TOKEN, "utf-8")
    monkeypatch.setenv("HF_TOKEN_PATH", str(path))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(path))
    monkeypatch.setenv("HF_TOKEN", LONG_TOKEN)
    return path


MERGES = {"slow": ("me/slow", 0.1), "one": ("me/other", 0.2), "gated": ("you/gated", 0.3)}
MERGES["two"] = ("me/ct", 0.4)


def write_sweep(path: Path) -> None:
    """Write a batch of four merges of the triple on the Hub."""
    models = {"what": "bo", "base": "me/base", "sft": "me/sft"}
    runs = [
        {**models, "name": name, "ct": ct, "slack": slack} for name, (ct, slack) in MERGES.items()
    ]
    path.write_text(yaml.safe_dump({"runs": runs}), "utf-8")


@dataclass(frozen=True)
class User:
    """Types commands in a folder."""

    folder: Path

    def types(self, *words: str) -> tuple[int, str, str]:
        """Run a command; return its exit code, its result and its errors."""
        done = run(words, env=os.environ, cwd=self.folder)
        return done.returncode, done.stdout, done.stderr

    def table(self) -> dict[str, dict[str, str]]:
        """Return what `batch status` says of each task."""
        printed = self.types("batch", "status", "--json")[1]
        return {one["name"]: one for one in json.loads(printed)["tasks"]}


def compare_with_single_runs(out: Path, folder: Path, api: HfApi) -> None:
    """Run each merge by itself into a folder: the weights are the same bytes."""
    for name, (ct, slack) in MERGES.items():
        choices = Choices(base="me/base", ct=ct, sft="me/sft", slack=slack)
        run_all("bo", folder / name, choices=choices, options=QUIET, api=api)
        one, other = (path / name / "model.safetensors" for path in (out, folder))
        assert one.read_bytes() == other.read_bytes()


def send(cluster: Cluster, user: User) -> tuple[list[str], dict[str, dict[str, str]]]:
    """Start a batch in a partition that is down; return the command and the table."""
    command = ["batch", "sweep.yml", "--on", "slurm", "--partition", "main", "--cpus", "1"]
    command += ["--at-once", "2", "--time-limit", "30m"]

    cluster.call("scontrol", "update", "PartitionName=main", "State=DOWN")
    code, _, errors = user.types(*command)
    assert (code, [*cluster.jobs().values()]) == (0, ["PENDING"] * 4), errors
    (job,) = {one.partition("_")[0] for one in cluster.jobs()}
    assert f"Slurm job {job}: 4 tasks" in errors
    began = user.table()
    assert {one["why"] for one in began.values()} <= {"", "its partition is down (PartitionDown)"}
    assert [(one["state"], one["where"]) for one in began.values()] == [
        ("waiting", f"Slurm job {job}_{index}") for index in range(4)
    ]
    return command, began


@needs_slurm
@pytest.mark.slow
@pytest.mark.usefixtures("log_in")
def test_a_batch_on_slurm(cluster: Cluster, models: Server, api: HfApi, tmp_path: Path) -> None:
    """Cancelled by hand, without access, and without a controller: the table tells the truth.

    The same command completes all; the models are those of single runs. No file of Slurm and of
    the batch has the token.
    """
    out, user = tmp_path / "merges", User(tmp_path)
    slow, other = Gate("me/slow"), Gate("me/other")
    write_sweep(tmp_path / "sweep.yml")
    command, began = send(cluster, user)

    models.hub.watcher = lambda request: (slow(request), other(request))
    set_gate(models, "manual")  # after all was checked
    cluster.call("scontrol", "update", "PartitionName=main", "State=UP")
    assert slow.asked.wait(PATIENCE)
    assert other.asked.wait(PATIENCE)  # srun needs the controller, before its task begins
    tasks = read_batch(out).tasks
    engine = Slurm(out)
    wait_for(engine, tasks, holds(slow="running", one="running", gated="waiting", two="waiting"))
    assert files_with(cluster.folder, b"SLURM_SUBMIT_DIR")  # what Slurm keeps of an environment
    assert files_with(cluster.folder, LONG_TOKEN.encode()) == []

    cluster.kill_controller()
    lost = user.table()
    assert (lost["slow"]["state"], lost["slow"]["why"]) == ("running", "")  # its lock is held
    assert lost["two"]["state"] == "waiting"
    assert lost["two"]["why"] == "as it was noted: Slurm does not answer"
    code, _, errors = user.types("batch", "cancel", "two")
    assert code == 1
    assert "Error: Slurm's controller does not answer squeue" in errors
    other.opened.set()
    wait_for(engine, tasks, holds(slow="running", one="done", two="waiting"))
    cluster.start_controller()

    cluster.call("scancel", began["slow"]["where"].split()[-1])
    wait_for(engine, tasks, holds(slow="stopped", one="done", gated="failed", two="done"))
    now = user.table()
    assert now["slow"]["why"] == "cancelled"
    assert "you/gated" in now["gated"]["why"]
    assert now["gated"]["next"]
    assert "Error: " in user.types("batch", "logs", "gated")[1]
    assert not (out / "slow").exists()
    assert not (out / "gated").exists()

    set_gate(models, "")
    slow.opened.set()
    first = {name: (out / name / "model.safetensors").stat() for name in ("one", "two")}
    assert user.types(*command)[0] == 0
    wait_for(engine, tasks, holds(slow="done", one="done", gated="done", two="done"))

    assert len(cluster.jobs()) == 6  # nothing that was done is sent again
    for name, before in first.items():
        assert (out / name / "model.safetensors").stat() == before
    assert files_with(out, LONG_TOKEN.encode()) == []
    compare_with_single_runs(out, tmp_path / "single", api)


def files_with(folder: Path, what: bytes) -> list[Path]:
    """Return the files below a folder that have these bytes."""
    found = []
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # sockets, and files that are gone
            if path.is_file() and what in path.read_bytes():
                found.append(path)
    return found


def plan_of(folder: Path, *models: str) -> list[object]:
    """Write a config, and return a command that looks at its models."""
    config = folder / "c.yml"
    parts = [f"- {{model: {model}, parameters: {{weight: 1}}}}\n" for model in models]
    config.write_text(f"merge_method: linear\nmodels:\n{''.join(parts)}", "utf-8")
    return ["plan", config]


@needs_slurm
@pytest.mark.slow
def test_a_preempted_task_goes_on(cluster: Cluster, models: Server, tmp_path: Path) -> None:
    """Slurm tells it to end, for a job that comes first, and queues it again some seconds later.

    The same job completes it: had it ended by itself, Slurm would not have queued it again.
    """
    gate = models.hub.watcher = Gate("me/slow")
    tasks = batch_of(tmp_path / "merges", a=plan_of(tmp_path, "me/base", "me/slow"))
    engine = Slurm(tmp_path / "merges", partition="main", time=60)
    engine.start(tasks)
    assert gate.asked.wait(PATIENCE)
    (job,) = cluster.jobs()
    assert seen(engine, tasks)["a"].where == f"Slurm job {job} on {cluster.node}"

    cluster.call(
        *("sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")
    )
    queued = wait_for(engine, tasks, holds(a="waiting"))
    gate.opened.set()
    wait_for(engine, tasks, holds(a="done"))

    assert queued["a"].why in {
        "",
        "it was queued again, and starts soon (BeginTime)",
        "enough of a node is not free yet (Resources)",
        "jobs of others come first (Priority)",
        "the nodes that it needs are down or reserved",
    }
    assert [*cluster.jobs()][:1] == [job]
    assert Marks(engine.out, tasks[0]).running["attempt"] == 2


@needs_slurm
@pytest.mark.slow
def test_a_task_whose_time_is_up(cluster: Cluster, models: Server, tmp_path: Path) -> None:
    """It is queued again once, because what is complete is not done again; then it is stopped."""
    gate = models.hub.watcher = Gate("me/slow")
    tasks = batch_of(tmp_path / "merges", a=plan_of(tmp_path, "me/base", "me/slow"))
    engine = Slurm(tmp_path / "merges", time=5)  # less than submitit takes for preemption
    engine.start(tasks)
    (job,) = cluster.jobs()
    for _ in range(2):
        assert gate.asked.wait(PATIENCE)
        gate.asked.clear()
        cluster.call("scancel", "--signal=USR2", job)  # as Slurm does before the time is up

    now = wait_for(engine, tasks, holds(a="stopped"))

    assert now["a"].why == "its time limit of 5 min was reached"
    assert now["a"].next == "run the same command again with more --time-limit: it goes on"
    assert Marks(engine.out, tasks[0]).running["attempt"] == 2


HELD = {"hold": True}  # jobs that do not start


@needs_slurm
def test_why_a_task_waits(cluster: Cluster, tmp_path: Path) -> None:
    """Slurm's reason in words, and what to do if it would wait for ever; cancelled is stopped."""
    tasks = batch_of(tmp_path / "merges", a=["plan", "a.yml"], b=["plan", "b.yml"])
    engine = Slurm(tmp_path / "merges", options=HELD)
    long = Slurm(tmp_path / "merges", partition="short", time=600)
    engine.start(tasks[:1])
    long.start(tasks[1:])

    now = wait_for(engine, tasks, lambda now: bool(now["b"].why))
    first, second = sorted(cluster.jobs())
    assert (now["a"].state, now["a"].where) == ("waiting", f"Slurm job {first}")
    assert now["a"].why == "you hold it (JobHeldUser)"
    assert now["a"].next == f"scontrol release {first}"
    assert now["b"].why in {
        "its time is more than its partition allows (PartitionTimeLimit)",
        "it asks for more than its partition allows (PartitionConfig)",
    }
    assert "--partition" in now["b"].next

    engine.start(tasks)  # both are there already
    assert sorted(cluster.jobs()) == [first, second]
    engine.cancel(tasks[1:])
    now = wait_for(engine, tasks, holds(b="stopped"))
    assert (now["a"].state, now["b"].why) == ("waiting", "cancelled")
    assert cluster.jobs() == {first: "PENDING", second: "CANCELLED"}
    engine.start(tasks)
    assert len(cluster.jobs()) == 3


@needs_slurm
@pytest.mark.parametrize(
    ("wishes", "said", "hint"),
    [
        (
            {"partition": "none"},
            "it has no partition 'none'; its partitions are main, short, urgent",
            "choose one with --partition",
        ),
        ({"memory": 10**15}, "Memory specification can not be satisfied", "less --memory"),
        ({"options": {"constraint": "none"}}, "Invalid feature specification", "sinfo"),
    ],
)
def test_what_slurm_refuses(  # noqa: PLR0917
    wishes: dict[str, Any],
    said: str,
    hint: str,
    cluster: Cluster,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """One line with what sbatch says, and the next step; nothing is noted, so nothing waits."""
    tasks = batch_of(tmp_path / "merges", a=["plan", "a.yml"], b=["plan", "b.yml"])
    engine = Slurm(tmp_path / "merges", **wishes)

    with pytest.raises(SlackTiesError) as caught:
        engine.start(tasks)

    assert said in str(caught.value)
    assert hint in caught.value.hint
    assert {one.state for one in seen(engine, tasks).values()} == {"new"}
    assert {*cluster.jobs().values()} <= {"FAILED"}  # it notes what it refuses
    assert capfd.readouterr().err == ""


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a script before the real sbatch, whose path is $SBATCH."""
    monkeypatch.setenv("SBATCH", program("sbatch"))
    folder.mkdir()
    (folder / "sbatch").write_text(f"#!/bin/sh\n{script}\n", "utf-8")
    (folder / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


LOST = (
    "echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv' >&2; exit 1"
)


@needs_slurm
def test_a_lost_answer_makes_no_second_job(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job is found by its name; one that Slurm does not have is an error, and sent again."""
    stand_in(tmp_path / "bin", monkeypatch, f'$SBATCH "$@" >&2; {LOST}')
    tasks = batch_of(tmp_path / "merges", a=["plan", "a.yml"], b=["plan", "b.yml"])
    engine = Slurm(tmp_path / "merges", options=HELD)

    engine.start(tasks)

    jobs = cluster.jobs()
    assert len(jobs) == 2
    assert [one.where for one in seen(engine, tasks).values()] == [
        f"Slurm job {job}" for job in sorted(jobs)
    ]
    for job in jobs:
        assert (engine.folder / f"{job}_submitted.pkl").is_file()

    engine.cancel(tasks)
    (tmp_path / "bin" / "sbatch").write_text(f"#!/bin/sh\n{LOST}\n", "utf-8")
    assert {one.why for one in seen(engine, tasks).values()} == {"cancelled"}
    with pytest.raises(NoAnswerError, match="Socket timed out"):
        engine.start(tasks)
    assert set(cluster.jobs().values()) == {"CANCELLED"}
    monkeypatch.setenv("PATH", os.environ["PATH"].partition(os.pathsep)[2])
    engine.start(tasks)
    assert [*cluster.jobs().values()].count("PENDING") == 2


@needs_slurm
def test_elements_that_are_cancelled_before_they_begin(cluster: Cluster, tmp_path: Path) -> None:
    """Slurm forgets an element at once, and shows a whole array as one job."""
    names = ("a", "b", "c")
    tasks = batch_of(tmp_path / "merges", **{name: ["plan", "a.yml"] for name in names})
    engine = Slurm(tmp_path / "merges", options=HELD)
    engine.start(tasks)
    jobs = sorted(cluster.jobs())

    cluster.call("scancel", jobs[1])
    now = seen(engine, tasks)
    assert [one.state for one in now.values()] == ["waiting", "stopped", "waiting"]
    assert now["b"].why == NEVER_BEGAN
    assert now["b"].where == f"Slurm job {jobs[1]}"

    cluster.call("scancel", jobs[0], jobs[2])
    assert {one.state for one in seen(engine, tasks).values()} == {"stopped"}
    engine.start(tasks)
    assert [one.state for one in seen(engine, tasks).values()] == ["waiting"] * 3


@needs_slurm
@pytest.mark.slow
@pytest.mark.usefixtures("models")
def test_a_command_that_is_killed_while_it_sends(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one finds the job, gives it what it waits for, and does not send it again."""
    stand_in(tmp_path / "bin", monkeypatch, '$SBATCH "$@"; kill -9 $PPID; sleep 1')
    tasks = batch_of(tmp_path / "merges", a=plan_of(tmp_path, "me/base", "me/ct"))
    code = (
        "import sys; from pathlib import Path; from slack_ties.batch.slurm.engine import Slurm; "
        "from slack_ties.batch.task import read_batch; out = Path(sys.argv[1]); "
        "Slurm(out, time=30).start(read_batch(out).tasks)"
    )
    killed = run([tmp_path / "merges"], env=os.environ, code=code)
    assert killed.returncode != 0
    (job,) = cluster.jobs()

    engine = Slurm(tmp_path / "merges", time=30)
    engine.start(tasks)

    wait_for(engine, tasks, holds(a="done"))
    assert [*cluster.jobs()] == [job]


@needs_slurm
@pytest.mark.slow
def test_a_job_that_slurm_has_forgotten(cluster: Cluster, models: Server, tmp_path: Path) -> None:
    """It forgets a job minutes after its end; then its log tells how it ended."""
    gate = models.hub.watcher = Gate("me/slow")
    tasks = batch_of(
        tmp_path / "merges", a=plan_of(tmp_path, "me/base", "me/slow"), b=["plan", "b.yml"]
    )
    engine, held = Slurm(tmp_path / "merges"), Slurm(tmp_path / "merges", options=HELD)
    engine.start(tasks[:1])
    held.start(tasks[1:])
    assert gate.asked.wait(PATIENCE)
    first, second = sorted(cluster.jobs())
    cluster.call("scancel", first, second)
    while set(cluster.jobs().values()) != {"CANCELLED"}:
        time.sleep(0.2)

    cluster.kill_controller()
    cluster.start_controller(forgetful=True)

    assert cluster.jobs() == {}
    now = seen(engine, tasks)
    assert (now["a"].state, now["a"].why) == ("stopped", "cancelled")
    assert now["a"].where == f"Slurm job {first}"
    assert (now["b"].state, now["b"].why) == ("stopped", NEVER_BEGAN)
    assert "CANCELLED AT" in "\n".join(engine.logs(tasks[0]))


@needs_slurm
def test_a_token_of_the_environment_only(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm would write it to files, so nothing is sent; a login is used instead of it."""
    path = tmp_path / "token"
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(path))
    monkeypatch.setenv("HUGGING_FACE_HUB_TOKEN", LONG_TOKEN)
    monkeypatch.setenv("OF_SOMETHING_ELSE", f"Bearer {LONG_TOKEN}")
    tasks = batch_of(tmp_path / "merges", a=["plan", "a.yml"])
    engine = Slurm(tmp_path / "merges", options=HELD)

    with pytest.raises(SlackTiesError, match="the token is in HUGGING_FACE_HUB_TOKEN only") as no:
        engine.start(tasks)
    assert no.value.hint.startswith("hf auth login # ")
    assert cluster.jobs() == {}

    path.write_text("hf_another", "utf-8")
    engine.start(tasks)
    assert len(cluster.jobs()) == 1
    assert files_with(cluster.folder, b"SLURM_SUBMIT_DIR")
    assert files_with(cluster.folder, LONG_TOKEN.encode()) == []
    assert files_with(engine.out, LONG_TOKEN.encode()) == []
    assert os.environ["HUGGING_FACE_HUB_TOKEN"] == LONG_TOKEN


def test_without_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says where the command works; a batch that was never sent needs no Slurm."""
    tasks = batch_of(tmp_path / "merges", a=["plan", "a.yml"])
    engine = Slurm(tmp_path / "merges")
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(SlackTiesError, match="this machine has no Slurm: its command sbatch") as no:
        engine.start(tasks)

    assert "login node" in no.value.hint
    assert seen(engine, tasks)["a"].state == "new"


@pytest.mark.parametrize(
    ("found", "said"),
    [(None, "needs submitit, which is not"), ("1.5.2", "submitit 1.5.2 is installed, expected")],
)
def test_without_submitit(found: str | None, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra brings it, in a version that works."""

    def version(name: str) -> str:
        if not found:
            raise PackageNotFoundError(name)
        return found

    monkeypatch.setattr("slack_ties.batch.slurm.send.version", version)

    with pytest.raises(SlackTiesError, match=said) as no:
        check_submitit()

    assert no.value.hint == 'pip install "slack-ties[slurm]"'


def job_in(state: str, reason: str = "", **others: str) -> QueuedJob:
    """Return a job as squeue shows it."""
    now = "2026-11-28T10:00:00+00:00"
    known = {"submitted": now, "started": now, "ended": now, "limit": "1-02:00:00"}
    known |= {"partition": "main", "nodes": "node7", "name": "merges-1"}
    return QueuedJob("12_3", state, **{**known, **others}, reason=reason)


@pytest.mark.parametrize(
    ("state", "reason", "code", "seen_as", "why"),
    [
        ("PENDING", "", "", "waiting", ""),
        ("PENDING", "QOSMaxJobsPerUserLimit", "", "waiting", "reached a limit of the cluster (QOS"),
        ("PENDING", "ReqNodeNotAvail, UnavailableNodes:n1", "", "waiting", "(ReqNodeNotAvail)"),
        ("PENDING", "Nodes required for job are DOWN, DRAINED", "", "waiting", "down or reserved"),
        ("PENDING", "Novelty", "", "waiting", "Slurm's reason (Novelty)"),
        ("SUSPENDED", "", "", "running", "Slurm has paused it"),
        ("CANCELLED", "", "", "ended", "cancelled"),
        ("TIMEOUT", "TimeLimit", "0:0", "ended", "its time limit of 26 h was reached"),
        ("FAILED", "NonZeroExitCode", "124:0", "ended", "its time limit of 26 h was reached"),
        ("OUT_OF_MEMORY", "OutOfMemory", "0:125", "ended", "it needed more memory than it had"),
        ("NODE_FAIL", "NodeFail", "", "ended", "its node node7 failed"),
        ("PREEMPTED", "", "", "ended", "for a job with a higher priority"),
        ("FAILED", "RaisedSignal:9(Killed)", "0:9", "ended", "its process was killed"),
        ("FAILED", "NonZeroExitCode", "137:0", "ended", "its process was killed"),
        ("FAILED", "NonZeroExitCode", "3:0", "ended", "another process worked on it"),
        ("FAILED", "NonZeroExitCode", "2:0", "ended", "its job ended with exit code 2 (FAILED)"),
        ("FAILED", "RaisedSignal:11", "0:11", "ended", "its job ended by signal 11 (FAILED)"),
        ("NEW_STATE", "", "", "ended", "its job ended (NEW_STATE)"),
    ],
)
def test_states_of_slurm_in_words(
    state: str, reason: str, code: str, seen_as: str, why: str
) -> None:
    """Each is a state of the table, and a reason."""
    found = as_seen(job_in(state, reason), code)

    assert found.state == seen_as
    assert why in found.why
    assert bool(found.why) == bool(why)
    assert found.where == "Slurm job 12_3" + " on node7" * (seen_as != "waiting")


@pytest.mark.parametrize(
    ("log", "why"),
    [
        ("", ""),
        ("slurmstepd: error: *** JOB 12 ON n CANCELLED AT 2026-11-28T10:00:00 ***", "cancelled"),
        ("error: *** JOB 12 ON n CANCELLED AT x DUE TO TIME LIMIT ***", "its time limit was"),
        ("*** CANCELLED AT x DUE TO PREEMPTION ***\n*** CANCELLED AT y ***", "cancelled"),
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=12.0.", "needed more memory"),
        ("*** JOB 12 ON n CANCELLED AT x DUE TO NODE FAILURE, SEE SLURMCTLD LOG ***", "node"),
    ],
)
def test_how_a_job_ended_by_its_log(log: str, why: str) -> None:
    """The last line of Slurm about its end counts."""
    assert why in ended_by_log(log)[0]
    assert bool(ended_by_log(log)[0]) == bool(why)

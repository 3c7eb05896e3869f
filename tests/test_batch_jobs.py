"""The engine `jobs`: real processes behind the Hub's routes, and the real client in front."""

from __future__ import annotations

import ast
import inspect
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import HfApi, constants
from mergekit.options import MergeOptions

from command import environment, files_on_main
from hub_jobs import Job
from hub_server import Fault, Server, Token
from lao import upload
from processes import run
from slack_ties.batch.entries import Wanted, tasks_of
from slack_ties.batch.jobs.ends import JOB_FILE
from slack_ties.batch.jobs.engine import Jobs
from slack_ties.batch.jobs.result import result_lines
from slack_ties.batch.jobs.script import (
    CHOICES,
    label_of,
    labels_of,
    packages_for,
    parents_of,
    script_of,
    steps_in_job,
    streams,
)
from slack_ties.batch.marks import Marks
from slack_ties.batch.needs import keep_plan, plan_of
from slack_ties.batch.start import begin_batch, check_tasks, left_of
from slack_ties.batch.state import State, states_of
from slack_ties.batch.task import Task, read_batch
from slack_ties.check_run import check_run
from slack_ties.cli.main import cli
from slack_ties.config.choices import Choices
from slack_ties.errors import HubError, OutputError, RecipeError, SlackTiesError
from slack_ties.hub.retries import Retries
from slack_ties.hub.timeouts import timeouts
from slack_ties.recipe.pin import PACKAGES
from triple import Folders

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="jobs run on Linux")

TOKEN = "hf_writer_whom_nobody_may_see"
IDS = {"base": "d/base", "ct": "d/ct", "sft": "d/sft"}
RECIPE = "merge_method: slack_ties\n"


class Desk:
    """A user with a batch on Jobs."""

    def __init__(self, hub: Server, folder: Path) -> None:
        """Take the Hub, and a folder for the batch."""
        self.hub, self.jobs, self.out = hub, hub.hub.jobs, folder / "merges"
        self.env = environment(hub, folder / "home", TOKEN)
        hub.hub.tokens |= {TOKEN: Token("me"), "d": Token("d")}

    def plan(self, *runs: str, **options: Any) -> list[Task]:
        """Write a batch, and check it as the command does."""
        wanted = Wanted(runs, options={**IDS, **options}, publish="me/x-{name}")
        _, tasks = begin_batch(self.out, tasks_of(wanted, self.out), "jobs", {})
        return check_tasks(self.out, tasks, self.look)

    def look(self, words: Sequence[str]) -> tuple[int, dict[str, Any], str]:
        """Run a command that prints JSON."""
        done = run([*words, "-q"], env=self.env)
        return done.returncode, json.loads(done.stdout or "{}"), done.stderr

    def write(self, *names: str, **options: Any) -> list[Task]:
        """Write a batch with plans that nothing has checked."""
        wanted = Wanted(names, options=options, publish="me/x-{name}")
        _, tasks = begin_batch(self.out, tasks_of(wanted, self.out), "jobs", {})
        models = [{"model": "d/base", "commits": ["0" * 40], "bytes": 13_000_000_000}]
        for task in tasks:
            keep_plan(self.out, task, {"recipe": RECIPE, "models": models, "memory": 9, "disk": 9})
        return tasks

    def engine(self, **options: Any) -> Jobs:
        """Return the engine, as a new command has it."""
        return Jobs(self.out, api=HfApi(endpoint=self.hub.url, token=TOKEN), **options)

    def states(self) -> dict[str, State]:
        """Return what `batch status` shows."""
        tasks = read_batch(self.out).tasks
        return {one.name: one for one in states_of(self.out, tasks, self.engine())}

    def go_on(self, tasks: Sequence[Task], **options: Any) -> None:
        """Do what the same command does once more."""
        busy = [one.name for one in self.states().values() if one.state in {"running", "waiting"}]
        self.engine(**options).start(left_of(self.out, tasks, busy))

    def jobs_of(self, name: str) -> list[Job]:
        """Return the jobs that were created for a task."""
        labels = [(job, job.spec["labels"]) for job in self.jobs.all.values()]
        return [job for job, one in labels if one["slack-ties-task"] == name]


@pytest.fixture
def empty(hub: Server, tmp_path: Path) -> Desk:
    """A Hub on which jobs wait until the test begins them, and a user with a new batch."""
    desk = Desk(hub, tmp_path)
    desk.jobs.hold = True
    return desk


@pytest.fixture
def desk(hub: Server, triple: Folders, tmp_path: Path) -> Desk:
    """A Hub with three models, and a user with a new batch."""
    made = Desk(hub, tmp_path)
    for role, repo_id in IDS.items():
        upload(hub, "d", repo_id, getattr(triple, role))
    return made


@pytest.fixture(autouse=True)
def soon() -> Iterator[None]:
    """Wait for the Hub as a command does, but not for minutes."""
    with timeouts(Retries(timeout=30)):
        yield


def mounted_files(job: Job) -> dict[str, bytes]:
    """Return what is in the folders in which a job's models are mounted."""
    return {
        path.relative_to(job.root).as_posix(): path.read_bytes()
        for path in job.root.rglob("*")
        if path.is_file()
    }


@pytest.mark.slow
def test_three_jobs_of_which_one_is_stopped_one_cancelled_and_one_created_unheard(
    desk: Desk,
) -> None:
    """The table tells the truth, the same command completes all, and no task has two jobs at once.

    What a mounted merge publishes is what a run with a download publishes, and no weight is sent.
    """
    hub = desk.hub.hub
    tasks = desk.plan("bo", "ug", "mn-Mong")
    hub.sent_of.clear()
    # bo is stopped by its time limit, ug by the service; the answer about mn-Mong is lost.
    bo, ug, mn = tasks
    desk.engine(timeout=1).start([bo])
    desk.jobs.hold = True
    desk.engine().start([ug])
    desk.jobs.hold = False
    hub.faults.append(Fault("job create", "dropped_after"))
    desk.engine().start([mn])

    assert [len(desk.jobs_of(task.name)) for task in tasks] == [1, 1, 1]
    assert desk.states()["ug"].state == "waiting"
    assert desk.states()["mn-Mong"].state in {"waiting", "running"}
    desk.jobs.stop(desk.jobs_of("ug")[0], "the node was taken away")
    desk.jobs.wait()

    seen = desk.states()
    again = f"slack-ties batch start --out {desk.out}"
    assert {name: (one.state, one.why, one.next) for name, one in seen.items()} == {
        "bo": ("stopped", "the time limit of 1 s was reached", f"{again} --time-limit 1m"),
        "ug": ("stopped", "the job was cancelled: the node was taken away", again),
        "mn-Mong": ("done", "", ""),
    }
    assert seen["mn-Mong"].result == "me/x-mn-Mong"

    asked = len(hub.requests)
    assert desk.states() == seen
    assert len(hub.requests) == asked, "how a job ended is known here for ever"

    desk.go_on(tasks)
    desk.jobs.wait()
    assert {name: one.state for name, one in desk.states().items()} == dict.fromkeys(seen, "done")
    assert [len(desk.jobs_of(task.name)) for task in tasks] == [2, 2, 1]
    assert Marks(desk.out, bo).done["attempt"] == 2
    desk.go_on(tasks)
    assert len(desk.jobs.all) == 5, "what is complete is not done again"

    check_published(desk)
    check_no_token(desk, bo)


def check_published(desk: Desk) -> None:
    """Check that the job of bo read its mounts alone, and published what a run publishes."""
    hub, job = desk.hub.hub, desk.jobs_of("bo")[1]
    weights = [name for name in hub.sent_of if name.endswith((".safetensors", ".bin"))]
    assert weights == []
    assert mounted_files(job) == {
        f"parents/{owner}--{name}--{commit[:12]}/{file}": content
        for owner, name, commit in (
            (*one["source"].split("/"), one["revision"]) for one in job.spec["volumes"]
        )
        for file, content in _all_files(desk, f"{owner}/{name}").items()
    }
    # By download, and merged here.
    words = ["run", "bo", "--out", desk.out.parent / "here", "--publish", "me/y-bo", "-q"]
    own = [word for role, repo_id in IDS.items() for word in (f"--{role}", repo_id)]
    done = run([*words, *own], env=desk.env)
    assert done.returncode == 0, done.stderr
    published = [files_on_main(hub, f"me/{name}-bo", "me") for name in "xy"]
    text = published[1]["README.md"].decode().replace("me/y-bo", "me/x-bo")
    assert published[0] == {**published[1], "README.md": text.encode()}
    assert [p["model"] for p in json.loads(published[0]["slack_ties.json"])["parents"]] == [
        f"{one['source']}@{one['revision']}" for one in job.spec["volumes"]
    ]


def check_no_token(desk: Desk, task: Task) -> None:
    """Check that the token is nowhere but among the secrets, and that the page shows the result."""
    status = run(["batch", "status", "--out", desk.out], env=desk.env)
    assert status.returncode == 0, status.stderr
    page = (desk.out / "batch.html").read_text()
    for volume in desk.jobs_of("bo")[1].spec["volumes"]:
        assert f"{volume['source']}/tree/{volume['revision']}" in page
    texts = [page, *desk.engine().logs(task)]
    for job in desk.jobs.all.values():
        assert job.spec["secrets"] == {"HF_TOKEN": TOKEN}
        texts += [json.dumps({**job.spec, "secrets": ""}), *(text for _, text in job.lines)]
    texts += [path.read_text() for path in desk.out.rglob("*") if path.is_file()]
    assert not [text for text in texts if TOKEN in text]
    assert any("[4/4] publish me/x-bo" in text for text in texts)


def _all_files(desk: Desk, repo_id: str) -> dict[str, bytes]:
    """Return all files of a repository's main."""
    hub = desk.hub.hub
    files = hub.revision(hub.repo(repo_id, None), "main")["files"]
    return {name: hub.blob(one["lfs"] or one["oid"]).read_bytes() for name, one in files.items()}


def test_a_task_that_fails_in_its_job_says_why(desk: Desk) -> None:
    """Its token has lost the right to write: the task's own reason is kept, and what to do."""
    desk.jobs.hold = True
    (task,) = desk.plan("bo")
    desk.engine().start([task])
    (job,) = desk.jobs_of("bo")
    desk.hub.hub.tokens[TOKEN] = Token("me", "read")
    desk.jobs.begin(job)
    desk.jobs.wait()

    seen = desk.states()["bo"]

    assert (job.stage, seen.state) == ("ERROR", "failed")
    assert "HF_TOKEN" in seen.why
    assert "can only read" in seen.why
    assert seen.next.startswith("unset HF_TOKEN")


def test_one_wait_for_a_rate_limit(empty: Desk) -> None:
    """The tasks are created one after the other, so a limit is waited for once."""
    tasks = empty.write("bo", "ug", "si")
    empty.hub.hub.faults.append(Fault("job create", "429"))

    empty.engine().start(tasks)

    creations = [one for one in empty.hub.hub.requests if one == "POST /api/jobs/me"]
    assert len(creations) == 4
    assert len(empty.jobs.all) == 3


@pytest.mark.parametrize("how", ["dropped_before", "dropped_after", "503"])
def test_a_creation_without_an_answer(empty: Desk, how: str) -> None:
    """Whether the service took it or not: there is one job."""
    tasks = empty.write("bo")
    empty.hub.hub.faults.append(Fault("job create", how))

    empty.engine().start(tasks)

    assert len(empty.jobs.all) == 1
    assert Marks(empty.out, tasks[0]).read(JOB_FILE)["id"] in empty.jobs.all


def test_a_command_that_died_after_the_creation(empty: Desk) -> None:
    """The job is found by its labels, and none is created."""
    (task,) = empty.write("bo")
    empty.engine().start([task])
    marks = Marks(empty.out, task)
    before = marks.read(JOB_FILE)
    (marks.folder / JOB_FILE).unlink()

    empty.engine().start([task])

    assert len(empty.jobs.all) == 1
    assert marks.read(JOB_FILE)["id"] == before["id"]
    assert empty.states()["bo"].state == "waiting"


def test_a_job_whose_markers_are_gone(empty: Desk) -> None:
    """A job that works on the task is taken, also if this disk knows of no attempt."""
    tasks = empty.write("bo")
    empty.engine().start(tasks)
    Marks(empty.out, tasks[0]).reset()

    empty.write("bo")
    empty.engine().start(tasks)

    (job,) = empty.jobs_of("bo")
    assert job.id in empty.states()["bo"].where


def test_two_jobs_for_one_task_become_one(empty: Desk) -> None:
    """If the service shows a job too late, the second one is cancelled when both are seen."""
    (task,) = empty.write("bo")
    empty.engine().start([task])
    (first,) = empty.jobs.all.values()
    second = empty.jobs.create("me", first.spec, empty.hub.url)
    second.times["createdAt"] = "2030-01-01T00:00:00.000Z"

    assert empty.states()["bo"].where.startswith(f"job {first.id}")

    assert (first.stage, second.stage) == ("SCHEDULING", "CANCELED")


def test_the_command(desk: Desk) -> None:
    """It says what all costs before it starts anything, and does not start it unasked."""
    desk.jobs.hold = True
    words = ["batch", "bo", "--out", desk.out, "--on", "jobs", "--publish", "me/x-{name}"]
    words += [word for role, repo_id in IDS.items() for word in (f"--{role}", repo_id)]

    unasked = run(words, env=desk.env)
    before = len(desk.jobs.all)
    agreed = run([*words, "--yes", "--time-limit", "3h"], env=desk.env)

    assert before == 0
    assert unasked.returncode == 1
    assert "At most $0.03 in total" in unasked.stderr
    assert "Next: add --yes" in unasked.stderr
    (job,) = desk.jobs.all.values()
    assert job.spec["timeoutSeconds"] == 3 * 3600
    assert agreed.returncode == 0, agreed.stderr
    assert "At most $0.09 in total" in agreed.stderr
    assert f"job {job.id}, cpu-upgrade" in agreed.stdout
    assert "waiting" in agreed.stdout


def test_other_settings_while_a_job_runs(empty: Desk) -> None:
    """The job is not taken for one with the new settings, and its result is not mixed with them."""
    (task,) = empty.write("bo")
    empty.engine().start([task])
    (old,) = empty.jobs.all.values()

    with pytest.raises(OutputError, match="the task 'bo' is complete or runs, with other"):
        empty.write("bo", slack=0.3)
    (Marks(empty.out, task).folder / JOB_FILE).unlink()  # as after a command that died
    (task,) = empty.write("bo", slack=0.3)
    with pytest.raises(OutputError, match=f"bo: job {old.id} works on it with other") as error:
        empty.engine().start([task])
    assert error.value.hint.startswith(f"slack-ties batch cancel bo --out {empty.out}")
    assert empty.states()["bo"].state == "new"

    empty.engine().cancel([task])
    ends(old, *result_lines([{"a": "old"}]), stage="COMPLETED")
    empty.engine().start([task])
    _, new = empty.jobs.all.values()
    assert new.spec["labels"]["slack-ties-attempt"] == "2"
    assert empty.states()["bo"].state == "waiting"
    ends(new, *result_lines([{"a": "new"}]), stage="COMPLETED")
    assert empty.states()["bo"].state == "done"
    done = Marks(empty.out, task).done
    assert done["results"] == [{"a": "new"}]
    assert done["since"] == new.times["startedAt"][:19] + "+00:00"
    assert done["ended"] == "2026-01-01T00:01:00+00:00", (
        "when the job ended, and not when we saw it"
    )


def test_a_job_that_is_not_listed_yet(empty: Desk) -> None:
    """It is asked for by its id, and no second one is created."""
    (task,) = empty.write("bo")
    empty.engine().start([task])
    (job,) = empty.jobs.all.values()
    empty.jobs.unlisted.add(job.id)

    empty.engine().start([task])

    assert len(empty.jobs.all) == 1
    assert empty.states()["bo"].state == "waiting"


def test_a_job_that_the_service_has_forgotten(empty: Desk) -> None:
    """The table says so, and the same command starts another one."""
    (task,) = empty.write("bo")
    empty.engine().start([task])
    empty.jobs.all.clear()

    seen = empty.states()["bo"]

    assert seen.state == "stopped"
    assert seen.why == "the service does not know its job any more, nor how it ended"
    empty.go_on([task])
    assert [job.spec["labels"]["slack-ties-attempt"] for job in empty.jobs.all.values()] == ["2"]


def test_jobs_of_an_organization(empty: Desk) -> None:
    """They are looked for there later, also if nobody says it again."""
    empty.hub.hub.tokens[TOKEN] = Token("me", orgs=(("lab", "write"), ("other", "write")))
    tasks = empty.write("bo", "ug")
    empty.engine(namespace="lab").start(tasks[:1])

    empty.engine().start(tasks)

    assert [job.owner for job in empty.jobs.all.values()] == ["lab", "lab"]
    with pytest.raises(OutputError, match="are those of lab, and cannot be other's"):
        empty.engine(namespace="other").start(tasks)


def test_no_room_on_the_machine_that_starts_jobs(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not asked for: the jobs have disks of their own."""
    free = SimpleNamespace(free=300_000, total=10**9, used=0)  # a file of the result, and not two
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    api = HfApi(endpoint=desk.hub.url, token=TOKEN)

    def look(words: Sequence[str]) -> tuple[int, dict[str, Any], str]:
        choices = Choices(**IDS)
        streamed, download = "--stream" in words, False if "--no-download" in words else None
        try:
            plan = check_run(
                words[1], words[3], choices=choices, publish="me/x-bo", stream=streamed, api=api,
                download=download, options=MergeOptions(out_shard_size=100_000),
            )  # fmt: skip
        except SlackTiesError as error:
            return 1, {}, f"Error: {error}"
        errors = [{"message": f"{one}", "next": one.hint} for one in plan.errors]
        recipe = "" if errors else plan.pinned().text
        return int(bool(errors)), {**plan.as_json(), "errors": errors, "recipe": recipe}, ""

    wanted = Wanted(["bo"], options=IDS, publish="me/x-{name}")
    _, tasks = begin_batch(desk.out, tasks_of(wanted, desk.out), "jobs", {})

    assert check_tasks(desk.out, tasks, look) == []
    assert "free" in desk.states()["bo"].why
    assert check_tasks(desk.out, tasks, look, away=True) == tasks
    assert plan_of(desk.out, tasks[0])["recipe"]


def test_a_creation_that_is_refused(empty: Desk) -> None:
    """Without credit no job begins: the command says so, and the table too."""
    (task,) = empty.write("bo")
    empty.jobs.credit = False

    with pytest.raises(HubError, match=r"the job of bo: .* asks for credit") as error:
        empty.engine().start([task])

    assert "settings/billing" in error.value.hint
    assert (empty.states()["bo"].state, empty.states()["bo"].next) == ("failed", error.value.hint)
    empty.jobs.credit = True
    empty.go_on([task])
    assert empty.states()["bo"].state == "waiting"


def test_cancel(empty: Desk) -> None:
    """The job ends on the service, and the table says who ended it."""
    tasks = empty.write("bo", "ug")
    empty.engine().start(tasks)

    empty.engine().cancel(tasks[:1])
    empty.engine().cancel(tasks[:1])  # it has ended, which is no error

    assert [job.stage for job in empty.jobs.all.values()] == ["CANCELED", "SCHEDULING"]
    assert (empty.states()["bo"].state, empty.states()["bo"].why) == ("stopped", "cancelled")
    assert empty.states()["ug"].state == "waiting"


def test_many_jobs_come_in_pages(empty: Desk) -> None:
    """The client follows the pages of the list."""
    tasks = empty.write("bo", "ug", "si")
    empty.engine().start(tasks)
    empty.hub.hub.page_size = 1

    assert [one.state for one in empty.states().values()] == ["waiting"] * 3


def ends(job: Job, *lines: str, message: str = "", stage: str = "ERROR") -> None:
    """Let a job end that had printed these lines."""
    job.lines += [("2026-01-01T00:00:00.000Z", line) for line in lines]
    job.times["startedAt"] = job.times["createdAt"]
    job.stage, job.message = stage, message or None
    job.times["finishedAt"] = "2026-01-01T00:01:00.000Z"


@pytest.mark.parametrize(
    ("stage", "lines", "message", "why"),
    [
        ("ERROR", ["no such package"], "Job failed with exit code: 1",
         "Job failed with exit code: 1; the last line of its log: no such package"),
        ("COMPLETED", [], "", "the job ended without a result; the last line of its log: none"),
        ("COMPLETED", ['slack-ties-result 1/2 {"results":'], "", "the job ended without a result"),
        ("COMPLETED", ['slack-ties-result 1/1 {"results": [1]}'], "", "ended without a result"),
        ("CANCELED", [], "", "the job was cancelled, by the service or on its page"),
        ("DELETED", [], "", "the service has deleted the job"),
        ("ERROR", ["\x1b[2J" + TOKEN], "bad\n\x1b[2Jmessage",
         r"bad \x1b[2Jmessage; the last line of its log: \x1b[2J[token]"),
    ],
)  # fmt: skip
def test_jobs_that_ended_without_a_result(
    empty: Desk, stage: str, lines: list[str], message: str, why: str
) -> None:
    """What the service and the log say is shown, and is not trusted."""
    (task,) = empty.write("bo")
    empty.engine().start([task])
    ends(*empty.jobs.all.values(), *lines, message=message, stage=stage)

    seen = empty.states()["bo"]

    assert seen.state == "stopped"
    assert why in seen.why
    assert seen.next == f"slack-ties batch start --out {empty.out}"


def test_the_log_of_a_job(empty: Desk) -> None:
    """It is shown while the job runs and when it has ended, each line once, without a token."""
    (task,) = empty.write("bo")
    empty.engine().start([task])
    (job,) = empty.jobs.all.values()
    ends(job, "one", f"two {TOKEN}", 'slack-ties-failed 1/1 {"why": "no", "next": "do"}')

    logs = [list(empty.engine().logs(task)) for _ in range(2)]

    assert logs[0] == logs[1] == ["one", "two [token]", job.lines[-1][1]]
    assert (empty.states()["bo"].why, empty.states()["bo"].next) == ("no", "do")


REFUSED: list[tuple[Callable[[Task], Task], dict[str, Any], str]] = [
    (lambda task: replace(task, publish=""), {}, "its result must be published"),
    (lambda task: task, {"models": [{"model": "./base", "commits": [""]}]}, "is a folder of"),
    (lambda task: task, {"recipe": ""}, "its plan has errors"),
]


@pytest.mark.parametrize(("change", "plan", "message"), REFUSED)
def test_what_no_job_can_do(
    empty: Desk, change: Callable[[Task], Task], plan: dict[str, Any], message: str
) -> None:
    """It is refused before the first job begins."""
    first, second = empty.write("bo", "ug")
    keep_plan(empty.out, second, {**plan_of(empty.out, second), **plan})

    with pytest.raises(RecipeError, match=message):
        empty.engine().start([first, change(second)])

    assert empty.jobs.all == {}


def test_an_older_client(empty: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that cannot look for labels could create a job twice: it is refused."""
    tasks = empty.write("bo")

    def list_jobs(self: HfApi, *, timeout: int | None = None) -> None:
        """Have no `labels`, as before huggingface_hub 1.21."""

    monkeypatch.setattr(HfApi, "list_jobs", list_jobs)
    with pytest.raises(SlackTiesError, match="cannot find a job again") as error:
        empty.engine().start(tasks)

    assert error.value.hint == "pip install -U 'huggingface-hub>=1.21'"


def test_the_costs_before_anything_starts(empty: Desk) -> None:
    """The price of an hour times the hours of all time limits."""
    tasks = empty.write("bo", "ug")

    estimate = empty.engine(timeout=2 * 3600).estimate(tasks)

    assert estimate.most == pytest.approx(2 * 2 * 0.03)
    assert estimate.as_text().splitlines() == [
        "2 jobs on cpu-upgrade (8 CPUs, 32.0 GB memory, 50.0 GB disk), $0.03 an hour, at most 2 h "
        "each",
        "At most $0.12 in total; the service counts the minutes that a job runs.",
    ]
    assert empty.jobs.all == {}


# What a job is told


def task_with(*steps: Sequence[str], name: str = "bo") -> Task:
    """Return a task with these commands."""
    return Task(name, "bo", {}, tuple(map(tuple, steps)), publish="me/x")


def test_the_script_says_all(tmp_path: Path) -> None:
    """It has the pinned recipe as it is, the parents, and commands without options of a recipe."""
    out, commit = tmp_path / "merges", "0" * 40
    recipe = f"merge_method: slack_ties\nbase_model: d/base@{commit}  # བོད་\n"
    plan = {"recipe": recipe, "models": [{"model": f"d/base@{commit}", "commits": [commit]}]}
    task = task_with(
        ["run", "bo", "--out", f"{out}/bo", "--slack", "0.1", "--no-normalize", "--report"],
        ["evaluate", f"{out}/bo", "--tasks", "x", "--json"],
        ["run", "bo", "--ct", "d/ct", "--out", f"{out}/bo", "--publish", "me/x"],
    )

    text = script_of(task, out, plan, batch="b", attempt=1)

    assert recipe in text
    values = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    assert values["RECIPE"] == recipe
    assert values["PARENTS"] == [["d/base", commit, f"/parents/d--base--{commit[:12]}"]]
    assert values["TASK"]["steps"] == [
        ["run", "bo.yml", "--out", "merges/bo", "--report"],
        ["evaluate", "merges/bo", "--tasks", "x", "--json"],
        ["run", "bo.yml", "--out", "merges/bo", "--publish", "me/x"],
    ]
    assert str(tmp_path) not in text


@pytest.mark.parametrize(
    ("more", "streamed"),
    [((), True), (("evaluate", "/m/bo"), False), (("run", "bo", "--report"), False)],
)
def test_results_are_streamed(more: tuple[str, ...], *, streamed: bool) -> None:
    """Unless the weights are needed in the job."""
    steps = [["run", "bo", "--out", "/m/bo", "--publish", "me/x"], *([list(more)] if more else [])]
    task = task_with(*steps)

    made = steps_in_job(task, Path("/m"), "bo.yml")

    assert streams(task) == ("--stream" in made[0]) == streamed
    assert "--stream" not in [word for step in made[1:] for word in step]


@pytest.mark.parametrize("recipe", ["a: '''\n", "a: \\n\n", "a: b", "a: b\r\n", ""])
def test_every_recipe_survives_the_script(tmp_path: Path, recipe: str) -> None:
    """Whatever its letters are."""
    script = script_of(task_with(), tmp_path, {"recipe": recipe}, batch="b", attempt=1)

    (assigned,) = [one for one in ast.parse(script).body if "RECIPE" in ast.dump(one)][:1]
    assert isinstance(assigned, ast.Assign)
    assert ast.literal_eval(assigned.value) == recipe


def test_a_recipe_that_is_too_long(tmp_path: Path) -> None:
    """It is refused: Linux would not start the script."""
    with pytest.raises(RecipeError, match="the recipe is too long for a job"):
        script_of(task_with(), tmp_path, {"recipe": "#" * 100_000}, batch="b", attempt=1)


def test_the_options_of_a_recipe_are_those_of_run() -> None:
    """All options of `run` that go into the recipe are left out, and no other one is."""
    run_ = cli.commands["run"]
    made = set(inspect.signature(Choices).parameters) | {"lambda_", "weights"}
    flags = {
        flag: int(not getattr(option, "is_flag", False))
        for option in run_.params
        if option.name in made
        for flag in (*option.opts, *option.secondary_opts)
        if flag.startswith("--")
    }
    assert flags == CHOICES


def test_adapters_are_mounted_too() -> None:
    """Each model and adapter once."""
    models = [{"model": "a/m+a/l", "commits": ["1" * 40, "2" * 40]}]
    models += [{"model": "a/m", "commits": ["1" * 40]}]

    found = parents_of(task_with(), {"models": models})

    assert [(one.repo_id, one.commit[0]) for one in found] == [("a/m", "1"), ("a/l", "2")]


def test_labels() -> None:
    """They have only letters that the service's documentation shows, and differ for each task."""
    names = ["bo-slack-0.1", "x" * 80, "x" * 79 + "y"]

    labels = [labels_of("b", task_with(name=name), 1) for name in names]

    assert len({one["slack-ties-task"] for one in labels}) == 3
    assert labels[0]["slack-ties-task"] == label_of(names[0]) == names[0]
    for one in (value for each in labels for value in each.values()):
        assert one.replace("-", "").replace(".", "").replace("_", "").isalnum()
        assert len(one) <= 80


def test_packages() -> None:
    """They are pinned; an evaluation brings its extra; slack-ties may come from elsewhere."""
    ours, *others = packages_for([["run", "bo"], ["evaluate", "x"]])
    assert ours.startswith("slack-ties[eval]==")
    assert [one.partition("==")[0] for one in others] == list(PACKAGES[1:])
    assert not any("+" in one for one in others)
    assert packages_for([["run"]], "git+https://x/y")[0] == "slack-ties @ git+https://x/y"
    assert packages_for([["run"]]) == packages_for([["run"]])

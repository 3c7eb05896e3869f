"""Many merges by one command, on this machine: what is complete is never done again."""

from __future__ import annotations

import csv
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock
from huggingface_hub import HfApi

from command import Invoke, environment, files_on_main
from eval_tasks import make_tasks
from hub_server import Server, Token
from slack_ties.batch.entries import Wanted, flags_of, is_sweep, read_sweep, tasks_of
from slack_ties.batch.executor import BUSY
from slack_ties.batch.here import Here
from slack_ties.batch.marks import Marks
from slack_ties.batch.needs import at_once_here, check_room_for_all, check_scoring
from slack_ties.batch.start import begin_batch, check_tasks
from slack_ties.batch.state import states_of
from slack_ties.batch.table import in_a_line, reasons, table
from slack_ties.batch.task import Task, new_batch, read_batch, write_batch
from slack_ties.batch.work import reason_in, work_on
from slack_ties.errors import OutputError, RecipeError, SlackTiesError
from slack_ties.run import run_all
from triple import Folders

TOKEN = "hf_writer"  # of the Hub in conftest.py

SWEEP = """
runs:
  - bo
  - {what: ug, name: small, base: my/base}
  - configs/any.yml
vary:
  slack: [0.1, 0.2]
  method: [ties]
publish: me/merge-{name}
evaluate: [one, two]
collection: Many
public: true
"""


def test_a_sweep_is_every_run_with_every_value(tmp_path: Path) -> None:
    """Each task is commands that a user can type: merge, score, then publish with the scores."""
    file = tmp_path / "sweep.yml"
    file.write_text(SWEEP, "utf-8")

    tasks = tasks_of(read_sweep(file), tmp_path / "out")

    assert [task.name for task in tasks] == [
        "bo-slack-0.1", "bo-slack-0.2", "small-slack-0.1", "small-slack-0.2",
        "any-slack-0.1", "any-slack-0.2",
    ]  # fmt: skip
    out = tmp_path / "out" / "small-slack-0.1"
    run = ["run", "ug", "--out", str(out), "--base", "my/base", "--slack", "0.1"]
    run += ["--method", "ties"]
    to = ["--publish", "me/merge-small-slack-0.1", "--public", "--collection", "Many", "--json"]
    assert tasks[2] == Task(
        "small-slack-0.1",
        "ug",
        {"slack": 0.1},
        (
            (*run, "--json"),
            ("evaluate", str(out), "--tasks", "one,two", "--json"),
            (*run, *to),
        ),
        "me/merge-small-slack-0.1",
    )
    assert tasks[4].language == ""
    assert is_sweep(str(file))
    assert not is_sweep("bo")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"slack": 0.3, "normalize": False}, "--slack 0.3 --no-normalize"),
        ({"weight": {"ct": 0.7, "sft": 1}}, "--weight ct=0.7 --weight sft=1"),
        ({"ct": ["a", "b"], "lambda_": 0.5}, "--ct a --ct b --lambda 0.5"),
        ({"download": False, "cuda": True, "dtype": None}, "--no-download --cuda"),
    ],
)
def test_options_as_they_are_typed(options: Mapping[str, object], words: str) -> None:
    """A value in a sweep is an option of `slack-ties run`."""
    assert " ".join(flags_of(options)) == words


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("runs: []", "expected the key 'runs' with a list"),
        ("runs: [bo]\nslaks: 1", "a sweep has no key 'slaks'"),
        ("runs: [bo]\nvary: {slack: 0.1}", "expected under 'vary' lists of values by option"),
        ("runs: [bo]\nevaluate: 3", "expected under 'evaluate' true, a list of tasks, or"),
        ("runs: [bo, bo]", "two tasks of this batch would have the name 'bo'"),
        ("runs: [bo, ug]\npublish: me/x", "two tasks of this batch would have the repository"),
        ("runs: [bo]\npublish: a/b/c", "'a/b/c' is no id on the Hub"),
        ("runs: [[bo]]", "expected a language, a config or a mapping with 'what'"),
        ("runs: [{name: x}]", "expected a language, a config or a mapping with 'what'"),
        ("runs: [{what: bo, name: ../../etc}]\nvary: {slack: [0.1]}", ""),
        ("runs: [" + "x" * 90 + "]", "cannot be the name of a task"),
        ("runs: [", "not valid YAML"),
        ("runs: [--help]", "expected a language, a config or a mapping with 'what'"),
        ("runs: [{what: bo, name: NUL.x}]", "no name that the system or a batch uses"),
        ("runs: [{what: bo, name: lock}]", "no name that the system or a batch uses"),
        ("runs: [bo]\npublic: maybe", "expected true or false under 'public', got 'maybe'"),
        (
            f"runs: [bo]\nvary: {{slack: &a {[*range(400)]}, density: *a, lambda: *a}}",
            "would have 64,000,000 tasks, expected at most 1,000",
        ),
    ],
)
def test_what_is_wrong_with_a_sweep(text: str, says: str, tmp_path: Path) -> None:
    """It is said before anything begins; a name never leaves the folder of the batch."""
    (tmp_path / "s.yml").write_text(text, "utf-8")
    if not says:
        (task,) = tasks_of(read_sweep(tmp_path / "s.yml"), tmp_path)
        assert task.name == "etc"
        return
    with pytest.raises(RecipeError) as caught:
        tasks_of(read_sweep(tmp_path / "s.yml"), tmp_path)
    assert says in str(caught.value)
    assert caught.value.hint


def test_streaming_leaves_no_weights_to_evaluate(tmp_path: Path) -> None:
    """The two together are refused."""
    wanted = Wanted(["bo"], options={"stream": True}, publish="me/{name}", evaluate={})

    with pytest.raises(RecipeError, match="--stream keeps none"):
        tasks_of(wanted, tmp_path)


def one_task(out: Path, *steps: tuple[str, ...]) -> Task:
    """Return a task of a batch in the folder `out`."""
    task = Task("bo", "bo", steps=steps)
    begin_batch(out, [task], "here", {})
    return task


def test_a_command_that_was_complete_is_not_run_again(tmp_path: Path) -> None:
    """After a failure the next attempt begins with the command that failed."""
    task = one_task(tmp_path, ("run", "--json"), ("evaluate", "--json"))
    ran = []

    def run(words: object, codes: list[int] = [0, 1, 0]) -> tuple[int, str]:  # noqa: B006 - used up
        ran.append(words)
        code = codes.pop(0)
        if code:
            os.write(2, b"Error: no data\nNext: get it\n")
        return code, "{}" if code else '{"a": 1}'

    first = work_on(tmp_path, "bo", run)
    failed = Marks(tmp_path, task).failed
    (state,) = states_of(tmp_path, [task], Here(tmp_path))
    second = work_on(tmp_path, "bo", run)
    third = work_on(tmp_path, "bo", run)

    assert (first, second, third) == (1, 0, 0)
    assert (failed["why"], failed["next"], failed["attempt"]) == ("no data", "get it", 1)
    assert (state.state, state.why, state.next) == ("failed", "no data", "get it")
    assert ran == [("run", "--json"), ("evaluate", "--json"), ("evaluate", "--json")]
    marks = Marks(tmp_path, task)
    assert marks.done["results"] == [{"a": 1}, {"a": 1}]
    assert marks.done["attempt"] == 2
    assert not marks.failed
    assert "$ slack-ties run\n$ slack-ties evaluate\nError: no data" in marks.log.read_text()


def test_two_processes_never_work_on_one_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one ends at once, and the state says that the task runs."""
    monkeypatch.setattr("slack_ties.batch.work.LOCK_TIME", 0.1)
    task = one_task(tmp_path, ("run", "--json"))
    seen = []

    def run(_: object) -> tuple[int, str]:
        seen.append(work_on(tmp_path, "bo", run))
        seen.append(states_of(tmp_path, [task], Here(tmp_path))[0].state)
        return 0, '{"a": 1}'

    assert work_on(tmp_path, "bo", run) == 0
    assert seen == [BUSY, "running"]
    assert states_of(tmp_path, [task], Here(tmp_path))[0].state == "done"


def test_a_task_whose_process_was_killed(tmp_path: Path) -> None:
    """Without its lock it does not run, whatever its marker says."""
    task = one_task(tmp_path, ("run", "--json"))
    marks = Marks(tmp_path, task)
    marks.begin("elsewhere")

    (state,) = states_of(tmp_path, [task], Here(tmp_path))

    assert (state.state, state.where) == ("stopped", "elsewhere")
    assert state.why == "its process was ended before it was complete"


def test_reasons_are_the_last_error_and_its_next_step() -> None:
    """Earlier errors do not count."""
    log = "Error: one\nNext: a\nmore\nError: two\nx\nNext: b\n"

    assert reason_in(log) == ("two", "b")
    assert reason_in("Error: one\nNext: a\nError: two\n") == ("two", "")
    assert reason_in("all is well") == ("", "")


def test_a_complete_task_keeps_its_settings(tmp_path: Path) -> None:
    """Another merge of that name needs another folder; a task that is not complete may change."""
    task = one_task(tmp_path, ("run", "--json"))
    changed = Task("bo", "bo", steps=(("run", "--slack", "0.3", "--json"),))
    batch, _ = begin_batch(tmp_path, [changed, Task("ug", steps=(("run", "ug"),))], "", {})
    work_on(tmp_path, "bo", lambda _: (0, '{"a": 1}'))

    assert [one.name for one in batch.tasks] == ["bo", "ug"]
    assert read_batch(tmp_path) == batch
    with pytest.raises(OutputError, match="'bo' is complete or runs, with other settings"):
        begin_batch(tmp_path, [task], "", {})
    again, left = begin_batch(tmp_path, [], "", {})
    assert (again.tasks, [one.name for one in left]) == (batch.tasks, ["bo", "ug"])
    with pytest.raises(OutputError, match="there is no batch in"):
        begin_batch(tmp_path / "other", [], "", {})


def test_options_of_the_engine_stay(tmp_path: Path) -> None:
    """Who gives another one keeps the others, until the batch gets another engine."""
    task = one_task(tmp_path)
    begin_batch(tmp_path, [task], "jobs", {"flavor": "cpu-xl", "time_limit": 60})

    longer, _ = begin_batch(tmp_path, [], "", {"time_limit": 120})
    again, _ = begin_batch(tmp_path, [task], "jobs", {})
    here, _ = begin_batch(tmp_path, [], "here", {"at_once": 2})

    assert longer.engine == again.engine == {"flavor": "cpu-xl", "time_limit": 120}
    assert here.engine == {"at_once": 2}


def test_a_disk_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some network disks have none: the worker says so, and where to go."""
    one_task(tmp_path, ("run", "--json"))

    def refuse(_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with pytest.raises(OutputError, match="is on a disk that cannot lock files") as caught:
        work_on(tmp_path, "bo", lambda _: (0, "{}"))

    assert caught.value.hint == "choose another folder for the batch: --out OUT"


def test_a_batch_that_was_moved(tmp_path: Path) -> None:
    """Its commands would write to the folder of before: it says where that was."""
    out = tmp_path / "one"
    begin_batch(out, tasks_of(Wanted(["bo"]), out), "", {})
    begin_batch(out, [], "", {})
    out.rename(tmp_path / "two")

    with pytest.raises(OutputError, match=r"was made in '.*one': its commands") as caught:
        begin_batch(tmp_path / "two", [], "", {})

    assert caught.value.hint.startswith("mv ")


def test_a_folder_of_somebody_else_stays(tmp_path: Path) -> None:
    """A folder with the name of a task, which is not of this batch, is refused."""
    (tmp_path / "bo").mkdir()

    with pytest.raises(OutputError, match="is not of this batch"):
        one_task(tmp_path, ("run",))


def test_tasks_at_once_have_memory_and_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory for each, at most one per core, one on a GPU, and always one."""
    tasks = [Task(f"t{i}", steps=(("run",),)) for i in range(5)]
    begin_batch(tmp_path, tasks, "", {})
    monkeypatch.setattr("os.cpu_count", lambda: 4)

    free = SimpleNamespace(available=10_000)
    monkeypatch.setattr("psutil.virtual_memory", lambda: free)

    def count(**plan: object) -> int:
        for task in tasks:
            Marks(tmp_path, task).write("plan.json", plan)
        return at_once_here(tmp_path, tasks)

    assert count(memory=1000) == 4
    assert count(memory=3000) == 3
    assert count(memory=20_000) == 1
    assert count(memory=1000, device="cuda") == 1


def test_all_results_need_room(tmp_path: Path) -> None:
    """Each result counts, and each model that is downloaded once."""
    tasks = [Task(f"t{i}", steps=(("run",),)) for i in range(2)]
    begin_batch(tmp_path, tasks, "", {})
    models = [{"model": "me/base", "commits": ["a"], "download": 10**15}]
    for task in tasks:
        plan = {"disk": 10**15, "one_disk": True, "models": models}
        Marks(tmp_path, task).write("plan.json", plan)

    with pytest.raises(OutputError) as caught:
        check_room_for_all(tmp_path, tasks, streamed=False)

    assert "the results of 2 tasks need 2000000.0 GB, and their models 1000000.0 GB" in str(
        caught.value
    )
    check_room_for_all(tmp_path, tasks, streamed=True)


# Whole batches


@pytest.fixture
def parents(triple: Folders, api: HfApi) -> None:
    """The triple on the Hub of the test."""
    for role in ("base", "ct", "sft"):
        api.create_repo(f"me/{role}", private=False)
        api.upload_folder(repo_id=f"me/{role}", folder_path=getattr(triple, role))


def start(folder: Path, hub: Server, *words: str) -> subprocess.Popen[str]:
    """Start `slack-ties batch` in a process of its own."""
    env = environment(hub, folder / "home", TOKEN)
    typed = [sys.executable, "-m", "slack_ties", "batch", *words]
    return subprocess.Popen(
        typed, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


SWEEP_OF = """
runs: [{{what: bo, base: me/base, ct: me/ct, sft: me/sft, license: mit}}]
vary: {{slack: {slacks}}}
publish: me/merge-{{name}}
"""


def slacks_in(folder: Path, *slacks: float) -> Path:
    """Write a sweep file with these slacks."""
    file = folder / "sweep.yml"
    file.write_text(SWEEP_OF.format(slacks=list(slacks)), "utf-8")
    return file


def check_like_single_runs(
    folder: Path, hub: Server, api: HfApi, slacks: tuple[float, ...]
) -> None:
    """Compare each result, here and on the Hub, with a run of its own."""
    from slack_ties.config.choices import Choices  # noqa: PLC0415

    for slack in slacks:
        name = f"bo-slack-{slack}"
        choices = Choices(base="me/base", ct="me/ct", sft="me/sft", slack=slack)
        alone = folder / "alone" / name
        run_all("bo", alone, choices=choices, license="mit", api=api, quiet=True)
        batch = folder / "merges" / name
        for file in ("model.safetensors", "mergekit_config.yml", "tokenizer.json", "config.json"):
            assert (batch / file).read_bytes() == (alone / file).read_bytes(), file
        there = files_on_main(hub.hub, f"me/merge-{name}", "me")
        assert there["model.safetensors"] == (alone / "model.safetensors").read_bytes()


@pytest.mark.parametrize("slacks", [(0.1, 0.2)])
@pytest.mark.usefixtures("parents")
def test_a_batch_is_its_single_runs(
    slacks: tuple[float, ...], tmp_path: Path, hub: Server, api: HfApi
) -> None:
    """The same bytes; the table says it; the same command again does nothing."""
    sweep = slacks_in(tmp_path, *slacks)
    done = start(tmp_path, hub, sweep.name, "--json")
    said, errors = done.communicate(timeout=300)
    before = Counter(hub.hub.requests)
    again = start(tmp_path, hub, sweep.name)
    shown, _ = again.communicate(timeout=300)

    assert done.returncode == 0, errors
    assert [one["state"] for one in json.loads(said)["tasks"]] == ["done"] * len(slacks)
    assert [one["result"] for one in json.loads(said)["tasks"]] == [
        f"me/merge-bo-slack-{slack}" for slack in slacks
    ]
    assert again.returncode == 0
    assert shown.count("done") == len(slacks)
    assert Counter(hub.hub.requests) == before
    check_like_single_runs(tmp_path, hub, api, slacks)
    assert TOKEN not in "".join(
        path.read_text("utf-8", errors="replace")
        for path in (tmp_path / "merges").rglob("*")
        if path.is_file()
    )


def test_threads_of_each_merge(tmp_path: Path, hub: Server) -> None:
    """A process takes a number of threads once, and a batch runs several commands in one."""
    models = ["--base", "./no", "--ct", "./no", "--sft", "./no"]
    process = start(tmp_path, hub, "bo", "lo", *models, "-j", "2")
    shown, _ = process.communicate(timeout=300)

    assert shown.count("model folder './no' does not exist") == 2
    assert "threads" not in shown


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
@pytest.mark.usefixtures("parents")
def test_six_merges_killed_at_three_points(tmp_path: Path, hub: Server, api: HfApi) -> None:
    """The same command completes them; nothing is merged or sent twice."""
    slacks = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
    sweep = slacks_in(tmp_path, *slacks)
    tasks = tasks_of(read_sweep(sweep), tmp_path / "merges")
    finished: dict[str, bytes] = {}
    for when in ("a task runs", "two are done", "four are done"):
        process = start(tmp_path, hub, sweep.name, "--at-once", "2")
        marks = [Marks(tmp_path / "merges", task) for task in tasks]
        limit = time.monotonic() + 300
        while time.monotonic() < limit:
            done = sum(bool(mark.done) for mark in marks)
            if when == "a task runs" and any(mark.is_locked() for mark in marks):
                break
            if done >= {"two are done": 2, "four are done": 4}.get(when, 9):
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        while any(mark.is_locked() for mark in marks):  # its processes end with it
            time.sleep(0.1)
        assert time.monotonic() < limit
        for task, mark in zip(tasks, marks, strict=True):
            if mark.done:
                path = mark.folder / "done.json"
                assert finished.setdefault(task.name, path.read_bytes()) == path.read_bytes()
    assert 4 <= len(finished) < 6

    last = start(tmp_path, hub, sweep.name)
    _, errors = last.communicate(timeout=300)

    assert last.returncode == 0, errors
    for name, content in finished.items():
        folder = tmp_path / "merges" / ".batch" / name
        assert (folder / "done.json").read_bytes() == content
    check_like_single_runs(tmp_path, hub, api, slacks)
    commits = [one for one in hub.hub.requests if "/commit/" in one and "merge-bo" in one]
    assert max(Counter(commits).values()) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("parents")
def test_scores_are_in_the_published_card(tmp_path: Path, hub: Server) -> None:
    """Merge, score, publish: the card on the Hub and the page of the batch have the scores."""
    make_tasks(tmp_path / "tasks", items=8)
    evaluate = "evaluate: {tasks: [names_bo], include_path: tasks}\n"
    (tmp_path / "sweep.yml").write_text(SWEEP_OF.format(slacks=[0.2]) + evaluate, "utf-8")

    process = start(tmp_path, hub, "sweep.yml")
    _, errors = process.communicate(timeout=300)

    assert process.returncode == 0, errors
    card = files_on_main(hub.hub, "me/merge-bo", "me")["README.md"].decode()
    assert "names_bo" in card
    assert "names_bo" in (tmp_path / "merges" / "batch.html").read_text("utf-8")
    text = (tmp_path / "merges" / "batch.csv").read_text("utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    assert [(row["task"], row["items"]) for row in rows] == [("names_bo", "8")]


@pytest.mark.usefixtures("parents")
def test_a_gated_parent_and_ctrl_c(tmp_path: Path, hub: Server) -> None:
    """A task with a gated parent fails alone, with what to do; Ctrl-C leaves the rest resumable."""
    hub.hub.save("them/ct", {**hub.hub.repo("me/ct", Token("me")), "gated": "manual"})
    gated = "{what: ug, name: gated, base: me/base, ct: them/ct, sft: me/sft, license: mit}, "
    text = SWEEP_OF.format(slacks=[0.1, 0.2]).replace("runs: [", f"runs: [{gated}")
    (tmp_path / "sweep.yml").write_text(text, "utf-8")
    process = start(tmp_path, hub, "sweep.yml", "--at-once", "1")

    def stop() -> None:
        while not any((tmp_path / "merges").glob(".batch/*/running.json")):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)

    threading.Thread(target=stop, daemon=True).start()
    _, errors = process.communicate(timeout=300)
    status = start(tmp_path, hub, "status", "--json")
    said, _ = status.communicate(timeout=60)
    states = {one["name"]: one for one in json.loads(said)["tasks"]}

    assert process.returncode == 130, errors
    assert "Stopped: the same command goes on" in errors
    assert states["gated-slack-0.1"]["state"] == "failed"
    assert "them/ct" in states["gated-slack-0.1"]["why"]
    assert states["gated-slack-0.1"]["next"]
    others = {states[name]["state"] for name in ("bo-slack-0.1", "bo-slack-0.2")}
    assert others <= {"stopped", "new"}
    assert status.returncode == 1


def test_the_table_says_why(tmp_path: Path) -> None:
    """A row for each task, and below the table what failed and what to type."""
    tasks = [Task(name, steps=(("run", name, "--json"),)) for name in ("a", "b", "c")]
    begin_batch(tmp_path, tasks, "", {})
    work_on(tmp_path, "a", lambda _: (0, '{"published": {"repo_id": "me/a", "url": "http://x/a"}}'))
    Marks(tmp_path, tasks[1]).fail("no access", "ask for it")

    states = states_of(tmp_path, tasks, Here(tmp_path))

    assert [row[:2] for row in table(states)] == [
        ("TASK", "STATE"), ("a", "done"), ("b", "failed"), ("c", "new"),
    ]  # fmt: skip
    assert table(states)[1][-1] == "http://x/a"
    assert reasons(states) == ["b: no access", "  Next: ask for it"]
    assert in_a_line(states) == "1 failed, 1 new and 1 done"


def test_commands_without_a_batch(invoke: Invoke) -> None:
    """Each says that there is none, and how to begin one."""
    for words in (["status"], ["logs", "bo"], ["cancel"], []):
        result = invoke("batch", *words)

        assert result.exit_code == 1
        assert "there is no batch in 'merges': it has no batch.json" in result.stderr
        assert "Next: slack-ties batch start LANG" in result.stderr


@pytest.mark.usefixtures("parents")
def test_licence_and_names_are_checked_before_the_first_merge(tmp_path: Path, hub: Server) -> None:
    """What cannot be published is not merged; the table says what to do."""
    text = SWEEP_OF.format(slacks=[0.1]).replace("license: mit", "license: llama3")
    (tmp_path / "sweep.yml").write_text(text, "utf-8")

    process = start(tmp_path, hub, "sweep.yml")
    shown, errors = process.communicate(timeout=300)

    assert process.returncode == 1
    assert "bo: failed: " in errors
    assert "Llama" in shown
    assert "  Next: " in shown
    assert not (tmp_path / "merges" / "bo").exists()


def test_two_tasks_of_one_repository(invoke: Invoke) -> None:
    """The template of the name needs {name}; nothing begins."""
    result = invoke("batch", "bo", "ug", "--publish", "me/x")

    assert result.exit_code == 1
    assert "two tasks of this batch would have the repository 'me/x'" in result.stderr
    assert not Path("merges").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("runs: [{what: bo, out: /etc}]", "'out' is no option of `slack-ties run`"),
        ("runs: [bo]\nvary: {dry_run: [true]}", "'dry_run' is no option of `slack-ties run`"),
        ("runs: [bo]\nvary: {help: [true]}", "'help' is no option"),
        ("runs: [bo]\nvary: {publish: [me/x]}", "'publish' is no option"),
        ("runs: [bo]\nvary: {json: [true]}", "'json' is no option"),
        ("runs: [bo]\nvary: {'': [true]}", "'' is no option"),
        ("runs: [bo]\nvary: {1: [true]}", "1 is no option"),
        ("runs: [bo]\nvary: {slak: [1]}", "Did you mean 'slack'?"),
        ("runs: [bo]\nvary: {report: [--help]}", "expected true or nothing for 'report'"),
        ("runs: [bo]\nvary: {slack: [&a [*a]]}", "expected a text, a number or a list of them"),
        ("runs: [bo]\nevaluate: {overwrite: 3}", "expected true or nothing for 'overwrite'"),
        ("runs: [bo]\nevaluate: {out: /etc/x}", "'out' is no option of `slack-ties evaluate`"),
    ],
)
def test_a_sweep_chooses_options_of_merges_only(
    text: str, says: str, tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key cannot move the result, skip the merge or break the command, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    Path("s.yml").write_text(text, "utf-8")

    result = invoke("batch", "s.yml")

    assert (result.exit_code, says in result.stderr) == (1, True), result.stderr
    assert [one.name for one in Path().iterdir()] == ["s.yml"]


def test_a_task_is_named_by_one_sweep_only(
    tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A language on the command line and in a sweep is not two tasks of one name."""
    monkeypatch.chdir(tmp_path)
    Path("s.yml").write_text("runs: [bo]", "utf-8")

    result = invoke("batch", "bo", "s.yml")

    assert result.exit_code == 1
    assert "two tasks of this batch would have the name 'bo'" in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["bo", "--base", "hf_abcdefghijklmnopqrstuvwxyz"],
        ["bo", "--on", "jobs", "--package", "git+https://me:pass@example.org/x"],
        ["bo", "--on", "jobs", "--package", "git+https://ghp_123@example.org/x"],
    ],
)
def test_no_secret_is_written_down(
    words: list[str], tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token or a password in an option is refused before a file is made, and is not repeated."""
    monkeypatch.chdir(tmp_path)

    result = invoke("batch", *words)

    assert result.exit_code == 1
    assert "a token or a password is in the options" in result.stderr
    assert words[-1] not in result.stderr
    assert not list(Path().iterdir())


def test_a_mistake_in_a_sweep_stops_the_batch_before_it_begins(
    invoke: Invoke, tmp_path: Path
) -> None:
    """An option or a value that no command has is named with its task; nothing is written."""
    sweep = tmp_path / "sweep.yml"
    for text, says in (
        ("vary: {slack: [0.1, abc]}", "bo-slack-abc: Invalid value for '--slack': 'abc'"),
        ("evaluate: {tasks: a, limit: many}", "bo: Invalid value for '--limit': 'many'"),
    ):
        sweep.write_text(f"runs: [bo]\n{text}", "utf-8")
        result = invoke("batch", str(sweep), "--out", "out")

        assert result.exit_code == 1
        assert says in result.stderr
        assert "Next: slack-ties " in result.stderr
        assert not Path("out").exists()


def test_a_task_that_was_refused_can_be_left_out(tmp_path: Path) -> None:
    """What never began and is not in the new list is gone; what has begun or is new stays."""
    tasks = [Task(name, steps=(("run", name),)) for name in ("bo", "xxq", "lo")]
    begin_batch(tmp_path, tasks, "", {})
    for task in tasks[:2]:
        Marks(tmp_path, task).fail("no language", "")
    Marks(tmp_path, tasks[0]).begin("here")
    Marks(tmp_path, tasks[0]).fail("no disk", "")

    same, _ = begin_batch(tmp_path, [], "", {})
    batch, _ = begin_batch(tmp_path, [Task("th", steps=(("run", "th"),))], "", {})

    assert [task.name for task in same.tasks] == ["bo", "xxq", "lo"]
    assert [task.name for task in batch.tasks] == ["bo", "lo", "th"]


def test_a_folder_that_cannot_be_made(invoke: Invoke) -> None:
    """It is a mistake of the user, not a bug."""
    Path("file").write_text("x", "utf-8")

    result = invoke("batch", "bo", "--out", "file")

    assert result.exit_code == 1
    assert "cannot make the folder 'file" in result.stderr
    assert "Next: choose another folder for the batch: --out OUT" in result.stderr


def test_a_collection_of_nothing(tmp_path: Path) -> None:
    """A collection needs models on the Hub."""
    with pytest.raises(RecipeError, match="'Many' gets published models, and none is published"):
        tasks_of(Wanted(["bo"], collection="Many"), tmp_path)


def test_what_to_score_on_is_checked_before_the_merges() -> None:
    """A task of lm-eval that nobody knows, and a folder that is not there, are refused."""
    run = ("run", "bo", "--json")
    for more in (["--tasks", "no_such_task"], ["--tasks", "a", "--include-path", "no_folder"]):
        with pytest.raises(SlackTiesError, match=r"no_such_task|no_folder") as caught:
            check_scoring([Task("bo", steps=(run, ("evaluate", "out", *more, "--json")))])
        assert caught.value.hint
    check_scoring([Task("bo", steps=(run,))])
    check_scoring([Task("bo", steps=(run, ("evaluate", "out", "--json")))])


def test_cancel_says_that_nothing_is_left(invoke: Invoke) -> None:
    """A task that is complete cannot be cancelled."""
    one_task(Path("merges"), ("run", "--json"))
    work_on(Path("merges"), "bo", lambda _: (0, '{"a": 1}'))

    assert invoke("batch", "cancel", "bo").stdout == "Cancelled: nothing: 'bo' is complete\n"
    assert invoke("batch", "cancel").stdout == "Cancelled: nothing: all is complete\n"
    assert "Page: merges/batch.html" in invoke("batch", "status").stderr.replace("\\", "/")


def test_a_task_that_was_cancelled_while_its_process_waited(tmp_path: Path) -> None:
    """Another command that waits for the same task does not begin it again."""
    task = one_task(tmp_path, ("run", "--json"))
    Marks(tmp_path, task).cancel()
    ran: list[object] = []

    def run(words: object) -> tuple[int, str]:
        ran.append(words)
        return 0, "{}"

    assert work_on(tmp_path, "bo", run) == 1
    assert states_of(tmp_path, [task], Here(tmp_path))[0].why == "cancelled"
    assert not ran


def test_memory_as_the_help_writes_it(invoke: Invoke) -> None:
    """40G is a size, as Slurm writes it; 40 alone is a forgotten unit."""
    begin_batch(Path("merges"), [Task("bo", steps=(("run", "bo", "--json"),))], "slurm", {})
    Marks(Path("merges"), read_batch(Path("merges")).tasks[0]).write("done.json", {"results": []})

    result = invoke("batch", "start", "--memory", "40G")

    assert "Invalid value" not in result.stderr
    assert read_batch(Path("merges")).engine == {"memory": 40 * 10**9}
    assert "40 needs a unit: 40M or 40G" in invoke("batch", "start", "--memory", "40").stderr


def test_a_step_counts_for_its_own_command_only(tmp_path: Path) -> None:
    """If markers of other commands come back, as after a power cut, the commands are run."""
    task = one_task(tmp_path, ("run", "--json"), ("evaluate", "--limit", "1", "--json"))
    assert work_on(tmp_path, "bo", lambda _: (0, '{"a": 1}')) == 0
    folder = task.folder(tmp_path)
    before = {name: (folder / name).read_bytes() for name in ("done.json", "step-2.json")}
    other = replace(task, steps=(task.steps[0], ("evaluate", "--limit", "9", "--json")))
    write_batch(new_batch([other], "here", {}), tmp_path)
    for name, content in before.items():
        (folder / name).write_bytes(content)
    ran = []

    assert states_of(tmp_path, [other], Here(tmp_path))[0].state != "done"
    work_on(tmp_path, "bo", lambda words: (ran.append(words), (0, "{}"))[1])

    assert ran == [("evaluate", "--limit", "9", "--json")]
    assert states_of(tmp_path, [other], Here(tmp_path))[0].state == "done"


def test_a_worker_that_waits_for_its_lock_takes_the_commands_of_then(tmp_path: Path) -> None:
    """Commands that change between its start and the lock are those that it runs."""
    task = one_task(tmp_path, ("run", "--slack", "0.1"))
    ran = []
    worker = threading.Thread(
        target=work_on, args=(tmp_path, "bo", lambda words: (ran.append(words), (0, "{}"))[1])
    )
    with Marks(tmp_path, task).lock() as free:
        assert free
        worker.start()
        time.sleep(0.5)
        other = replace(task, steps=(("run", "--slack", "0.2"),))
        write_batch(new_batch([other], "here", {}), tmp_path)
    worker.join()

    assert ran == [("run", "--slack", "0.2")]


def test_a_task_that_is_cancelled_before_it_begins(tmp_path: Path) -> None:
    """Its process, which is started already, runs nothing; a new start takes the mark away."""
    task = one_task(tmp_path, ("run", "--json"))
    Here(tmp_path).cancel([task])

    assert work_on(tmp_path, "bo", lambda _: pytest.fail("it ran")) == 1
    (state,) = states_of(tmp_path, [task], Here(tmp_path))
    assert (state.state, state.why) == ("stopped", "cancelled")
    Marks(tmp_path, task).forget_failure()
    assert work_on(tmp_path, "bo", lambda _: (0, "{}")) == 0


def test_paths_of_a_batch_are_those_of_the_folder_where_it_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the check nor the work looks for them where a later command is typed."""
    out, seen = tmp_path / "out", []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        begin_batch(out, [Task(name, steps=(("run", f"{name}.yml"),))], "", {})
    monkeypatch.chdir(tmp_path)
    found, chosen = begin_batch(Path("out"), [], "", {})

    def look(_: object) -> tuple[int, dict[str, object], str]:
        seen.append(Path.cwd().name)
        return 0, {}, ""

    ready = check_tasks(Path("out"), chosen, look)
    assert (Path.cwd(), ready) == (tmp_path, chosen)
    for task in found.tasks:
        work_on(out, task.name, lambda words: (*look(words)[:1], "{}"))

    assert seen == ["first", "second"] * 2


def test_one_engine_at_a_time(tmp_path: Path) -> None:
    """A task that a job may be working on is given to no other engine, and not worked on here."""
    task = Task("bo", "bo", steps=(("run", "--json"),))
    begin_batch(tmp_path, [task], "slurm", {})
    sent = tmp_path / ".batch" / ".slurm" / "bo.json"
    sent.parent.mkdir()
    sent.write_text('{"name": "unique-name", "job": "12"}', "utf-8")

    with pytest.raises(OutputError, match="slurm works on bo") as caught:
        begin_batch(tmp_path, [], "here", {})

    assert caught.value.hint.startswith("slack-ties batch cancel --out ")
    assert read_batch(tmp_path).on == "slurm"
    marks = Marks(tmp_path, task)
    number = marks.begin("job")
    marks.write("job.json", {"id": "6a", "attempt": number})
    assert work_on(tmp_path, "bo", lambda _: pytest.fail("it ran")) == BUSY


@pytest.mark.skipif(getattr(os, "getuid", lambda: 1)() != 0, reason="only root can be another user")
def test_the_batch_of_somebody_else_can_be_looked_at(tmp_path: Path) -> None:
    """Whoever may only read the folder sees which task runs."""
    task = one_task(tmp_path, ("run", "--json"))
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(folder.stat().st_mode | 0o055)
    code = (
        "import os, sys; from pathlib import Path; from slack_ties.batch.marks import Marks; "
        "from slack_ties.batch.task import Task; "
        "os.setgid(65534); os.setuid(65534); "
        "print(Marks(Path(sys.argv[1]), Task('bo')).is_locked())"
    )
    words = [sys.executable, "-c", code, str(tmp_path)]
    seen = []
    with Marks(tmp_path, task).lock():
        seen.append(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    seen.append(subprocess.run(words, capture_output=True, text=True, check=True).stdout)

    assert seen == ["True\n", "False\n"]


def test_a_log_cannot_steer_the_terminal(
    tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control characters in a log are shown as escapes."""
    monkeypatch.chdir(tmp_path)
    task = one_task(Path("merges"), ("run", "--json"))
    log = Marks(Path("merges"), task).log
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("a\tb\x1b]0;title\x07\nnext\n", "utf-8")

    result = invoke("batch", "logs", "bo")

    assert result.stdout == "a       b\\x1b]0;title\\x07\nnext\n"


@pytest.mark.parametrize("results", [3, ["x"], [{"published": "x"}], [{"published": {"url": 3}}]])
def test_a_result_may_be_anything(results: object, tmp_path: Path) -> None:
    """What a job has printed as its result is read with care: the table is text."""
    task = one_task(tmp_path, ("run", "--json"))
    Marks(tmp_path, task).finish(results)  # type: ignore[arg-type]  # as a job may print it

    (state,) = states_of(tmp_path, [task], Here(tmp_path))

    assert state.state == "done"
    assert all(isinstance(cell, str) for row in table([state]) for cell in row)


def test_a_process_of_another_machine_is_not_said_to_end(tmp_path: Path) -> None:
    """To cancel its task is refused, with the place where that is possible."""
    task = one_task(tmp_path, ("run", "--json"))
    marks = Marks(tmp_path, task)
    marks.begin("far, process 7")
    marks.write("running.json", {**marks.running, "host": "far"})

    with marks.lock(), pytest.raises(OutputError, match=r"cannot end bo \(far, process 7\)") as got:
        Here(tmp_path).cancel([task])

    assert got.value.hint == f"slack-ties batch cancel bo --out {tmp_path} # there"


def test_a_task_that_waits_for_others_is_shown_so(tmp_path: Path) -> None:
    """Another terminal sees it as waiting, as long as the first one lives."""
    tasks = [Task(name, steps=(("languages", "--json"),)) for name in ("a", "b")]
    begin_batch(tmp_path, tasks, "here", {})
    first = threading.Thread(target=Here(tmp_path, 1).start, args=(tasks,))
    first.start()
    seen = []
    while first.is_alive():
        (state,) = states_of(tmp_path, tasks[1:], Here(tmp_path))
        seen.append(state.state)
        time.sleep(0.05)
    first.join()

    assert "waiting" in seen
    assert [one.state for one in states_of(tmp_path, tasks, Here(tmp_path))] == ["done", "done"]
    marks = Marks(tmp_path, Task("c"))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    marks.write("queued.json", {"host": socket.gethostname(), "process": gone.pid, "made": 1.0})
    assert Here(tmp_path).states([marks.task]) == {}


def test_a_later_task_does_not_publish_over_an_earlier_one(tmp_path: Path) -> None:
    """Two commands for one folder are one batch: names and repositories differ, also in case."""
    begin_batch(tmp_path, [Task("bo", publish="me/x")], "here", {})
    for other in (Task("ug", publish="ME/X"), Task("BO")):
        with pytest.raises(RecipeError, match="two tasks of this batch would have the"):
            begin_batch(tmp_path, [other], "here", {})
    assert [task.name for task in read_batch(tmp_path).tasks] == ["bo"]

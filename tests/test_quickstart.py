"""notebooks/quickstart.ipynb runs from the top to a published model, and shows what it should.

The kernel, the Hub client and the HTTP are real; the Hub is on loopback and its models are small.
"""

from __future__ import annotations

import json
import os
import re
from importlib import util
from pathlib import Path

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

import eval_tasks
from hub_server import Server, Token
from lao import upload_lao
from run_notebook import HTML, NOTEBOOK, notebook, outputs, run_notebook, shown
from triple import Folders

SECRET = "hf_" + "s" * 34
JOBS = """\
import threading
import time

from slack_ties import progress

progress.CELL_REDRAW = 0.0


def job(name):
    with progress.Progress(name, 4_000_000) as shown:
        for number in range(200):
            shown.at(20_000 * (number + 1))
            time.sleep(0.001)


threads = [threading.Thread(target=job, args=(f"<b>{i}</b> sent",)) for i in range(2)]
for one in threads:
    one.start()
job("merged")
job("merged")
for one in threads:
    one.join()
"""


def environment(hub: Server, folder: Path) -> dict[str, str]:
    """Return the variables of a kernel: those of a person with a token, and this Hub."""
    return {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": SECRET,
        "HF_HOME": str(folder / "hf"),
        "IPYTHONDIR": str(folder / "ipython"),
    }


def test_it_is_kept_without_outputs() -> None:
    """Outputs of small models would be taken for those of the real models that it names."""
    book = nbformat.read(NOTEBOOK, as_version=4)

    nbformat.validate(book)
    for cell in book.cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ({"torch", "slack_ties", "lm_eval"}, []),
        ({"torch"}, ['--quiet "{SLACK_TIES}"']),
        (set(), ["torch --index-url https://download.pytorch.org/whl/cpu", "{SLACK_TIES}"]),
    ],
    ids=["all is there", "torch is there", "nothing is there"],
)
def test_it_installs_what_is_missing(
    there: set[str], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CPU build of torch where there is neither torch nor a GPU; nothing if all is there."""
    asked: list[str] = []

    class Shell:
        """What a cell calls for a line that begins with %."""

        def run_line_magic(self, name: str, line: str, **_: object) -> None:
            """Note the line."""
            asked.append(f"{name} {line}")

    (cell,) = (one for one in notebook({}).cells if one.id == "install")
    monkeypatch.setattr(util, "find_spec", lambda name: name if name in there else None)
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr("sys.platform", "linux")

    exec(TransformerManager().transform_cell(cell.source), {"get_ipython": Shell})  # noqa: S102 - ours

    assert len(asked) == len(expected)
    for line, part in zip(asked, expected, strict=True):
        assert line.startswith("pip install")
        assert part in line


def test_its_costs_are_those_of_the_readme() -> None:
    """Download, disk and memory of the sizes that it names."""
    readme = (NOTEBOOK.parent.parent / "README.md").read_text("utf-8")
    text = "\n".join(cell.source for cell in notebook({}).cells)
    for name, row in (("0.5B", "0.5B (Qwen1.5)"), ("7B", "7B (Llama 2)")):
        (line,) = (one for one in readme.splitlines() if one.startswith(f"| {row}"))
        download, disk, memory, small_disk, small_memory = re.findall(r"\d+\.\d GB", line)
        assert f"| {name} | {download} | {disk} | {memory} |" in text
        if name == "7B":
            small_disk = small_disk.replace(".0", "")
            assert f"{small_disk} of disk and {small_memory} of memory" in text.replace("\n", " ")
            assert f"{download} in" in text


def test_progress_in_a_notebook(hub: Server, tmp_path: Path) -> None:
    """All jobs of a cell, of all threads, have one output that changes; one line each remains."""
    code = nbformat.v4.new_code_cell
    book = nbformat.v4.new_notebook(cells=[code(JOBS, id="jobs"), code("job('read')", id="next")])

    run_notebook(book, tmp_path, environment(hub, tmp_path))

    (only,) = outputs(book, "jobs")
    lines = [line.rpartition(" in ")[0] for line in only.data["text/plain"].splitlines()]
    assert sorted(lines) == [
        "<b>0</b> sent 4.0 of 4.0 MB",
        "<b>1</b> sent 4.0 of 4.0 MB",
        "merged 4.0 of 4.0 MB",
    ]
    assert "<b>" not in only.data[HTML]
    assert "<progress" not in only.data[HTML]
    (after,) = outputs(book, "next")
    assert after.data["text/plain"].startswith("read 4.0 of 4.0 MB in ")


@pytest.mark.slow
def test_it_runs_from_the_top(triple: Folders, tmp_path: Path, hub: Server) -> None:
    """With the models that it names; only the tasks are others, whose data is here."""
    own = hub.hub.tokens[SECRET] = Token("me")
    upload_lao(triple, tmp_path / "models", hub)
    tasks = eval_tasks.make_tasks(tmp_path / "tasks")
    settings = {"TASKS": [eval_tasks.TIBETAN], "TASK_FOLDERS": [str(tasks)], "LARGE": True}
    book = notebook({**settings, "LIMIT": 4})
    work = tmp_path / "work"
    work.mkdir()

    run_notebook(book, work, environment(hub, tmp_path))

    assert SECRET not in json.dumps(book)
    for cell in book.cells:
        said = [one for one in cell.get("outputs", ()) if one.get("name") == "stderr"]
        assert said == [], cell.id
        assert len(cell.get("outputs", ())) <= 6, cell.id
    for cell in ("languages", "plan", "merge", "report", "try", "evaluate", "publish", "large"):
        assert "<" in shown(book, cell, HTML), cell
    assert "sail/Sailor-0.5B" in shown(book, "languages", HTML)
    assert "Errors: 0" in shown(book, "plan", HTML)
    assert "ສະບາຍດີ" in shown(book, "try", HTML)
    assert "names_bo" in shown(book, "evaluate", HTML)
    assert "tongyi-qianwen-research" in shown(book, "card", "text/markdown")
    assert "logged in as me" in shown(book, "login")
    assert f"{hub.url}/me/Sailor-0.5B-Lao-Chat" in shown(book, "publish", HTML)
    names = {
        name: set(hub.hub.repo(f"me/Sailor-0.5B-Lao-Chat{name}", own)["commits"][-1]["files"])
        for name in ("", "-Streamed")
    }
    assert "model.safetensors" in names[""] & names["-Streamed"]
    assert {"README.md", "examples.json", "evaluation.json"} <= names[""]
    assert not list((work / "lo-streamed").glob("*.safetensors"))

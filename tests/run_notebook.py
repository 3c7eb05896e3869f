"""Run the notebook as a person does, cell by cell in a real kernel, against a Hub on loopback.

`python tests/run_notebook.py FILE.ipynb` runs it with the models of `slack-ties demo`, and writes
it with its outputs: that is for looking at them.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

import eval_tasks

__all__ = ["HTML", "NOTEBOOK", "notebook", "outputs", "run_notebook", "shown"]

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "quickstart.ipynb"
HTML = "text/html"
SETTINGS = "settings"  # the id of the cell in which a person chooses
LONGEST = 600  # seconds of a cell


def notebook(settings: Mapping[str, object]) -> nbformat.NotebookNode:
    """Return the notebook with other values in its cell of settings.

    Args:
        settings: By the name of a variable, its value as Python's repr writes it, or a text of
            code in a tuple.

    """
    book = nbformat.read(NOTEBOOK, as_version=4)
    (cell,) = (one for one in book.cells if one.id == SETTINGS)
    for name, value in settings.items():
        code = value[0] if isinstance(value, tuple) else repr(value)
        lines = cell.source.splitlines()
        (at,) = (i for i, line in enumerate(lines) if line.startswith(f"{name} = "))
        lines[at] = f"{name} = {code}"
        cell.source = "\n".join(lines)
    return book


def run_notebook(
    book: nbformat.NotebookNode,
    folder: Path,
    environment: Mapping[str, str],
    *,
    after: Callable[[str], None] | None = None,
) -> nbformat.NotebookNode:
    """Run all cells in a kernel of this Python, in this folder; the outputs are in the notebook.

    Args:
        book: The notebook.
        folder: Where the kernel runs.
        environment: All variables of the kernel.
        after: Called with the id of each cell that has run.

    Raises:
        CellExecutionError: A cell failed.

    """

    def ran(cell: nbformat.NotebookNode, **_: object) -> None:
        if after:
            after(cell.id)

    client = NotebookClient(
        book,
        timeout=LONGEST,
        coalesce_streams=True,  # as Jupyter shows them
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        on_cell_executed=ran,
    )
    return client.execute(env=dict(environment))


def outputs(book: nbformat.NotebookNode, cell: str) -> list[Any]:
    """Return the outputs of the cell with this id."""
    (found,) = (one for one in book.cells if one.id == cell)
    return list(found.outputs)


def shown(book: nbformat.NotebookNode, cell: str, kind: str = "text/plain") -> str:
    """Return what a cell shows, in this kind where an output has it, else as text."""
    texts = []
    for one in outputs(book, cell):
        data = one.get("data", {"text/plain": one.get("text", "")})
        texts.append(data.get(kind, data.get("text/plain", "")))
    return "\n".join(texts)


def _items(numbers: Sequence[str]) -> list[dict[str, Any]]:
    """Return items that ask for the next number, and four more, for examples."""
    asked = [
        (f"What comes after {one}?" if one.isascii() else one, index)
        for index, one in enumerate(numbers[:-1])
    ]
    items = []
    for text, index in [*asked, *asked[:4]]:
        choices = [numbers[(index + 1 + 3 * i) % len(numbers)] for i in range(4)]
        items.append({"question": text, "choices": choices, "answer": 0})
    return items


def main(to: str) -> None:
    """Run it with the models of the demo, and write it with its outputs."""
    from huggingface_hub import HfApi  # noqa: PLC0415 - only for this

    from hub_server import Token, serving  # noqa: PLC0415
    from slack_ties.demo.models import (  # noqa: PLC0415
        ENGLISH,
        ROLES,
        TIBETAN,
        make_models,
        question,
    )

    with tempfile.TemporaryDirectory(prefix="slack-ties-notebook-") as own:
        folder = Path(own)
        make_models(folder / "models")
        (folder / "tasks").mkdir()
        for task, numbers in (("counting_en", ENGLISH), ("counting_bo", TIBETAN)):
            eval_tasks.write_task(folder / "tasks", task, _items(numbers))
        with serving(folder / "hub", {"hf_demo": Token("demo")}) as hub:
            api = HfApi(endpoint=hub.url, token="hf_demo")
            for role in ROLES:
                api.create_repo(f"demo/{role}", private=False)
                api.upload_folder(repo_id=f"demo/{role}", folder_path=folder / "models" / role)
            book = notebook(
                {
                    "LANGUAGE": "bo",
                    "NAME": "tiny-llama-tibetan",
                    "PROMPTS": [question("three"), question("seven"), "གཅིག་གཉིས་"],
                    "TASKS": ["counting_bo", "counting_en"],
                    "TASK_FOLDERS": [str(folder / "tasks")],
                    "MODELS": (
                        'slack_ties.Choices(base="demo/base", ct="demo/ct", sft="demo/sft")',
                    ),
                    "LARGE": True,
                }
            )
            environment = {
                **os.environ,
                "HF_ENDPOINT": hub.url,
                "HF_TOKEN": "hf_demo",
                "HF_HOME": str(folder / "cache"),
                "HF_HUB_DISABLE_XET": "1",
            }
            (folder / "work").mkdir()
            try:
                run_notebook(book, folder / "work", environment, after=print)
            finally:
                nbformat.write(book, to)


if __name__ == "__main__":
    main(sys.argv[1])

"""Two processes, or two threads, with one output, one cache or one file: the result is whole."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import HfApi
from mergekit.options import MergeOptions

from command import environment
from processes import Process, start
from slack_ties.config.choices import Choices
from slack_ties.config.make import make_config
from slack_ties.errors import OutputError
from slack_ties.files import sha256, write_whole
from slack_ties.merge.merge import merge_models
from slack_ties.merge.output import work_place
from slack_ties.record import read_record

if TYPE_CHECKING:
    from hub_server import Server
    from triple import Folders

READS, WRITES = 10_000, 3_000

WRITER = """
import sys
from pathlib import Path
from slack_ties.files import write_whole
path, text, count = Path(sys.argv[1]), sys.argv[2] * 20_000, int(sys.argv[3])
for _ in range(count):
    write_whole(path, text)
"""


def chosen(triple: Folders) -> Choices:
    """Return the triple as folders."""
    return Choices(str(triple.base), str(triple.ct), str(triple.sft))


def outputs(processes: list[Process]) -> list[tuple[int | None, str]]:
    """Wait for all, and return how each ended and what it said."""
    said = [process.communicate(timeout=300)[0] for process in processes]
    return [(one.returncode, text) for one, text in zip(processes, said, strict=True)]


def check_whole(out: Path) -> None:
    """Check every file of a merged model against the record of its merge."""
    record = read_record(out)
    for name, known in {**record.files, **record.beside}.items():
        assert sha256(out / name) == known


def test_two_writers_and_a_reader(tmp_path: Path) -> None:
    """Of 10,000 reads none meets half a text, and none of 3,000 writes fails."""
    path, texts = tmp_path / "a.json", [letter * 20_000 for letter in "ab"]
    write_whole(path, texts[0])
    told = dict(os.environ)
    words = [[path, letter, WRITES // 2] for letter in "ab"]
    writers = [
        start(one, env=told, cwd=tmp_path, merged=True, code=WRITER, imported=("slack_ties.files",))
        for one in words
    ]

    torn = sum(path.read_text("utf-8") not in texts for _ in range(READS))

    assert torn == 0
    assert outputs(writers) == [(0, ""), (0, "")]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("attempt", range(3))
def test_two_merges_into_one_output(triple: Folders, tmp_path: Path, attempt: int) -> None:  # noqa: ARG001
    """One of them is refused with one line, and the other one's result is whole."""
    recipe = make_config("bo", chosen(triple))
    (tmp_path / "bo.yml").write_text(recipe.text, "utf-8")
    words = ["merge", "bo.yml", "out", "-q"]
    both = [start(words, env=os.environ, cwd=tmp_path, merged=True) for _ in range(2)]

    ended = outputs(both)

    assert sorted(code or 0 for code, _ in ended) == [0, 1], ended
    (refused,) = (text for code, text in ended if code)
    (line,) = re.findall(r"^Error: .*$", refused, flags=re.MULTILINE)
    assert re.search("another merge into .* is running|holds a finished merge", line), refused
    check_whole(tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bo.yml", "out"]


def test_two_merges_from_one_cache(
    triple: Folders, tmp_path: Path, hub: Server, api: HfApi
) -> None:
    """Both download the same models at the same time, and both results are whole and the same."""
    for role in ("base", "ct", "sft"):
        api.create_repo(f"me/{role}", private=False)
        api.upload_folder(repo_id=f"me/{role}", folder_path=getattr(triple, role))
    recipe = make_config("bo", Choices("me/base", "me/ct", "me/sft"))
    (tmp_path / "bo.yml").write_text(recipe.text, "utf-8")
    told = environment(hub, tmp_path / "hf", "hf_writer")
    both = [
        start(["merge", "bo.yml", name, "-q"], env=told, cwd=tmp_path, merged=True)
        for name in ("one", "two")
    ]

    ended = outputs(both)

    assert [code for code, _ in ended] == [0, 0], ended
    for name in ("one", "two"):
        check_whole(tmp_path / name)
    assert read_record(tmp_path / "one") == read_record(tmp_path / "two")


def test_four_begin_at_the_same_moment(triple: Folders, tmp_path: Path) -> None:
    """Exactly one gets the output, and the others are refused before they merge for nothing."""
    recipe, options = make_config("bo", chosen(triple)), MergeOptions(quiet=True)
    ended: list[str] = []
    together = threading.Barrier(4)

    def begin(out: Path) -> None:
        together.wait()
        try:
            with work_place(out, None, recipe, options, {}) as work:
                (work / "a").write_text("x")
                time.sleep(0.01)
        except OutputError as error:
            late = str(error).startswith("the merge is complete, but")
            ended.append("merged for nothing" if late else "refused")
        else:
            ended.append("merged")

    for i in range(50):
        threads = [threading.Thread(target=begin, args=(tmp_path / f"{i}",)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert Counter(ended) == {"merged": 50, "refused": 150}


def test_two_threads_and_one_output(triple: Folders, tmp_path: Path) -> None:
    """The second merge is refused with one line, and the first one's result is whole."""
    recipe = make_config("bo", chosen(triple))
    errors: list[OutputError] = []

    def merge() -> None:
        try:
            merge_models(recipe, tmp_path / "out", options=MergeOptions(quiet=True))
        except OutputError as error:
            errors.append(error)

    threads = [threading.Thread(target=merge) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    (error,) = errors
    assert re.search("another merge into .* is running|holds a finished merge", str(error))
    check_whole(tmp_path / "out")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes")
def test_all_files_have_the_mode_of_the_umask(triple: Folders, tmp_path: Path) -> None:
    """A colleague who may read the folder can load the model."""
    before = os.umask(0o027)
    try:
        options = MergeOptions(quiet=True, out_shard_size=100_000)
        merge_models(make_config("bo", chosen(triple)), tmp_path / "out", options=options)
    finally:
        os.umask(before)

    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()}
    assert len(modes) > 8
    assert set(modes.values()) == {0o640}, modes

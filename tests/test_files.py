"""Files are written whole, by several at once, with the mode that the umask gives."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from slack_ties.files import expanded, mode_of_new_files, write_all, write_whole


def test_several_writers_and_a_reader(tmp_path: Path) -> None:
    """A reader never meets half a text, and nothing is left over."""
    path, texts = tmp_path / "a.json", [str(i) * 20_000 for i in range(4)]
    write_whole(path, texts[0])
    wrong: list[str] = []

    def write(text: str) -> None:
        for _ in range(50):
            write_whole(path, text)

    threads = [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        found = path.read_text("utf-8")
        wrong += [] if found in texts else [found[:20]]
    for thread in threads:
        thread.join()

    assert wrong == []
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_modes(tmp_path: Path) -> None:
    """A new file has the umask's mode, and one that is there keeps its own."""
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "new", "x")
        assert mode_of_new_files() == 0o640
    finally:
        os.umask(before)
    (tmp_path / "old").touch(mode=0o600)
    write_whole(tmp_path / "old", "x")

    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("new", "old")]
    assert modes == [0o640, 0o600]


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    """The temporary name cannot be known beforehand."""
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / ".a.json.partial").symlink_to(tmp_path / "theirs")

    write_whole(tmp_path / "a.json", "ours")

    assert (tmp_path / "theirs").read_text() == "theirs"


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    """Neither a part of the new text, nor a temporary file."""
    write_whole(tmp_path / "a", "old")

    with pytest.raises(UnicodeEncodeError):
        write_whole(tmp_path / "a", "\ud800")

    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_several_files_or_none(tmp_path: Path) -> None:
    """If one cannot be written or removed, all are as they were, and nothing is left over."""
    old, new, folder = (tmp_path / name for name in ("old.json", "new.json", "folder"))
    old.write_text("old")
    folder.mkdir()

    for texts, removed in (
        ({old: "x", new: "x", folder: "x"}, []),
        ({old: "x", new: "x"}, [folder]),
        ({old: "x", new: "\ud800"}, []),
    ):
        with pytest.raises((OSError, UnicodeEncodeError)):
            write_all(texts, removed=removed)
        assert old.read_text() == "old"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "old.json"]

    write_all({new: "x"}, removed=[old])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "new.json"]


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_link_of_the_user_is_followed(tmp_path: Path) -> None:
    """The file that it leads to is written, and the link stays."""
    (tmp_path / "a").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "a")

    write_whole(tmp_path / "link", "new")

    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "a").read_text() == "new"


@pytest.mark.skipif(
    getattr(os, "geteuid", lambda: 1)() != 0, reason="only root can make links of other users"
)
def test_a_link_of_somebody_else_is_replaced(tmp_path: Path) -> None:
    """In a shared folder nobody can make us write into another file."""
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "list.json").symlink_to(tmp_path / "mine")
    os.chown(tmp_path / "list.json", 12345, 12345, follow_symlinks=False)

    write_whole(tmp_path / "list.json", "new")

    assert (tmp_path / "mine").read_text() == "mine"
    assert not (tmp_path / "list.json").is_symlink()
    assert (tmp_path / "list.json").read_text() == "new"


def test_the_home_folder_of_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`~` is the home folder; a user who does not exist is no reason to stop."""
    monkeypatch.setenv("USERPROFILE" if os.name == "nt" else "HOME", str(tmp_path))

    assert expanded("~/merged") == tmp_path / "merged"
    assert expanded("~no-such-user/merged") == Path("~no-such-user/merged")

"""-q: the result, and nothing on stderr; and a warning about a licence where licences matter."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from huggingface_hub import HfApi

import processes
from command import environment
from hub_server import Server
from triple import Folders

DOUBT = "the terms of each are followed"  # a warning about a licence
CARD = "---\nlicense: [apache-2.0, mit]\n---\n"
ON_HUB = ("--base", "me/base", "--ct", "me/ct", "--sft", "me/sft")
# All commands that have -q, in an order in which each finds what it needs.
QUIET = {
    "config": ("config bo", "merge_configs/bo.yml"),
    "plan": ("plan merge_configs/bo.yml", "merge_configs/bo.yml: no errors; result bfloat16"),
    "merge": ("merge merge_configs/bo.yml merged", "merged: 139,584 parameters"),
    "report": ("report merge_configs/bo.yml", "bo-report/report.html"),
    "compare": ("compare merged bo-report", "slack"),
    "tune": ("tune merge_configs/bo.yml --slack 0,0.2", "bo-tuned-kept.yml"),
    "card": ("card merged", "merged/README.md"),
    "publish": ("publish merged me/tibetan", "http"),
    "run": ("run bo --out streamed --publish me/streamed --stream", "streamed: 139,584"),
    "recipes pull": ("recipes pull me/tibetan -o pulled.yml", "pulled.yml"),
    "recipes adapt": ("recipes adapt pulled.yml --language dz --ct me/ct", "merge_configs/dz.yml"),
    "verify": ("verify me/tibetan", "me/tibetan"),
}


@dataclass
class Place:
    """A folder, and a Hub whose CT model states two licences."""

    folder: Path
    server: Server

    def __call__(self, words: str, *more: str) -> tuple[str, str]:
        """Run a command; return what it says on each stream."""
        words += f" {' '.join(ON_HUB)}" * words.startswith(("config", "run"))
        done = processes.run(
            [*words.split(), *more],
            cwd=self.folder,
            env=environment(self.server, self.folder / "home", "hf_writer"),
        )
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout, done.stderr


@pytest.fixture
def place(hub: Server, api: HfApi, triple: Folders, tmp_path: Path) -> Place:
    """The models on the Hub."""
    for role in ("base", "ct", "sft"):
        copy = shutil.copytree(getattr(triple, role), tmp_path / "models" / role)
        if role == "ct":
            (copy / "README.md").write_text(CARD)
        api.create_repo(f"me/{role}", private=False)
        api.upload_folder(repo_id=f"me/{role}", folder_path=copy)
    return Place(tmp_path, hub)


def test_quiet_commands_print_only_their_result(place: Place) -> None:
    """No progress, no warning and no next step, but always the result."""
    for words, result in QUIET.values():
        out, errors = place(words, "-q")

        assert errors == "", words
        assert result in out.splitlines()[0] + out, words
        assert DOUBT not in out, words


def test_a_doubt_about_a_licence_is_said_once(place: Place) -> None:
    """Only by the commands that are about licences, and by each of them once."""
    said = {name: "".join(place(words)).count(DOUBT) for name, (words, _) in QUIET.items()}
    said["run, not published"] = "".join(place("run bo --out again")).count(DOUBT)

    expected = ("plan", "card", "publish", "run", "run, not published")
    assert said == {name: int(name in expected) for name in said}

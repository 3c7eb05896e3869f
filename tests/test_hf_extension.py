"""`hf slack-ties` runs our command, by the hf command's own extensions."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest
from huggingface_hub.cli.extensions import ExtensionManifest

from slack_ties.cli.program import as_typed

ROOT = Path(__file__).parent.parent
EXE = ".exe" if sys.platform == "win32" else ""

PYTHON = f'"{sys.executable}"' if " " in sys.executable else sys.executable

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without a compiler, and installed by pip into a folder of its own."""
    folder = tmp_path_factory.mktemp("extension")
    nothing = str(folder / "no-compiler")
    quick = {"CC": nothing, "CXX": nothing, "LDSHARED": nothing}
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder / "dist"]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, env={**os.environ, **quick})
    (wheel,) = (folder / "dist").iterdir()
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, "--target", folder / "lib", wheel], check=True)
    return folder / "lib"


@pytest.fixture
def hf(installed: Path, tmp_path: Path) -> Run:
    """The hf command of a person who has installed the extension.

    `hf extensions install OWNER/hf-slack-ties` takes the package from GitHub and pip, and then
    writes this manifest. Here the package is installed, and hf's own class writes the manifest.
    """
    program = installed / "bin" / f"hf-slack-ties{EXE}"
    manifest = ExtensionManifest(
        owner="OWNER",
        repo="hf-slack-ties",
        repo_id="OWNER/hf-slack-ties",
        short_name="slack-ties",
        executable_path=str(program),
        type="python",
        installed_at=datetime.now(timezone.utc),
        description="Give a language its own LLM by merging",
    )
    manifest.save(tmp_path / ".local/share/hf/extensions/hf-slack-ties")
    own = {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "PYTHONPATH": str(installed)}
    own |= {"HF_HUB_DISABLE_UPDATE_CHECK": "1", "PYTHONUTF8": "1"}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [Path(sys.executable).with_name(f"hf{EXE}"), *words],
            env={**os.environ, **own},
            cwd=tmp_path,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )

    return run


def test_the_wheel_has_the_script_that_hf_asks_for(installed: Path) -> None:
    """Its name is that of the repository, hf-slack-ties, and it calls the same function as ours."""
    (metadata,) = installed.glob("slack_ties-*.dist-info")
    scripts = {one.name: one.value for one in PathDistribution(metadata).entry_points}

    assert scripts["hf-slack-ties"] == scripts["slack-ties"] == "slack_ties.cli.main:main"
    assert (installed / "bin" / f"hf-slack-ties{EXE}").is_file()


def test_hf_runs_our_command(hf: Run) -> None:
    """Its help and its next steps name it as it was called; words and exit codes go through."""
    helped, wrong = hf("slack-ties", "--help"), hf("slack-ties", "config", "nowhere")
    other = hf("extensions", "exec", "slack-ties", "--", "plan", "--nothing")
    listed = hf("--help")

    assert helped.returncode == 0, helped.stderr
    assert helped.stdout.startswith("Usage: hf slack-ties [OPTIONS] COMMAND [ARGS]...")
    assert "\n    hf slack-ties run bo --out tibetan " in helped.stdout
    assert "Start with: hf slack-ties languages" in helped.stdout
    assert "slack-ties" not in helped.stdout.replace("hf slack-ties", "")
    assert wrong.returncode == 1
    assert wrong.stderr.splitlines()[-1].startswith("Next: hf slack-ties "), wrong.stderr
    assert other.returncode == 2
    assert other.stderr.splitlines()[-1] == "Next: hf slack-ties plan --help"
    shown = "".join(listed.stdout.split())  # hf breaks its lines where they fit
    assert "slack-tiesGivealanguageitsownLLMbymerging[extensionOWNER/hf-slack-ties]" in shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("slack-ties plan x.yml  # or slack-ties merge", "hf slack-ties plan x.yml  # or hf slack"),
        ("pip install --upgrade slack-ties", f"{PYTHON} -m pip install --upgrade slack-ties"),
        ("torch, pip install .", f"torch, {PYTHON} -m pip install ."),
        ("models with a slack-ties recipe", "models with a slack-ties recipe"),
        ("/usr/bin/slack-ties plan", "/usr/bin/slack-ties plan"),
    ],
)
def test_commands_are_written_as_typed(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: str
) -> None:
    """Only where the command of the shell is meant, and only if hf called it."""
    assert as_typed(text) == text

    monkeypatch.setattr("sys.argv", [f"/home/me/venv/bin/hf-slack-ties{EXE}"])

    assert as_typed(text).startswith(expected)


def test_pip_of_an_extension_that_uv_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its environment has no pip; that of the shell is another one."""
    monkeypatch.setattr("sys.argv", [f"hf-slack-ties{EXE}"])
    monkeypatch.setattr("slack_ties.cli.program.find_spec", lambda _: None)

    assert as_typed("pip install x") == f"uv pip install --python {PYTHON} x"

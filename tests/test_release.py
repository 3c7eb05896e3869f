"""What a release is made of: wheels, the source distribution, notes, workflows that are pinned."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from slack_ties import __version__
from slack_ties.rule.blockwise import merge_blocks
from slack_ties.rule.kernel import load_kernel
from slack_ties.rule.shares import Share

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TOOLS = ROOT / "tools"
sys.path.insert(0, str(TOOLS))

import check_wheel
from lower_bounds import lower_bounds, tomllib
from release_notes import release_notes

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def steps(workflow: Path) -> list[dict[str, Any]]:
    """Return the steps of all jobs."""
    jobs = yaml.safe_load(workflow.read_text("utf-8"))["jobs"]
    return [step for job in jobs.values() for step in job.get("steps", [])]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned(workflow: Path) -> None:
    """By the SHA of a commit, with the version beside it; one version of an action everywhere."""
    lines = re.findall(r"^\s*(?:- )?uses: (.+)$", workflow.read_text("utf-8"), re.MULTILINE)

    assert lines
    for line in lines:
        if not line.startswith("./"):
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", line), line


def test_one_version_of_each_action() -> None:
    """No workflow is forgotten when an action is renewed."""
    used = {step["uses"] for path in WORKFLOWS for step in steps(path) if "uses" in step}

    assert len(used) == len({one.partition("@")[0] for one in used})


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_may_do_little(workflow: Path) -> None:
    """They read by default, and leave no token in the checkout."""
    assert yaml.safe_load(workflow.read_text("utf-8"))["permissions"] == {"contents": "read"}
    for step in steps(workflow):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_wheels_are_tried_with_the_pythons_that_we_name() -> None:
    """From the oldest to the newest that the skill names: torch has wheels for these."""
    jobs = yaml.safe_load((ROOT / ".github/workflows/wheels.yml").read_text("utf-8"))["jobs"]
    skill = (ROOT / "src/slack_ties/.agents/skills/slack-ties/SKILL.md").read_text("utf-8")

    tried = jobs["try"]["strategy"]["matrix"]["python"]

    assert f"Python {tried[0]} to {tried[-1]}." in skill
    assert PROJECT["project"]["requires-python"] == f">={tried[0]}"


def test_only_the_last_jobs_of_a_release_may_write() -> None:
    """PyPI gets an identity and no more; the GitHub release writes after PyPI has the files."""
    jobs = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text("utf-8"))["jobs"]

    asked = {name: job.get("permissions", {}) for name, job in jobs.items()}
    assert asked["pypi"] == {"id-token": "write"}
    assert jobs["github"]["needs"] == "pypi"
    assert not any("write" in asked[name].values() for name in ("notes", "wheels"))


def test_the_lower_bounds_are_those_of_pyproject() -> None:
    """What the workflows install as the oldest is what pyproject.toml promises."""
    extras = PROJECT["project"]["optional-dependencies"].values()
    lines = [*PROJECT["project"]["dependencies"], *(one for extra in extras for one in extra)]
    promised = [re.match(r"([\w-]+)(?:\[.+\])?>=([\d.]+)", line).groups() for line in lines]
    oldest = PROJECT["project"]["requires-python"].removeprefix(">=")

    pins = lower_bounds(PROJECT["project"])

    assert [tuple(pin.partition(" ;")[0].split("==")) for pin in pins] == promised
    for name in ("ci", "wheels"):
        text = (ROOT / ".github" / "workflows" / f"{name}.yml").read_text("utf-8")
        assert "python tools/lower_bounds.py" in text
        assert f'"{oldest}"' in text
    tried = yaml.safe_load((ROOT / ".github/workflows/wheels.yml").read_text("utf-8"))
    matrix = tried["jobs"]["try"]["strategy"]["matrix"]
    assert {one["python"] for one in matrix["include"] if one["versions"] == "oldest"} == {oldest}


@pytest.mark.parametrize("kind", check_wheel.KINDS)
def test_the_known_bytes_are_those_of_torch(kind: str) -> None:
    """So a kernel that was built elsewhere is compared with the rule itself."""
    base, *models = (
        torch.from_numpy(bits).view(getattr(torch, kind)) for bits in check_wheel.numbers(kind)
    )
    shares = [Share(*share) for share in check_wheel.SHARES]

    merged, finite = merge_blocks(base, models, shares, normalize=True, lambda_=0.9)

    assert finite
    assert sha256(merged.view(torch.uint8).numpy().tobytes()).hexdigest() == check_wheel.KNOWN[kind]


@pytest.mark.skipif(not load_kernel(), reason="no compiled kernel")
def test_a_kernel_is_checked_without_torch(tmp_path: Path) -> None:
    """Nothing but numpy is needed; the first bytes that are not the known ones end the check."""
    text = (TOOLS / "check_wheel.py").read_text("utf-8")
    script = tmp_path / "check.py"
    script.write_text(text.replace(check_wheel.KNOWN["float32"], "0000"), "utf-8")

    done = subprocess.run(
        [sys.executable, script, "--without-torch", "--editable"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1, done.stderr
    for kind in ("float16", "bfloat16"):
        assert f"ok {kind} by merge_on_cpu {check_wheel.KNOWN[kind]}\n" in done.stdout
    assert "WRONG float32 by merge_on_cpu" in done.stdout


CHANGELOG = "# Changes\n\n## [1.2.0] - 2026-12-01\n\n### Added\n\n- A.\n\n## [1.1.0] - 2026-01-01\n"


def test_notes_are_the_entry_of_the_version() -> None:
    """And of no other; the entry here can be found, once it has a date."""
    notes = release_notes("v1.2.0", project='version = "1.2.0"\n', changelog=CHANGELOG)

    assert notes == "### Added\n\n- A.\n"
    texts = {
        "project": (ROOT / "pyproject.toml").read_text("utf-8"),
        "changelog": (ROOT / "CHANGELOG.md").read_text("utf-8"),
    }
    texts["changelog"] = re.sub(
        "- unreleased$", "- 2026-12-01", texts["changelog"], flags=re.MULTILINE
    )
    assert "### Added" in release_notes(f"v{__version__}", **texts)


@pytest.mark.parametrize(
    ("tag", "changelog", "message"),
    [
        ("v1.3.0", CHANGELOG, "tag v1.3.0: expected v1.2.0"),
        ("v1.2.0", "# Changes\n", r"expected an entry ## \[1.2.0\]"),
        ("v1.2.0", CHANGELOG.replace("2026-12-01", "unreleased"), "got unreleased"),
    ],
)
def test_a_release_that_does_not_agree_is_refused(tag: str, changelog: str, message: str) -> None:
    """Before anything is built."""
    with pytest.raises(ValueError, match=message):
        release_notes(tag, project='version = "1.2.0"\n', changelog=changelog)


def build(root: Path, target: str, folder: Path, **environment: str) -> Path:
    """Build the wheel or the source distribution of `root`."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", folder],
        cwd=root,
        check=True,
        capture_output=True,
        env={**os.environ, **environment},
    )
    (path,) = folder.iterdir()
    return path


def test_the_source_distribution_installs_without_a_compiler(tmp_path: Path) -> None:
    """It becomes a wheel for every platform, with every file of the package except the kernel."""
    with tarfile.open(build(ROOT, "sdist", tmp_path / "dist")) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.glob("slack_ties-*")
    nothing = str(tmp_path / "no-compiler")

    wheel = build(source, "wheel", tmp_path / "pure", CC=nothing, CXX=nothing, LDSHARED=nothing)

    assert wheel.name == f"slack_ties-{__version__}-py3-none-any.whl"
    assert not (source / "src/slack_ties/rule/_kernel.so").exists()
    package = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src").rglob("*")
        if path.is_file() and path.suffix not in {".pyc", ".so"}
    }
    with zipfile.ZipFile(wheel) as files:
        names = {name for name in files.namelist() if ".dist-info/" not in name}
        assert names == package
        (notes,) = (name for name in files.namelist() if name.endswith("/METADATA"))
        assert f"\nVersion: {__version__}\n" in files.read(notes).decode()


@pytest.mark.slow  # it compiles the kernel
@pytest.mark.skipif(not load_kernel(), reason="no compiled kernel")
def test_a_wheel_for_a_named_platform(tmp_path: Path) -> None:
    """Cibuildwheel names the platform: the tag is of it, of no Python, and not of a pure wheel."""
    wheel = build(
        ROOT, "wheel", tmp_path / "dist", _PYTHON_HOST_PLATFORM="macosx-11.0-arm64", CFLAGS="-O0"
    )

    assert wheel.name == f"slack_ties-{__version__}-py3-none-macosx_11_0_arm64.whl"
    with zipfile.ZipFile(wheel) as files:
        (path,) = (name for name in files.namelist() if name.endswith(".dist-info/WHEEL"))
        said = files.read(path).decode().splitlines()
        assert "Tag: py3-none-macosx_11_0_arm64" in said
        assert "Root-Is-Purelib: false" in said
        assert {"slack_ties.pth", "slack_ties.start"} <= set(files.namelist())
        assert "slack_ties/rule/_kernel.so" in files.namelist()

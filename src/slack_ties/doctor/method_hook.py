"""Does a new Python import all that a merge needs, and does mergekit find the method there?

Another process is asked, because this one has imported parts already, and mergekit-yaml starts one
too. It starts first, so that it imports while the other checks run.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slack_ties.doctor.finding import BROKEN, NOTE, OK, UNKNOWN, Finding
from slack_ties.doctor.packages import short
from slack_ties.errors import SlackTiesError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["look_at_imports", "look_at_mergekit", "started"]

# The method is looked for before anything of ours is imported: only the start-up file can have
# brought it.
CODE = """if True:
    import json, sys
    sys.path[:] = [folder for folder in sys.path if folder]  # not the current folder
    said = {}
    try:
        from mergekit.merge_methods import registered_methods
        said["method"] = "slack_ties" in [one.spec.name for one in registered_methods()]
        from slack_ties.private import mergekit
        [getattr(mergekit, name) for name in mergekit.NAMES]
        import slack_ties.merge.merge
    except Exception as error:
        said["error"] = f"{type(error).__name__}: {error}"
        said["hint"] = getattr(error, "hint", "")
    print(json.dumps(said))
"""

PIP_CHECK = "pip check  # names packages that are missing, or do not fit together"
REINSTALL = "pip install --force-reinstall --no-deps slack-ties"


@contextmanager
def started() -> Iterator[subprocess.Popen[str]]:
    """Start the other process; it is gone after the block.

    Raises:
        SlackTiesError: It cannot be started.

    """
    try:
        process = _start()
    except OSError as error:
        msg = f"cannot start a second Python, {short(sys.executable)}: {error.strerror or error}"
        raise SlackTiesError(msg, hint="free memory, then run the same command again") from None
    try:
        yield process
    finally:
        process.kill()
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()
        process.wait()


def _start() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CODE],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "TRANSFORMERS_VERBOSITY": "error"},
    )


def look_at_imports(process: subprocess.Popen[str]) -> tuple[Finding, bool | None, str]:
    """Wait for the process.

    Returns:
        Whether all that a merge needs can be imported; whether mergekit knows the method, None if
        that is not known; and what was logged.

    """
    out, log = process.communicate()
    lines = log.strip().splitlines()
    try:
        said: dict[str, Any] = json.loads(out.splitlines()[-1])
    except (IndexError, ValueError):  # a crash, such as an instruction that the CPU lacks
        last = lines[-1] if lines else "no message"
        text = f"a new Python ended with {process.returncode} while it imported mergekit: {last}"
        python = shlex.quote(sys.executable)
        hint = f'{python} -X faulthandler -c "import mergekit.merge_methods"'
        return Finding("imports", BROKEN, text, hint), None, log
    if "error" in said:
        hint = said["hint"] or PIP_CHECK
        return Finding("imports", BROKEN, said["error"], hint), said.get("method"), log
    text = "all parts of mergekit and of the other packages that a merge needs"
    return Finding("imports", OK, text), said["method"], log


def look_at_mergekit(*, method: bool | None, log: str) -> Finding:
    """Return whether stock mergekit-yaml finds the method.

    Args:
        method: Whether mergekit knows it in a new Python; None if that is not known.
        log: What that Python logged: the start-up file says there why it failed.

    """
    facts = {"finds_slack_ties": method}
    if method is None:
        return Finding("mergekit-yaml", UNKNOWN, "mergekit cannot be imported", facts=facts)
    if not method:
        reason = next((line for line in log.splitlines() if "slack_ties is not" in line), "")
        reason = reason or "the start-up file slack_ties.pth is missing, or Python does not read it"
        text = f"does not find slack_ties ({reason}); `slack-ties merge` works without it"
        return Finding("mergekit-yaml", NOTE, text, f"{REINSTALL}  # see docs/mergekit.md", facts)
    typed, own = shutil.which("mergekit-yaml"), Path(_scripts()[0], "mergekit-yaml")
    if typed and not any(_is_in(typed, folder) for folder in _scripts()):
        text = f"{short(typed)} belongs to another Python, and may not find slack_ties"
        hint = f"{shlex.quote(str(own))} CONFIG OUT  # of this Python"
        return Finding("mergekit-yaml", NOTE, text, hint, facts)
    where = "" if typed else f"; it is not on PATH, but in {short(own.parent)}"
    return Finding("mergekit-yaml", OK, f"finds slack_ties{where}", facts=facts)


def _scripts() -> list[str]:
    """Return the folders of this Python's commands."""
    user = sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user"))
    return [sysconfig.get_path("scripts"), str(Path(sys.executable).parent), user]


def _is_in(file: str, folder: str) -> bool:
    return Path(file).parent.resolve() == Path(folder).resolve()

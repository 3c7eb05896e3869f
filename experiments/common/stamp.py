"""What the rows of an experiment depend on: its budgets, its code, and versions of packages.

The folder of unfinished work holds it as stamp.json, and the results as versions.json.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from slack_ties.files import write_whole

__all__ = ["PACKAGES", "about", "check_same", "write_versions"]

PACKAGES = ("slack-ties", "mergekit", "torch", "transformers", "safetensors", "tokenizers")


def about(
    mode: Mapping[str, object], code: Iterable[Path], packages: Iterable[str] = PACKAGES
) -> dict[str, object]:
    """Return all that the rows depend on.

    Args:
        mode: The budgets.
        code: The files whose bytes count, in their order.
        packages: Those whose versions count.

    """
    installed = {package: _version_of(package) for package in packages}
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in code)).hexdigest()
    return {"mode": mode, "code": digest, **installed}


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        sys.exit(f"{package} is not installed: pip install {package}")


def check_same(work: Path, facts: Mapping[str, object]) -> None:
    """Refuse to continue the work of another mode, code or version: rows would not fit together."""
    stamp = json.dumps(facts, indent=2) + "\n"
    path = work / "stamp.json"
    if path.exists() and path.read_text("utf-8") != stamp:
        there = os.path.relpath(work)
        sys.exit(f"{there} is the work of another version: delete it, or choose another by --work")
    work.mkdir(parents=True, exist_ok=True)
    write_whole(path, stamp)


def write_versions(results: Path, facts: Mapping[str, object], name: str = "versions.json") -> None:
    """Write into a file what the results depend on, and when and where they were made."""
    made = {
        **facts,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }
    write_whole(results / name, json.dumps(made, indent=2) + "\n")

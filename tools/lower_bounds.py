"""Print the lower bound of each dependency of pyproject.toml, as constraints for pip.

    python tools/lower_bounds.py > oldest.txt
    pip install -c oldest.txt --group dev -e .

CI tests with these versions, so that the bounds are true.
"""

from __future__ import annotations

import sys
from pathlib import Path

from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"


def lower_bounds(project: dict[str, object]) -> list[str]:
    """Return a pin at the lower bound for each dependency, and for those of each extra."""
    extras = project["optional-dependencies"].values()  # type: ignore[attr-defined]
    pins = []
    for line in [*project["dependencies"], *(one for extra in extras for one in extra)]:  # type: ignore[misc]
        needed = Requirement(line)
        (bound,) = [one.version for one in needed.specifier if one.operator == ">="]
        marker = f" ; {needed.marker}" if needed.marker else ""
        pins.append(f"{needed.name}=={bound}{marker}")
    return pins


if __name__ == "__main__":
    print("\n".join(lower_bounds(tomllib.loads(PYPROJECT.read_text("utf-8"))["project"])))

"""Write the data and the pictures of docs/gallery.md: reports of merges.

Usage: python tools/gallery.py demo        make the reports of the demo's models again (a minute)
       python tools/gallery.py add REPORT NAME CT SFT   take the report.json of another merge
       python tools/gallery.py pictures    draw the pictures

NAME is the name of the page; CT and SFT are the models' names on it. The site draws the pages from
these data, so they look as `slack-ties report` draws them today.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slack_ties.report.file import read_report, report_as_json
from slack_ties.report.page import make_page
from slack_ties.report.pictures import FOLDER as IMAGES
from slack_ties.report.pictures import SLACKS, draw_pictures

if TYPE_CHECKING:
    from slack_ties.report.shown import ShownReport

FOLDER = Path(__file__).parents[1] / "docs" / "gallery"
ENDING = ".json.gz"

# What the pages of the demo's merges are called, and the slack of the SFT model.
DEMO = {"demo": 0.2, "demo-ties": 0.0}

PICTURED = ("basque-135m", "demo")

# Of report.json: what a page is drawn from. The rest follows from it.
KEPT = ("report", "config", "method", "settings", "versions", "tops", "grid", "models", "tensors")


def gallery() -> dict[str, ShownReport]:
    """Return the reports of the gallery by name."""
    reports = {}
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(FOLDER.glob(f"*{ENDING}")):
            plain = Path(folder, path.name.removesuffix(".gz"))
            plain.write_bytes(gzip.decompress(path.read_bytes()))
            reports[path.name.removesuffix(ENDING)] = read_report(plain)
    return reports


def pages() -> dict[str, str]:
    """Return what `slack-ties report` draws, by the names of the data."""
    return {f"{name}{ENDING}": make_page(report) for name, report in gallery().items()}


def write(name: str, report: ShownReport) -> None:
    """Write the data of a page: the same report gives the same bytes."""
    data = {key: one for key, one in report_as_json(report).items() if key in KEPT}
    for tensor in data["tensors"].values():
        for model in tensor["models"]:
            del model["shares"]
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}{ENDING}"
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
    print(f"{path.name}: {path.stat().st_size:,} bytes")


def demo() -> None:
    """Make the demo's models, and report on their merges."""
    from slack_ties.config.choices import Choices  # noqa: PLC0415 - heavy
    from slack_ties.config.make import make_config  # noqa: PLC0415
    from slack_ties.demo.models import ROLES, make_models  # noqa: PLC0415
    from slack_ties.explore.report import make_report  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        make_models(Path("demo"))
        for name, slack in DEMO.items():
            choices: dict[str, Any] = {role: f"demo/{role}" for role in ROLES}
            recipe = make_config("bo", Choices(**choices, slack=slack))
            Path(f"{name}.yml").write_text(recipe.text, "utf-8")
            add(make_report(f"{name}.yml").report, name, "demo/ct", "demo/sft")
        os.chdir(FOLDER)


def add(report: ShownReport, name: str, *models: str) -> None:
    """Take a report, under other names for the merge and its models: no path of this disk."""
    renamed = [replace(one, model=new) for one, new in zip(report.models, models, strict=True)]
    write(name, replace(report, config=f"{name}.yml", models=tuple(renamed)))


def add_file(path: str, name: str, *models: str) -> None:
    """Take the report.json of another merge."""
    add(read_report(Path(path)), name, *models)


def pictures() -> None:
    """Draw the pictures: what each slack saves, and what it costs."""
    for name in PICTURED:
        with tempfile.TemporaryDirectory() as folder:
            draw_pictures(gallery()[name], Path(folder))
            shutil.copy(Path(folder, IMAGES, SLACKS), FOLDER / f"{name}.png")


def main() -> None:
    """Do what is asked."""
    what, *words = sys.argv[1:] or [""]
    if what not in {"demo", "add", "pictures"}:
        sys.exit(__doc__)
    {"demo": demo, "add": add_file, "pictures": pictures}[what](*words)


if __name__ == "__main__":
    main()

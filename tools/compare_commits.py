"""Compare what two commits make of the same inputs, byte by byte.

    python tools/compare_commits.py OLD [NEW]       NEW is HEAD unless given

For a change that should change nothing but the code. Both commits are built and run on the models
of the tests: a triple in several file formats, the zoo of architectures, and every command. The
script compares each file that they write, and what the commands print, and lists what differs. Its
exit code is 1 if a file differs that is not a command's output: words may change on purpose.

It needs the development environment (make .venv/.ready) and takes some minutes.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Numbers that are of the machine and the moment, not of the commit.
MOMENT = [
    (re.compile(r"[\d.]+ [GM]B free here"), "N free here"),
    (re.compile(r'"(disk_free|memory_free)": \d+'), r'"\1": N'),
    (re.compile(r"^.*(\r|\d+it/s).*\n?", re.MULTILINE), ""),  # progress bars
]
MAKE_INPUTS = """
import shutil
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from triple import extend, make_triple, save_sharded_bin
from transformers import LlamaForCausalLM
from zoo import ZOO
from zoo_merge import CONFIG, make_models
folder = Path("inputs")
found = make_triple(folder / "triple")
extend(folder / "extended", found.ct)
save_sharded_bin(LlamaForCausalLM.from_pretrained(found.ct), folder / "bin")
for name in ("tokenizer.json", "tokenizer_config.json", "README.md"):
    shutil.copyfile(found.ct / name, folder / "bin" / name)
for animal in ZOO:
    made = folder / "zoo" / animal.name
    make_models(animal, made)
    text = CONFIG.format(method="slack_ties", folder=made, slack=", slack: 0.2")
    (made / "merge.yml").write_text(text, "utf-8")
"""
MERGE_ZOO = """
import logging
from pathlib import Path
import slack_ties
logging.getLogger("slack_ties").setLevel(logging.ERROR)
for config in sorted(Path("inputs/zoo").glob("*/merge.yml")):
    try:
        slack_ties.merge_models(config, Path("zoo", config.parent.name), quiet=True)
    except slack_ties.SlackTiesError as error:
        print(config, error)
"""
OWN = "--base inputs/triple/base --sft inputs/triple/sft"
RUNS = [
    "languages",
    "languages --json",
    "config --all -o all",
    *(f"{name} --help" for name in ("languages", "config", "plan", "merge", "report", "compare")),
    *(f"{name} --help" for name in ("tune", "card", "publish", "run", "recipes", "verify")),
    "config bo ug --joint --slack 0.3 -o joint",
    "plan --offline-lint all/bo.yml all/ug.yml",
    f"config bo {OWN} --ct inputs/triple/ct -o own",
    f"config eu {OWN} --ct inputs/extended -o own",
    f"config ug {OWN} --ct inputs/bin -o own",
    *(f"plan own/{name}.yml" for name in ("bo", "eu", "ug")),
    "plan own/bo.yml --json",
    "plan own/bo.yml --pin -o pinned.yml",
    "merge own/bo.yml bo --report",
    "merge own/eu.yml eu --out-shard-size 500K",
    "merge own/ug.yml ug -j 1",
    "report own/eu.yml -o eu-report --pictures",
    "report bo --json",
    "compare bo eu-report",
    "tune own/bo.yml --slack 0,0.2 --density 0.4,0.6",
    *(f"card {name} --license apache-2.0" for name in ("bo", "eu", "ug")),
    "card own/bo.yml",
    "verify bo",
    "verify bo --against eu",
    f"run bo {OWN} --ct inputs/triple/ct --out run --license apache-2.0",
    "recipes adapt pinned.yml --language dz --ct inputs/bin -o dz.yml",
    "plan nothing.yml",
    "merge own/bo.yml bo",
    "merge own/bo.yml new --devise cpu",
    "run klingon --out klingon",
    "config bo --slack 2",
]


def main() -> int:
    """Build, run and compare; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("old")
    parser.add_argument("new", nargs="?", default="HEAD")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slack-ties-compare-") as name:
        folder = Path(name)
        builds = [
            build(commit, folder / f"build-{i}") for i, commit in enumerate(vars(given).values())
        ]
        work = folder / "work"
        work.mkdir()
        python(MAKE_INPUTS.format(tests=str(ROOT / "tests")), work, builds[1], must_work=True)
        made = [run_all(build, work, folder / f"made-{i}") for i, build in enumerate(builds)]
        return compare(*made)


def build(commit: str, folder: Path) -> Path:
    """Install a commit, with its kernel, into a folder of its own."""
    tree = folder.with_suffix(".tree")
    tree.mkdir()
    archive = subprocess.run(
        ["git", "archive", commit], cwd=ROOT, check=True, capture_output=True
    ).stdout
    subprocess.run(["tar", "-x"], cwd=tree, input=archive, check=True)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--target", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(tree)], check=True)
    return folder


def run_all(build: Path, work: Path, made: Path) -> Path:
    """Run every command with a build, and move what it made out of the working folder."""
    printed = work / "printed"
    printed.mkdir()
    for number, line in enumerate(RUNS):
        done = python(["-m", "slack_ties", *line.split()], work, build)
        text = f"$ slack-ties {line}\n{done.stdout}{done.stderr}exit code {done.returncode}\n"
        for pattern, instead in MOMENT:
            text = pattern.sub(instead, text)
        (printed / f"{number:02}.txt").write_text(text, encoding="utf-8")
    (printed / "zoo.txt").write_text(
        python(MERGE_ZOO, work, build, must_work=True).stdout, encoding="utf-8"
    )
    made.mkdir()
    for path in list(work.iterdir()):
        if path.name != "inputs":
            shutil.move(str(path), made / path.name)
    return made


def python(
    code: str | list[str], work: Path, build: Path, *, must_work: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run Python with a build in front of what is installed."""
    arguments = ["-c", code] if isinstance(code, str) else code
    environment = {
        **os.environ,
        "PYTHONPATH": str(build),
        "HF_HUB_OFFLINE": "1",
        "COLUMNS": "80",
    }
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if must_work and done.returncode:
        sys.exit(done.stderr)
    return done


def compare(old: Path, new: Path) -> int:
    """Print what differs; return 1 if a file does that no command printed."""
    names = [
        {str(path.relative_to(side)) for path in side.rglob("*") if path.is_file()}
        for side in (old, new)
    ]
    for name in sorted(names[0] ^ names[1]):
        print(f"only in {'OLD' if name in names[0] else 'NEW'}: {name}")
    both = sorted(names[0] & names[1])
    differ = [name for name in both if (old / name).read_bytes() != (new / name).read_bytes()]
    printed = [name for name in differ if name.startswith("printed/")]
    files = [name for name in differ if name not in printed]
    for name in differ:
        print(f"differs: {name}")
        if not name.endswith((".safetensors", ".png")):
            sides = [(side / name).read_text("utf-8").splitlines() for side in (old, new)]
            print("\n".join(difflib.unified_diff(*sides, "OLD", "NEW", "", "", 0, "")))
    outputs = [name for name in both if name.startswith("printed/")]
    print(f"{len(both) - len(outputs)} files in both, {len(files)} of them differ")
    print(f"{len(outputs)} outputs of commands, {len(printed)} of them differ")
    return 1 if files or names[0] ^ names[1] else 0


if __name__ == "__main__":
    sys.exit(main())

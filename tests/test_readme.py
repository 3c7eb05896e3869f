"""README and pages tell the truth: commands and code run, outputs are real, help is current."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import processes
from hub_server import Server, Token
from lao import upload, upload_lao
from triple import Folders

ROOT = Path(__file__).parent.parent
PAGES = (
    *("models", "plan", "merge", "report", "tune", "try", "card"),
    *("publishing", "no-download", "recipes", "mergekit"),
)
TEXT = "".join(
    (ROOT / page).read_text("utf-8")
    for page in ("README.md", *(f"docs/{page}.md" for page in PAGES), "docs/python.md")
)
# Run elsewhere: by test_stock_mergekit.py, test_demo.py, CI, and whoever runs these tests.
NOT_RUN_HERE = ("pip install", "slack-ties demo", "make ")
PROGRAMS = {
    "slack-ties": processes.OURS,
    "mergekit-yaml": "from mergekit.scripts.run_yaml import main; main()",
}
# What differs between models and machines: numbers with their units, and commits.
NUMBER = re.compile(r"\bat [0-9a-f]{7,40}\b|\d+(?:[.,]\d+)*(?: ?[KMG]?B\b|M\b)?")
# Figures and sentences of a report differ, too; the demo is not run here.
NOT_COMPARED = ("slack-ties report", "slack-ties demo")


def blocks(language: str) -> list[str]:
    """Return the README's code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def masked(output: str) -> list[str]:
    """Return the lines of an output without what differs between models and machines."""
    same = NUMBER.sub("N", output).replace("threads", "thread")
    lines = same.replace(" and the compiled kernel", "").splitlines()
    return [" ".join(line.split()) for line in lines]


def shown_outputs() -> dict[str, list[str]]:
    """Return what the pages show as the output of a command; after several, of the last."""
    lines = r"((?:(?!```).*\n)+)"
    pairs = re.findall(rf"^```sh\n{lines}```\n\n```text\n{lines}```", TEXT, re.MULTILINE)
    return {
        commands.splitlines()[-1]: [line for line in masked(output) if line not in ("", "...")]
        for commands, output in pairs
        if not commands.startswith(NOT_COMPARED)
    }


@pytest.mark.parametrize(
    "forked", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["forked", "new processes"]
)
def test_every_command_and_the_notebook_run(
    triple: Folders, tmp_path: Path, hub: Server, *, forked: bool
) -> None:
    """In order, as they stand, against a Hub that holds small models under the real ids."""
    tokens = {"a": Token("meta-llama"), "b": Token("pkupie"), "c": Token("ME")}
    hub.hub.tokens.update(tokens)
    upload_lao(triple, tmp_path / "lao-models", hub)
    upload(hub, "a", "meta-llama/Llama-2-7b-hf", triple.base)
    upload(hub, "b", "pkupie/Llama-2-7b-bod", triple.ct)
    upload(hub, "b", "pkupie/Llama-2-7b-uig", triple.ct)
    upload(hub, "b", "pkupie/Llama-2-7b-FLAN-step884", triple.sft)
    for name, folder in (("base", triple.base), ("basque", triple.ct), ("chat", triple.sft)):
        shutil.copytree(folder, tmp_path / name)
    shutil.copytree(triple.ct, tmp_path / "dzongkha")
    for name in ("about.md", "about-bo.md"):
        (tmp_path / name).write_text("བོད་ཡིག", "utf-8")
    scripts = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": "c",
        "HF_HOME": str(tmp_path / "hf"),
    }

    def run(program: str, *words: str) -> str:
        if forked:
            code = PROGRAMS.get(program, program)
            done = processes.run(words, env=environment, cwd=tmp_path, code=code)
        else:
            real = [scripts / program] if program in PROGRAMS else [sys.executable, "-c", program]
            done = subprocess.run(
                [*real, *words],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
        assert done.returncode == 0, f"{program} {words}\n{done.stdout}\n{done.stderr}"
        return f"{done.stdout}{done.stderr}"

    shown = shown_outputs()
    commands = [line for block in blocks("sh") for line in block.splitlines()]
    assert len(commands) >= 10
    for command in commands:
        if not command.startswith(NOT_RUN_HERE):
            words = shlex.split(command, comments=True)
            if "SOMEBODY" in command:  # who published what was published above
                mine = hub.hub.repo("ME/Llama-2-7b-Tibetan", tokens["c"])
                hub.hub.save("SOMEBODY/Llama-2-7b-Tibetan", mine)
            output = masked(run(*words))
            expected = shown.pop(command, [])
            assert [line for line in expected if line not in output] == [], command
    assert shown == {}
    for code in blocks("python"):
        run(code)

    for name in ("lao", "basque-chat", "tibetan", "tibetan-by-mergekit", "tibetan-in-python"):
        assert list((tmp_path / name).glob("model*.safetensors"))
    # The Hub's own and the model.
    assert len(hub.hub.repo("ME/Llama-2-7b-Tibetan", None)["commits"]) == 2
    assert len(hub.hub.repo("ME/Llama-2-7b-Uyghur", tokens["c"])["commits"]) == 2
    assert not list((tmp_path / "uyghur").glob("model*.safetensors"))


def test_the_yaml_example_is_the_config_of_tibetan() -> None:
    """The README's config says the same as the one that is shared."""
    import yaml  # noqa: PLC0415

    from slack_ties.config.make import make_config  # noqa: PLC0415
    from slack_ties.recipe.read import parse_recipe  # noqa: PLC0415
    from slack_ties.recipe.recipe import FACTS_KEY  # noqa: PLC0415

    (example,) = blocks("yaml")
    shown = parse_recipe(example, where="README.md").data
    shared = dict(make_config("bo").data)
    del shared[FACTS_KEY]
    shared["parameters"] = {"normalize": False}  # lambda 1 is the default

    assert yaml.safe_dump(shown) == yaml.safe_dump(shared)


@pytest.mark.parametrize(
    "pages",
    [
        [
            *("docs/cli.md", "merge_configs/README.md", "docs/licenses.md", "docs/methods.md"),
            *("docs/tasks.md", "docs/index.md", "docs/gallery.md"),
        ],
        # Its tables take half a minute to compute; `make lint` checks it too.
        pytest.param(["docs/evidence.md"], marks=pytest.mark.slow),
    ],
    ids=["help and data", "evidence"],
)
def test_the_pages_are_current(pages: list[str]) -> None:
    """What --help and the data say is what the pages show; `make docs` renews them."""
    done = subprocess.run(
        [sys.executable, "-m", "cogapp", "--check", *pages],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "name",
    [
        *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md"),
        *("merge_configs/README.md", "experiments/saturation/README.md"),
        "experiments/real/README.md",
        *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))),
    ],
)
def test_links_within_the_repository_lead_somewhere(name: str) -> None:
    """Relative links name files that are there."""
    page = ROOT / name

    text = re.sub(r"<!--.*?-->", "", page.read_text("utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)

    assert [link for link in links if not (page.parent / link).exists()] == []

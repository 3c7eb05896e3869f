"""SKILL.md tells coding agents the truth: it has the format of agents, and each command runs."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import yaml
from huggingface_hub import HfApi

import processes
import slack_ties
from hub_server import Server, Token
from triple import Folders

# Where `uvx library-skills` looks for it, in a wheel and in a checkout.
SKILL = Path(slack_ties.__file__).parent / ".agents" / "skills" / "slack-ties" / "SKILL.md"
MODELS = {
    "meta-llama/Llama-2-7b-hf": "base",
    "pkupie/Llama-2-7b-bod": "ct",
    "pkupie/Llama-2-7b-FLAN-step884": "sft",
}


def test_the_front_matter_is_that_of_a_skill() -> None:
    """As agentskills.io describes it: its name is that of the folder, and no text is too long."""
    text = SKILL.read_text("utf-8")
    _, front, body = text.split("---\n", 2)
    facts = yaml.safe_load(front)

    assert set(facts) == {"name", "description", "license", "compatibility"}
    assert facts["name"] == SKILL.parent.name
    assert 1 <= len(facts["description"]) <= 1024
    assert 1 <= len(facts["compatibility"]) <= 500
    assert len(body.splitlines()) < 100, "an agent reads all of it"


def test_every_command_runs(triple: Folders, tmp_path: Path, hub: Server) -> None:
    """In order, as they stand, against a Hub that holds small models under the real ids."""
    hub.hub.tokens.update(a=Token("meta-llama"), b=Token("pkupie"), c=Token("ME"))
    for repo_id, role in MODELS.items():
        owner = HfApi(endpoint=hub.url, token="a" if repo_id.startswith("meta") else "b")
        owner.create_repo(repo_id, private=False)
        owner.upload_folder(repo_id=repo_id, folder_path=getattr(triple, role))
    own = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "c", "HF_HOME": str(tmp_path / "hf")}
    blocks = re.findall(r"^```sh\n(.*?)^```", SKILL.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines()]

    for command in commands:
        # printf is of the shell, and of no shell on Windows.
        said, _, typed = command.rpartition(" | ")
        lines = shlex.split(said)[1].replace("\\n", "\n") if said else ""
        program, *words = shlex.split(typed)
        assert program == "slack-ties"
        code = f"import io, sys; sys.stdin = io.TextIOWrapper(io.BytesIO({lines.encode()!r})); "
        done = processes.run(
            words, env={**os.environ, **own}, cwd=tmp_path, code=code + processes.OURS
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"

    assert len(commands) >= 10
    assert "content" in (tmp_path / "chat.json").read_text("utf-8")
    assert hub.hub.repo("ME/Llama-2-7b-Tibetan", hub.hub.tokens["c"])

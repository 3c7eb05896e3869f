"""The main job from end to end, command by command, on small models and a Hub on this machine.

Every step is a process of its own with an environment of its own: what the user's variables say
of the real Hub, token and cache included, does not reach it, and nothing leaves this machine.
"""

from __future__ import annotations

import os
import secrets
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from slack_ties.demo.hub import serving
from slack_ties.errors import SlackTiesError
from slack_ties.files import sha256
from slack_ties.merge.output import check_output

__all__ = ["STEPS", "Step", "run_demo", "run_steps"]


@dataclass(frozen=True)
class Step:
    """Something that is shown: what it is, and the command, as a user types it."""

    title: str
    command: str
    same: tuple[str, ...] = ()  # files that have the same bytes afterwards


# The models of demo.models, which puts them on the Hub of this user.
USER = "demo"
MODEL = f"{USER}/tiny-llama-tibetan"
CONFIG = "merge_configs/bo.yml"

STEPS = (
    Step(
        "Make a base, a CT and an SFT model, and put them on the Hub",
        "python -m slack_ties.demo.models",
    ),
    Step(
        "Write a merge config for Tibetan",
        "slack-ties config bo --base demo/base --ct demo/ct --sft demo/sft",
    ),
    Step(
        "See what the merge will do, before any weights are read",
        f"slack-ties plan {CONFIG}",
    ),
    Step(
        "Merge, write the model card and publish",
        f"slack-ties run {CONFIG} --out tibetan --publish {MODEL}",
    ),
    Step(
        "See what the merge keeps of each model, and what it loses",
        "slack-ties report tibetan",
    ),
    Step(
        "Make the published model again from its recipe, and compare every tensor",
        f"slack-ties verify {MODEL}",
    ),
    Step(
        "Run the same config with stock mergekit, and compare the weights",
        f"mergekit-yaml {CONFIG} tibetan-by-mergekit",
        ("tibetan/model.safetensors", "tibetan-by-mergekit/model.safetensors"),
    ),
    Step(
        "Load all four models from the Hub with transformers, and see what they can do",
        "python -m slack_ties.demo.writing",
    ),
)

# As modules: a program's file may lie in a folder that is not on the PATH.
PROGRAMS = {
    "python": (),
    "slack-ties": ("-m", "slack_ties"),
    "mergekit-yaml": ("-m", "mergekit.scripts.run_yaml"),
}

# What says to huggingface_hub or transformers where the Hub, the token or the cache is.
OF_THE_HUB = ("HF_", "HUGGING_FACE_", "HUGGINGFACE_", "TRANSFORMERS_")

BEGINNING = """\
slack-ties demo: a small language model for Tibetan, merged and published on this machine.
The Hub is a small one on {url}. Your token and your cache are not
used, and nothing is sent over a network."""

END = """
Done in {seconds:.0f} s. The demo wrote a merge config, checked it, merged the models and published
the result. slack-ties and stock mergekit made the same bytes again, and transformers loaded the
models. These models are too small to be useful. To make a real one:

  slack-ties languages           which languages have public models, and how large they are
  slack-ties run lo --out lao    a small one, Lao: config, merge and card (3.7 GB to download)
  slack-ties try lao 'ສະບາຍດີ'    what it answers, beside the models that it was made from
  slack-ties evaluate lao        what it scores, beside them: pip install "slack-ties[eval]"
  hf auth login                  once, before you publish
  slack-ties publish lao ME/Qwen1.5-0.5B-Lao"""

DELETED = """
The files of the demo are deleted. To keep them and open the report: slack-ties demo --keep demo"""

KEPT = """
In {keep}: models, merge_configs/bo.yml, and tibetan with its README.md and report.html.
The config names models on the Hub of the demo, which is gone. To merge the same models from
their folders:

  cd {folder}
  slack-ties run bo --base models/base --ct models/ct --sft models/sft --out again"""


def run_demo(keep: Path | None = None, *, show: Callable[[str], None] = print) -> None:
    """Run the demo; nothing of it is left, except in the folder `keep` if one is given.

    Args:
        keep: A new or empty folder that takes the models, the config and the results.
        show: What is called with each text to be shown.

    Raises:
        SlackTiesError: A step failed, or `keep` cannot be written to.

    """
    began = time.monotonic()
    if keep:
        check_output(keep)
    token = f"hf_{secrets.token_hex(17)}"
    with (
        tempfile.TemporaryDirectory(prefix="slack-ties-demo-", ignore_cleanup_errors=True) as own,
        serving(USER, token) as hub,
    ):
        folder = keep.absolute() if keep else Path(own, "demo")
        show(BEGINNING.format(url=hub.url))
        run_steps(STEPS, folder, _environment(Path(own), hub.url, token), show=show)
    show(END.format(seconds=time.monotonic() - began))
    show(KEPT.format(keep=keep, folder=shlex.quote(str(keep))) if keep else DELETED)


def run_steps(
    steps: tuple[Step, ...],
    folder: Path,
    environment: dict[str, str],
    *,
    show: Callable[[str], None],
) -> None:
    """Show and run the commands of each step in a folder, up to the first that fails.

    Raises:
        SlackTiesError: One failed; it has said why.

    """
    folder.mkdir(parents=True, exist_ok=True)
    for number, step in enumerate(steps, 1):
        show(f"\n[{number}/{len(steps)}] {step.title}\n\n$ {step.command}")
        program, *words = shlex.split(step.command)
        done = subprocess.run(
            [sys.executable, *PROGRAMS[program], *words],
            cwd=folder,
            env=environment,
            check=False,
            start_new_session=True,  # Ctrl-C stops the demo, and the demo stops its command
        )
        if done.returncode:
            msg = (
                f"step {number} of the demo ended with exit code {done.returncode}: {step.command}"
            )
            hint = "see above what it says; slack-ties demo --keep DIR keeps the files"
            raise SlackTiesError(msg, hint=hint)
        if step.same:
            show(_compare(folder, step.same))


def _compare(folder: Path, names: tuple[str, ...]) -> str:
    """Return a sentence on files that have the same bytes.

    Raises:
        SlackTiesError: They do not.

    """
    checksums = {name: sha256(folder / name) for name in names}
    if len(set(checksums.values())) > 1:
        msg = f"expected the same bytes, got SHA-256 {checksums}"
        raise SlackTiesError(msg)
    return f"{' and '.join(names)} have the same bytes: SHA-256 {checksums[names[0]]}"


def _environment(own: Path, url: str, token: str) -> dict[str, str]:
    """Return the variables for the commands: the user's, and those that lead to the demo's Hub."""
    for name in ("cache", "temporary"):
        Path(own, name).mkdir()
    kept = {k: v for k, v in os.environ.items() if not k.upper().startswith(OF_THE_HUB)}
    return {
        **kept,
        "HF_ENDPOINT": url,
        "HF_TOKEN": token,
        "HF_HOME": str(own / "cache"),
        "HF_HUB_DISABLE_XET": "1",  # the Hub takes uploads by git-lfs alone
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "*",  # no proxy leads to this machine
        "no_proxy": "*",
        # What a command that is stopped leaves behind goes away with the rest.
        **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(own / "temporary")),
        "PYTHONUNBUFFERED": "1",  # or a file would have the output in another order
        "TQDM_DISABLE": "1",  # such small files need no progress bars
        "TRANSFORMERS_VERBOSITY": "error",
    }

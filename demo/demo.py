"""The main job on small models: make a triple, merge it, publish it, load it from the Hub.

`make demo` runs this. It needs no internet: the models are trained here in about a minute,
and the Hub is the one of the tests, on loopback. Everything else is what a user does: the
triple lies on the Hub, `slack-ties run ... --publish ...` merges and publishes, `slack-ties
verify` makes it again, transformers loads the result.

The models learn names of countries and languages from Unicode CLDR: the base in English,
the CT model in Tibetan, the SFT model to answer "TERRITORY?" questions in English.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".demo"
TOKEN = "hf_demo"  # noqa: S105 - of the demo's own Hub
LANGUAGE = "bo"
REPO = "demo/tiny-llama-tibetan"
# Of the models that are merged: from these the merged model's card and licence follow.
CARD = """\
---
license: apache-2.0
base_model: demo/base
---

The {role} model of the demo.
"""
STEPS = {"base": 400, "ct": 500, "sft": 200}


def main() -> None:
    """Run the demo from an empty folder."""
    began = time.monotonic()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    with hub(FOLDER / "hub") as url:
        # Set before the Hub client is imported: it reads them then.
        os.environ.update(
            HF_ENDPOINT=url, HF_TOKEN=TOKEN, HF_HOME=str(FOLDER / "cache"), HF_HUB_DISABLE_XET="1"
        )
        say("1. Make a base, a CT and an SFT model, and put them on a Hub")
        make_models()
        say("2. Merge and publish them in one command")
        run(
            *("slack-ties", "run", LANGUAGE, "--out", str((FOLDER / "tibetan").relative_to(ROOT))),
            *("--base", "demo/base", "--ct", "demo/ct", "--sft", "demo/sft"),
            *("--publish", REPO),
        )
        say("3. Make the published model again from its recipe, and compare every tensor")
        run("slack-ties", "verify", REPO, "--quiet")
        say("4. Load the published model from the Hub, and let all four models write")
        load_and_generate()
    print(f"\nDone in {time.monotonic() - began:.0f} s. Where to look:")
    for what, where in (
        ("merged model", FOLDER / "tibetan"),
        ("its card", FOLDER / "tibetan" / "README.md"),
        ("its config", FOLDER / "tibetan" / "mergekit_config.yml"),
        ("the Hub's disk", FOLDER / "hub"),
    ):
        print(f"  {what:15} {where.relative_to(ROOT)}")


def make_models() -> None:
    """Train the three models, save them in three formats, and upload them."""
    sys.path.insert(0, str(ROOT / "tests"))
    import torch  # noqa: PLC0415 - after the environment is set
    from huggingface_hub import HfApi  # noqa: PLC0415

    from triple import llama, names, save_bin, save_sharded, tokenizer  # noqa: PLC0415

    pairs = names(LANGUAGE)
    english, tibetan = [e for e, _ in pairs], [t for _, t in pairs]
    words = tokenizer(english + tibetan, size=1024)
    questions = [f"{name}?" for name in english]
    answers = ["a language" if name in english[-51:] else "a territory" for name in english]
    lines = {
        "base": english,
        "ct": tibetan + english[::4],  # some English, as continual pre-training has
        "sft": [f"{q} {a}" for q, a in zip(questions, answers, strict=True)],
    }
    folders = {role: FOLDER / "models" / role for role in lines}
    base = llama(len(words), hidden=128, layers=4)
    train(base, words, lines["base"], STEPS["base"], rate=2e-3)
    state = {key: value.clone() for key, value in base.state_dict().items()}
    save_sharded(base.to(torch.bfloat16), folders["base"], shard="1MB")
    for role in ("ct", "sft"):
        model = llama(len(words), hidden=128, layers=4)
        model.load_state_dict(state)
        train(model, words, lines[role], STEPS[role], rate=1e-3)
        if role == "ct":
            save_bin(model.half(), folders[role])
        else:
            model.to(torch.bfloat16).save_pretrained(folders[role])
    api = HfApi()
    for role, folder in folders.items():
        words.save_pretrained(folder)
        (folder / "README.md").write_text(CARD.format(role=role), "utf-8")
        shutil.copy(ROOT / "LICENSE", folder)
        api.create_repo(f"demo/{role}", private=False)
        api.upload_folder(repo_id=f"demo/{role}", folder_path=folder)
        print(f"  demo/{role}: {', '.join(sorted(path.name for path in folder.iterdir()))}")


def train(model, words, lines: list[str], steps: int, *, rate: float) -> None:  # noqa: ANN001 - heavy types
    """Train a causal language model on `lines` for some steps of 32 lines."""
    import torch  # noqa: PLC0415

    torch.manual_seed(0)
    print(f"  training {len(lines)} lines for {steps} steps ...", flush=True)
    # So small a model gains nothing from threads, and on a busy machine they wait for each other.
    torch.set_num_threads(1)
    began = time.monotonic()
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    for _ in range(steps):
        chosen = [f"{lines[i]}</s>" for i in torch.randint(len(lines), (32,)).tolist()]
        batch = words(chosen, return_tensors="pt", padding=True)
        labels = batch.input_ids.masked_fill(batch.attention_mask == 0, -100)
        loss = model(batch.input_ids, attention_mask=batch.attention_mask, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    seconds = time.monotonic() - began
    print(f"  trained {steps} steps in {seconds:.0f} s, last loss {loss.item():.2f}", flush=True)


def load_and_generate() -> None:
    """Load the model as anybody would, from the Hub, and let it write."""
    from huggingface_hub import HfApi  # noqa: PLC0415
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415
    from transformers.utils.logging import disable_progress_bar  # noqa: PLC0415

    disable_progress_bar()
    info = HfApi().model_info(REPO)
    print(f"  {REPO} at commit {info.sha}, language {info.card_data.language}")
    print(f"  files: {', '.join(sibling.rfilename for sibling in info.siblings)}\n")
    for repo in ("demo/base", "demo/ct", "demo/sft", REPO):
        words = AutoTokenizer.from_pretrained(repo)
        model = AutoModelForCausalLM.from_pretrained(repo)
        written = []
        for prompt in ("བོད་", "Tibetan?"):
            inputs = words(prompt, return_tensors="pt", return_token_type_ids=False)
            output = model.generate(**inputs, max_new_tokens=8, do_sample=False)
            written.append(words.decode(output[0], skip_special_tokens=True))
        print(f"  {repo:25} {written[1]:30} {written[0]}")


@contextmanager
def hub(folder: Path) -> Iterator[str]:
    """Run the Hub of the tests in a process of its own; yield its address."""
    command = [sys.executable, ROOT / "tests" / "hub_server.py", folder, "--token", f"demo={TOKEN}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def run(*command: str) -> None:
    """Show a command and run it, from this environment; stop the demo if it fails."""
    print(f"  $ {shlex.join(command)}\n", flush=True)
    program = Path(sys.executable).with_name(command[0])
    if subprocess.run([program, *command[1:]], cwd=ROOT, check=False).returncode:
        sys.exit(1)


def say(title: str) -> None:
    """Print a heading."""
    print(f"\n{title}\n", flush=True)


if __name__ == "__main__":
    main()

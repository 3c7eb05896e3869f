"""Measure what `slack-ties evaluate` costs beside `lm_eval run`, from the command to the file.

    python benchmarks/evaluate.py                  # 600 items, a model of 11M parameters, CPU
    python benchmarks/evaluate.py --items 1000 --rounds 5

Both score the same merged model on the same local multiple-choice task, as processes of their own
that take turns. Neither keeps answers of an earlier round: each round has an empty cache.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import torch
import yaml
from transformers import LlamaConfig, LlamaForCausalLM

from side_by_side import print_environment, print_table
from triples import words

TASK = "numbers"
CHOICES = 4


class Cost(NamedTuple):
    """The time of one process, in seconds."""

    wall: float
    cpu: float  # user and system time, all threads


def make_merge(folder: Path, hidden: int, layers: int) -> Path:
    """Make a merged model, by a merge of three small models with random weights."""
    tokenizer = words()
    shape = {"hidden_size": hidden, "intermediate_size": 3 * hidden, "num_hidden_layers": layers}
    shape |= {
        "vocab_size": len(tokenizer),
        "num_attention_heads": 8,
        "max_position_embeddings": 512,
    }
    for number, role in enumerate(("base", "ct", "sft")):
        torch.manual_seed(number)
        LlamaForCausalLM(LlamaConfig(**shape)).save_pretrained(folder / role)
        tokenizer.save_pretrained(folder / role)
    data = {
        "merge_method": "task_arithmetic",
        "base_model": str(folder / "base"),
        "models": [
            {"model": str(folder / role), "parameters": {"weight": 0.5}} for role in ("ct", "sft")
        ],
        "dtype": "float32",
    }
    config = folder / "merge.yml"
    config.write_text(yaml.safe_dump(data), encoding="utf-8")
    command = [sys.executable, "-m", "slack_ties", "merge", "-q", str(config)]
    subprocess.run([*command, str(folder / "out"), "--allow-unrelated"], check=True)
    return folder / "out"


def make_task(folder: Path, items: int) -> Path:
    """Write a multiple-choice task with prompts of about 100 tokens."""
    folder.mkdir()
    rows = [
        {
            "question": " ".join(f"{i * k % 997:03}" for k in range(1, 25)) + " and then",
            "choices": [f"{(i + k) % 1000:03}" for k in range(CHOICES)],
            "answer": i % CHOICES,
        }
        for i in range(items)
    ]
    data = folder / "items.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    task = {
        "task": TASK,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "output_type": "multiple_choice",
        "test_split": "test",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    (folder / f"{TASK}.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
    return folder


def measure(command: list[str], log: Path, home: Path) -> Cost:
    """Run a command and return its cost; stop if it fails."""
    variables = {"HF_ASSETS_CACHE": str(home), "HF_DATASETS_CACHE": str(home / "datasets")}
    environment = {**os.environ, **variables, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    start = time.perf_counter()
    with log.open("w") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{log.read_text()}")
    return Cost(wall, usage.ru_utime + usage.ru_stime)


def main(arguments: list[str] | None = None) -> None:
    """Print a table; the first column is the ratio to `lm_eval run`."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--items", type=int, default=600, help="[600]")
    parser.add_argument("--hidden", type=int, default=320, help="size of the model  [320]")
    parser.add_argument("--layers", type=int, default=8, help="[8]")
    parser.add_argument("--rounds", type=int, default=3, help="[3]")
    options = parser.parse_args(arguments)
    print_environment()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        out = make_merge(work, options.hidden, options.layers)
        tasks = make_task(work / "tasks", options.items)
        named = ["--tasks", TASK, "--batch_size", "1"]
        theirs = [sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--log_samples"]
        theirs += ["--model_args", f"pretrained={out}", "--include_path", str(tasks), *named]
        ours = [sys.executable, "-m", "slack_ties", "evaluate", str(out), "--alone", "--overwrite"]
        ours += ["--include-path", str(tasks), *(word.replace("_s", "-s") for word in named)]
        found: dict[str, list[Cost]] = {"lm_eval run": [], "slack-ties evaluate --alone": []}
        for turn in range(options.rounds):
            print(f"round {turn + 1} of {options.rounds}", file=sys.stderr)
            for name, command in zip(found, (theirs, ours), strict=True):
                home = work / f"home-{turn}-{len(found[name])}-{name[:2]}"
                more = ["--output_path", str(work / f"theirs-{turn}")] if command is theirs else []
                found[name].append(measure([*command, *more], work / "log", home))
    what = f"{options.items:,} items with {CHOICES} choices, on the CPU"
    print(f"Llama, hidden size {options.hidden}, {options.layers} layers, float32; {what}\n")
    _print(found)


def _print(found: dict[str, list[Cost]]) -> None:
    """Print medians, and the median of the ratios within each round."""
    first = next(iter(found.values()))
    rows = []
    for name, costs in found.items():
        pairs = list(zip(costs, first, strict=True))
        rows.append(
            (
                name,
                f"{statistics.median(one.wall / other.wall for one, other in pairs):.3f}",
                f"{statistics.median(one.cpu / other.cpu for one, other in pairs):.3f}",
                f"{statistics.median(one.wall for one in costs):.1f}",
                f"{statistics.median(one.cpu for one in costs):.1f}",
            )
        )
    print_table(("", "wall ratio", "CPU ratio", "wall s", "CPU s"), rows)


if __name__ == "__main__":
    main()

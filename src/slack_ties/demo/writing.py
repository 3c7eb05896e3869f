"""What the demo's four models can do, loaded from the Hub as anybody would load them.

`python -m slack_ties.demo.writing` shows it as a table.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from transformers import AutoModelForCausalLM, AutoTokenizer

from slack_ties.demo.models import ENGLISH, ROLES, TIBETAN, question

__all__ = ["TASKS", "count_right", "main"]

# What is asked, with the right continuation.
TASKS = {
    "COUNTS IN ENGLISH": dict(pairwise(ENGLISH)),
    "COUNTS IN TIBETAN": {f"{a}་": b for a, b in pairwise(TIBETAN)},
    "ANSWERS IN ENGLISH": {question(a): b for a, b in pairwise(ENGLISH)},
}


def count_right(model_id: str) -> list[int]:
    """Return how many prompts of each task a model continues rightly."""
    words = AutoTokenizer.from_pretrained(model_id)
    model = AutoModelForCausalLM.from_pretrained(model_id)
    return [
        sum(_write(model, words, prompt).startswith(right) for prompt, right in task.items())
        for task in TASKS.values()
    ]


def _write(model: Any, words: Any, prompt: str) -> str:
    """Return what a model writes after a prompt: the likeliest token each time."""
    given = words(prompt, return_tensors="pt", return_token_type_ids=False)
    out = model.generate(**given, max_new_tokens=8, do_sample=False)
    return str(words.decode(out[0][given["input_ids"].shape[1] :])).strip()


def main() -> None:
    """Print a row for each model."""
    print(f"{'MODEL':25}{''.join(f'{task:20}' for task in TASKS)}".rstrip())
    for model_id in (*(f"demo/{role}" for role in ROLES), "demo/tiny-llama-tibetan"):
        right = zip(count_right(model_id), TASKS.values(), strict=True)
        cells = "".join(f"{f'{count} of {len(task)}':20}" for count, task in right)
        print(f"{model_id:25}{cells}".rstrip())


if __name__ == "__main__":
    main()

"""Task files of lm-eval for the skills and the text of one language, for `slack-ties evaluate`.

Tasks of a language LANG and a split SPLIT: `skills_LANG_SPLIT`, whose items are answered by greedy
generation and compared as strings, and `text_LANG_SPLIT`, whose score is bits per byte.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from real.pages import Page, split_of, text_of
from real.skills import SKILLS, Item, items_of

__all__ = ["chosen_items", "skills_task", "text_task", "write_tasks"]

PER_PAGE = 2  # items of one skill
TEXT = 1200  # characters of a page that are scored: some hundred tokens
ANSWER = 40  # tokens at most


def skills_task(language: str, split: str) -> str:
    """Return the name of a task with items."""
    return f"skills_{language}_{split}"


def text_task(language: str, split: str) -> str:
    """Return the name of a task with text."""
    return f"text_{language}_{split}"


def chosen_items(
    pages: Sequence[Page], language: str, split: str, items: Mapping[str, int]
) -> list[Item]:
    """Return the items of a split, skill after skill; for all languages about the same texts."""
    own = [page for page in pages if split_of(page.path) == split]
    found: list[Item] = []
    for skill in SKILLS:
        every = items_of(own, language, skill, PER_PAGE)
        step = max(1, len(every) // items[skill])  # from all programs, which are sorted
        found += every[::step][: items[skill]]
    return found


def write_tasks(
    folder: Path,
    pages: Sequence[Page],
    language: str,
    split: str,
    *,
    items: Mapping[str, int],
    texts: int,
    english: int = 0,
) -> None:
    """Write the tasks of a split, in `language` and, every `english`-th item, in English."""
    folder.mkdir(parents=True, exist_ok=True)
    for of in (language, "en") if english else (language,):
        lines = [
            {"skill": item.skill, "prompt": item.prompt, "answer": item.answer}
            for item in chosen_items(pages, of, split, items)
        ]
        lines = lines[:: english if of == "en" else 1]
        # Languages have pages of their own, and so have their items in English.
        name = skills_task(of if of == language else f"en-{language}", split)
        settings = {
            "output_type": "generate_until",
            "doc_to_text": "{{prompt}}",
            "doc_to_target": "{{answer}}",
            "target_delimiter": " ",
            "generation_kwargs": {"until": ["\n"], "max_gen_toks": ANSWER, "do_sample": False},
            "filter_list": [
                {
                    "name": "stripped",
                    "filter": [{"function": "remove_whitespace"}, {"function": "take_first"}],
                }
            ],
            "metric_list": [{"metric": "exact_match", "aggregation": "mean"}],
        }
        _write(folder, name, lines, settings)
    own = [page for page in pages if split_of(page.path) == split]
    held = [text[:TEXT] for text in text_of(own, language)]
    step = max(1, len(held) // texts)
    settings = {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{text}}",
        "metric_list": [{"metric": "bits_per_byte"}],
    }
    lines = [{"text": text} for text in held[::step][:texts]]
    _write(folder, text_task(language, split), lines, settings)


def _write(
    folder: Path, name: str, lines: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]
) -> None:
    data = folder / f"{name}.jsonl"
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    data.write_text(text, "utf-8")
    task = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
        **settings,
        "metadata": {"version": 1.0},
    }
    written = yaml.safe_dump(task, allow_unicode=True, sort_keys=False)
    (folder / f"{name}.yaml").write_text(written, "utf-8")

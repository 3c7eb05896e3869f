"""Where the work of one language and one seed lies, and the jobs that train and score."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from real.ingredients import BASE, HELP
from real.learn import blocks_of, examples_of, keeping_memory, load, save, train
from real.methods import BY_NAME, config_of, passthrough
from real.pages import Page, read_pages, split_of, text_of
from real.sizes import BLOCK, RATE_CT, RATE_SFT, Size
from real.skills import mixed
from real.tasks import skills_task, text_task, write_tasks

__all__ = [
    "Bench",
    "make_ct",
    "make_sft",
    "make_tasks",
    "report_merge",
    "score",
    "score_merge",
    "try_candidate",
]

PER_PAGE = 4  # SFT items of one skill
EVAL_BATCH = "64"
SPLITS = ("validation", "test")


@dataclass(frozen=True)
class Bench:
    """The work of one language and one seed."""

    size: Size
    work: Path
    language: str
    seed: int
    device: str

    @property
    def home(self) -> Path:
        """The folder of this language and seed."""
        return self.work / self.language / f"seed-{self.seed}"

    @property
    def base(self) -> Path:
        """The base model, which all have in common."""
        return self.work / BASE

    @property
    def tasks(self) -> Path:
        """The folder of the task files."""
        return self.work / self.language / "tasks"

    def ct(self, steps: int) -> Path:
        """Return the folder of a CT model."""
        return self.home / f"ct-{steps}"

    def sft(self, items: int) -> Path:
        """Return the folder of an SFT model, of which all languages have the same."""
        return self.work / "sft" / f"seed-{self.seed}" / f"sft-{items}"

    def then(self, steps: int, items: int) -> Path:
        """Return the folder of a CT model that was fine-tuned."""
        return self.home / f"then-{steps}-{items}"

    def scores(self, name: str) -> Path:
        """Return the file with the scores of a model."""
        return self.home / "scores" / f"{name}.json"

    def report(self, name: str) -> Path:
        """Return the file with the report of a merge."""
        return self.home / "reports" / f"{name}.json"

    def pages(self, split: str | None = None) -> list[Page]:
        """Return the pages of a split, or all."""
        cache = self.work / self.language / "pages.jsonl"
        every = read_pages(self.work / HELP, self.language, cache)
        return [page for page in every if split in (None, split_of(page.path))]

    def tokenizer(self) -> Any:
        """Return the base's tokenizer."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.base)


def make_tasks(bench: Bench) -> None:
    """Write the task files of a language, those of the test split last."""
    part = bench.tasks
    for split, items in (("validation", bench.size.validation), ("test", bench.size.test)):
        english = bench.size.english if split == "test" else 0
        write_tasks(
            part,
            bench.pages(),
            bench.language,
            split,
            items=items,
            texts=bench.size.texts,
            english=english,
        )
    (part / "done").write_text("", "utf-8")


def make_ct(bench: Bench, steps: int, before: int) -> None:
    """Go on pre-training on text: from the model of `before` steps, or from the base."""
    import torch

    texts = text_of(bench.pages("train"), bench.language)
    batches = blocks_of(texts, bench.tokenizer(), f"ct {bench.seed}", BLOCK, bench.size.ct_batch)
    state = bench.home / f"ct-{before}.state" if before else None
    model = load(bench.base, bench.device)
    moments = None
    if state:
        held = torch.load(state, map_location=bench.device, weights_only=True)
        model.load_state_dict(held["model"])
        moments = held["adam"]
        for _ in range(before):
            next(batches)
    with keeping_memory():
        adam = train(
            model, batches, steps - before, RATE_CT, constant=True, warm=not before, moments=moments
        )
    if steps != max(bench.size.ct_steps):
        path = bench.home / f"ct-{steps}.state"
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        torch.save({"model": model.state_dict(), "adam": adam.state_dict()}, part)
        part.replace(path)
    save(model, bench.base, bench.ct(steps))
    if state:
        state.unlink(missing_ok=True)


def make_sft(bench: Bench, start: Path, items: int, out: Path) -> None:
    """Fine-tune a model on English items."""
    chosen = mixed(bench.pages("train"), items, f"sft {bench.seed}", PER_PAGE)
    batches = examples_of(chosen, bench.tokenizer(), f"order {bench.seed}", bench.size.sft_batch)
    model = load(start, bench.device)
    with keeping_memory():
        train(model, batches, bench.size.sft_steps(items), RATE_SFT)
    save(model, bench.base, out)


def score(
    bench: Bench, name: str, config: Mapping[str, Any], *, splits: tuple[str, ...] = SPLITS
) -> None:
    """Score what a config makes: `slack-ties evaluate CONFIG --alone`, from Python."""
    from mergekit.options import MergeOptions

    from slack_ties import evaluate_merge

    language, file = bench.language, bench.scores(name)
    tasks = [name_of(language, split) for split in splits for name_of in (skills_task, text_task)]
    if "test" in splits and bench.size.english:
        tasks.append(skills_task(f"en-{language}", "test"))
    file.parent.mkdir(parents=True, exist_ok=True)
    path = file.with_suffix(".yml")
    path.write_text(yaml.safe_dump(dict(config), sort_keys=False), "utf-8")
    evaluate_merge(
        path,
        tasks=tasks,
        include=[bench.tasks],
        alone=True,
        batch_size=EVAL_BATCH,
        device=bench.device,
        output=file,
        overwrite=True,
        options=MergeOptions(random_seed=bench.seed),  # for methods that drop by chance
        quiet=True,
    )


def score_merge(bench: Bench, name: str, key: str, ct: Path, sft: Path) -> None:
    """Merge and score."""
    merge = BY_NAME[key]
    if merge.method != "widen":
        score(bench, name, config_of(merge, bench.base, ct, sft))
        return
    from real.widen import merge_folders

    with TemporaryDirectory(dir=bench.home) as folder:
        out = Path(folder) / "widen"
        merge_folders(bench.base, [ct, sft], out)
        score(bench, name, passthrough(out))


def report_merge(bench: Bench, name: str, key: str, ct: Path, sft: Path) -> None:
    """Make the report of a merge: `slack-ties report CONFIG`, from Python."""
    from slack_ties import make_report

    with TemporaryDirectory(dir=bench.home) as folder:
        config = Path(folder) / "merge.yml"
        made = config_of(BY_NAME[key], bench.base, ct, sft)
        config.write_text(yaml.safe_dump(made, sort_keys=False), "utf-8")
        make_report(config, Path(folder) / "report", quiet=True)
        file = bench.report(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(folder) / "report" / "report.json", file.with_suffix(".part"))
        file.with_suffix(".part").replace(file)


def try_candidate(bench: Bench, name: str, candidate: str, ct: Path, sft: Path, split: str) -> None:
    """Merge by another rule, and score it on a split."""
    from safetensors.torch import save_file

    from real.candidates import merge_with

    with TemporaryDirectory(dir=bench.home) as folder:
        out = Path(folder) / "candidate"
        shutil.copytree(bench.base, out, ignore=shutil.ignore_patterns("*.safetensors"))
        made = merge_with(candidate, bench.base, ct, sft)
        save_file(made, out / "model.safetensors", {"format": "pt"})
        score(bench, name, passthrough(out), splits=(split,))

"""The bench of one seed: where its models and rows lie, and how they are loaded and scored."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import LlamaForCausalLM

from methods import Method, config, merge_into
from modes import Mode
from rows import Row, bits
from score import score
from train import tokenizer

__all__ = ["Bench"]


@dataclass(frozen=True)
class Bench:
    """Where the work of one seed lies, and how large it is."""

    mode: Mode
    work: Path
    seed: int

    def model(self, name: str) -> Path:
        """Return the folder of a model."""
        return self.work / f"seed-{self.seed}" / name

    def table(self, name: str) -> Path:
        """Return the file of a job's rows."""
        return self.work / f"seed-{self.seed}" / f"{name}.csv"

    def all_seeds(self) -> list[Bench]:
        """Return the benches of all seeds."""
        return [replace(self, seed=seed) for seed in range(self.mode.seeds)]

    def load(self, name: str) -> LlamaForCausalLM:
        """Return a model."""
        found: LlamaForCausalLM = LlamaForCausalLM.from_pretrained(
            self.model(name), dtype=torch.float32
        )
        return found

    def weights(self, name: str) -> dict[str, Tensor]:
        """Return a model's weights."""
        found: dict[str, Tensor] = load_file(self.model(name) / "model.safetensors")
        return found

    def save(self, model: LlamaForCausalLM, name: str) -> None:
        """Save a model and its tokenizer in Hub format, whole or not at all."""
        folder = self.model(name)
        if folder.exists():  # of a job that was stopped after it; others may be reading it
            return
        part = folder.with_name(f"{folder.name}.{os.getpid()}.part")
        model.save_pretrained(part)
        tokenizer().save_pretrained(part)
        part.rename(folder)

    def merge(
        self,
        model: LlamaForCausalLM,
        method: Method,
        values: Mapping[str, float],
        sft: str,
        ct: int,
        *,
        languages: Iterable[str] = "x",
        slack_of_ct: float = 0.0,
    ) -> None:
        """Let mergekit merge the CT models of `languages` and the SFT model into `model`."""
        cts = [self.model(f"ct-{language}-{ct}") for language in languages]
        made = config(
            method,
            values,
            self.model("base"),
            cts,
            self.model(f"sft-{sft}"),
            slack_of_ct=slack_of_ct,
        )
        with TemporaryDirectory() as folder:
            merge_into(made, Path(folder), self.seed)
            model.load_state_dict(load_file(Path(folder) / "model.safetensors"))

    def scored(self, model: LlamaForCausalLM, row: Row, split: str, languages: str) -> list[Row]:
        """Return `row` once for each of `languages` (a letter each), with the scores."""
        items = self.mode.validation if split == "validation" else self.mode.test
        made = []
        for language in languages:
            found = score(model, language, split, items)
            made.append(
                replace(
                    row,
                    language=language,
                    items=items,
                    accuracy=found.right.float().mean().item(),
                    strict=found.strict.float().mean().item(),
                    perplexity=found.perplexity,
                    right=bits(found.right.tolist()) if split == "test" else "",
                )
            )
        return made

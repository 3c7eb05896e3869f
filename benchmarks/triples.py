"""Make Llama triples of any size with random weights: for benchmarks only the size matters.

The deltas are normally distributed. The CT model's are three times as large as the SFT model's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

if TYPE_CHECKING:
    from pathlib import Path

SPREAD = {
    "base": 0.02,
    "ct": 0.003,
    "sft": 0.001,
}  # standard deviations: of the base's weights, and of the deltas
SHARD = 2_000_000_000  # bytes


@dataclass(frozen=True)
class Shape:
    """The sizes that determine a Llama's number of parameters."""

    hidden: int
    intermediate: int
    layers: int
    vocabulary: int = 32_000

    def config(self) -> LlamaConfig:
        """Return transformers' config for it."""
        return LlamaConfig(
            architectures=["LlamaForCausalLM"],
            vocab_size=self.vocabulary,
            hidden_size=self.hidden,
            intermediate_size=self.intermediate,
            num_hidden_layers=self.layers,
            num_attention_heads=self.hidden // 32,
            tie_word_embeddings=False,
            dtype="bfloat16",
        )

    def tensors(self) -> dict[str, torch.Size]:
        """Return its tensors by name."""
        with torch.device("meta"):
            model = LlamaForCausalLM(self.config())
        return {name: tensor.shape for name, tensor in model.state_dict().items()}

    def parameters(self) -> int:
        """Return the number of entries of all tensors."""
        return sum(size.numel() for size in self.tensors().values())


SHAPES = {
    "tiny": Shape(64, 128, 2, 512),  # for the smoke test
    "0.1B": Shape(512, 2048, 16),
    "0.4B": Shape(1024, 2816, 29),
    "1B": Shape(2048, 5504, 18),
    "7B": Shape(4096, 11008, 32),  # Llama 2 7B's
}


def make_triple(folder: Path, shape: Shape) -> None:
    """Write bfloat16 models `base`, `ct` and `sft` into `folder`."""
    sizes = shape.tensors()
    shards: list[list[str]] = [[]]
    for name in sizes:
        if 2 * sum(sizes[other].numel() for other in [*shards[-1], name]) > SHARD:
            shards.append([])
        shards[-1].append(name)
    places = {
        name: f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        for number, names in enumerate(shards, 1)
        for name in names
    }
    for role in SPREAD:
        out = folder / role
        out.mkdir(parents=True)
        shape.config().save_pretrained(out)
        index = {"metadata": {}, "weight_map": places}
        (out / "model.safetensors.index.json").write_text(json.dumps(index))
        for names in shards:
            tensors = {name: _tensor(sizes[name], role, list(sizes).index(name)) for name in names}
            save_file(tensors, out / places[names[0]], metadata={"format": "pt"})


def _tensor(size: torch.Size, role: str, seed: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    base = torch.randn(size, generator=random).mul_(SPREAD["base"]).bfloat16()
    if role == "base":
        return base
    random.manual_seed(seed + (1 << 20 if role == "ct" else 1 << 21))
    return (torch.randn(size, generator=random).mul_(SPREAD[role]) + base).bfloat16()

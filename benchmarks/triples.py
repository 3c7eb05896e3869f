"""Make Llama triples of any size with random weights: for benchmarks only the size matters.

The deltas are normally distributed. The CT model's are three times as large as the SFT model's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

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
    "30M": Shape(256, 1024, 12),
    "0.1B": Shape(512, 2048, 16),
    "0.4B": Shape(1024, 2816, 29),
    "1B": Shape(2048, 5504, 18),
    "7B": Shape(4096, 11008, 32),  # Llama 2 7B's
}


def words() -> PreTrainedTokenizerFast:
    """Return a tokenizer that knows each byte, and no words."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(models.BPE({letter: i for i, letter in enumerate(["<s>", *alphabet])}, []))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, **dict.fromkeys(("bos_token", "eos_token"), "<s>")
    )


def make_triple(folder: Path, shape: Shape) -> None:
    """Write bfloat16 models `base`, `ct` and `sft` into `folder`."""
    for role in SPREAD:
        save_as_safetensors(folder / role, shape, role)


def save_as_safetensors(folder: Path, shape: Shape, role: str, *, shard: int = SHARD) -> None:
    """Write one model as bfloat16 safetensors files of at most `shard` bytes."""
    save_texts(folder, shape, shard)
    for file, names in in_files(shape, shard).items():
        save_file(_tensors(shape, role, names), folder / file, metadata={"format": "pt"})


def save_as_bin(folder: Path, shape: Shape, role: str, *, shard: int = SHARD) -> None:
    """Write one model as float16 .bin files, as models of 2023 were."""
    save_texts(folder, shape, shard, bins=True)
    for file, names in in_files(shape, shard, bins=True).items():
        weights = _tensors(shape, role, names)
        torch.save({name: weights.pop(name).half() for name in names}, folder / file)


def save_texts(folder: Path, shape: Shape, shard: int, *, bins: bool = False) -> None:
    """Write a model's config, and the index of its weight files."""
    folder.mkdir(parents=True)
    config = shape.config()
    config.dtype = "float16" if bins else "bfloat16"
    config.save_pretrained(folder)
    files = in_files(shape, shard, bins=bins)
    index = {"metadata": {}, "weight_map": {name: file for file in files for name in files[file]}}
    name = "pytorch_model.bin" if bins else "model.safetensors"
    (folder / f"{name}.index.json").write_text(json.dumps(index))


def in_files(shape: Shape, shard: int, *, bins: bool = False) -> dict[str, list[str]]:
    """Return the names of a model's weight files, and of the tensors of each.

    Args:
        shape: The model's.
        shard: Bytes of a file; a file with one tensor may have more.
        bins: Name them as .bin files.

    """
    shards: list[list[str]] = [[]]
    filled = 0
    for name, size in shape.tensors().items():
        if shards[-1] and filled + 2 * size.numel() > shard:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += 2 * size.numel()
    kind, end = ("pytorch_model", "bin") if bins else ("model", "safetensors")
    of = f"of-{len(shards):05d}.{end}"
    return {f"{kind}-{i:05d}-{of}": names for i, names in enumerate(shards, 1)}


def _tensors(shape: Shape, role: str, names: list[str]) -> dict[str, torch.Tensor]:
    sizes = shape.tensors()
    seeds = {name: seed for seed, name in enumerate(sizes)}
    return {name: _tensor(sizes[name], role, seeds[name]) for name in names}


def _tensor(size: torch.Size, role: str, seed: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    base = torch.randn(size, generator=random).mul_(SPREAD["base"]).bfloat16()
    if role == "base":
        return base
    random.manual_seed(seed + (1 << 20 if role == "ct" else 1 << 21))
    return (torch.randn(size, generator=random).mul_(SPREAD[role]) + base).bfloat16()

"""Small models in real formats: a base, its CT model and its SFT model, made in a second.

The architecture, the files and the tokenizer are what transformers and PyTorch write; only the size
is small.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from babel import Locale
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CHAT = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)

MIT = "MIT License\n\nCopyright (c) 2026 The makers of a small base model\n"


@dataclass(frozen=True)
class Folders:
    """Where the three models of a triple are."""

    base: Path
    ct: Path
    sft: Path


def names(language: str) -> list[tuple[str, str]]:
    """Return (English, `language`) pairs of names of countries and languages, from Unicode CLDR."""
    english, other = Locale("en"), Locale.parse(language)
    tables = [(english.territories, other.territories), (english.languages, other.languages)]
    return [
        (str(here[code]), str(there[code]))
        for here, there in tables
        for code in sorted(here)
        if code in there
    ]


def tokenizer(texts: Iterable[str], size: int = 512) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer on `texts`."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )


def llama(
    vocabulary: int = 512, *, hidden: int = 64, layers: int = 2, seed: int = 0
) -> LlamaForCausalLM:
    """Return a Llama with random weights."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=hidden,
            intermediate_size=2 * hidden,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=128,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
            tie_word_embeddings=False,
        )
    )


def changed(model: LlamaForCausalLM, amount: float, seed: int) -> LlamaForCausalLM:
    """Return a copy of `model` with every weight moved a little."""
    copy = LlamaForCausalLM(model.config)
    copy.load_state_dict(model.state_dict())
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in copy.parameters():
            weight.add_(amount * torch.randn(weight.shape, generator=random))
    return copy


def save_sharded(model: LlamaForCausalLM, folder: Path, *, shard: str = "100KB") -> Path:
    """Save as several safetensors files with an index."""
    model.save_pretrained(folder, max_shard_size=shard)
    return folder


def save_bin(model: LlamaForCausalLM, folder: Path) -> Path:
    """Save as one pytorch_model.bin, as models of 2023 were."""
    folder.mkdir(parents=True)
    model.config.architectures = ["LlamaForCausalLM"]
    model.config.dtype = model.dtype
    model.config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return folder


def save_sharded_bin(model: LlamaForCausalLM, folder: Path) -> Path:
    """Save as two .bin files with an index."""
    save_bin(model, folder).joinpath("pytorch_model.bin").unlink()
    state = model.state_dict()
    where = {}
    for i, keys in enumerate((list(state)[::2], list(state)[1::2]), 1):
        file = f"pytorch_model-{i:05d}-of-00002.bin"
        torch.save({key: state[key].clone() for key in keys}, folder / file)
        where |= dict.fromkeys(keys, file)
    index = {"metadata": {"total_size": 0}, "weight_map": where}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return folder


def make_triple(folder: Path) -> Folders:
    """Make a triple: sharded bfloat16, a float16 .bin, and bfloat16 with a chat template.

    All are under the MIT licence, of which the base has the text.
    """
    texts = [text for pair in names("bo") for text in pair]
    words = tokenizer(texts)
    base = llama()
    save_sharded(base.bfloat16(), folder / "base")
    words.save_pretrained(folder / "base")
    save_bin(changed(base, 0.02, 1).half(), folder / "ct")
    words.save_pretrained(folder / "ct")
    sft = changed(base, 0.01, 2).bfloat16()
    sft.save_pretrained(folder / "sft")
    words.chat_template = CHAT
    words.save_pretrained(folder / "sft")
    for name in ("base", "ct", "sft"):
        (folder / name / "README.md").write_text("---\nlicense: mit\n---\n", "utf-8")
    (folder / "base" / "LICENSE").write_text(MIT, "utf-8")
    return Folders(folder / "base", folder / "ct", folder / "sft")


def extend(folder: Path, ct: Path, words: int = 64) -> Path:
    """Save `ct` as a model whose tokenizer and embedding have more tokens, as a .bin file.

    The tokens are learnt from Tibetan and merged by the tokenizer itself, as SambaLingo's
    and tamil-llama's are: the old ones keep their rows.
    """
    old = json.loads((ct / "tokenizer.json").read_text("utf-8"))
    texts = [tibetan for _, tibetan in names("bo")]
    learnt = json.loads(
        tokenizer(texts, size=len(old["model"]["vocab"]) + 4 * words).backend_tokenizer.to_str()
    )
    vocabulary, merges = old["model"]["vocab"], old["model"]["merges"]
    size = len(vocabulary)
    for pair in learnt["model"]["merges"]:
        if len(vocabulary) == size + words:
            break
        # Both halves have to be tokens already, or the new one would never be reached.
        if pair not in merges and "".join(pair) not in vocabulary and set(pair) <= set(vocabulary):
            merges.append(pair)
            vocabulary["".join(pair)] = len(vocabulary)
    model = LlamaForCausalLM.from_pretrained(ct)
    torch.manual_seed(3)
    model.resize_token_embeddings(len(vocabulary), mean_resizing=False)
    save_bin(model, folder)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (ct / name).is_file():
            (folder / name).write_bytes((ct / name).read_bytes())
    (folder / "tokenizer.json").write_text(json.dumps(old), "utf-8")
    return folder

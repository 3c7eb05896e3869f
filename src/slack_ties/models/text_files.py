"""The small files beside the weights of a model: which of them are a tokenizer, settings, code."""

from __future__ import annotations

from fnmatch import fnmatch

__all__ = ["ALWAYS", "BESIDE", "CODE_FILES", "VOCABULARY_FILES", "is_vocabulary"]

# A folder has a tokenizer if one of these is there: its vocabulary. Settings alone are none.
VOCABULARY_FILES = (
    *("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model"),
    *("sentencepiece*.model", "source.spm", "*.tiktoken", "tiktoken.model", "tekken.json"),
    *("tokenizer.*.model", "bpe.model", "vocab.model"),
)

# What lies beside a model and is as true of the merged one.
BESIDE = (
    *VOCABULARY_FILES,
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt"),
    *("target.spm", "normalizer.json", "chat_template.jinja", "chat_template.json"),
)

ALWAYS = (
    *("generation_config.json", "preprocessor_config.json", "processor_config.json"),
    *("video_preprocessor_config.json", "image_processor_config.json"),
)

CODE_FILES = ("*.py",)  # only where the config says that the model cannot do without


def is_vocabulary(name: str) -> bool:
    """Say whether a file of this name holds a tokenizer's vocabulary."""
    return any(fnmatch(name, pattern) for pattern in VOCABULARY_FILES)

"""Names of the small files beside a model's weights: tokenizer, settings, code."""

from __future__ import annotations

from fnmatch import fnmatch

__all__ = ["ALWAYS", "BESIDE", "CODE_FILES", "VOCABULARY_FILES", "is_vocabulary"]

# Vocabularies. A folder has a tokenizer if it has one of these; settings files are not enough.
VOCABULARY_FILES = (
    *("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model"),
    *("sentencepiece*.model", "source.spm", "*.tiktoken", "tiktoken.model", "tekken.json"),
    *("tokenizer.*.model", "bpe.model", "vocab.model"),
)

# The base's files that are also right for the merged model.
BESIDE = (
    *VOCABULARY_FILES,
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt"),
    *("target.spm", "normalizer.json", "chat_template.jinja", "chat_template.json"),
)

ALWAYS = (
    *("generation_config.json", "preprocessor_config.json", "processor_config.json"),
    *("video_preprocessor_config.json", "image_processor_config.json"),
)

CODE_FILES = ("*.py",)  # only if the config says that the model needs them


def is_vocabulary(name: str) -> bool:
    """Say whether a file of this name holds a tokenizer's vocabulary."""
    return any(fnmatch(name, pattern) for pattern in VOCABULARY_FILES)

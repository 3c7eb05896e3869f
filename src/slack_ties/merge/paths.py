"""Remove the paths that transformers and trainers write into the settings of a model.

They name folders of whoever made the base, often with a user's name. Nothing reads them again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slack_ties.files import json_text, read_json, write_whole

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["drop_paths"]

# Keys for the place that a model, or a file of its tokenizer, was loaded from.
KEYS = (
    *("_name_or_path", "name_or_path", "special_tokens_map_file", "tokenizer_file"),
    *("base_model_name_or_path", "cache_dir"),
)


def drop_paths(folder: Path) -> None:
    """Remove these keys from the settings of a merged model, at every depth."""
    for path in sorted(folder.glob("*config.json")):
        settings = read_json(path)
        if (kept := _without(settings)) != settings:
            write_whole(path, json_text(kept))


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without(one) for key, one in value.items() if key not in KEYS}
    return [_without(one) for one in value] if isinstance(value, list) else value

"""Merges of models whose weights stay on the Hub: the same bytes, and nothing of them kept here."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import HfApi
from mergekit.options import MergeOptions

from hub_server import Server
from slack_ties.files import sha256
from slack_ties.merge.merge import merge_models
from slack_ties.merge.options import DEFAULTS
from triple import Folders

WEIGHTS = (".safetensors", ".bin")


def upload(api: HfApi, folders: Mapping[str, Path]) -> dict[str, str]:
    """Upload models by their names; return their ids."""
    ids = {}
    for name, folder in folders.items():
        ids[name] = f"me/{name}"
        api.create_repo(ids[name])
        api.upload_folder(repo_id=ids[name], folder_path=folder)
    return ids


def of_triple(triple: Folders) -> dict[str, Path]:
    """Return the folders of a triple by their names."""
    return {"base": triple.base, "ct": triple.ct, "sft": triple.sft}


def config_of(path: Path, base: str, others: list[str], **more: Any) -> Path:
    """Write a config."""
    own = {"weight": 1.0, "density": 0.5, "slack": 0.1}
    data = {
        "merge_method": "slack_ties",
        "base_model": base,
        "models": [{"model": one, "parameters": dict(own)} for one in others],
        "dtype": "bfloat16",
        **more,
    }
    path.write_text(yaml.safe_dump(data))
    return path


def options(cache: Path, **more: Any) -> MergeOptions:
    """Return mergekit's options with an own Hub cache."""
    chosen = {**DEFAULTS, "quiet": True, "transformers_cache": str(cache), **more}
    return MergeOptions(**chosen)


def sums(folder: Path) -> dict[str, str]:
    """Return the checksum of each file of a merged model, but for its record."""
    return {
        path.name: sha256(path)
        for path in folder.iterdir()
        if path.is_file() and path.name != "slack_ties.json"
    }


def weights_below(folder: Path) -> list[Path]:
    """Return all files that have the size or the name of weights."""
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix in WEIGHTS]


def sent_twice(hub: Server) -> dict[str, int]:
    """Return by file how many bytes of its ranges were sent more than once."""
    found = {}
    by_file: dict[str, list[tuple[int, int]]] = {}
    for one in hub.hub.ranges:
        match = re.fullmatch(r"(\S+) bytes=(\d+)-(\d+)", one)
        assert match, one
        by_file.setdefault(match[1], []).append((int(match[2]), int(match[3]) + 1))
    for file, ranges in by_file.items():
        seen = Counter(at for first, end in ranges for at in range(first, end))
        found[file] = sum(count - 1 for count in seen.values())
    return found


def merge_both_ways(
    config: Path, tmp_path: Path, api: HfApi, **more: Any
) -> tuple[dict[str, str], dict[str, str]]:
    """Merge with and without download; return the checksums of both results."""
    merge_models(
        config, tmp_path / "with", options=options(tmp_path / "all", **more), api=api, download=True
    )
    merge_models(
        config,
        tmp_path / "without",
        options=options(tmp_path / "texts", **more),
        api=api,
        download=False,
    )
    return sums(tmp_path / "with"), sums(tmp_path / "without")


def test_the_same_model(triple: Folders, api: HfApi, tmp_path: Path) -> None:
    """A merge without download writes the same files, and keeps no weight file."""
    ids = upload(api, of_triple(triple))
    config = config_of(tmp_path / "c.yml", ids["base"], [ids["ct"], ids["sft"]])

    with_download, without = merge_both_ways(config, tmp_path, api)

    assert without == with_download
    assert weights_below(tmp_path / "texts") == []

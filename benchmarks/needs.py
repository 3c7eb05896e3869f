"""Print what merges of the catalogue's sizes need, with and without download: `plan` says it.

    python benchmarks/needs.py               # the table of the README
    python benchmarks/needs.py --window 1GB

Nothing is merged, and nothing is measured. Models with the shapes of published ones lie on a Hub on
this machine. Their weight files have true headers, and a hole instead of the data, so they take no
disk. How published models are cut into files is assumed: see SIZES.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from huggingface_hub import HfApi
from mergekit.options import MergeOptions

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from hub_server import Server, Token, serving
from side_by_side import print_environment
from slack_ties.cli.download_options import SIZE, UNITS
from slack_ties.config.choices import Choices
from slack_ties.config.make import make_config
from slack_ties.merge.options import DEFAULTS
from slack_ties.plan.make import plan_merge
from slack_ties.wording import join_names, size
from triple import tokenizer

if TYPE_CHECKING:
    from slack_ties.plan.plan import Plan

ROLES = ("base", "ct", "sft")


@dataclass(frozen=True)
class Size:
    """Models of one size."""

    name: str
    config: str  # the class of transformers
    settings: dict[str, Any]
    dtype: str
    shard: int  # bytes of a weight file at most
    choices: Choices = field(default_factory=Choices)  # models; the catalogue's if not given
    language: str = "bo"  # a key of the catalogue
    bins: tuple[str, ...] = ()  # the roles whose weights are .bin files

    def ids(self) -> dict[str, str]:
        """Return the ids of the models."""
        recipe = make_config(self.language, self.choices)
        return {role: recipe.models_of(role)[0] for role in ROLES}


def _llama(hidden: int, intermediate: int, layers: int) -> dict[str, Any]:
    return {
        "vocab_size": 32_000,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // 128,
    }


def _qwen(hidden: int, intermediate: int, layers: int) -> dict[str, Any]:
    return {
        **_llama(hidden, intermediate, layers),
        "vocab_size": 151_936,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    }


SMALL, LARGE = 5_000_000_000, 10_000_000_000  # what transformers writes now, and wrote in 2023
QWEN, LLAMA = "Qwen2Config", "LlamaConfig"
# No triple of the catalogue has three models of 13B in 16 bits.
OF_13B = Choices(
    base="meta-llama/Llama-2-13b-hf", ct="me/ct-13b", sft="meta-llama/Llama-2-13b-chat"
)
SIZES = {
    "1.5B": Size(
        "Qwen2.5 1.5B",
        QWEN,
        _qwen(1536, 8960, 28),
        "bfloat16",
        SMALL,
        language="bo-qwen2.5-1.5b",
    ),
    "3B": Size(
        "Qwen2.5 3B",
        QWEN,
        _qwen(2048, 11_008, 36),
        "bfloat16",
        SMALL,
        language="bo-qwen2.5-3b",
    ),
    "7B": Size(
        "Llama 2 7B, CT model as .bin",
        LLAMA,
        _llama(4096, 11_008, 32),
        "float16",
        LARGE,
        bins=("ct",),
    ),
    "13B": Size("Llama 2 13B", LLAMA, _llama(5120, 13_824, 40), "float16", LARGE, choices=OF_13B),
    "tiny": Size(  # for the smoke test
        "tiny",
        LLAMA,
        {**_llama(128, 256, 2), "vocab_size": 512},
        "float16",
        200_000,
        bins=("ct",),
    ),
}


def tensors_of(one: Size) -> dict[str, torch.Tensor]:
    """Return a model's tensors, which have no data."""
    config = getattr(transformers, one.config)(**one.settings, dtype=one.dtype)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    found = {
        name: tensor.to(getattr(torch, one.dtype)) for name, tensor in model.state_dict().items()
    }
    if config.tie_word_embeddings:
        del found["lm_head.weight"]
    return found


def save(one: Size, role: str, folder: Path) -> dict[str, Path]:
    """Write a model whose weight files have holes; return the weight files by name."""
    config = getattr(transformers, one.config)(**one.settings, dtype=one.dtype)
    config.architectures = [transformers.AutoModelForCausalLM._model_mapping[type(config)].__name__]  # noqa: SLF001
    config.save_pretrained(folder)
    tokenizer(["བོད་ཡིག"], 300).save_pretrained(folder)
    if role != "base":  # then `plan` needs no entries to see that they are related
        (folder / "README.md").write_text(f"---\nbase_model: {one.ids()['base']}\n---\n")
    shards: list[dict[str, torch.Tensor]] = [{}]
    for name, tensor in tensors_of(one).items():
        if shards[-1] and sum(t.nbytes for t in shards[-1].values()) + tensor.nbytes > one.shard:
            shards.append({})
        shards[-1][name] = tensor
    kind, end = ("pytorch_model", "bin") if role in one.bins else ("model", "safetensors")
    names = [f"{kind}-{i:05d}-of-{len(shards):05d}.{end}" for i in range(1, len(shards) + 1)]
    names = names if len(names) > 1 else [f"{kind}.{end}"]
    write = _write_bin if end == "bin" else _write_safetensors
    for name, shard in zip(names, shards, strict=True):
        write(folder / name, shard)
    if len(names) > 1:
        pairs = zip(names, shards, strict=True)
        places = {tensor: name for name, shard in pairs for tensor in shard}
        (folder / f"{kind}.{end}.index.json").write_text(json.dumps({"weight_map": places}))
    return {name: folder / name for name in names}


def _write_safetensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write a header in the order of safetensors' own writer, by name, and a hole."""
    types = {torch.float16: "F16", torch.bfloat16: "BF16"}
    header, at = {}, 0
    for name in sorted(tensors):
        one = tensors[name]
        offsets = [at, at + one.nbytes]
        header[name] = {"dtype": types[one.dtype], "shape": [*one.shape], "data_offsets": offsets}
        at = offsets[1]
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + at)


def _write_bin(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write what torch writes, with holes for the data."""
    with torch.serialization.skip_data():  # memory that nobody writes to takes none
        torch.save({name: torch.empty(t.shape, dtype=t.dtype) for name, t in tensors.items()}, path)


def publish(one: Size, server: Server, folder: Path) -> None:
    """Put the models of a size on the Hub."""
    for role, repo_id in one.ids().items():
        owner = repo_id.partition("/")[0]
        server.hub.tokens[f"of-{owner}"] = Token(owner)
        api = HfApi(endpoint=server.url, token=f"of-{owner}")
        api.create_repo(repo_id, private=False, exist_ok=True)
        weights = save(one, role, folder / repo_id)
        ignored = [*weights]
        api.upload_folder(repo_id=repo_id, folder_path=folder / repo_id, ignore_patterns=ignored)
        for name, path in weights.items():
            oid = hashlib.sha256(str(path).encode()).hexdigest()

            def made(first: int, end: int, path: Path = path) -> bytes:
                with path.open("rb") as file:
                    file.seek(first)
                    return file.read(end - first)

            server.hub.generate(repo_id, name, path.stat().st_size, oid, made)


def plan(one: Size, api: HfApi, cache: Path, window: int | None) -> Plan:
    """Return the plan of a merge."""
    recipe = make_config(one.language, one.choices)
    options = MergeOptions(**DEFAULTS, transformers_cache=str(cache))
    found = plan_merge(recipe, api=api, options=options, window=window)
    found.check()
    return found


def row(one: Size, found: Plan) -> str:
    """Return the line of the table."""
    having, without = found.with_download, found.without_download
    files = len([file for model in found.places.values() for file in model])
    compared = f"{files - len(found.not_compared)} of {files}"
    cells = [
        one.name,
        *(size(having["disk"] + having["cache"]), size(having["memory"])),
        *(size(without["streamed_disk"]), size(without["memory"]), compared),
        size(without["download"]),
    ]
    return f"| {' | '.join(cells)} |"


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=SIZES, nargs="+")
    parser.add_argument("--window", help="as for slack-ties plan")
    chosen = parser.parse_args(arguments)
    given = SIZE.fullmatch(chosen.window or "")
    window = int(given[1]) * UNITS[given[2].upper()] if given else None
    said = []
    print_environment()
    print(f"window    {size(window) if window else 'as plan chooses it'}\n")
    print(
        "First disk and memory with download, then with --no-download and run --publish --stream.\n"
    )
    print("| Models | Disk | Memory | Disk | Memory | Files compared | Download |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder, "hub"), {}) as server:
        for name in chosen.only or [name for name in SIZES if name != "tiny"]:
            one = SIZES[name]
            publish(one, server, Path(folder))
            reader = HfApi(endpoint=server.url, token=False)
            found = plan(one, reader, Path(folder, "cache"), window)
            print(row(one, found), flush=True)
            if found.not_compared:
                said.append(
                    f"{one.name}: not compared: {join_names(found.not_compared)}. All are with a "
                    f"window of {size(found.window_for_all)}."
                )
    for line in said:
        print(f"\n{line}")


if __name__ == "__main__":
    main()

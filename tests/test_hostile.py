"""300 damaged or odd checkpoints: a merge is right on what transformers would load, or refused."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
import transformers
from mergekit.options import MergeOptions
from safetensors.torch import load_file, save_file

from dense import merged_densely
from slack_ties.errors import SlackTiesError
from slack_ties.merge.merge import merge_models
from slack_ties.plan.make import plan_merge
from slack_ties.recipe.read import parse_recipe
from zoo import ZOO, make, moved

CASES, BATCH = 300, 25
ANIMALS = ("llama", "qwen2-tied", "mixtral", "gpt2", "bloom", "bert", "t5-v1.1", "llama-biases")
ROLES = ("base", "ct", "sft")
QUIET = MergeOptions(quiet=True)


@dataclass
class Checkpoint:
    """One model, as it will be written to disk."""

    config: dict[str, object]
    tensors: dict[str, torch.Tensor]
    # Tensor -> files that hold it, and what the index says; without an index there is one file.
    files: dict[str, list[str]] = field(default_factory=dict)
    index: dict[str, str] | None = None
    contents: dict[tuple[str, str], torch.Tensor] = field(default_factory=dict)
    bin: bool = False

    def write(self, folder: Path) -> None:
        """Write config and weights."""
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(self.config), "utf-8")
        name = "pytorch_model.bin" if self.bin else "model.safetensors"
        shards: dict[str, dict[str, torch.Tensor]] = {}
        for tensor, value in self.tensors.items():
            for file in self.files.get(tensor, [name]):
                content = self.contents.get((tensor, file), value)
                shards.setdefault(file, {})[tensor] = content.clone().contiguous()
        for file, content in shards.items():
            if file.endswith(".bin"):
                torch.save(content, folder / file)
            else:
                save_file(content, folder / file, metadata={"format": "pt"})
        if self.index is not None:
            text = json.dumps({"metadata": {}, "weight_map": self.index})
            (folder / f"{name}.index.json").write_text(text, "utf-8")

    def shard(self, chance: random.Random) -> None:
        """Spread the tensors over two or three files."""
        ending = "bin" if self.bin else "safetensors"
        stem = chance.choice(["model", "pytorch_model", "part", "model.safetensors"])
        count = chance.choice([2, 3])
        names = [f"{stem}-{i + 1:05d}-of-{count:05d}.{ending}" for i in range(count)]
        self.files = {tensor: [chance.choice(names)] for tensor in self.tensors}
        self.index = {tensor: files[0] for tensor, files in self.files.items()}


Change = Callable[[Checkpoint, random.Random], None]


def noise(like: torch.Tensor) -> torch.Tensor:
    """Return another tensor of the same shape and type."""
    return torch.randn(like.shape).to(like.dtype)


def drop(model: Checkpoint, chance: random.Random) -> None:
    """Leave a tensor out."""
    name = chance.choice(list(model.tensors))
    del model.tensors[name]
    if model.index:
        del model.index[name]


def rename(model: Checkpoint, chance: random.Random) -> None:
    """Give a tensor another name."""
    name = chance.choice(list(model.tensors))
    new = chance.choice(
        [f"{name}x", f"model.{name}", name.replace("0", "7"), name[1:], "lm_head.weight"]
    )
    model.tensors[new] = model.tensors.pop(name)
    if model.index:
        model.index[new] = model.index.pop(name)
        model.files[new] = model.files.pop(name)


def prefix(model: Checkpoint, chance: random.Random) -> None:
    """Put something before every name, or take the first part away."""
    word = chance.choice(["module.", "model.", "transformer.", "_orig_mod.", ""])

    def new(name: str) -> str:
        return f"{word}{name}" if word else name.partition(".")[2] or name

    model.tensors = {new(name): tensor for name, tensor in model.tensors.items()}
    model.files = {new(name): files for name, files in model.files.items()}
    model.index = {new(n): file for n, file in model.index.items()} if model.index else model.index


def duplicate(model: Checkpoint, chance: random.Random) -> None:
    """Store a tensor twice: in another file, or under another name."""
    name = chance.choice(list(model.tensors))
    if model.index and chance.random() < 0.7:
        files = sorted({file for one in model.files.values() for file in one})
        other = chance.choice(files)
        if other not in model.files[name]:
            model.files[name] = [*model.files[name], other]
            model.contents[name, other] = noise(model.tensors[name])
            model.index[name] = chance.choice(model.files[name])
        return
    new = chance.choice([f"model.{name}", name.partition(".")[2] or "x", f"{name}.copy"])
    model.tensors[new] = noise(model.tensors[name])
    if model.index:
        model.index[new] = model.index[name]
        model.files[new] = [model.index[name]]


def reshape(model: Checkpoint, chance: random.Random) -> None:
    """Give a tensor another shape."""
    name = chance.choice(list(model.tensors))
    old = model.tensors[name]
    model.tensors[name] = chance.choice(
        [
            old.t() if old.dim() == 2 else old[None],
            old[: max(1, len(old) // 2)],
            torch.cat([old, old]),
        ]
    ).contiguous()


def retype(model: Checkpoint, chance: random.Random) -> None:
    """Store a tensor, or all, in another type."""
    kind = chance.choice(
        [torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int8, torch.float8_e4m3fn]
    )
    names = list(model.tensors) if chance.random() < 0.4 else [chance.choice(list(model.tensors))]
    for name in names:
        model.tensors[name] = model.tensors[name].to(kind)


def tie(model: Checkpoint, chance: random.Random) -> None:
    """Change what config and weights say of the head."""
    heads = [name for name in model.tensors if name.startswith("lm_head")]
    for name in heads if chance.random() < 0.5 else []:
        del model.tensors[name]
        if model.index:
            del model.index[name]
    if chance.random() < 0.7:
        model.config["tie_word_embeddings"] = chance.choice([True, False])


def untie(model: Checkpoint, chance: random.Random) -> None:
    """Store a head, equal to the embedding or not, and perhaps say that there is one."""
    words = ("embed", "wte", "shared")
    embedding = next((n for n in model.tensors if any(word in n for word in words)), None)
    if embedding is None or (model.index and embedding not in model.index):
        return
    equal = chance.random() < 0.5
    head = model.tensors[embedding]
    model.tensors["lm_head.weight"] = head if equal else noise(head)
    if model.index:
        model.index["lm_head.weight"] = model.index[embedding]
        model.files["lm_head.weight"] = model.files[embedding]
    if chance.random() < 0.5:
        model.config["tie_word_embeddings"] = chance.choice([True, False])


def edit_config(model: Checkpoint, chance: random.Random) -> None:
    """Change or remove a value of the config."""
    key = chance.choice(list(model.config))
    value = model.config[key]
    if chance.random() < 0.3:
        del model.config[key]
    elif isinstance(value, bool):
        model.config[key] = not value
    elif isinstance(value, (int, float)):
        model.config[key] = chance.choice([value * 2, value + 1, 0, -1])
    else:
        model.config[key] = chance.choice([None, "auto", [], {"a": 1}])
        if model.config[key] == "auto" and "dtype" in key:  # heeded by nobody but transformers
            model.config[key] = "float32"


def edit_index(model: Checkpoint, chance: random.Random) -> None:
    """Change what the index says."""
    if not model.index:
        model.shard(chance)
    assert model.index is not None
    name = chance.choice(list(model.index))
    other = chance.choice(sorted(set(model.index.values())))
    what = chance.randrange(4)
    if what == 0:
        model.index[name] = other
    elif what == 1:
        del model.index[name]
    elif what == 2:
        model.index[f"{name}.more"] = other
    else:
        model.index[name] = "gone.safetensors"


def nothing(_: Checkpoint, __: random.Random) -> None:
    """Leave it as it is."""


CHANGES: tuple[Change, ...] = (
    *(drop, rename, prefix, duplicate, reshape, retype, tie, untie, edit_config, edit_index),
    *(nothing, retype, untie, prefix),
)


def make_case(number: int, folder: Path) -> str:
    """Write three models of case `number`; return what was done to them."""
    chance = random.Random(number)
    torch.manual_seed(number)
    name = chance.choice(ANIMALS)
    animal = next(one for one in ZOO if one.name == name)
    base = make(animal)
    done = [animal.name]
    everywhere, changes = chance.random() < 0.25, [chance.choice(CHANGES)]
    if chance.random() < 0.3:
        changes.append(chance.choice(CHANGES))
    victims = ROLES if everywhere else [chance.choice(ROLES)]
    seed = chance.randrange(10**6)
    saved = {}
    for place, role in enumerate(ROLES):
        plain = folder / f"plain-{role}"
        (moved(base, 0.02, place) if place else base).save_pretrained(plain)
        config = json.loads((plain / "config.json").read_text("utf-8"))
        model = Checkpoint(config, load_file(plain / "model.safetensors"))
        model.bin = chance.random() < 0.2
        if chance.random() < 0.4:
            model.shard(chance)
        saved[role] = model
    for role in ROLES:
        own = random.Random(seed)  # the same for all, if all are changed
        for change in changes if role in victims else ():
            change(saved[role], own)
        saved[role].write(folder / role)
    done += [", ".join(victims), *(change.__name__ for change in changes)]
    return " / ".join(done)


def loaded(folder: Path) -> dict[str, torch.Tensor] | None:
    """Return what transformers loads, by the names in its model; None if anything is made up.

    In float64, in which nothing is rounded.
    """
    try:
        config = transformers.AutoConfig.from_pretrained(folder)
        kind = getattr(transformers, config.architectures[0])
        model, info = kind.from_pretrained(folder, output_loading_info=True, dtype=torch.float64)
    except Exception:  # noqa: BLE001 - whatever transformers thinks of it
        return None
    if info["missing_keys"] or info["mismatched_keys"] or info.get("error_msgs"):
        return None
    return dict(model.state_dict())


def by_experts(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors as a Mixtral's files have them: a matrix for each expert."""
    found = {}
    for name, tensor in state.items():
        if name.endswith("experts.gate_up_proj"):
            for i, both in enumerate(tensor):
                found |= {f"{name}.{i}.{j}": half for j, half in enumerate(both.chunk(2))}
        elif name.endswith("experts.down_proj"):
            found |= {f"{name}.{i}": one for i, one in enumerate(tensor)}
        else:
            found[name] = tensor
    return found


def try_case(number: int, folder: Path) -> tuple[str, str]:
    """Return how case `number` ended, and what was done; fail if it ended wrongly."""
    what = f"case {number}: {make_case(number, folder)}"
    models = "".join(
        f"- model: {folder / role}\n  parameters: {{weight: 1, density: 0.5, slack: {slack}}}\n"
        for role, slack in (("ct", 0), ("sft", 0.2))
    )
    text = f"merge_method: slack_ties\nbase_model: {folder / 'base'}\nmodels:\n{models}"
    recipe = parse_recipe(f"{text}parameters: {{normalize: false}}\n", where="case.yml")
    plan = plan_merge(recipe, allow_unrelated=True)
    if plan.errors:
        with pytest.raises(SlackTiesError):
            merge_models(recipe, folder / "out", options=QUIET, allow_unrelated=True)
        return "refused", what
    # After a plan without errors a merge fails by the machine alone.
    merge_models(recipe, folder / "out", options=QUIET, allow_unrelated=True)
    parents = [loaded(folder / role) for role in ROLES]
    out = loaded(folder / "out")
    assert all(parent is not None for parent in parents), f"{what}: a parent cannot be loaded"
    assert out is not None, f"{what}: the result cannot be loaded"
    base, ct, sft = (by_experts(parent) for parent in parents if parent)
    result = by_experts(out)
    assert result.keys() == base.keys(), what
    merged = stored(folder / "out")
    narrow = {tensor.dtype for tensor in merged.values()}
    for name, tensor in result.items():
        if not tensor.is_floating_point():
            continue
        fits = [
            torch.equal(
                merged_densely(*(one[name].to(wide) for one in (base, ct, sft))).to(dtype).double(),
                tensor,
            )
            for dtype in narrow
            for wide in (torch.float32, torch.float64)  # where a model has float64
        ]
        assert any(fits), f"{what}: {name}"
    before = stored(folder / "base")
    kept = [before[name] for name in merged.keys() & before.keys()]
    left = [  # a head that is a copy of the embedding may be left out
        name
        for name in before.keys() - merged.keys()
        if "head" not in name or not any(torch.equal(before[name], one) for one in kept)
    ]
    assert not left, f"{what}: {left}"
    return "merged", what


def stored(folder: Path) -> dict[str, torch.Tensor]:
    """Return every tensor of every weight file in a folder."""
    found: dict[str, torch.Tensor] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix == ".safetensors":
            found |= load_file(path)
        elif path.suffix == ".bin":
            found |= torch.load(path)
    return found


@pytest.mark.parametrize("batch", range(CASES // BATCH))
def test_is_right_or_refused(batch: int, tmp_path: Path) -> None:
    """A result has the names and values of the definition on what transformers loads."""
    numbers = range(batch * BATCH, (batch + 1) * BATCH)
    ends = [try_case(number, tmp_path / str(number))[0] for number in numbers]
    assert {"merged", "refused"} == set(ends)

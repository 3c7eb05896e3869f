"""Models of other names and layouts than the base: read as transformers does, or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mergekit.options import MergeOptions
from safetensors.torch import load_file, save_file

from dense import merged_densely
from slack_ties.errors import CheckpointError
from slack_ties.merge.merge import merge_models
from slack_ties.plan.make import plan_merge
from slack_ties.recipe.read import parse_recipe
from slack_ties.recipe.recipe import Recipe
from zoo import ZOO
from zoo_merge import CONFIG, ROLES, make_models, tensors

QUIET = MergeOptions(quiet=True)
CRIMES = MergeOptions(quiet=True, allow_crimes=True)
FILE = "model.safetensors"

Tensors = dict[str, torch.Tensor]


def recipe(folder: Path) -> Recipe:
    """Return the config that merges three models in a folder."""
    text = CONFIG.format(method="slack_ties", folder=folder, slack=", slack: 0.2")
    return parse_recipe(text, where="layout.yml")


def models(name: str, folder: Path) -> dict[str, Tensors]:
    """Save a triple of the zoo, and return its tensors."""
    make_models(next(animal for animal in ZOO if animal.name == name), folder)
    return {role: tensors(folder / role) for role in ROLES}


def change(folder: Path, new: Callable[[Tensors], Tensors]) -> None:
    """Store a model's tensors otherwise."""
    stored = new(load_file(folder / FILE))
    stored = {name: tensor.clone().contiguous() for name, tensor in stored.items()}
    save_file(stored, folder / FILE, metadata={"format": "pt"})


def edit(folder: Path, **values: object) -> None:
    """Change keys of a model's config.json."""
    path = folder / "config.json"
    config = json.loads(path.read_text("utf-8")) | values
    path.write_text(json.dumps(config), "utf-8")


def expected(before: dict[str, Tensors]) -> Tensors:
    """Return the merge by the definition, of models as the base has them."""
    base, ct, sft = (before[role] for role in ROLES)
    return {
        name: merged_densely(base[name], ct[name], sft[name]).to(base[name].dtype) for name in base
    }


def same(found: Tensors, wanted: Tensors) -> None:
    """Refuse another name, or another value."""
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert torch.equal(found[name], tensor), name


def without(prefix: str) -> Callable[[Tensors], Tensors]:
    """Return what takes a prefix from all names."""
    return lambda stored: {name.removeprefix(prefix): tensor for name, tensor in stored.items()}


@pytest.mark.parametrize(
    ("name", "prefix"),
    [("gpt2", "transformer."), ("bloom", "transformer."), ("opt", "model."), ("bert", "bert.")],
)
def test_a_prefix_or_none(name: str, prefix: str, tmp_path: Path) -> None:
    """A base as published, and models as transformers saves them: the same tensors."""
    before = models(name, tmp_path)
    change(tmp_path / "base", without(prefix))

    merge_models(recipe(tmp_path), tmp_path / "out", options=QUIET)

    same(tensors(tmp_path / "out"), without(prefix)(expected(before)))


def fused(stored: Tensors) -> Tensors:
    """Return a Mixtral's tensors as transformers 5 holds them: one for all experts."""
    found: Tensors = {}
    for name in stored:
        head, _, rest = name.partition(".block_sparse_moe.experts.")
        if not rest:
            found[name.replace("block_sparse_moe", "mlp")] = stored[name]
            continue
        experts = f"{head}.block_sparse_moe.experts"
        count = len({n.split(".")[5] for n in stored if n.startswith(experts)})
        one, two, three = (
            [stored[f"{experts}.{i}.w{j}.weight"] for i in range(count)] for j in (1, 2, 3)
        )
        pairs = [torch.cat(pair) for pair in zip(one, three, strict=True)]
        found[f"{head}.mlp.experts.gate_up_proj"] = torch.stack(pairs)
        found[f"{head}.mlp.experts.down_proj"] = torch.stack(two)
    return found


def test_experts_in_one_tensor_for_a_base_with_many(tmp_path: Path) -> None:
    """A fused CT model and a base of separate experts: merged per expert, as the base has them."""
    before = models("mixtral", tmp_path)
    change(tmp_path / "ct", fused)

    merge_models(recipe(tmp_path), tmp_path / "out", options=QUIET)

    same(tensors(tmp_path / "out"), expected(before))


def test_separate_experts_for_a_fused_base(tmp_path: Path) -> None:
    """A fused base and separate experts: merged in the base's layout, shares of whole tensors."""
    before = models("mixtral", tmp_path)
    change(tmp_path / "base", fused)

    merge_models(recipe(tmp_path), tmp_path / "out", options=QUIET)

    same(tensors(tmp_path / "out"), expected({role: fused(before[role]) for role in ROLES}))


def test_buffers_that_models_compute_are_left_out(tmp_path: Path) -> None:
    """A base with GPT-2's old masks: they are no weights, and not in the result."""
    before = models("gpt2", tmp_path)
    masks = {
        f"transformer.h.0.attn.{name}": torch.ones(shape)
        for name, shape in (("bias", (1, 1, 8, 8)), ("masked_bias", ()))
    }
    change(tmp_path / "base", lambda stored: stored | masks)

    merge_models(recipe(tmp_path), tmp_path / "out", options=QUIET)

    same(tensors(tmp_path / "out"), expected(before))


def test_what_transformers_does_not_read_is_kept(tmp_path: Path) -> None:
    """A layer for several tokens at once, of which transformers knows nothing: the base's stays."""
    before = models("llama", tmp_path)
    more = {"mtp.proj.weight": torch.randn(4, 4), "mtp.norm.weight": torch.randn(4)}
    change(tmp_path / "base", lambda stored: stored | more)
    change(tmp_path / "ct", lambda stored: stored | {"mtp.proj.weight": torch.randn(4, 4)})

    plan = plan_merge(recipe(tmp_path))
    merge_models(recipe(tmp_path), tmp_path / "out", options=QUIET)

    assert plan.errors == ()
    assert any("mtp.norm.weight" in warning for warning in plan.warnings)
    out = tensors(tmp_path / "out")
    assert out.keys() == before["base"].keys() | more.keys()
    assert torch.equal(out["mtp.norm.weight"], more["mtp.norm.weight"])


def test_a_head_stored_beside_the_embedding_that_it_is(tmp_path: Path) -> None:
    """Tied, and stored twice in the base alone: the result stores it once."""
    before = models("qwen2-tied", tmp_path)
    embedding, head = "model.embed_tokens.weight", "lm_head.weight"
    change(tmp_path / "base", lambda stored: stored | {head: stored[embedding]})

    merge_models(recipe(tmp_path), tmp_path / "out", options=QUIET)

    same(tensors(tmp_path / "out"), expected(before))


def test_a_head_of_its_own_beside_tied_ones(tmp_path: Path) -> None:
    """Refused with the option that merges it; with that the result has a head, and says so."""
    before = models("qwen2-tied", tmp_path)
    own = torch.randn_like(before["base"]["model.embed_tokens.weight"])
    change(tmp_path / "ct", lambda stored: stored | {"lm_head.weight": own})

    (error,) = plan_merge(recipe(tmp_path)).errors
    merge_models(recipe(tmp_path), tmp_path / "out", options=CRIMES)

    assert "ct' has its own head (lm_head.weight), but '" in str(error)
    assert "--allow-crimes" in error.hint
    for role in ROLES:
        embedding = before[role]["model.embed_tokens.weight"]
        before[role]["lm_head.weight"] = own if role == "ct" else embedding
    same(tensors(tmp_path / "out"), expected(before))
    config = json.loads((tmp_path / "out" / "config.json").read_text("utf-8"))
    assert config["tie_word_embeddings"] is False


def wrap(stored: Tensors) -> Tensors:
    """Return tensors as torch.compile names them."""
    return {f"_orig_mod.{name}": tensor for name, tensor in stored.items()}


def biased(stored: Tensors) -> Tensors:
    """Return tensors with a bias that the base lacks."""
    found = {n.replace(".weight", ".bias"): t[:, 0] for n, t in stored.items() if "_proj" in n}
    return stored | found


def twice(stored: Tensors) -> Tensors:
    """Return tensors of which one has a second name."""
    return stored | {"norm.weight": stored["model.norm.weight"] + 1}


def quantized(stored: Tensors) -> Tensors:
    """Return tensors of which one is stored in 8 bits."""
    name = "model.layers.1.mlp.up_proj.weight"
    return stored | {name: stored[name].to(torch.float8_e4m3fn)}


@pytest.mark.parametrize(
    ("new", "config", "message"),
    [
        (wrap, {}, "names of tensors contain '_orig_mod.': it was saved from inside a wrapper"),
        (biased, {"attention_bias": True, "mlp_bias": True}, "which the base "),
        (twice, {}, "contains model.norm.weight and norm.weight: they are the same tensor"),
        (quantized, {}, "is quantized: model.layers.1.mlp.up_proj.weight is stored as F8_E4M3"),
    ],
)
def test_what_cannot_be_right_is_refused(
    new: Callable[[Tensors], Tensors], config: dict[str, object], message: str, tmp_path: Path
) -> None:
    """The cause is named in the plan, before anything is merged."""
    models("llama", tmp_path)
    change(tmp_path / "ct", new)
    edit(tmp_path / "ct", **config)

    (error,) = plan_merge(recipe(tmp_path)).errors

    assert message in str(error)
    assert error.hint
    with pytest.raises(CheckpointError):
        merge_models(recipe(tmp_path), tmp_path / "out", options=QUIET)


def test_vision_models_in_both_spellings(tmp_path: Path) -> None:
    """A model as transformers 5 holds it and a base as it is saved: the same tensors."""
    before = models("llava", tmp_path)

    def spelt_anew(stored: Tensors) -> Tensors:
        new = {}
        for name, tensor in stored.items():
            short = name.replace("language_model.lm_head", "lm_head")
            short = short.replace("language_model.model.", "model.language_model.")
            parts = ("vision_tower", "multi_modal_projector")
            new[f"model.{short}" if short.startswith(parts) else short] = tensor
        return new

    change(tmp_path / "sft", spelt_anew)

    merge_models(recipe(tmp_path), tmp_path / "out", options=QUIET)

    same(tensors(tmp_path / "out"), expected(before))


def test_pythia_as_published(tmp_path: Path) -> None:
    """Masks and rotary frequencies in the base's files, and none in those of the others."""
    before = models("gpt-neox", tmp_path)
    buffers = {
        f"gpt_neox.layers.{layer}.attention.{name}": tensor
        for layer in (0, 1)
        for name, tensor in (
            ("bias", torch.ones(1, 1, 8, 8, dtype=torch.bool)),
            ("masked_bias", torch.tensor(-1e9)),
            ("rotary_emb.inv_freq", torch.ones(2)),
        )
    }
    change(tmp_path / "base", lambda stored: stored | buffers)

    assert plan_merge(recipe(tmp_path)).errors == ()
    merge_models(recipe(tmp_path), tmp_path / "out", options=QUIET)

    same(tensors(tmp_path / "out"), expected(before))

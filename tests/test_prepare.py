"""Models with adapters: the names of their own folder, and configs as training left them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch
from mergekit.options import MergeOptions
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from dense import merged_densely
from slack_ties.merge.merge import merge_models
from slack_ties.plan.make import plan_merge
from slack_ties.recipe.read import parse_recipe
from slack_ties.recipe.recipe import Recipe
from zoo import ZOO
from zoo_merge import ROLES, make_models, tensors

QUIET = MergeOptions(quiet=True)
CRIMES = MergeOptions(quiet=True, allow_crimes=True)
FILE = "model.safetensors"


def triple(name: str, folder: Path) -> None:
    """Save a triple of the zoo."""
    make_models(next(animal for animal in ZOO if animal.name == name), folder)


def adapter(model: Path, folder: Path, **settings: object) -> dict[str, torch.Tensor]:
    """Train an adapter for a model, in no time; return the tensors of both merged."""
    torch.manual_seed(5)
    settings = {"r": 2, "target_modules": "all-linear", "init_lora_weights": False, **settings}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT says that a tied head makes complications
        made = get_peft_model(AutoModelForCausalLM.from_pretrained(model), LoraConfig(**settings))
        for name, parameter in made.named_parameters():
            if "modules_to_save" in name:
                parameter.data.add_(torch.randn_like(parameter))
        made.save_pretrained(folder)
        return dict(made.merge_and_unload().state_dict())


def linear(*models: str) -> Recipe:
    """Return the mean of models, of which none is the base."""
    parts = "".join(f"- model: {model}\n  parameters: {{weight: 0.5}}\n" for model in models)
    return parse_recipe(f"merge_method: linear\nmodels:\n{parts}", where="l.yml")


def test_the_names_are_those_of_the_models_own_folder(tmp_path: Path) -> None:
    """A GPT-2 without prefix and a tensor that transformers does not read, under an adapter."""
    triple("gpt2", tmp_path)
    plain = {n.removeprefix("transformer."): t for n, t in tensors(tmp_path / "base").items()}
    extra = {"mtp.proj.weight": torch.ones(2, 2)}
    save_file(plain | extra, tmp_path / "base" / FILE, metadata={"format": "pt"})
    both = adapter(tmp_path / "base", tmp_path / "lora", fan_in_fan_out=True)

    told = linear(f"{tmp_path}/base+{tmp_path}/lora", f"{tmp_path}/ct")
    assert plan_merge(told).errors == ()
    merge_models(told, tmp_path / "out", options=QUIET)

    out, ct = tensors(tmp_path / "out"), tensors(tmp_path / "ct")
    assert out.keys() == plain.keys() | extra.keys()
    name = "h.0.attn.c_attn.weight"
    wanted = (both[f"transformer.{name}"] + ct[f"transformer.{name}"]) / 2
    assert torch.allclose(out[name], wanted, atol=1e-7)
    assert torch.equal(out["mtp.proj.weight"], extra["mtp.proj.weight"])


def test_a_head_that_an_adapter_brings(tmp_path: Path) -> None:
    """A tied model and an adapter that trained the head: named in the plan, merged if told to."""
    triple("qwen2-tied", tmp_path)
    both = adapter(tmp_path / "base", tmp_path / "lora", modules_to_save=["lm_head"])
    text = (
        f"merge_method: slack_ties\nbase_model: {tmp_path}/base\nmodels:\n"
        f"- model: {tmp_path}/ct\n  parameters: {{weight: 1, density: 0.5}}\n"
        f"- model: {tmp_path}/base+{tmp_path}/lora\n"
        "  parameters: {weight: 1, density: 0.5, slack: 0.2}\nparameters: {normalize: false}\n"
    )
    told = parse_recipe(text, where="h.yml")

    (error,) = plan_merge(told).errors
    plan = plan_merge(told, options=CRIMES)
    merge_models(told, tmp_path / "out", options=CRIMES)

    assert "--allow-crimes" in error.hint
    assert plan.errors == ()
    assert plan.models[-1].adapter.startswith("LoRA of rank 2 on ")
    base, ct, out = (tensors(tmp_path / role) for role in ("base", "ct", "out"))
    embedding = "model.embed_tokens.weight"
    wanted = merged_densely(base[embedding], ct[embedding], both["lm_head.weight"])
    assert torch.equal(out["lm_head.weight"], wanted)
    config = json.loads((tmp_path / "out" / "config.json").read_text("utf-8"))
    assert config["tie_word_embeddings"] is False


def test_a_config_that_training_in_4_bits_left_behind(tmp_path: Path) -> None:
    """Under an adapter too it has no effect, and the result does not have it."""
    triple("llama", tmp_path)
    adapter(tmp_path / "base", tmp_path / "lora")
    path = tmp_path / "base" / "config.json"
    left = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    config = json.loads(path.read_text("utf-8")) | {"quantization_config": left}
    path.write_text(json.dumps(config), "utf-8")

    told = linear(f"{tmp_path}/base+{tmp_path}/lora", f"{tmp_path}/ct")
    assert plan_merge(told).errors == ()
    merge_models(told, tmp_path / "out", options=QUIET)

    assert "quantization_config" not in (tmp_path / "out" / "config.json").read_text("utf-8")


@pytest.mark.parametrize("kind", ["dtype", "out_dtype"])
def test_whole_numbers_stay_whole(kind: str, tmp_path: Path) -> None:
    """Whatever type the result is to have, counters and masks are the base's, bit for bit."""
    triple("llama", tmp_path)
    kept = {"model.count": torch.arange(1000, 1010), "model.mask": torch.tensor([True, False])}
    for role in ROLES:
        stored = load_file(tmp_path / role / FILE) | {n: t.clone() for n, t in kept.items()}
        save_file(stored, tmp_path / role / FILE, metadata={"format": "pt"})
    text = (
        f"merge_method: slack_ties\nbase_model: {tmp_path}/base\n{kind}: bfloat16\nmodels:\n"
        f"- model: {tmp_path}/ct\n  parameters: {{weight: 1}}\n"
    )

    merge_models(parse_recipe(text, where="i.yml"), tmp_path / "out", options=QUIET)

    out = tensors(tmp_path / "out")
    assert {name: out[name].dtype for name in kept} == {n: t.dtype for n, t in kept.items()}
    assert all(torch.equal(out[name], kept[name]) for name in kept)
    assert out["model.norm.weight"].dtype == torch.bfloat16


def test_one_model_under_two_names(tmp_path: Path) -> None:
    """Refused: mergekit would take it once."""
    triple("llama", tmp_path)
    told = linear(f"{tmp_path}/ct", f"{tmp_path}/ct/")

    (error,) = plan_merge(told).errors

    assert "are the same model" in str(error)

"""Heads that are the embedding, stored or not, and heads of their own: what the result has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from slack_ties.errors import CheckpointError
from slack_ties.merge.merge import merge_models
from slack_ties.plan.make import plan_merge
from slack_ties.recipe.read import parse_recipe
from slack_ties.tensors.loading import quiet_transformers
from test_layout import CRIMES, FILE, QUIET, change, edit, expected, models, recipe, same
from zoo_merge import ROLES, tensors

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
PARAMETERS, HEAD_PARAMETERS = 5008, 1024  # of the models below, without a head; of the head

# Of each model: does its config tie the head, and does it store none, the embedding, or its own?
KINDS = {
    "tied": (True, None),
    "tied, stored": (True, "embedding"),
    "tied, own": (True, "own"),
    "untied, embedding": (False, "embedding"),
    "untied, own": (False, "own"),
}


def make(folder: Path, *kinds: str) -> dict[str, dict[str, torch.Tensor]]:
    """Save a triple whose models have these kinds of heads; return it as if all were tied."""
    before = models("qwen2-tied", folder)
    for role, kind in zip(ROLES, kinds, strict=True):
        ties, stores = KINDS[kind]
        head = before[role][EMBEDDING] if stores == "embedding" else torch.randn(64, 16)
        if stores:
            change(folder / role, lambda stored, head=head: stored | {HEAD: head})
        edit(folder / role, tie_word_embeddings=ties)
    return before


def config(folder: Path) -> dict[str, object]:
    """Return a model's config.json."""
    found: dict[str, object] = json.loads((folder / "config.json").read_text("utf-8"))
    return found


@pytest.mark.parametrize(
    "kinds",
    [
        ("tied", "tied, stored", "tied"),
        ("tied", "untied, embedding", "tied"),
        ("tied", "tied", "untied, embedding"),
        ("tied", "untied, embedding", "untied, embedding"),
        ("tied, stored", "tied", "tied"),
        ("tied, stored", "tied, stored", "tied, stored"),
        ("tied, stored", "untied, embedding", "tied"),
        ("untied, embedding", "tied", "tied"),
        ("untied, embedding", "tied, stored", "untied, embedding"),
    ],
    ids="; ".join,
)
def test_heads_that_are_the_embedding(kinds: tuple[str, str, str], tmp_path: Path) -> None:
    """The result is tied and stores no head: the bytes as if no file had had one."""
    before = make(tmp_path, *kinds)

    plan = plan_merge(recipe(tmp_path))
    merge_models(recipe(tmp_path), tmp_path / "out", options=QUIET)

    assert plan.errors == ()
    assert plan.parameters == PARAMETERS
    copies = [0 if kind == "tied" else HEAD_PARAMETERS for kind in kinds]
    assert [model.copied for model in plan.models] == copies
    assert str(plan).count("1,024 of them a copy of the embedding") == sum(map(bool, copies))
    retied = [role for role, kind in zip(ROLES, kinds, strict=True) if kind.startswith("untied")]
    assert [next(r for r in ROLES if f"/{r}:" in w) for w in plan.warnings] == retied
    assert all("does not tie the head that it stores" in warning for warning in plan.warnings)
    same(tensors(tmp_path / "out"), expected(before))
    assert config(tmp_path / "out")["tie_word_embeddings"] is True


def test_a_first_model_without_base_that_stores_a_copy(tmp_path: Path) -> None:
    """A method without base: the CT model says which tensors there are, and its copy is none."""
    make(tmp_path, "tied", "tied, stored", "tied")
    parts = "".join(
        f"  - model: {tmp_path / role}\n    parameters: {{weight: 0.5}}\n" for role in ("ct", "sft")
    )
    linear = parse_recipe(f"merge_method: linear\nmodels:\n{parts}dtype: float32\n", where="l.yml")

    plan = plan_merge(linear)
    merge_models(linear, tmp_path / "out", options=QUIET)

    assert plan.parameters == PARAMETERS
    assert HEAD not in tensors(tmp_path / "out")


@pytest.mark.parametrize("form", ["sharded", "bin"])
def test_copies_in_shards_and_in_bin_files(form: str, tmp_path: Path) -> None:
    """A copy in another shard than the embedding, and in a .bin file as PyTorch saved it."""
    before = make(tmp_path, "tied, stored", "untied, embedding", "tied")
    for role in ROLES[:2]:
        stored = load_file(tmp_path / role / FILE)
        (tmp_path / role / FILE).unlink()
        if form == "bin":
            stored[HEAD] = stored[EMBEDDING]  # one storage
            torch.save(stored, tmp_path / role / "pytorch_model.bin")
        else:
            shards = {"model-1.safetensors": stored.pop(HEAD), "model-2.safetensors": None}
            index = dict.fromkeys(stored, "model-2.safetensors") | {HEAD: "model-1.safetensors"}
            for name, head in shards.items():
                part = stored if head is None else {HEAD: head}
                save_file(part, tmp_path / role / name, metadata={"format": "pt"})
            path = tmp_path / role / "model.safetensors.index.json"
            path.write_text(json.dumps({"metadata": {}, "weight_map": index}), "utf-8")

    merge_models(recipe(tmp_path), tmp_path / "out", options=QUIET)

    same(tensors(tmp_path / "out"), expected(before))


def test_the_result_is_what_transformers_loads(tmp_path: Path) -> None:
    """Transformers ties the head of a result whose base stored it untied."""
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - seconds

    make(tmp_path, "untied, embedding", "tied", "tied")
    merge_models(recipe(tmp_path), tmp_path / "out", options=QUIET)

    with quiet_transformers():
        model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")

    assert model.lm_head.weight is model.model.embed_tokens.weight


@pytest.mark.parametrize(
    ("kinds", "owner"),
    [
        (("tied", "untied, own", "tied"), "ct"),
        (("tied", "tied", "tied, own"), "sft"),
        (("tied, stored", "untied, embedding", "untied, own"), "sft"),
    ],
    ids=str,
)
def test_a_head_of_its_own(kinds: tuple[str, str, str], owner: str, tmp_path: Path) -> None:
    """Refused with the size that it adds; the option that merges it warns of the size too."""
    make(tmp_path, *kinds)

    (error,) = plan_merge(recipe(tmp_path)).errors
    plan = plan_merge(recipe(tmp_path), options=CRIMES)
    merge_models(recipe(tmp_path), tmp_path / "out", options=CRIMES)

    assert f"{owner}' has its own head (lm_head.weight), but '" in str(error)
    assert ("but the stored tensors differ" in str(error)) == (kinds[2] == "tied, own")
    assert error.hint == (
        "to merge them anyway, into a model with its own head, 1,024 parameters larger: "
        "--allow-crimes"
    )
    assert plan.errors == ()
    assert plan.parameters == PARAMETERS + HEAD_PARAMETERS
    (warning,) = plan.warnings
    assert warning.startswith("the merged model gets a head of its own (lm_head.weight), because ")
    assert "1,024 parameters and 4.1 kB more than with a tied head" in warning
    assert str(tmp_path / owner) in warning.partition("because ")[2].partition(" one:")[0]
    assert HEAD in tensors(tmp_path / "out")
    assert config(tmp_path / "out")["tie_word_embeddings"] is False


@pytest.mark.parametrize(
    "kinds",
    [
        ("untied, embedding", "untied, own", "untied, embedding"),
        ("untied, own", "untied, embedding", "untied, own"),
        ("tied, own", "tied, own", "untied, embedding"),
    ],
    ids="; ".join,
)
def test_heads_of_their_own_in_models_that_all_store_one(
    kinds: tuple[str, str, str], tmp_path: Path
) -> None:
    """No model ties its head: the stored heads are merged, as they are."""
    before = make(tmp_path, *kinds)
    for role in ROLES:
        before[role] = tensors(tmp_path / role)

    plan = plan_merge(recipe(tmp_path))
    merge_models(recipe(tmp_path), tmp_path / "out", options=QUIET)

    assert plan.errors == ()
    same(tensors(tmp_path / "out"), expected(before))
    assert config(tmp_path / "out")["tie_word_embeddings"] is False
    changed = kinds[0].startswith("tied")  # the base's config said that there is no head
    assert any("gets a head of its own" in warning for warning in plan.warnings) == changed


def test_a_head_that_begins_as_the_embedding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan compares the beginning; the merge compares all, refuses, and says what merges it."""
    make(tmp_path, "tied", "untied, embedding", "tied")
    stored = load_file(tmp_path / "ct" / FILE)
    stored[HEAD][-1, -1] += 1
    save_file(stored, tmp_path / "ct" / FILE, metadata={"format": "pt"})
    for module in ("models.entries", "merge.reader"):  # the models are small
        monkeypatch.setattr(f"slack_ties.{module}.COMPARED", 8)

    assert plan_merge(recipe(tmp_path)).errors == ()
    with pytest.raises(CheckpointError, match=r"begins as .* and differs later") as caught:
        merge_models(recipe(tmp_path), tmp_path / "out", options=QUIET)
    assert not (tmp_path / "out").exists()
    assert caught.value.hint.endswith("--allow-crimes")
    merge_models(recipe(tmp_path), tmp_path / "out", options=CRIMES)
    assert HEAD in tensors(tmp_path / "out")

"""WIDEN, a baseline of the experiment in experiments/real."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from triple import changed, llama, names, save_sharded, tokenizer

# At the end: the experiments have modules of the same names.
sys.path.append(str(Path(__file__).parent.parent / "experiments" / "real"))

from widen import merge_folders, merge_tensor

BASE = torch.tensor([[3.0, 0.0, 1.0], [4.0, 2.0, 0.0]])
A = torch.tensor([[6.0, 2.0, 4.0], [8.0, 0.0, 3.0]])
B = torch.tensor([[4.0, 0.0, 0.0], [3.0, 3.0, 4.0]])


def small(*, tied: bool) -> LlamaForCausalLM:
    """Return a small base model."""
    model = llama(hidden=16, layers=1)
    if not tied:
        return model
    values = {**model.config.to_dict(), "tie_word_embeddings": True}
    return LlamaForCausalLM(LlamaConfig(**values))


def save(folder: Path, *, tied: bool = False) -> tuple[Path, Path, Path]:
    """Save a base of several files and two models in bfloat16."""
    base = small(tied=tied)
    models = [changed(base, 0.02, 1), changed(base, 0.01, 2)]
    save_sharded(base.bfloat16(), folder / "base", shard="20KB")
    tokenizer([text for pair in names("bo") for text in pair]).save_pretrained(folder / "base")
    for name, model in zip(("ct", "sft"), models, strict=True):
        model.bfloat16().save_pretrained(folder / name)
    return folder / "base", folder / "ct", folder / "sft"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Return all tensors in the files of a model."""
    return {k: v for file in folder.glob("*.safetensors") for k, v in load_file(file).items()}


def test_matrix_is_as_worked_out_by_hand() -> None:
    """Each column is scored as the definition says.

    A's magnitudes change by 5, 0, 4, its directions by 0, 1, 0.2: ranks 2 0 1 and 0 2 1. B's
    change by 0, 1, 3 and 0.04, 0, 1: ranks 0 1 2 and 1 0 2. The mean is 1, so 2 is important.
    With p, q, r = softmax of -1/3, 1/3, -2/3 against 0, A's scores are (1 + p)/2, (p + 1)/2, p,
    and B's (r + q)/2, (q + r)/2, 1.
    """
    expected = [[5.5870516, 1.4174298, 1.2522894], [6.3739527, 1.0434771, 5.2522894]]
    torch.testing.assert_close(merge_tensor(BASE, [A, B]), torch.tensor(expected))


def test_vector_is_scored_by_its_changes() -> None:
    """A change above the model's mean counts whole; another has the softmax of the changes."""
    base, a, b = torch.tensor([[1.0, 1.0], [1.5, 1.1], [1.0, 0.0]])
    expected = torch.tensor([1.5, 0.0289050])  # 1 + 0.1 / (1 + e**0.9) - 1
    torch.testing.assert_close(merge_tensor(base, [a, b]), expected)


def test_limit_and_score_are_as_given() -> None:
    """All changes above a limit below 0 have the score; above a high limit, softmax alone."""
    half = BASE + (A - BASE) / 2 + (B - BASE) / 2
    torch.testing.assert_close(merge_tensor(BASE, [A, B], above=-1.0, score=0.5), half)
    torch.testing.assert_close(merge_tensor(BASE, [A, A, A], above=2.0), A)


def test_a_small_change_of_direction_is_more_than_none() -> None:
    """Directions that differ by less than the cosine of float32 shows are ranked."""
    base = torch.tensor([[1.0, 3.0], [1.0, 7.0]])
    turn = torch.tensor([[1e-5, 0.0], [-1e-5, 0.0]])  # the magnitude stays
    merged = merge_tensor(base, [base + turn, base])
    # Scores of the first column: 1 for the direction, softmax of 0 and 0 for the magnitude.
    torch.testing.assert_close(merged - base, 0.75 * turn, rtol=0.02, atol=0)


def test_columns_of_zeros_give_numbers() -> None:
    """Nothing is NaN if a column has no direction, and a column that nobody changed stays."""
    base = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    merged = merge_tensor(base, [torch.tensor([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]]), base])
    assert merged.isfinite().all()
    assert merged[:, 0].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("shape", [(3, 2), (2, 3, 1), ()])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    """The tensors are vectors or matrices of one shape."""
    with pytest.raises(ValueError, match="of one shape"):
        merge_tensor(torch.zeros(shape), [torch.zeros(2, 3)])
    with pytest.raises(ValueError, match="of one shape"):
        merge_tensor(BASE, [torch.zeros(shape)])


def test_folders_are_merged_tensor_by_tensor(tmp_path: Path) -> None:
    """The embedding is scored by tokens, lm_head by inputs; the result has the base's type."""
    folders = save(tmp_path)
    merge_folders(folders[0], folders[1:], tmp_path / "out")
    base, *models = (weights(folder) for folder in folders)
    merged = weights(tmp_path / "out")
    assert merged.keys() == base.keys()
    for name, tensor in merged.items():
        start, others = base[name], [model[name] for model in models]
        if name == "model.embed_tokens.weight":
            expected = merge_tensor(start.T, [other.T for other in others]).T
        else:
            expected = merge_tensor(start, others)
        assert torch.equal(tensor, expected.bfloat16()), name
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.dtype == torch.bfloat16
    assert torch.equal(model.lm_head.weight, merged["lm_head.weight"])
    words = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert (
        words("Bod")["input_ids"] == AutoTokenizer.from_pretrained(folders[0])("Bod")["input_ids"]
    )


def test_tied_embeddings_stay_tied(tmp_path: Path) -> None:
    """No head is written, also if a model of tied embeddings stores one."""
    base, *models = save(tmp_path, tied=True)
    stored = weights(models[0])
    head = torch.zeros_like(stored["model.embed_tokens.weight"])
    save_file({**stored, "lm_head.weight": head}, models[0] / "model.safetensors")
    merge_folders(base, models, tmp_path / "out")
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118 - it is no mapping
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_folders_of_other_tensors_are_refused(tmp_path: Path) -> None:
    """A model of other tensors or shapes stops the merge, which then leaves nothing."""
    base, ct, sft = save(tmp_path)
    before = set(tmp_path.iterdir())
    stored = weights(ct)
    norm = stored.pop("model.norm.weight")
    save_file(stored, ct / "model.safetensors")
    with pytest.raises(ValueError, match=r"not all of .* have model\.norm\.weight$"):
        merge_folders(base, [ct, sft], tmp_path / "out")
    save_file({**stored, "model.norm.weight": norm[1:]}, ct / "model.safetensors")
    with pytest.raises(ValueError, match="of one shape"):
        merge_folders(base, [ct, sft], tmp_path / "out")
    assert set(tmp_path.iterdir()) == before


def test_a_result_is_written_whole_and_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that fails leaves nothing, and what is there is refused and stays."""
    base, ct, sft = save(tmp_path)
    before = set(tmp_path.iterdir())

    def full(*_: object, **__: object) -> None:
        message = "no space left on device"
        raise OSError(message)

    with monkeypatch.context() as patched:
        patched.setattr("widen.save_file", full)
        with pytest.raises(OSError, match="no space"):
            merge_folders(base, [ct, sft], tmp_path / "out")
    assert set(tmp_path.iterdir()) == before
    (tmp_path / "out").mkdir()
    with pytest.raises(FileExistsError):
        merge_folders(base, [ct, sft], tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())

"""WIDEN (arXiv 2408.03092), a baseline of the experiment: our own code of its definition.

A column of a matrix has a magnitude (its norm) and a direction (the column divided by it). WIDEN
ranks, in each model, how much each column's magnitude and direction changed from the base, and
gives each model's delta of that column a score. Rows of the embedding are columns here, for each
is the vector of one token; those of lm_head are not.

As in the authors' program (github.com/yule-BUAA/MergeLLM), equal changes rank in the order of
the columns, and changes of vectors are not ranked. Unlike there, 1 - cosine is half the squared
distance of the directions: in float32 the cosine of nearly equal columns is noise. A column of
zeros is at distance 1/2 from others (there: NaN).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

__all__ = ["merge_folders", "merge_tensor"]


def merge_tensor(
    base: Tensor, models: Sequence[Tensor], *, above: float = 1.0, score: float = 1.0
) -> Tensor:
    """Return the base plus the scored deltas of the models, in float32.

    The defaults are those of the authors' program and of all commands in its README.

    Args:
        base: A vector, or a matrix (outputs, inputs), whose columns are scored.
        models: The same tensor of each model.
        above: A change above this many times the model's mean change is important.
        score: Of important changes. Others have the softmax of the changes over the models.

    Raises:
        ValueError: The shapes differ, or are neither of a vector nor of a matrix.
    """
    shapes = [tuple(tensor.shape) for tensor in (base, *models)]
    if base.dim() not in {1, 2} or len(set(shapes)) > 1:
        msg = f"WIDEN merges vectors or matrices of one shape, and these are {shapes}"
        raise ValueError(msg)
    start, others = base.float(), [model.float() for model in models]
    if start.dim() == 1:
        moved = torch.stack([(other - start).abs() for other in others])
        scores = _scores(moved, moved > above * moved.mean(dim=1, keepdim=True), score)
    else:
        norms = [torch.linalg.vector_norm(x, dim=0) for x in (start, *others)]
        pairs = zip((start, *others), norms, strict=True)
        first, *directions = (x / norm.clamp(min=1e-30) for x, norm in pairs)
        longer = [(norm - norms[0]).abs() for norm in norms[1:]]
        turned = [(direction - first).square().sum(dim=0) / 2 for direction in directions]
        scores = (_ranked(longer, above, score) + _ranked(turned, above, score)) / 2
    return sum((s * (x - start) for x, s in zip(others, scores, strict=True)), start)


def merge_folders(
    base: Path, models: Sequence[Path], out: Path, *, above: float = 1.0, score: float = 1.0
) -> None:
    """Merge models in safetensors to one with the base's types, config and tokenizer.

    Args:
        base: The folder of the base model.
        models: The folders of the models.
        out: A new folder. It is written whole or not at all.
        above: As in `merge_tensor`.
        score: As in `merge_tensor`.

    Raises:
        FileExistsError: `out` is there.
        ValueError: A model has other tensors than the base.
    """
    if out.exists():
        raise FileExistsError(out)
    merged, others = _weights(base), [_weights(folder) for folder in models]
    if unlike := sorted({name for other in others for name in other.keys() ^ merged.keys()}):
        msg = f"not all of {base}, {', '.join(map(str, models))} have {', '.join(unlike)}"
        raise ValueError(msg)
    for name, start in merged.items():
        tokens = name.endswith("embed_tokens.weight")
        of_base, *of_models = (x.T if tokens else x for x in (start, *(o[name] for o in others)))
        result = merge_tensor(of_base, of_models, above=above, score=score)
        merged[name] = (result.T if tokens else result).to(start.dtype).contiguous()
    part = out.with_name(f"{out.name}.{os.getpid()}.part")
    part.mkdir()
    try:
        for file in base.iterdir():
            if file.suffix in {".json", ".jinja", ".model", ".txt"} and ".index." not in file.name:
                shutil.copyfile(file, part / file.name)
        save_file(merged, part / "model.safetensors", metadata={"format": "pt"})
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _ranked(changes: Sequence[Tensor], above: float, score: float) -> Tensor:
    """Return the scores (models, columns) of the ranks of each model's changes."""
    ranks = torch.stack([its.argsort(stable=True).argsort() for its in changes])
    last = ranks.shape[1] - 1  # twice the mean
    return _scores(ranks / (last + 1), ranks > above * last / 2, score)


def _scores(changes: Tensor, important: Tensor, score: float) -> Tensor:
    return torch.where(important, score, changes.softmax(dim=0))


def _weights(folder: Path) -> dict[str, Tensor]:
    """Return the tensors of a model, without a stored head that is not used."""
    files = folder.glob("model*.safetensors")
    found = {name: x for file in files for name, x in load_file(file).items()}
    if json.loads((folder / "config.json").read_text("utf-8")).get("tie_word_embeddings"):
        found.pop("lm_head.weight", None)
    return found

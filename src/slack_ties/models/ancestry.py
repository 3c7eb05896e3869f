"""Estimate from a few of their entries whether two models come from the same base.

Training changes weights little: the weights of a model and of its descendant point in nearly the
same direction. The weights of two models with different initializations are uncorrelated, even if
the models behave alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slack_ties.errors import CheckpointError
from slack_ties.hub.errors import hub_errors
from slack_ties.models.entries import first_entries
from slack_ties.models.header import ENTRY_BYTES, PER_TOKEN, Header
from slack_ties.models.look import Look, open_weights

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from huggingface_hub import HfApi

__all__ = ["FAR", "UNRELATED", "Likeness", "compare_weights"]

# How many matrices to read, and how many of the first entries of each.
MATRICES, ENTRIES = 4, 8192

# Below this cosine two models are unrelated. The cosine of independent weights is 0 with a
# standard deviation of 1/sqrt(8192) = 0.011: 0.1 is nine standard deviations away.
UNRELATED = 0.1


FAR = 0.5  # below it: heavy training or a distant ancestor, which the user should check


@dataclass(frozen=True)
class Likeness:
    """The likeness of a model's entries to the base's."""

    cosine: float  # between the sampled entries: 1 for equal models, 0 for unrelated ones
    change: float  # norm of their difference, relative to the base's
    entries: int  # how many were compared


def compare_weights(
    base: tuple[Look, Mapping[str, Header]],
    others: Mapping[str, tuple[Look, Mapping[str, Header]]],
    api: HfApi | None = None,
) -> dict[str, Likeness]:
    """Compare some entries of models with the base's.

    Args:
        base: A look at the base, and the headers of its tensors.
        others: The same for the other models, by name.
        api: The Hub client; the default one if not given. About 200 KB are downloaded of each
            model on the Hub.

    Returns:
        The likeness of each model to the base. A model that shares no matrix with the base is
        left out.

    Raises:
        CheckpointError: A file is damaged.
        HubError: The Hub cannot be reached.

    """
    names = [
        name
        for name, header in sorted(base[1].items())
        if _is_matrix(name, header)
        and all(
            name in headers and headers[name].shape == header.shape
            for _, headers in others.values()
        )
    ]
    if not others or not names:
        return {}
    chosen = names[:: max(1, len(names) // MATRICES)][:MATRICES]
    ours = _sample(*base, chosen, api)
    found = {}
    for model, (look, headers) in others.items():
        theirs = _sample(look, headers, chosen, api)
        # A tensor that is not contiguous in its file gives no entries.
        pairs = [(ours[name], theirs[name]) for name in chosen]
        pairs = [(a, b) for a, b in pairs if len(a) == len(b) > 0 and a.any() and b.any()]
        if pairs:
            found[model] = _likeness(pairs)
    return found


def _likeness(pairs: list[tuple[np.ndarray, np.ndarray]]) -> Likeness:
    import numpy as np  # noqa: PLC0415 - not for --help

    norm = np.linalg.norm
    cosines = [float(a @ b / (norm(a) * norm(b))) for a, b in pairs]
    changes = [float(norm(b - a) / norm(a)) for a, b in pairs]
    entries = sum(len(a) for a, _ in pairs)
    return Likeness(float(np.median(cosines)), float(np.median(changes)), entries)


def _is_matrix(name: str, header: Header) -> bool:
    # Skip vectors: norms and biases are near one and zero in any model. Skip matrices with a row
    # per token: vocabularies differ.
    return (
        len(header.shape) == 2  # noqa: PLR2004 - a matrix
        and min(header.shape) > 1
        and header.dtype in ENTRY_BYTES
        and not name.endswith(PER_TOKEN)
    )


def _sample(
    look: Look, headers: Mapping[str, Header], names: list[str], api: HfApi | None
) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for file in sorted({headers[name].file for name in names}):
        here = [name for name in names if headers[name].file == file]
        if file not in look.missing:
            found |= _first_entries_here(look.folder / file, here)
            continue
        from huggingface_hub import HfApi  # noqa: PLC0415

        with (
            hub_errors(f"model {look.path!r}", api or HfApi()),
            open_weights(look, file, api) as opened,
        ):
            found |= first_entries(opened, file, here, ENTRIES)
    return found


def _first_entries_here(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as opened:
            return first_entries(opened, path.name, names, ENTRIES)
    except CheckpointError:
        if path.suffix != ".bin":
            raise
    import torch  # noqa: PLC0415 - for files older than PyTorch 1.6, and for rare types

    stored = torch.load(path, map_location="cpu", weights_only=True)
    stored = stored.get("state_dict", stored)
    return {name: stored[name].detach().flatten()[:ENTRIES].double().numpy() for name in names}

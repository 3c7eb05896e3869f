"""What a triple of the catalogue costs, before the Hub is asked: download, result, licence, gate.

`plan` counts the same from the models themselves. This is for choosing a triple, without network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slack_ties.licenses.resolve import resolve_license
from slack_ties.models.header import ENTRY_BYTES
from slack_ties.record import Parent

if TYPE_CHECKING:
    from slack_ties.catalogue.languages import Triple
    from slack_ties.licenses.resolve import Resolution

__all__ = ["Expected", "expect", "terms_of"]

LEAST = min(ENTRY_BYTES.values())  # bytes of an entry: we merge no narrower types


@dataclass(frozen=True)
class Expected:
    """What is known about the merge of a triple."""

    download: int  # bytes of the weight files of the three models
    download_is_least: bool  # the files of a model were not seen: it is counted with 2 bytes
    result: int  # bytes of the merged model
    result_is_least: bool  # the number of tokens of the CT model is not known
    license: str  # of the merged model; empty: not known
    noncommercial: bool  # that licence, or one that stays with a model, forbids commercial use
    gated: bool | None  # whether access to a model must be asked for; None: not known

    @property
    def open(self) -> bool:
        """Whether no model is gated, and the licence is known."""
        return self.gated is False and bool(self.license)


def expect(triple: Triple) -> Expected:
    """Return what the merge of a triple of the catalogue needs, and under which terms it is."""
    terms = terms_of(triple)
    gates = {model.gated for model in triple.models}
    merged = triple.merged_parameters or triple.parameters
    return Expected(
        download=sum(model.size or triple.parameters * LEAST for model in triple.models),
        download_is_least=not all(model.size for model in triple.models),
        result=merged * ENTRY_BYTES[triple.dtype],
        result_is_least=triple.extended and not triple.merged_parameters,
        license=terms.license.key if terms.license else "",
        noncommercial=any(one.noncommercial for one in terms.duties),
        gated=True if True in gates else None if None in gates else False,
    )


def terms_of(triple: Triple) -> Resolution:
    """Return the licence that follows from those of the three models, and their conditions.

    Args:
        triple: Of the catalogue. A licence that it does not have counts as not stated.

    """
    made_from = (triple.base.id,)
    return resolve_license(
        Parent(model.id, role, license=model.license, made_from=() if role == "base" else made_from)
        for role, model in zip(("base", "ct", "sft"), triple.models, strict=True)
    )

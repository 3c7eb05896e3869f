"""The merge method `slack_ties`: TIES in which the most important parameters vote first.

Idea of the slack variable: Tao et al., "Unlocking the Potential of Model Merging for
Low-Resource Languages", https://arxiv.org/abs/2407.03994. The paper's formula was not
available to us: the definition in `slack_ties_merge` is our own reading, chosen by
measurement. Trim, elect and disjoint merge: Yadav et al., https://arxiv.org/abs/2306.01708.

Importing this module registers the method with mergekit; its last line does that, and
Python's module cache makes it happen once.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated, Any

from mergekit.merge_methods import (
    BasePolicy,
    GroupMergeMethod,
    InputContract,
    MergeMethodSpec,
    ParameterScope,
    TensorGroup,
    register,
)
from pydantic import BeforeValidator

from slack_ties.private.mergekit import MISSING, ParameterSpec
from slack_ties.rule.collect import collected
from slack_ties.rule.definition import slack_ties_merge
from slack_ties.rule.parameters import PARAMETERS, Parameter

if TYPE_CHECKING:
    import torch

    from slack_ties.rule.tally import Tally

__all__ = ["SLACK_TIES", "SlackTies"]

PER_MODEL = [p.name for p in PARAMETERS if p.per_model]


def _parameter_spec(parameter: Parameter) -> ParameterSpec:
    """Tell mergekit of a parameter, with a check that names it when it is out of range."""
    return ParameterSpec(
        parameter.name,
        Annotated[parameter.kind, BeforeValidator(parameter.check)],
        ParameterScope.NON_BASE if parameter.per_model else ParameterScope.SHARED,
        default=MISSING if parameter.default is None else parameter.default,
        description=parameter.meaning,
    )


class SlackTies(GroupMergeMethod):
    """`merge_method: slack_ties`: mergekit's view of `slack_ties_merge`.

    mergekit resolves gradients and tensor-name filters before it calls us, and checks
    every value of every tensor by `Parameter.check` before the first tensor is merged.
    """

    spec = MergeMethodSpec(
        name="slack_ties",
        pretty_name="Slack TIES",
        reference_url="https://arxiv.org/abs/2407.03994",
        parameters=tuple(map(_parameter_spec, PARAMETERS)),
        contract=InputContract(base=BasePolicy.REQUIRED),
        uses_accelerator=True,
    )

    def merge_group(self, group: TensorGroup, /, **parameters: Any) -> torch.Tensor:
        """Merge one output tensor; `group` holds the base and any number of models."""
        base, models = group.base, group.non_base
        assert base is not None  # noqa: S101 - the contract requires a base; for mypy
        what = group.metadata.name or "tensor"
        collector = collected()
        folders = [_folders(model.id) for model in models] if collector else []
        if collector and not collector.knows(folders):  # of a merge that somebody else runs
            collector = None
        tally = collector.begin(folders) if collector else None
        values = {name: parameters[name].values_for(models) for name in PER_MODEL}

        def merge(values: dict[str, Any], tally: Tally | None) -> torch.Tensor:
            return slack_ties_merge(
                base.tensor,
                [model.tensor for model in models],
                **values,
                normalize=parameters["normalize"],
                lambda_=parameters["lambda"],
                names=[f"{what} of {entry.id}" for entry in (base, *models)],
                tally=tally,
            )

        merged = merge(values, tally)
        if collector and tally:
            collector.take(what, folders, tally)
            for trial in collector.trials:
                count = collector.begin(folders)
                changed = {n: trial.change(n, v, count.varied) for n, v in values.items()}
                collector.take_trial(trial, what, folders, count, merge(changed, count))
        return merged


def _folders(model: Any) -> tuple[str, ...]:
    """Return where a model is, and its adapter: a ModelReference of mergekit's."""
    return tuple(part.path for part in (model.model, model.lora) if part)


SLACK_TIES = SlackTies()

try:
    register(SLACK_TIES)
except ValueError:  # the name is taken: a later mergekit has a slack_ties of its own
    logging.getLogger("slack_ties").warning("mergekit has its own slack_ties: using mergekit's")

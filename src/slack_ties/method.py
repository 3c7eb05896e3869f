"""The merge method `slack_ties`: TIES in which the most important parameters vote first.

The idea of a slack variable comes from Tao et al., "Unlocking the Potential of Model Merging for
Low-Resource Languages", https://arxiv.org/abs/2407.03994. We could not get the paper's formula:
the definition in `slack_ties_merge` is our own interpretation, chosen by measurement. Trim, elect
and disjoint merge come from Yadav et al., https://arxiv.org/abs/2306.01708.

The last lines of this module register the method with mergekit. Python runs them only once, at
the first import.
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
from slack_ties.rule.definition import Engine, slack_ties_merge
from slack_ties.rule.parameters import PARAMETERS, Parameter

if TYPE_CHECKING:
    import torch

    from slack_ties.rule.tally import Tally

__all__ = ["SLACK_TIES", "Engine", "SlackTies", "slack_ties_merge"]

PER_MODEL = [p.name for p in PARAMETERS if p.per_model]


def _parameter_spec(parameter: Parameter) -> ParameterSpec:
    """Return mergekit's description of a parameter, with a check of its range."""
    return ParameterSpec(
        parameter.name,
        Annotated[parameter.kind, BeforeValidator(parameter.check)],
        ParameterScope.NON_BASE if parameter.per_model else ParameterScope.SHARED,
        default=MISSING if parameter.default is None else parameter.default,
        description=parameter.meaning,
    )


class SlackTies(GroupMergeMethod):
    """`merge_method: slack_ties`: mergekit's view of `slack_ties_merge`.

    mergekit resolves gradients and tensor-name filters before it calls us. It checks every value
    of every tensor with `Parameter.check` before it merges the first tensor.
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
        if collector and not collector.knows(folders):  # it belongs to another merge
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
    """Return the folders of a model and its adapter; `model` is mergekit's ModelReference."""
    return tuple(part.path for part in (model.model, model.lora) if part)


SLACK_TIES = SlackTies()

try:
    register(SLACK_TIES)
except ValueError:  # the name is taken: a later mergekit has its own slack_ties
    logging.getLogger("slack_ties").warning("mergekit has its own slack_ties: using mergekit's")

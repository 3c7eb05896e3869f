"""Run mergekit's plan of a merge without writing a model: tensor by tensor, in memory.

Models, adapters, file formats and vocabularies are read exactly as in a merge that writes, because
it is the same plan, with another end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from mergekit.config import MergeConfiguration
    from mergekit.options import MergeOptions

__all__ = ["walk_tensors"]


def walk_tensors(
    config: MergeConfiguration, options: MergeOptions
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the name and the tensor of every merged weight, one after the other."""
    from mergekit.architecture import get_architecture_info  # noqa: PLC0415 - heavy
    from mergekit.common import dtype_from_name  # noqa: PLC0415
    from mergekit.graph import Executor  # noqa: PLC0415
    from mergekit.io.tasks import LoaderCache, SaveTensor  # noqa: PLC0415

    # The number of layers of the result: mergekit's evolutionary search imports it too.
    from mergekit.merge import _model_out_config  # noqa: PLC0415
    from mergekit.plan import MergePlanner  # noqa: PLC0415

    architecture = get_architecture_info(config, options)
    LoaderCache().setup(options=options)
    result = _model_out_config(config, architecture, trust_remote_code=options.trust_remote_code)
    planner = MergePlanner(config, architecture, options=options, out_model_config=result)
    # plan_in_memory of mergekit 0.1.5 fails, as its ReturnTensor does not take our kind of task.
    # Of the plan for a disk the tensors alone are asked for, so nothing is written.
    saved = [task for task in planner.plan_to_disk("") if isinstance(task, SaveTensor)]
    by_task = {task.tensor_task: task for task in saved}
    executor = Executor(
        targets=list(by_task),
        math_device=options.device,
        storage_device=options.device if options.low_cpu_memory else "cpu",
    )
    for task, tensor in executor.run(quiet=options.quiet):
        to = by_task[task]
        if tensor is not None:  # an optional weight that no model has
            yield to.tensor_name, tensor.to(dtype_from_name(to.dtype)) if to.dtype else tensor

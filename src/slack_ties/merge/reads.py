"""Which tensors mergekit's tasks read from the models, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from slack_ties.private.mergekit import Executor, LoadTensor, MultiGPUExecutor, Task

if TYPE_CHECKING:
    import torch

    from slack_ties.merge.reader import Reader

__all__ = ["AsItIs", "Begin", "wanted_by"]

# What is called before the first tensor is read: with the readers and the tensors that they will
# be asked for, in that order; and the same for the whole merge, if an earlier run merged a part.
Begin: TypeAlias = "Callable[[Sequence[tuple[Reader, str]], Sequence[tuple[Reader, str]]], None]"


class AsItIs(Task):
    """Reads a tensor that is neither merged nor cast to another type."""

    name: str
    reader: Any

    def arguments(self) -> dict[str, Task[Any]]:
        """Return nothing: this task needs no other task."""
        return {}

    def execute(self, **_: Any) -> torch.Tensor:
        """Return the tensor."""
        tensor: torch.Tensor = self.reader.get_tensor(self.name)
        return tensor

    def __hash__(self) -> int:
        """Return the hash of the tensor's name."""
        return hash(self.name)


def wanted_by(executor: Executor | MultiGPUExecutor) -> list[tuple[Reader, str]]:
    """Return the readers and the tensors that they are asked for, in the order of the tasks.

    With several GPUs the order differs from run to run; this is about the order then.
    """
    several = isinstance(executor, MultiGPUExecutor)
    schedule = executor.serial_schedule if several else executor.schedule
    wanted = []
    for handle in schedule.tasks:
        task = handle.task()
        if isinstance(task, AsItIs):
            wanted.append((task.reader, task.name))
        elif isinstance(task, LoadTensor):
            reader = task.model.lazy_loader()
            if task.tensor in reader.parts:
                wanted.append((reader, task.tensor))
    return wanted

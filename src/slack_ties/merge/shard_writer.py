"""Make mergekit hand over each weight file when it is written, and skip finished files."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slack_ties.private.mergekit import FinalizeModel, SaveTensor, TensorWriter, TensorWriterTask

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from slack_ties.merge.receiver import Receiver
    from slack_ties.private.mergekit import Task

__all__ = ["handed_over"]


class _Writer(TensorWriter):
    """mergekit's writer, which also hands each file to a receiver."""

    def __init__(self, receiver: Receiver, task: TensorWriterTask) -> None:
        super().__init__(
            task.out_path,
            max_shard_size=task.max_shard_size,
            safe_serialization=task.safe_serialization,
        )
        self.receiver, self.turn = receiver, threading.Lock()
        for done in receiver.done:
            self.shards_written += 1
            self.total_size += sum(done.tensors.values())
            self.weight_map |= dict.fromkeys(done.tensors, done.file)

    def save_tensor(self, name: str, tensor: torch.Tensor, clone: bool = False) -> None:  # noqa: FBT001, FBT002 - mergekit's
        """Write a tensor; if that fills a file, hand it over."""
        with self.turn:
            before = self.shards_written
            super().save_tensor(name, tensor, clone)
            if self.shards_written > before:
                self._hand_over()

    def finalize(self) -> None:
        """Write the rest, rename all files as transformers does, and write their index."""
        if self.receiver.takes_all and self.current_shard:
            self._flush_current_shard()
            self._hand_over()
        self.receiver.settle()
        super().finalize()

    def _hand_over(self) -> None:
        """Hand over the file that was written last."""
        self.receiver.take(Path(self.out_path, next(reversed(self.weight_map.values()))))


class _Handing(TensorWriterTask):
    """Makes our writer instead of mergekit's."""

    receiver: Any

    def execute(self, **_: Any) -> TensorWriter:
        """Return the writer."""
        return _Writer(self.receiver, self)

    def __hash__(self) -> int:
        """Return the identity of the receiver."""
        return id(self.receiver)


def handed_over(tasks: Sequence[Task[Any]], receiver: Receiver) -> list[Task[Any]]:
    """Return mergekit's tasks, changed to hand each weight file to `receiver`.

    Files are written one after the other, even with --async-write. Tensors of finished files are
    not merged again.
    """
    done = {name for one in receiver.done for name in one.tensors}
    (last,) = [task for task in tasks if isinstance(task, FinalizeModel)]
    writer = _Handing(**dict(last.writer_task), receiver=receiver)
    saved = tuple(
        task.model_copy(update={"writer_task": writer})
        for task in last.tensor_save_tasks
        if not (isinstance(task, SaveTensor) and task.tensor_name in done)
    )
    final = last.model_copy(update={"tensor_save_tasks": saved, "writer_task": writer})
    others = [task for task in tasks if task is not last and not isinstance(task, SaveTensor)]
    return [*saved, final, *others]

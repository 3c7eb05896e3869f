"""Let mergekit merge: its planner and its executor, on our list of tensors and our readers.

mergekit's own `run_merge` merges what its architecture files list, and writes config and tokenizer
as transformers 5 would; here all tensors of the base are merged, and only weights are written.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import transformers
from pydantic import PrivateAttr

from slack_ties.errors import SlackTiesError
from slack_ties.merge.architecture import architecture_of
from slack_ties.merge.shard_writer import handed_over
from slack_ties.private.mergekit import (
    Executor,
    FinalizeModel,
    LoaderCache,
    MergePlanner,
    ModelReference,
    MultiGPUExecutor,
    SaveTensor,
    Task,
    TokenizerInfo,
    dtype_from_name,
)
from slack_ties.private.transformers import set_seed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import torch
    from mergekit.config import MergeConfiguration
    from mergekit.options import MergeOptions

    from slack_ties.merge.reader import Reader
    from slack_ties.merge.receiver import Receiver
    from slack_ties.tensors.layout import Layout

__all__ = ["LocalModel", "Merged", "alone", "merge_tensors", "merge_to_disk"]

_MERGING = threading.Lock()

_WHO: list[int] = []  # the thread that merges


class LocalModel(ModelReference):
    """A model on this disk, of which mergekit reads the weights through our reader."""

    _number: int = PrivateAttr(default=0)
    _reader: Any = PrivateAttr(default=None)

    @classmethod
    def of(cls, parts: Sequence[Path], number: int, reader: Reader) -> LocalModel:
        """Return the model in a folder, and the adapter in another if there are two.

        Args:
            parts: The folders.
            number: Its place among the models: mergekit keeps models in sets, whose order is the
                same in every run if numbers are what they are sorted by.
            reader: Of its weights.

        """
        names = dict(zip(("model", "lora"), ({"path": str(part)} for part in parts), strict=False))
        made = cls(**names)
        made._number, made._reader = number, reader
        return made

    def __hash__(self) -> int:
        """Return the place among the models."""
        return self._number

    def config(self, trust_remote_code: bool = False) -> transformers.PretrainedConfig:  # noqa: ARG002, FBT001, FBT002
        """Return an empty config: the tensors say all that is to be known."""
        return transformers.PretrainedConfig()

    def merged(self, *_: Any, **__: Any) -> LocalModel:
        """Return the model itself: an adapter is merged into it before."""
        return self

    def lazy_loader(self, *_: Any, **__: Any) -> Reader:
        """Return what reads its weights."""
        reader: Reader = self._reader
        return reader


class _AsItIs(Task):
    """Reads a tensor that is not merged, and is not cast to another type."""

    name: str
    reader: Any

    def arguments(self) -> dict[str, Task[Any]]:
        """Return nothing: it needs no other task."""
        return {}

    def execute(self, **_: Any) -> torch.Tensor:
        """Return the tensor."""
        tensor: torch.Tensor = self.reader.get_tensor(self.name)
        return tensor

    def __hash__(self) -> int:
        """Tell it from others by the tensor."""
        return hash(self.name)


@dataclass(frozen=True)
class Merged:
    """What a merge wrote."""

    tensors: frozenset[str]
    tokenizer: Any = None  # transformers', if the config asks to build one


@dataclass(frozen=True)
class _Work:
    """mergekit's tasks."""

    saved: list[SaveTensor]
    tasks: list[Task[Any]]


@contextmanager
def alone() -> Iterator[None]:
    """Let one merge of this process run at a time; another thread's waits.

    mergekit keeps its loaders for the whole process, and a report counts for whoever asked last.

    Raises:
        SlackTiesError: The merge that runs is this thread's own.

    """
    me = threading.get_ident()
    if me in _WHO:
        msg = "a merge cannot begin another merge while it runs"
        raise SlackTiesError(msg, hint="begin it after the first one is done")
    with _MERGING:
        _WHO.append(me)
        try:
            yield
        finally:
            _WHO.remove(me)


def merge_to_disk(  # noqa: PLR0913 - all by name
    config: MergeConfiguration,
    layout: Layout,
    out: Path,
    options: MergeOptions,
    *,
    modules: Mapping[str, str] | None = None,
    receiver: Receiver | None = None,
) -> Merged:
    """Write the weights of a merge.

    Args:
        config: mergekit's, of which every model is a `LocalModel`.
        layout: The tensors of the result.
        out: The folder.
        options: mergekit's own.
        modules: Of a config with `modules:`, the stack of layers that each of them is.
        receiver: Takes the weight files.

    """
    if options.random_seed is not None:
        set_seed(options.random_seed)
    work = _plan(config, layout, str(out), options, modules)
    tasks = handed_over(work.tasks, receiver) if receiver else work.tasks
    storage = options.device if options.low_cpu_memory else "cpu"
    executor: Any
    if options.multi_gpu:
        storage = None if options.low_cpu_memory else "cpu"
        executor = MultiGPUExecutor(targets=tasks, storage_device=storage)
    else:
        executor = Executor(targets=tasks, math_device=options.device, storage_device=storage)
    with _loaders(options):
        found = [v for _, v in executor.run(quiet=options.quiet) if isinstance(v, TokenizerInfo)]
    names = frozenset(task.tensor_name for task in work.saved)
    return Merged(names, found[0].tokenizer if found else None)


def merge_tensors(
    config: MergeConfiguration,
    layout: Layout,
    options: MergeOptions,
    *,
    modules: Mapping[str, str] | None = None,
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the name and the tensor of every merged weight; arguments as for `merge_to_disk`."""
    # mergekit 0.1.5's plan_in_memory does not take our kind of task. Of the plan for a disk the
    # tensors alone are asked for, so nothing is written.
    work = _plan(config, layout, "", options, modules)
    by_task: dict[Task[Any], list[SaveTensor]] = {}
    for save in work.saved:
        by_task.setdefault(save.tensor_task, []).append(save)
    executor = Executor(
        targets=list(by_task),
        math_device=options.device,
        storage_device=options.device if options.low_cpu_memory else "cpu",
    )
    with _loaders(options):
        for task, tensor in executor.run(quiet=options.quiet):
            for to in by_task[task] if tensor is not None else ():
                dtype = dtype_from_name(to.dtype)
                yield to.tensor_name, tensor.to(dtype) if dtype else tensor


@contextmanager
def _loaders(options: MergeOptions) -> Iterator[None]:
    """Let mergekit's loaders know the options, and none of them stay."""
    cache = LoaderCache()
    cache.setup(options=options)
    before = set(cache.loaders)
    try:
        yield
    finally:
        for model in set(cache.loaders) - before:
            cache.loaders.pop(model).flush()


def _plan(
    config: MergeConfiguration,
    layout: Layout,
    out: str,
    options: MergeOptions,
    modules: Mapping[str, str] | None,
) -> _Work:
    """Return mergekit's tasks, and further ones for tensors that are tied to others."""
    base = min(config.referenced_models(), key=hash).lazy_loader()
    planner = MergePlanner(
        config,
        architecture_of(layout, modules),
        options=options,
        out_model_config=transformers.PretrainedConfig(),
    )
    with _loaders(options):
        tasks: list[Any] = planner.plan_to_disk(out)
    saved = [task for task in tasks if isinstance(task, SaveTensor)]
    by_name = {task.tensor_name: task for task in saved}
    copies = [
        by_name[source].model_copy(update={"tensor_name": name, "clone": True})
        for name, source in layout.copies.items()
        if source in by_name
    ]
    (last,) = [task for task in tasks if isinstance(task, FinalizeModel)]
    kept = [
        SaveTensor(
            tensor_name=name,
            tensor_task=_AsItIs(name=name, reader=base),
            writer_task=last.writer_task,
            clone=False,
        )
        for name in layout.kept
    ]
    saved += [*copies, *kept]
    others = [task for task in tasks if task is not last and not isinstance(task, SaveTensor)]
    final = last.model_copy(update={"tensor_save_tasks": tuple(saved)})
    return _Work(saved, [*saved, final, *others])

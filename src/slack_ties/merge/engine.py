"""Merge with mergekit's planner and executor, our list of tensors and our readers.

mergekit's own `run_merge` merges the tensors that its architecture files list, and writes config
and tokenizer as transformers 5 would. This module merges all tensors of the base, and writes
weights only.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import transformers
from pydantic import PrivateAttr

from slack_ties.merge.architecture import architecture_of
from slack_ties.merge.reads import AsItIs, wanted_by
from slack_ties.merge.shard_writer import handed_over
from slack_ties.models.header import ENTRY_BYTES
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
from slack_ties.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import torch
    from mergekit.config import MergeConfiguration
    from mergekit.options import MergeOptions

    from slack_ties.merge.reader import Reader
    from slack_ties.merge.reads import Begin
    from slack_ties.merge.receiver import Receiver
    from slack_ties.tensors.layout import Layout

__all__ = ["LocalModel", "Merged", "merge_tensors", "merge_to_disk"]


class LocalModel(ModelReference):
    """A model on this disk whose weights mergekit reads through our reader."""

    _number: int = PrivateAttr(default=0)
    _reader: Any = PrivateAttr(default=None)

    @classmethod
    def of(cls, parts: Sequence[Path], number: int, reader: Reader) -> LocalModel:
        """Return the model in the first folder, with the adapter in the second one if there is one.

        Args:
            parts: The folders.
            number: The model's number, used as its hash. mergekit keeps models in sets, and with
                numbers as hashes the order of a set is the same in every run.
            reader: Reads the model's weights.

        """
        names = dict(zip(("model", "lora"), ({"path": str(part)} for part in parts), strict=False))
        made = cls(**names)
        made._number, made._reader = number, reader
        return made

    def __hash__(self) -> int:
        """Return the model's number."""
        return self._number

    def config(self, trust_remote_code: bool = False) -> transformers.PretrainedConfig:  # noqa: ARG002, FBT001, FBT002
        """Return an empty config: the tensors tell all that mergekit needs."""
        return transformers.PretrainedConfig()

    def merged(self, *_: Any, **__: Any) -> LocalModel:
        """Return the model itself: its adapter is already merged into it."""
        return self

    def lazy_loader(self, *_: Any, **__: Any) -> Reader:
        """Return the reader of its weights."""
        reader: Reader = self._reader
        return reader


@dataclass(frozen=True)
class Merged:
    """What a merge wrote."""

    tensors: frozenset[str]
    tokenizer: Any = None  # of transformers, if the config asks mergekit to build one


@dataclass(frozen=True)
class _Work:
    """mergekit's tasks."""

    saved: list[SaveTensor]
    tasks: list[Task[Any]]


def merge_to_disk(  # noqa: PLR0913 - all by name
    config: MergeConfiguration,
    layout: Layout,
    out: Path,
    options: MergeOptions,
    *,
    modules: Mapping[str, str] | None = None,
    receiver: Receiver | None = None,
    begin: Begin | None = None,
) -> Merged:
    """Write the weights of a merge.

    Args:
        config: mergekit's config, with a `LocalModel` for every model.
        layout: The tensors of the result.
        out: The folder for the weights.
        options: mergekit's options.
        modules: For a config with `modules:`, the stack of layers of each module.
        receiver: Takes the weight files.
        begin: Called before the first tensor is read, with all that will be read.

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
    if begin:
        resumed = bool(receiver and receiver.done)
        begin(wanted_by(executor), wanted_by(Executor(targets=work.tasks)) if resumed else ())
    sizes = _sizes(work.saved, layout)
    done = sum(sum(one.tensors.values()) for one in receiver.done) if receiver else 0
    tokenizer = None
    with _loaders(options), _progress(sizes, options, done) as progress:
        for task, value in executor.run(quiet=True):
            if isinstance(task, SaveTensor):
                done += sizes[task.tensor_name]
                progress.at(done)
            elif isinstance(value, TokenizerInfo):
                tokenizer = value.tokenizer
    return Merged(frozenset(sizes), tokenizer)


def merge_tensors(  # noqa: PLR0913 - all by name
    config: MergeConfiguration,
    layout: Layout,
    options: MergeOptions,
    *,
    modules: Mapping[str, str] | None = None,
    tokenizer: Callable[[Any], None] | None = None,
    begin: Begin | None = None,
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the name and the tensor of every merged weight; see `merge_to_disk` for arguments.

    `tokenizer` is called with the tokenizer if the config asks mergekit to build one.
    """
    if options.random_seed is not None:
        set_seed(options.random_seed)
    # plan_in_memory of mergekit 0.1.5 refuses our kind of task. So we plan a merge to disk, and run
    # only the tasks that make tensors: nothing is written.
    work = _plan(config, layout, "", options, modules)
    by_task: dict[Task[Any], list[SaveTensor]] = {}
    for save in work.saved:
        by_task.setdefault(save.tensor_task, []).append(save)
    others = [task for task in work.tasks if not isinstance(task, (SaveTensor, FinalizeModel))]
    storage = options.device if options.low_cpu_memory else "cpu"
    targets = [*by_task, *others]  # the others make the tokenizer
    executor = Executor(targets=targets, math_device=options.device, storage_device=storage)
    if begin:
        begin(wanted_by(executor), ())
    sizes, done = _sizes(work.saved, layout), 0
    with _loaders(options), _progress(sizes, options, done) as progress:
        for task, tensor in executor.run(quiet=True):
            if isinstance(tensor, TokenizerInfo) and tokenizer:
                tokenizer(tensor.tokenizer)
            for to in by_task.get(task, ()) if tensor is not None else ():
                dtype = dtype_from_name(to.dtype)
                yield to.tensor_name, tensor.to(dtype) if dtype else tensor
                done += sizes[to.tensor_name]
                progress.at(done)


def _sizes(saved: Sequence[SaveTensor], layout: Layout) -> dict[str, int]:
    """Return the bytes of each tensor of the result."""
    found = {}
    for task in saved:
        header = layout.tensors.get(layout.copies.get(task.tensor_name, task.tensor_name))
        dtype = str(task.dtype or (header.dtype if header else "")).removeprefix("torch.")
        found[task.tensor_name] = header.size * ENTRY_BYTES.get(dtype, 2) if header else 0
    return found


def _progress(sizes: Mapping[str, int], options: MergeOptions, done: int) -> Progress:
    """Return what shows the bytes that are merged; mergekit would show its tasks."""
    return Progress("merged", sum(sizes.values()), done=done, quiet=options.quiet)


@contextmanager
def _loaders(options: MergeOptions) -> Iterator[None]:
    """Give the options to mergekit's loaders, and remove new loaders afterwards."""
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
    """Return mergekit's tasks, and our tasks for tied tensors and for tensors that are kept."""
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
            tensor_task=AsItIs(name=name, reader=base),
            writer_task=last.writer_task,
            clone=False,
        )
        for name in layout.kept
    ]
    saved += [*copies, *kept]
    others = [task for task in tasks if task is not last and not isinstance(task, SaveTensor)]
    final = last.model_copy(update={"tensor_save_tasks": tuple(saved)})
    return _Work(saved, [*saved, final, *others])

"""mergekit's options: our defaults, and which options change the result."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from slack_ties.files import sha256_of
from slack_ties.models.state import state_of
from slack_ties.recipe.pin import PACKAGES
from slack_ties.wording import size

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from mergekit.options import MergeOptions

    from slack_ties.merge.receiver import Streaming
    from slack_ties.models.cached import Snapshot
    from slack_ties.recipe.recipe import Recipe

__all__ = ["DEFAULTS", "how_it_runs", "stream_folder", "traced_options"]

# mergekit's options that do not change the result: they say where and how to work.
NOT_RECORDED = {
    "transformers_cache",
    "lora_merge_cache",
    "write_model_card",
    "quiet",
    "verbosity",
    "num_threads",
    "lazy_unpickle",
    "async_write",
    "write_threads",
    "low_cpu_memory",
    "read_to_gpu",
    "gpu_rich",
    "cuda",
}

# Our defaults that differ from mergekit's. lazy_unpickle: read .bin files with mergekit's
# restricted unpickler, which needs less memory. out_shard_size: write a file, and free its memory,
# after every GB instead of every 5 GB.
DEFAULTS: Mapping[str, Any] = {"lazy_unpickle": True, "out_shard_size": 1_000_000_000}

# Methods that use no random numbers: a tensor gets the same bytes after any other tensors.
REPEATABLE_METHODS = {
    *("slack_ties", "ties", "task_arithmetic", "linear", "breadcrumbs", "breadcrumbs_ties", "sce"),
    *("slerp", "passthrough"),
}


def stream_folder(
    stream: Streaming,
    recipe: Recipe,
    options: MergeOptions,
    snapshots: Mapping[str, list[Snapshot]],
) -> AbstractContextManager[Path]:
    """Return the folder of a streamed merge; the merge resumes there if nothing has changed."""
    # All that can change the bytes. The files of a local folder can be replaced, and their size
    # and time show that.
    local = [
        state
        for found in snapshots.values()
        for part in found
        if not part.commit
        for state in state_of(part.path)
    ]
    facts = {
        "recipe": sha256_of(recipe.text),
        "versions": {name: version(name) for name in PACKAGES},
        "options": traced_options(options),
        "models": local,
    }
    return stream.working(facts, resumes=recipe.method in REPEATABLE_METHODS)


def how_it_runs(recipe: Recipe, options: MergeOptions, types: set[str]) -> str:
    """Say what hardware and engine merge, and how large the result's files get."""
    import torch  # noqa: PLC0415 - mergekit has imported it

    from slack_ties.rule.kernel import MOST_THREADS, load_kernel  # noqa: PLC0415

    engine = f"on {options.device}"
    if options.multi_gpu:
        engine = "on all GPUs"
    elif options.device == "cpu":
        threads = torch.get_num_threads()
        compiled = recipe.method == "slack_ties" and "float64" not in types and load_kernel()
        if compiled:
            threads = min(threads, MOST_THREADS)
        engine = f"on the CPU with {threads} thread{'s' * (threads > 1)}"
        engine += " and the compiled kernel" if compiled else ""
    return f"merging {engine}, in files of up to {size(options.out_shard_size)}"


def traced_options(options: MergeOptions) -> dict[str, Any]:
    """Return the options that can change the result and are not our defaults."""
    defaults = type(options)(**DEFAULTS).model_dump()
    chosen = options.model_dump(exclude=NOT_RECORDED)
    return {name: value for name, value in chosen.items() if value != defaults[name]}

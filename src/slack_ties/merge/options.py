"""mergekit's options: our defaults, and which of them change the result."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from slack_ties.files import sha256_of
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

# mergekit's options that say where and how to work, not what comes out.
WITHOUT_TRACE = {
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

# Where we choose otherwise than mergekit: .bin files through its restricted unpickler, with less
# memory, and results written, and their memory used again, after every GB instead of every 5.
DEFAULTS: Mapping[str, Any] = {"lazy_unpickle": True, "out_shard_size": 1_000_000_000}

# Methods that merge a tensor to the same bytes whichever were merged before it.
WITHOUT_CHANCE = {"slack_ties", "ties", "task_arithmetic", "linear", "slerp", "passthrough"}


def stream_folder(
    stream: Streaming,
    recipe: Recipe,
    options: MergeOptions,
    snapshots: Mapping[str, list[Snapshot]],
) -> AbstractContextManager[Path]:
    # Whatever changes the bytes: of local folders, whose files may be replaced, what shows it.
    """Return the folder of a streamed merge, which goes on where it was if nothing has changed."""
    local = [
        [file.name, file.stat().st_size, file.stat().st_mtime_ns]
        for found in snapshots.values()
        for part in found
        if not part.commit
        for file in sorted(part.path.iterdir())
        if file.is_file() and file.suffix != ".md"
    ]
    facts = {
        "recipe": sha256_of(recipe.text),
        "versions": {name: version(name) for name in PACKAGES},
        "options": traced_options(options),
        "models": local,
    }
    return stream.working(facts, resumes=recipe.method in WITHOUT_CHANCE)


def how_it_runs(recipe: Recipe, options: MergeOptions, types: set[str]) -> str:
    """Say by what the merge is done, and how its result is cut."""
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
    """Return the options that can change the result, where they are not the defaults here."""
    defaults = type(options)(**DEFAULTS).model_dump()
    chosen = options.model_dump(exclude=WITHOUT_TRACE)
    return {name: value for name, value in chosen.items() if value != defaults[name]}

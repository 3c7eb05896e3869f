"""Run a merge config: models in, one model folder out, whole or not at all.

`slack-ties merge` calls this. The merging is mergekit's `run_merge`; around it everything
that can be known beforehand is checked, and the result appears under its name only when
it is complete. While weights are merged nothing calls the network.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import re
import shlex
import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import (
    AbstractContextManager,
    contextmanager,
    nullcontext,
    redirect_stderr,
    suppress,
)
from copy import deepcopy
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from safetensors import SafetensorError

from slack_ties.checkpoint import (
    Header,
    main_type,
    model_config,
    read_headers,
    read_weight_headers,
)
from slack_ties.collect import Collector, Trial, collecting
from slack_ties.errors import CheckpointError, OutputError, RecipeError, SlackTiesError
from slack_ties.files import mode_of_new_files, sha256, sha256_of
from slack_ties.finish import complete_model
from slack_ties.licenses import NAME
from slack_ties.parent_card import license_files
from slack_ties.pin import PACKAGES
from slack_ties.plan import nearest_folder, plan_merge, size
from slack_ties.recipe import FACTS_KEY, Recipe, places, put, read_recipe, reference
from slack_ties.record import CONFIG_FILE, RECORD_FILE, MergeRecord, Parent, write_record
from slack_ties.report import as_slack_ties, check_reportable, describe, write_pages
from slack_ties.structure import stacks_of_modules
from slack_ties.tokenizer_files import has_tokenizer

if TYPE_CHECKING:
    import torch
    from huggingface_hub import HfApi
    from mergekit.config import MergeConfiguration
    from mergekit.options import MergeOptions

    from slack_ties.engine import Merged
    from slack_ties.hub import Snapshot
    from slack_ties.layout import Layout
    from slack_ties.manifest import SentFile
    from slack_ties.prepare import Prepared
    from slack_ties.report_file import Report
    from slack_ties.shard_writer import Receiver
    from slack_ties.stream import Ahead, Stream

__all__ = ["DEFAULTS", "check_output", "merge_in_memory", "merge_models"]

LOG = logging.getLogger("slack_ties")

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
WORKER = re.compile(r"\.(\d+)-[0-9a-f]{8}\.partial$")  # which process works in a folder
UNFINISHED_FILE = "UNFINISHED.txt"
UNFINISHED = """\
The weights in this folder are merged and whole. Something else of the model is missing:

    {}

To complete it, copy config.json and the tokenizer's files from the base model into this folder,
or mend what is named above and merge again into another folder.
"""
MORE = "the whole error: slack-ties merge CONFIG OUT -vv"
ON_CPU = "leave the device options out: the CPU does it too"
# No space, file-size limit, quota. safetensors gives the number in its message alone.
NO_ROOM = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
# Methods that merge a tensor to the same bytes whichever were merged before it.
WITHOUT_CHANCE = {"slack_ties", "ties", "task_arithmetic", "linear", "slerp", "passthrough"}
NUMBER = re.compile(r"(?:os error|code:) (\d+)")


def merge_models(  # noqa: PLR0913 - all by name
    config: str | Path | Recipe,
    out: str | Path,
    *,
    options: MergeOptions | None = None,
    quiet: bool = False,
    allow_unrelated: bool = False,
    ahead: Ahead | None = None,
    stream: Stream | None = None,
    report: bool = False,
    api: HfApi | None = None,
) -> MergeRecord:
    """Merge the models of `config` into the new folder `out`.

    What `plan_merge` finds wrong is an error before the first weight is downloaded.

    Args:
        config: A merge config, or the path of one. Models are local folders or Hub ids.
        out: A folder that is not there or empty. It holds the whole result afterwards, or
            nothing if the merge fails or is stopped.
        options: mergekit's own, for example the device; its defaults and `DEFAULTS` if not
            given.
        quiet: Without `options`: show no progress.
        allow_unrelated: Merge models though their weights have nothing in common.
        ahead: Sends weight files to the Hub while others are merged.
        stream: Sends them and keeps none: the result is in its folder then, without weights,
            and `out` is not made.
        report: Count what was kept and lost on the way, and put report.json and report.html
            into `out`. For `slack_ties` alone.
        api: The Hub client; the default one if not given.

    Returns:
        What was merged, also stored in `out` as slack_ties.json, beside mergekit_config.yml:
        the config with the models of the Hub pinned to their commits.

    Raises:
        RecipeError: The config cannot be read, or says something that cannot be done.
        CheckpointError: A model is missing, damaged, not finite or does not fit the others.
        OutputError: The result cannot be written.
        HubError: A model cannot be had from the Hub.

    """
    recipe = config if isinstance(config, Recipe) else read_recipe(config)
    if report:
        check_reportable(recipe, merged=True, streamed=bool(stream))
    out = Path(out).expanduser()
    check_output(out)
    out = out.resolve()  # what a link leads to is what takes the result
    recipe, snapshots, headers = _find_all(
        recipe,
        out,
        options=options,
        api=api,
        allow_unrelated=allow_unrelated,
        streamed=bool(stream),
    )

    from mergekit.options import MergeOptions  # noqa: PLC0415 - seconds to import: all checks first

    options = options or MergeOptions(**DEFAULTS, quiet=quiet)
    types = {str(recipe.data.get("dtype") or main_type(tensors)) for tensors in headers.values()}
    LOG.info("  %s", _how(recipe, options, types))
    first = recipe.base or recipe.models[0]
    base = snapshots[first][0].path
    if options.copy_tokenizer and not has_tokenizer(base):
        LOG.warning("  the base has no tokenizer, so the merged model has none: copy one into it")
    sent: Mapping[str, SentFile] = {}
    collector = _collector(recipe, snapshots) if report else None
    with _place(out, stream, recipe, options, snapshots) as work:
        receiver = stream or ahead
        merged, layout = _to_disk(
            recipe, work, options, snapshots, out=out, receiver=receiver, collector=collector
        )
        if stream:
            sent = stream.send_rest()
        with _kept(out, stream):
            found = read_weight_headers(work, "merged model", without_data=sent.keys())
            complete_model(
                work,
                merged,
                found,
                recipe=recipe,
                layout=layout,
                base_config=model_config(base, first),
                snapshots=snapshots,
                options=options,
            )
            (work / CONFIG_FILE).write_bytes(recipe.text.encode())
            weights = {header.file for header in found.values()}
            for name in weights - sent.keys():
                (work / name).chmod(mode_of_new_files())
            sums = {name: file.sha256 for name, file in sent.items()}
            record = MergeRecord(
                method=recipe.method,
                dtype=main_type(found),
                parameters=sum(header.size for header in found.values()),
                parents=tuple(_parent(recipe, name, parts) for name, parts in snapshots.items()),
                versions={name: version(name) for name in PACKAGES},
                options=_traced(options),
                files=sums or _checksums(work, weights),
                beside=_checksums(work, {p.name for p in work.iterdir() if p.is_file()} - weights),
            )
            write_record(record, work)
            if collector:
                write_pages(describe(recipe, collector), work)
    return record


@contextmanager
def _kept(out: Path, stream: Stream | None) -> Iterator[None]:
    """Let what goes wrong after the weights are merged not cost the weights."""
    try:
        yield
    except Exception as error:
        if stream:  # the Hub has the weights, and the next run goes on from there
            raise
        raise _UnfinishedError(out, error) from error


class _UnfinishedError(OutputError):
    """The weights are merged, and something else of the model is not there."""

    def __init__(self, out: Path, error: Exception) -> None:
        """Say what is missing, and how to go on."""
        self.reason = " ".join((str(error) or type(error).__name__).split())
        msg = f"the weights are merged and kept in {str(out)!r}, but not all of the model is "
        msg += f"there: {self.reason}"
        super().__init__(msg, hint=f"see {str(out / UNFINISHED_FILE)!r}")


def merge_in_memory(  # noqa: PLR0913 - all by name
    config: str | Path | Recipe,
    near: Path,
    *,
    take: Callable[[str, torch.Tensor], None] | None = None,
    trials: Sequence[Trial] = (),
    options: MergeOptions | None = None,
    quiet: bool = False,
    allow_unrelated: bool = False,
    api: HfApi | None = None,
) -> Report:
    """Merge in memory, a tensor at a time, write no model, and return the report of it.

    Args:
        config: A merge config of `slack_ties` or `ties`, or the path of one.
        near: A folder in or beside which there is room, if models have adapters.
        take: Called with the name of each merged tensor and the tensor.
        trials: What else to make of the same tensors.
        options: As for `merge_models`, as are the others.
        quiet: Without `options`: show no progress.
        allow_unrelated: Merge models though their weights have nothing in common.
        api: The Hub client; the default one if not given.

    Raises:
        SlackTiesError: As for `merge_models`; or the method is another one.

    """
    recipe = config if isinstance(config, Recipe) else read_recipe(config)
    check_reportable(recipe)
    recipe, snapshots, _ = _find_all(
        recipe, None, options=options, api=api, allow_unrelated=allow_unrelated
    )

    from mergekit.options import MergeOptions  # noqa: PLC0415 - seconds to import: all checks first

    from slack_ties import engine  # noqa: PLC0415

    options = options or MergeOptions(**DEFAULTS, quiet=quiet)
    there = near if near.is_dir() else nearest_folder(near)
    collector = _collector(recipe, snapshots, trials)
    with (
        _ready(as_slack_ties(recipe), there / "report", options, snapshots, out=near) as ready,
        collecting(collector),
    ):
        for name, tensor in engine.merge_in_memory(
            ready.config, ready.prepared.layout, options, modules=ready.modules
        ):
            if take:
                take(name, tensor)
    return describe(recipe, collector)


def _collector(
    recipe: Recipe, snapshots: Mapping[str, list[Snapshot]], trials: Sequence[Trial] = ()
) -> Collector:
    """Return what counts for a report: by the folders in which mergekit finds the models."""
    folders = {
        tuple(str(part.path) for part in found): name
        for name, found in snapshots.items()
        if name != recipe.base
    }
    return Collector(folders, recipe.models_of("sft"), trials)


def _find_all(  # noqa: PLR0913 - all by name
    recipe: Recipe,
    out: Path | None,
    *,
    options: MergeOptions | None,
    api: HfApi | None,
    allow_unrelated: bool,
    streamed: bool = False,
) -> tuple[Recipe, dict[str, list[Snapshot]], dict[str, dict[str, Header]]]:
    """Check all that can be, and return the pinned recipe, and its models on this disk.

    Without `out` nothing is to be written, and no room is asked for.
    """
    if options:
        _check_options(options, streamed=streamed)
    for name in recipe.models:
        LOG.info("  %-5s %s", recipe.role(name) or "model", name)
    plan = plan_merge(
        recipe,
        out=out,
        options=options,
        api=api,
        allow_unrelated=allow_unrelated,
        streamed=streamed,
    )
    if out is None:
        errors = tuple(e for e in plan.errors if not isinstance(e, OutputError))
        plan = replace(plan, errors=errors)
    plan.check()
    for warning in plan.warnings:
        LOG.warning("  %s", warning)
    if out is not None:
        what = "what is not sent yet takes up to" if streamed else "the merged model takes"
        LOG.info("  %s %s of the %s free here", what, *map(size, plan.space))
    recipe = plan.pinned(_traced(options) if options else {})
    snapshots = _find_models(recipe, api, options)
    headers = {name: read_headers(paths[0].path, name) for name, paths in snapshots.items()}
    return recipe, snapshots, headers


def check_output(out: Path) -> None:
    """Refuse a folder that the result cannot take the place of.

    Raises:
        OutputError: It is not empty, not a folder, a mount point, or not writable.

    """
    hint = "choose another folder, or empty this one yourself"
    if out.is_dir():
        if (out / RECORD_FILE).is_file():
            msg = f"output folder {str(out)!r} holds a finished merge"
            name = shlex.quote(str(out))
            hint = f"publish it: slack-ties card {name}; slack-ties publish {name} REPO_ID; "
            raise OutputError(msg, hint=hint + "or choose another folder")
        if any(out.iterdir()):
            msg = f"output folder {str(out)!r} is not empty"
            raise OutputError(msg, hint=hint)
        if out.resolve() == Path.cwd():  # it would be replaced under the shell's feet
            msg = f"output folder {str(out)!r} is the folder you are in, expected one inside it"
            raise OutputError(msg, hint="use ./merged")
        if os.path.ismount(out.resolve()):
            msg = f"output folder {str(out)!r} is a mount point, expected a folder inside it"
            raise OutputError(msg, hint=f"use {str(out / 'merged')!r}")
    elif out.exists():
        msg = f"output {str(out)!r} is a file, expected a folder"
        raise OutputError(msg, hint=hint)
    there = nearest_folder(out)
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        msg = f"cannot write to {str(there)!r}, where output folder {str(out)!r} would go"
        raise OutputError(msg, hint="choose another folder")


def _find_models(
    recipe: Recipe, api: HfApi | None, options: MergeOptions | None
) -> dict[str, list[Snapshot]]:
    """Return where each model is on this disk, and after it its LoRA adapter if it has one."""
    from slack_ties.hub import find_model, split_reference  # noqa: PLC0415 - imports the client

    found: dict[str, list[Snapshot]] = {}
    for name in recipe.models:
        found[name] = [
            find_model(
                path,
                revision,
                api=api,
                cache=options.transformers_cache if options else None,
                code=bool(options and options.trust_remote_code),
            )
            for path, revision in split_reference(name)
        ]
    return found


def _checksums(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 of files; they were written a moment ago, and are read from memory."""
    with ThreadPoolExecutor(max_workers=2) as pool:  # hashing does not hold Python's lock
        listed = sorted(names)
        sums = pool.map(sha256, (folder / name for name in listed))
        return dict(zip(listed, sums, strict=True))


def _check_options(options: MergeOptions, *, streamed: bool) -> None:
    """Refuse a device that is not here, and files that are not streamed, before any work."""
    import torch  # noqa: PLC0415 - whoever made `options` has imported it

    if streamed and not options.safe_serialization:
        msg = "--stream sends safetensors files, --no-safe-serialization makes others"
        raise SlackTiesError(msg, hint="leave --no-safe-serialization out")

    try:
        torch.empty(0, device=options.device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        msg = f"device {options.device!r} cannot be used here: {reason}"
        raise SlackTiesError(msg, hint=ON_CPU) from None
    if options.multi_gpu and not torch.accelerator.is_available():
        msg = "--multi-gpu: there is no GPU here, or this build of torch cannot use it"
        raise SlackTiesError(msg, hint=ON_CPU)


@contextmanager
def _place(
    out: Path,
    stream: Stream | None,
    recipe: Recipe,
    options: MergeOptions,
    snapshots: Mapping[str, list[Snapshot]],
) -> Iterator[Path]:
    """Yield where to merge: beside the output, or where a stream goes on."""
    try:
        with (
            _stream_folder(stream, recipe, options, snapshots)
            if stream
            else _work_folder(out) as work
        ):
            yield work
    except OSError as error:
        raise _unwritable(out, error) from None


def _stream_folder(
    stream: Stream,
    recipe: Recipe,
    options: MergeOptions,
    snapshots: Mapping[str, list[Snapshot]],
) -> AbstractContextManager[Path]:
    # Whatever changes the bytes: of local folders, whose files may be replaced, what shows it.
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
        "options": _traced(options),
        "models": local,
    }
    return stream.working(facts, resumes=recipe.method in WITHOUT_CHANCE)


@contextmanager
def _work_folder(out: Path) -> Iterator[Path]:
    """Yield a folder beside `out` that becomes `out` at the end, or goes away."""
    import psutil  # noqa: PLC0415 - not for --help

    for folder in sorted(out.absolute().parent.glob(f".{out.name}.*.partial")):
        worker = WORKER.search(folder.name)
        if worker and psutil.pid_exists(int(worker[1])):
            msg = f"another merge to {str(out)!r} is at work (process {worker[1]})"
            hint = f"wait for it, or choose another folder; if none is at work, delete {folder}"
            raise OutputError(msg, hint=hint)
        LOG.warning("left over from a merge that was killed, delete it yourself: %s", folder)
    name = f".{out.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.partial"
    work = out.absolute().parent / name
    try:
        work.mkdir(parents=True)
        yield work
    except _UnfinishedError as error:
        with suppress(OSError):
            (work / UNFINISHED_FILE).write_text(UNFINISHED.format(error.reason), encoding="utf-8")
        _put_in_place(work, out)
        raise
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    _put_in_place(work, out)


def _put_in_place(work: Path, out: Path) -> None:
    try:
        if out.is_dir():
            out.rmdir()  # empty: `check_output` saw to that, and rmdir refuses otherwise
        work.rename(out)
    except OSError as error:  # something came into its place: the result is kept
        msg = f"the merge is complete, but cannot take the place of {str(out)!r}: {error}"
        raise OutputError(msg, hint=f"it is kept as {str(work)!r}: rename it") from None


@dataclass(frozen=True)
class _Ready:
    """What mergekit needs to merge."""

    config: MergeConfiguration
    prepared: Prepared
    modules: dict[str, str] | None  # of a config with modules: the stacks that they are


def _to_disk(  # noqa: PLR0913 - one thing to do, and where
    recipe: Recipe,
    work: Path,
    options: MergeOptions,
    snapshots: Mapping[str, list[Snapshot]],
    *,
    out: Path,
    receiver: Receiver | None,
    collector: Collector | None,
) -> tuple[Merged, Layout]:
    """Let mergekit merge the weights into `work`."""
    from slack_ties import engine  # noqa: PLC0415 - imports mergekit

    with (
        _ready(recipe, work, options, snapshots, out=out) as ready,
        collecting(collector) if collector else nullcontext(),
    ):
        merged = engine.merge_to_disk(
            ready.config,
            ready.prepared.layout,
            work,
            options,
            modules=ready.modules,
            receiver=receiver,
        )
        return merged, ready.prepared.layout


@contextmanager
def _ready(
    recipe: Recipe,
    work: Path,
    options: MergeOptions,
    snapshots: Mapping[str, list[Snapshot]],
    *,
    out: Path,
) -> Iterator[_Ready]:
    """Yield what mergekit merges, on local folders alone; errors speak of `out` and the config."""
    from mergekit.config import MergeConfiguration  # noqa: PLC0415
    from pydantic import ValidationError  # noqa: PLC0415

    import slack_ties.method  # noqa: F401, PLC0415 - registers it where the start-up hook cannot
    from slack_ties.engine import alone  # noqa: PLC0415
    from slack_ties.prepare import prepare_models  # noqa: PLC0415

    data = {key: value for key, value in recipe.data.items() if key != FACTS_KEY}
    try:
        with (
            alone(),
            tempfile.TemporaryDirectory(
                dir=work.parent, prefix=f".{out.name}.", suffix=".lora.partial"
            ) as adapted,
            redirect_stderr(_WithoutBars(sys.stderr) if options.quiet else sys.stderr),
        ):
            prepared = prepare_models(recipe, snapshots, options, Path(adapted))
            try:
                prepared.check_tied()
                config = MergeConfiguration.model_validate(_localized(data, prepared.models))
                modules = None
                if recipe.data.get("modules"):
                    first = recipe.base or recipe.models[0]
                    base_config = model_config(snapshots[first][0].path, first)
                    modules, _ = stacks_of_modules(recipe, base_config, prepared.layout)
                yield _Ready(config, prepared, modules)
            finally:
                prepared.close()  # before the adapters' files go
    except SlackTiesError as error:
        raise type(error)(_renamed(str(error), snapshots), hint=error.hint) from None
    except ValidationError as error:
        first_error = error.errors()[0]
        place = ".".join(map(str, first_error["loc"]))
        text = first_error["msg"]
        msg = f"{recipe.where}: {place}: {text}" if place else text
        raise RecipeError(_renamed(msg, snapshots)) from None
    except Exception as error:  # mergekit, transformers and pickle each raise their own
        if isinstance(error, (SafetensorError, OSError)) and _is_of_writing(error, work):
            raise _unwritable(out, error) from None
        LOG.debug("mergekit's error", exc_info=True)
        reason = _renamed(str(error) or type(error).__name__, snapshots)
        msg = f"mergekit cannot merge {recipe.where}: {reason}"
        raise CheckpointError(msg, hint=MORE) from None


class _WithoutBars(io.TextIOBase):
    """Standard error without progress bars: mergekit shows one of its tokenizers' all the same."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Pass on what is no bar and no line end of one."""
        if "\r" not in text and text.strip():
            self.stream.write(text)
        return len(text)


def _localized(data: Mapping[str, Any], local: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config with every model replaced by the one on this disk."""
    changed = deepcopy(dict(data))
    for place, value in places(data):
        if place[0] != FACTS_KEY and reference(value) in local:
            put(changed, place, local[reference(value)])
    return changed


def _renamed(message: str, snapshots: Mapping[str, list[Snapshot]]) -> str:
    """Call models in a message as the config does."""
    for name, found in snapshots.items():
        # As mergekit writes a model: MODEL+ADAPTER. A folder that the config names so is left.
        text = "+".join(str(part.path) for part in found)
        if text != name:
            message = message.replace(text, name)
        for part, own in zip(found, name.split("+"), strict=False):
            if len(found) > 1 and part.commit:  # in the Hub's cache
                message = message.replace(str(part.path), own)
    return message


def _is_of_writing(error: Exception, work: Path) -> bool:
    """Say whether an error came up where the result is written, not where models are read."""
    file = getattr(error, "filename", None)
    return _is_full(error) or (file is not None and str(file).startswith(str(work)))


def _is_full(error: Exception) -> bool:
    numbers = {int(number) for number in NUMBER.findall(str(error))}
    return bool(NO_ROOM & {*numbers, getattr(error, "errno", None)})


def _unwritable(out: Path, error: Exception) -> OutputError:
    full = _is_full(error)
    what = "the disk is full or a file-size limit is reached" if full else "cannot write"
    msg = f"{what} at {str(out)!r}: {error}"
    hint = "free some space or raise the limit, then run the same command again" if full else ""
    return OutputError(msg, hint=hint)


def _parent(recipe: Recipe, name: str, found: list[Snapshot]) -> Parent:
    model, *adapters = found
    return Parent(
        name,
        role=recipe.role(name),
        commits=tuple(part.commit for part in found),
        license=model.card.license or _license_of(recipe, name),
        adapter_license=adapters[0].card.license if adapters else "",
        made_from=tuple(dict.fromkeys(name for part in found for name in part.card.made_from)),
        datasets=tuple(dict.fromkeys(name for part in found for name in part.card.datasets)),
        texts=license_files(model.path),
        adapter_texts=license_files(adapters[0].path) if adapters else (),
    )


def _license_of(recipe: Recipe, name: str) -> str:
    """Return the licence that the config states for a model, if it is the name of one."""
    stated = recipe.facts.licenses.get(name, "")
    return stated if NAME.fullmatch(stated) else ""


def _how(recipe: Recipe, options: MergeOptions, types: set[str]) -> str:
    """Say by what the merge is done, and how its result is cut."""
    import torch  # noqa: PLC0415 - mergekit has imported it

    from slack_ties.kernel import MOST_THREADS, load_kernel  # noqa: PLC0415

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


def _traced(options: MergeOptions) -> dict[str, Any]:
    """Return the options that can change the result, where they are not the defaults here."""
    defaults = type(options)(**DEFAULTS).model_dump()
    chosen = options.model_dump(exclude=WITHOUT_TRACE)
    return {name: value for name, value in chosen.items() if value != defaults[name]}

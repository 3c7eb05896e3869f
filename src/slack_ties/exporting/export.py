"""Export a merged model as GGUF files: check, convert, quantize, and write the texts beside them.

`slack-ties export` calls this. llama.cpp's own programs make the files; we write no converter. The
folder appears complete or not at all.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import shutil
import sys
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.errors import CheckpointError, OutputError, SlackTiesError
from slack_ties.exporting.program import FailedError, run_program
from slack_ties.exporting.template import chat_of
from slack_ties.exporting.texts import MODELFILE, File, gguf_card, modelfile
from slack_ties.exporting.tools import NAME, PLAIN, find_tools
from slack_ties.exporting.whole_model import check_model
from slack_ties.files import expanded, nearest_folder, sha256, sync, write_whole
from slack_ties.merge.output import check_output, unwritable
from slack_ties.notebook import Shown, html_table
from slack_ties.wording import size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from slack_ties.exporting.tools import Tools
    from slack_ties.exporting.whole_model import WholeModel

__all__ = ["Exported", "export_model"]

LOG = logging.getLogger("slack_ties")

BYTES = {"F32": 4, "F16": 2, "BF16": 2}  # of an entry

WIDER = 1.5  # bits of an entry beside those in a type's name: scales, and tensors of wider types

SAID_AT_MOST = 15  # lines of a program that failed

# What llama.cpp prints of its version: build number, and commit.
BUILD = re.compile(r"build(?: =|:)? ?(\d+)(?: \(|, commit )([0-9a-f]{7,40})")

# What the converter says, and what that means.
UNKNOWN_MODEL = re.compile(r"Model (\w+) is not supported")
UNKNOWN_TOKENIZER = "pre-tokenizer was not recognized"
LACKS_MODULE = re.compile(r"ModuleNotFoundError: No module named '([\w-]+)")
MODULES = {"google": "protobuf"}  # module -> package on PyPI


@dataclass(frozen=True, repr=False)
class Exported(Shown):
    """The GGUF files that were written."""

    folder: str
    files: tuple[File, ...]
    base_model: str  # the Hub id of the model; empty if it is not known
    llama_cpp: str  # its build; empty if it is not known
    template: str  # modelfile: it has the chat template; gguf: only the file; none: no template

    def summary(self) -> str:
        """Return the types and the folder."""
        return f"{', '.join(one.type for one in self.files)} in {self.folder}"

    def rows(self) -> list[tuple[str, ...]]:
        """Return a row for each file."""
        return [(one.name, one.type, size(one.size)) for one in self.files]

    def as_text(self) -> str:
        """Return the folder and its files as text."""
        rows = ["  ".join(row) for row in self.rows()]
        return "\n".join([self.folder, *(f"  {row}" for row in rows)])

    def as_html(self) -> str:
        """Return the files as a table."""
        return html_table(("File", "Type", "Size"), self.rows())


def export_model(  # noqa: PLR0913 - all but two by name
    out: str | Path,
    types: Sequence[str] = ("Q4_K_M",),
    *,
    output: str | Path | None = None,
    llama_cpp: str | Path | None = None,
    base_model: str = "",
    quiet: bool = False,
) -> Exported:
    """Write GGUF files of a merged model, with a Modelfile for Ollama and a model card.

    Args:
        out: A merged model with its card.
        types: Types of GGUF files, such as Q4_K_M, Q8_0 or BF16; the Modelfile names the first.
        output: The new folder; `out` with -gguf at its end if not given.
        llama_cpp: A source tree or a release of llama.cpp; PATH if not given.
        base_model: The Hub id of the model, for the card; the id in its own card if not given.
        quiet: Show no progress.

    Raises:
        SlackTiesError: It is no whole model, llama.cpp is missing or fails, or the disk is full.

    """
    folder = expanded(out)
    names = _types(types)
    model = check_model(folder, base_model)
    target = (
        expanded(output) if output else folder.resolve().with_name(f"{folder.resolve().name}-gguf")
    )
    check_output(target)
    tools = find_tools(names, expanded(llama_cpp) if llama_cpp else None)
    _check_room(model, names, target)
    template, stops = chat_of(folder)
    reads = model.chat and template is None
    files = [File(f"{model.name}-{one}.gguf", one, 0, "") for one in names]
    gguf_card(model, files, made_by="", reads=reads)  # what the Hub refuses is refused now
    try:
        with _new_folder(target) as work:
            files, build = _make(model, names, tools, work, quiet=quiet)
            texts = {
                MODELFILE: modelfile(model, files[0].name, template, stops),
                "README.md": gguf_card(model, files, made_by=build, reads=reads),
            }
            for name, text in texts.items():
                write_whole(work / name, text)
            for name in model.licenses:
                shutil.copyfile(folder / name, work / name)
    except OSError as error:
        raise unwritable(target, error) from None
    how = "modelfile" if template else "gguf" if model.chat else "none"
    return Exported(str(target), tuple(files), model.base_model, build, how)


def _types(types: Sequence[str]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(one.upper() for one in types))
    for one in names:
        if not NAME.fullmatch(one):
            msg = f"--gguf {one}: expected a type of GGUF files"
            raise SlackTiesError(msg, hint="choose one such as Q4_K_M, Q8_0 or BF16")
    if not names:
        msg = "no type of GGUF files is given"
        raise SlackTiesError(msg, hint="choose one such as Q4_K_M, Q8_0 or BF16")
    return names


def _bytes_of(model: WholeModel, kind: str) -> int:
    """Return about how many bytes a file of this type has."""
    if kind in BYTES:
        return model.entries * BYTES[kind]
    digits = re.search(r"\d+", kind)
    bits = min((int(digits[0]) if digits else 8) + WIDER, 16)
    return int(model.entries * bits / 8)


def _check_room(model: WholeModel, names: Sequence[str], target: Path) -> None:
    """Refuse an export for which the disk has no room, also for the converted file."""
    need = sum(_bytes_of(model, one) for one in {*names, model.stored})
    place = nearest_folder(target)
    free = shutil.disk_usage(place).free
    if need > free:
        msg = f"the GGUF files need {size(need)} while they are made, {str(place)!r} has "
        msg += f"{size(free)} free"
        hint = f"free {size(need - free)} on that disk, or choose a folder on another one with -o"
        raise OutputError(msg, hint=hint)


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """Yield a folder beside the target; it gets the target's name at the end, or is deleted."""
    name = f".{target.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.partial"
    work = target.absolute().parent / name
    work.mkdir(parents=True)
    try:
        yield work
        check_output(target)  # another export may have ended meanwhile
        if target.is_dir():
            target.rmdir()
        work.rename(target)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def _make(
    model: WholeModel, names: Sequence[str], tools: Tools, work: Path, *, quiet: bool
) -> tuple[list[File], str]:
    """Make the GGUF files; return them, and the build of llama.cpp."""
    made: dict[str, Path] = {}
    build = ""
    plain = [one for one in names if one in PLAIN]
    for kind in dict.fromkeys([*plain, *([model.stored] if tools.quantizer else [])]):
        made[kind] = work / f"{model.name}-{kind}.gguf"
        words = [*tools.converter, str(model.folder.resolve())]
        words += ["--outfile", str(made[kind]), "--outtype", kind.lower()]
        LOG.info("  converting to %s with %s", kind, tools.converter[-1])
        total = _bytes_of(model, kind)
        try:
            run_program(words, made[kind], verb="converted", total=total, quiet=quiet)
        except FailedError as error:
            raise _not_converted(error, words) from None
    for kind in names:
        if kind in PLAIN:
            continue
        made[kind] = work / f"{model.name}-{kind}.gguf"
        words = [*tools.quantizer, str(made[model.stored]), str(made[kind]), kind]
        LOG.info("  quantizing to %s with %s", kind, tools.quantizer[0])
        total = _bytes_of(model, kind)
        try:
            said = run_program(words, made[kind], verb="quantized", total=total, quiet=quiet)
        except FailedError as error:
            raise _failed(error, words) from None
        if found := BUILD.search("\n".join(said)):
            build = f"b{found[1]} ({found[2]})" if int(found[1]) else ""
    if model.stored in made and model.stored not in names:
        made.pop(model.stored).unlink()
    files = []
    for kind in names:
        path = made[kind]
        sync(path)
        files.append(File(path.name, kind, path.stat().st_size, sha256(path)))
    return files, build


def _not_converted(error: FailedError, words: Sequence[str]) -> SlackTiesError:
    """Return the error for a converter that failed, in our words if the reason is known."""
    if found := UNKNOWN_MODEL.search(error.text):
        msg = f"llama.cpp's converter does not know models of the kind {found[1]}"
        return CheckpointError(msg, hint="take the newest llama.cpp: it may know them")
    if UNKNOWN_TOKENIZER in error.text:
        msg = "llama.cpp's converter does not know this tokenizer: it compares how a text is cut "
        msg += (
            "with the tokenizers that it knows, and a new or extended byte-level one is not there"
        )
        hint = "the model runs with transformers; llama.cpp has no way for this tokenizer yet"
        return CheckpointError(msg, hint=hint)
    if found := LACKS_MODULE.search(error.text):
        package = MODULES.get(found[1], found[1])
        pip = shlex.join([sys.executable, "-m", "pip", "install", package])
        msg = f"llama.cpp's converter needs the Python package {package}, which is not installed"
        return SlackTiesError(msg, hint=pip if words[0] == sys.executable else f"install {package}")
    return _failed(error, words)


def _failed(error: FailedError, words: Sequence[str]) -> SlackTiesError:
    """Return the error for a program of llama.cpp that failed; log what it said."""
    for line in error.lines[-SAID_AT_MOST:]:
        LOG.error("  %s", line)
    what = "converter" if "--outfile" in words else "quantizer"
    program = words[1] if words[0] == sys.executable else words[0]
    last = error.lines[-1] if error.lines else "it said nothing"
    msg = f"llama.cpp's {what} {program} {error}: {last}"
    return SlackTiesError(msg, hint="take the newest llama.cpp, then run the same command again")

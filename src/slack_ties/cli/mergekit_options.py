"""mergekit's own options on our commands, loaded only when one is given."""

from __future__ import annotations

import re
from difflib import get_close_matches
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from slack_ties.cli.docstrings import check_docstrings
from slack_ties.cli.group import one_line
from slack_ties.private.click import options_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["MERGEKIT_NAMES", "MergeCommand", "device_is_given"]

# Options of mergekit that we do not offer: we write the card, and have our own --quiet.
NOT_OFFERED = {"write_model_card", "quiet"}

MERGEKIT_OPTIONS = """\b
All options of mergekit-yaml work here too. The most used:
  --device DEVICE          cpu, cuda, mps, auto, ...
  --cuda                   short for --device cuda
  --low-cpu-memory         keep results on the GPU, if its memory is larger than RAM
  --out-shard-size SIZE    largest size of a written file, for example 2B  [1B]
  --async-write            write while merging: faster, but needs memory for the whole result
  -j, --num-threads N      CPU threads
  --lora-merge-cache DIR   keep the models made from MODEL+LORA pairs here
  --trust-remote-code      run code that comes with a model (dangerous)
  -v, -vv                  print more, and where an error was raised
To see all of them: slack-ties merge --help-mergekit
"""


# The names of mergekit's options that we offer: --NAME with --no-NAME, and options with one form.
# A test compares them with mergekit's own.
TABLE_VERSION = "0.1.5"  # with another version of mergekit, mergekit itself is asked
SWITCHES = (
    "allow-crimes",
    "async-write",
    "clone-tensors",
    "copy-tokenizer",
    "cuda",
    "lazy-unpickle",
    "low-cpu-memory",
    "multi-gpu",
    "read-to-gpu",
    "safe-serialization",
    "trust-remote-code",
    "unsafe-truncate-embeddings",
)
WITH_VALUE: Mapping[tuple[str, ...], type] = {  # the type of the value
    ("--device",): str,
    ("--lora-merge-cache",): str,
    ("--lora-merge-dtype",): str,
    ("--num-threads", "-j"): int,
    ("--out-shard-size",): str,
    ("--random-seed",): int,
    ("--transformers-cache",): str,
    ("--write-threads",): int,
}
MERGEKIT_NAMES = frozenset(
    {
        *(f"--{no}{name}" for name in SWITCHES for no in ("", "no-")),
        *(flag for flags in WITH_VALUE for flag in flags),
        *("--gpu-rich", "-v"),
    }
)
SIZE = re.compile(r"-?\d+[kKmMbB]?")  # as mergekit reads it
LEAST = 1000  # bytes; a smaller number without a unit is a forgotten unit
# What torch calls devices that can merge, and mergekit's auto.
DEVICE = re.compile(r"cpu|auto|(cuda|mps|xpu|hpu|npu|mlu|musa|xla|mtia|privateuseone)(:\d+)?")

CHOICES = (
    "--method",
    "--slack",
    "--density",
    "--weight",
    "--normalize",
    "--no-normalize",
    "--lambda",
    "--dtype",
)
MODELS = ("--base", "--ct", "--sft")
DRY_RUN = ("--dry-run", "-n")
DOWNLOAD = ("--download", "--no-download", "--window")


class MergeCommand(click.Command):
    """A command that takes mergekit's own options, loaded when one is given.

    mergekit takes seconds to import. `--help`, a wrong config and a misspelt option must not
    wait for it.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        """Show mergekit's most used options below our own."""
        super().__init__(*given, **{"epilog": MERGEKIT_OPTIONS, **named})

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Parse with our options only; if that fails, also with mergekit's."""
        if {"-h", "--help"}.intersection(args):
            args = ["--help"]
        if "--help-mergekit" not in args:
            try:
                return super().make_context(info_name, list(args), parent, **extra)
            except click.NoSuchOption as error:
                self._check_name(error)
            if version("mergekit") == TABLE_VERSION:
                self._stand_in().make_context(info_name, list(args), parent, **extra)
        return self._with_mergekit_options().make_context(info_name, args, parent, **extra)

    def _check_name(self, error: click.NoSuchOption) -> None:
        """Refuse an option that mergekit does not have either, without importing mergekit."""
        name = error.option_name
        if where := self._elsewhere(name):
            msg = f"No such option: {name}. {where}"
            raise click.UsageError(msg, ctx=error.ctx)
        if name in MERGEKIT_NAMES or version("mergekit") != TABLE_VERSION:
            return
        ours = self.get_params(error.ctx) if error.ctx else self.params
        known = {flag for param in ours for flag in (*param.opts, *param.secondary_opts)}
        alike = get_close_matches(name, sorted(known | MERGEKIT_NAMES))
        raise click.NoSuchOption(name, possibilities=alike, ctx=error.ctx)

    def _elsewhere(self, name: str) -> str:
        """Say which command has an option that is looked for here; "" if none has."""
        if name in DRY_RUN:
            return (
                "What a merge would do is shown by slack-ties plan CONFIG, and what would be "
                "uploaded by publish --dry-run"
            )
        if name in CHOICES + MODELS:
            return (
                f"It belongs to a merge config: slack-ties config LANG {name} ..., or to "
                f"slack-ties run LANG {name} ..."
            )
        if name in DOWNLOAD:
            return "This command loads whole models, so it downloads them"
        return ""

    def _stand_in(self) -> click.Command:
        """Return a command with the same options, which is made without importing mergekit.

        It finds what is wrong with a command line, and runs nothing.
        """
        params = list(self.params)
        params += [click.Option([f"--{name}/--no-{name}"]) for name in SWITCHES]
        params += [click.Option([*flags], type=kind) for flags, kind in WITH_VALUE.items()]
        params += [click.Option(["--gpu-rich"], is_flag=True), click.Option(["-v"], count=True)]
        for param in params:
            if param.name in CHECKS:
                param.type = click.types.convert_type(CHECKS[param.name])
        return click.Command(self.name, params=params)

    def _with_mergekit_options(self) -> click.Command:
        with one_line():
            check_docstrings()
        from slack_ties.merge.options import DEFAULTS  # noqa: PLC0415
        from slack_ties.private.mergekit import add_merge_options  # noqa: PLC0415 - see the class

        command = click.Command(self.name, params=list(self.params))
        command.help, command.epilog = self.help, self.epilog
        ours = {param.name for param in self.params}
        with_options: Any = add_merge_options(self.callback)
        command.callback = with_options
        for param in options_of(with_options):
            param.default = DEFAULTS.get(param.name, param.default)
            if param.name == "out_shard_size":
                param.type, param.metavar = click.types.convert_type(parse_size), "SIZE"
                param.help = "Largest size of a written file, for example 500M or 2B  [default: 1B]"
            if param.name == "device":
                param.type = click.types.convert_type(_device)
            if param.name not in NOT_OFFERED | ours:
                command.params.append(param)
        return command


def _size_text(value: str) -> str:
    """Return a size as it is. Raise a usage error if it is none."""
    if not SIZE.fullmatch(value):
        msg = f"expected a number of bytes such as 500M or 2B (B: 10^9), got {value!r}"
        raise click.BadParameter(msg)
    if value.isdecimal() and int(value) < LEAST:
        msg = f"{value} needs a unit: {value}M or {value}B (M: 10^6 bytes, B: 10^9)"
        raise click.BadParameter(msg)
    return value


def _device(value: str) -> str:
    """Return the name of a device as it is. Raise a usage error if it cannot be one."""
    if not DEVICE.fullmatch(value):
        msg = f"expected cpu, cuda, cuda:N (N: number of the GPU), mps or auto, got {value!r}"
        raise click.BadParameter(msg)
    return value


CHECKS: Mapping[str, Callable[[str], str]] = {"out_shard_size": _size_text, "device": _device}


def parse_size(value: str | int) -> int:
    """Return a size of mergekit in bytes."""
    from slack_ties.private.mergekit import parse_kmb  # noqa: PLC0415 - see MergeCommand

    return int(parse_kmb(_size_text(str(value))))


def device_is_given() -> bool:
    """Say whether the command line names a device; mergekit's default is the CPU."""
    source = click.get_current_context().get_parameter_source
    return any(source(name) == ParameterSource.COMMANDLINE for name in ("device", "cuda"))

"""mergekit's own options on our commands, loaded only when one is given."""

from __future__ import annotations

from typing import Any

import click

__all__ = ["MERGEKIT_OPTIONS", "MergeCommand", "parse_size"]

# mergekit's options that are not offered: we write the card, and have a --quiet.
NOT_OFFERED = {"write_model_card", "quiet"}

MERGEKIT_OPTIONS = """\b
All options of mergekit-yaml work here too. The most used:
  --device DEVICE          cpu, cuda, mps, auto, ...
  --cuda                   short for --device cuda
  --low-cpu-memory         keep results on the GPU: for more GPU memory than RAM
  --out-shard-size SIZE    size of the files written, for example 2B  [1B]
  --async-write            write while merging: faster, with memory for the whole result
  -j, --num-threads N      CPU threads
  --lora-merge-cache DIR   keep what is made of a MODEL+LORA pair
  --trust-remote-code      run code that comes with a model (danger)
  -v, -vv                  say more
All of them: slack-ties merge --help-mergekit
"""


class MergeCommand(click.Command):
    """A command that takes mergekit's own options, loaded when one is given.

    mergekit takes seconds to import: --help must not, and neither must a wrong config.
    """

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Parse with our options alone, and with mergekit's too if that fails."""
        if {"-h", "--help"}.intersection(args):
            args = ["--help"]
        if "--help-mergekit" not in args:
            try:
                return super().make_context(info_name, list(args), parent, **extra)
            except click.NoSuchOption:
                pass
        return self._with_mergekit_options().make_context(info_name, args, parent, **extra)

    def _with_mergekit_options(self) -> click.Command:
        from mergekit.options import add_merge_options  # noqa: PLC0415 - see the class

        from slack_ties.merge.options import DEFAULTS  # noqa: PLC0415

        command = click.Command(self.name, params=list(self.params))
        command.help, command.epilog = self.help, self.epilog
        ours = {param.name for param in self.params}
        with_options: Any = add_merge_options(self.callback)
        command.callback = with_options
        for param in reversed(with_options.__click_params__):
            param.default = DEFAULTS.get(param.name, param.default)
            if param.name == "out_shard_size":
                param.type, param.metavar = click.types.FuncParamType(parse_size), "SIZE"
                param.help = "Bytes per file written, for example 500M or 2B  [default: 1B]"
            if param.name not in NOT_OFFERED | ours:
                command.params.append(param)
        return command


def parse_size(value: str | int) -> int:
    """Return mergekit's sizes as bytes; a usage error in place of its ValueError."""
    from mergekit.common import parse_kmb  # noqa: PLC0415 - see MergeCommand

    try:
        return int(parse_kmb(value))
    except (ValueError, IndexError):
        msg = f"expected a number of bytes such as 500M or 2B (B: 10^9), got {value!r}"
        raise click.BadParameter(msg) from None

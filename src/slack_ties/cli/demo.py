"""The command `demo`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from slack_ties.cli.group import PATH, cli, command

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["demo"]


@cli.command(short_help="See all stages at work on small models.")
@click.option(
    "--keep",
    metavar="DIR",
    type=PATH,
    help="Keep the results in this new folder.  [they are deleted]",
)
@command
def demo(*, keep: Path | None) -> None:
    """See all stages at work on small models: config, plan, merge, publish, report, verify.

    The demo makes the models, starts a small Hub on this machine, and runs the commands that you
    would type, one after the other. It takes about a minute. It needs no network and no account,
    and does not use your token or your cache. Without --keep, it deletes the results at the end.
    The exit code is 1 if a step fails.

    \b
    Examples:
      slack-ties demo
      slack-ties demo --keep demo
    """
    from slack_ties.demo.demo import run_demo  # noqa: PLC0415 - starts a server

    run_demo(keep, show=click.echo)

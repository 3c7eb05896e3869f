"""The command `doctor`."""

from __future__ import annotations

import click

from slack_ties.cli.group import cli, command, prepare, print_json
from slack_ties.cli.options import as_json
from slack_ties.cli.program import say_next
from slack_ties.cli.timeout import seconds_option

__all__: list[str] = []


@cli.command(short_help="Say what is in place for merges, and what is missing.")
@seconds_option("20")
@as_json
@command
def doctor(*, timeout: float | None, as_json: bool) -> None:
    """Look at the installation, and say in one screen what is in place and what is missing.

    It looks at versions, the compiled kernel, GPUs, memory and disks, at the Hub and the rights of
    your token, at the start-up file for mergekit, and at the packages that only some commands
    need. It changes nothing, and never shows the token. With HF_HUB_OFFLINE=1 the Hub is not asked.

    Each line is ok, a note (a merge works without it), or broken (a merge needs it). The exit code
    is 1 if something is broken.

    \b
    Examples:
      slack-ties doctor
      slack-ties doctor --timeout 5
      slack-ties doctor --json
    """
    from slack_ties.doctor.check import TIMEOUT, look_at_all  # noqa: PLC0415 - needs time
    from slack_ties.doctor.finding import Diagnosis  # noqa: PLC0415 - as above

    prepare(None, quiet=False)
    findings = []
    for finding in look_at_all(timeout or TIMEOUT):
        findings.append(finding)
        if not as_json:
            click.echo(finding.as_text())
    found = Diagnosis(tuple(findings))
    if as_json:
        print_json(found.as_json())
    found.check()
    if not as_json:
        click.echo(f"\n{found.summary()}")
        say_next("slack-ties languages  # or see all stages on small models: slack-ties demo")

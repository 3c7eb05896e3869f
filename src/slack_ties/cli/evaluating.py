"""The command `evaluate`."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from slack_ties.cli.group import PATH, cli, print_json
from slack_ties.cli.mergekit_options import MergeCommand, device_is_given
from slack_ties.cli.options import allow_unrelated, with_settings
from slack_ties.cli.program import say_next
from slack_ties.cli.task_options import (
    batch_size_option,
    chat_template_option,
    fewshot_option,
    include_option,
    limit_option,
    names_in,
)

if TYPE_CHECKING:
    from pathlib import Path

    from slack_ties.settings import Settings

__all__: list[str] = []

DTYPES = ("auto", "float32", "bfloat16", "float16")

OPTIONS = """\b
Options of mergekit-yaml work here too, such as:
  --device DEVICE          cpu, cuda, cuda:1, mps  [a GPU if there is one]
  --cuda                   short for --device cuda
  --transformers-cache DIR folder for downloads
"""


def _names(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Return the names in a list with commas; refuse a list without a name."""
    found = names_in(value)
    if value is not None and not found:
        msg = f"expected names of tasks, or list, got {value!r}"
        raise click.BadParameter(msg)
    return found


@cli.command(
    cls=MergeCommand, short_help="Score a merged model and its parents on tasks.", epilog=OPTIONS
)
@click.argument("what", metavar="OUT|CONFIG|REPO_ID")
@click.option(
    "--tasks",
    metavar="TASK,...",
    callback=_names,
    help="Tasks, groups or tags of lm-eval, or tasks of your own. `list` shows which there are for "
    "the language, and in your folders, and ends.  [some of the language, and a short English set]",
)
@include_option(
    "Folder with task files of your own; several if repeated. A task file may run Python code "
    "of its folder (!function): use only folders that you trust."
)
@click.option("--alone", is_flag=True, help="Score the merged model only, not base, CT and SFT.")
@limit_option("Only the first N items of each task.")
@fewshot_option("Examples before each item.  [as each task says]")
@batch_size_option("Requests that a model answers at once.  [auto on a GPU, 1 on a CPU]")
@click.option(
    "--dtype",
    type=click.Choice(DTYPES),
    default="auto",
    help="Number type in which the models run; auto: that of each model.  [auto]",
)
@chat_template_option("Put each item into the chat template of the model, if it has one.")
@click.option(
    "-o",
    "--output",
    type=PATH,
    metavar="FILE",
    help="File for the scores.  [OUT/evaluation.json, or NAME-evaluation.json]",
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace FILE also if it has scores of other tasks, models or more items, or if it is "
    "none of ours.",
)
@allow_unrelated
@with_settings
def evaluate(  # noqa: PLR0913 - one per option
    *,
    what: str,
    tasks: tuple[str, ...],
    include: tuple[Path, ...],
    alone: bool,
    limit: int | None,
    fewshot: int | None,
    batch_size: str,
    dtype: str,
    chat_template: bool,
    output: Path | None,
    overwrite: bool,
    as_json: bool,
    settings: Settings,
) -> None:
    """Score a merged model beside base, CT and SFT model, with lm-eval's tasks.

    OUT is a merged folder, CONFIG a merge config, which is merged in memory, and REPO_ID a
    published merge. The scores go to a file and are shown in a table: a difference counts only if
    it is larger than its interval, and a score at chance is called that. Each file holds one run.
    To add a task, name the earlier tasks too: their answers are kept, and nothing is run again.

    You can stop it at any time: the same command goes on. It never runs code that comes with a
    model. It needs: pip install "slack-ties[eval]"

    \b
    Examples:
      slack-ties evaluate tibetan
      slack-ties evaluate tibetan --tasks list
      slack-ties evaluate tibetan --tasks belebele_bod_Tibt --limit 100 --alone
      slack-ties evaluate ME/Llama-2-7b-Tibetan --cuda --dtype bfloat16
    """
    from slack_ties.evaluating.evaluate import (  # noqa: PLC0415 - heavy
        evaluate_merge,
        list_tasks_for,
    )
    from slack_ties.evaluation.file import evaluation_as_json  # noqa: PLC0415 - as above

    if tasks == ("list",):
        listed = list_tasks_for(what, include=include, **vars(settings))
        if as_json:
            print_json(listed.as_json())
        else:
            click.echo(listed)
        return
    made = evaluate_merge(
        what,
        tasks=tasks,
        include=include,
        alone=alone,
        limit=limit,
        fewshot=fewshot,
        batch_size=batch_size,
        dtype=dtype,
        chat_template=chat_template,
        device="" if device_is_given() else "auto",
        output=output,
        overwrite=overwrite,
        **vars(settings),
    )
    if as_json:
        print_json({"file": str(made.file), **evaluation_as_json(made.evaluation)})
        return
    click.echo(f"{made.as_text()}\n\nScores: {made.file}")
    if made.in_folder and not settings.quiet:
        say_next(f"slack-ties card {shlex.quote(str(made.file.parent))}")

"""The command `tune`."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from slack_ties.cli.download_options import download_flags, download_options
from slack_ties.cli.group import PATH, cli, print_json
from slack_ties.cli.mergekit_options import MergeCommand
from slack_ties.cli.options import allow_unrelated, numbers_option, with_settings
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
    from slack_ties.tuning.tuned import Tuned

__all__: list[str] = []


def _names(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Return the names in a list with commas."""
    return names_in(value)


@cli.command(cls=MergeCommand, short_help="Search for a method, slack, density and weight.")
@click.argument("config", type=PATH)
@click.option(
    "--metric",
    metavar="kept|perplexity|TASK,...",
    default="kept",
    show_default=True,
    help="How candidates are scored: `kept` looks at the weights only; `perplexity` runs the model "
    "on your text; names of tasks run lm-eval; `tasks` are the language's, and English ones.",
)
@click.option("--text", type=PATH, metavar="FILE", help="For perplexity: a text in the language.")
@click.option(
    "--text-sft",
    type=PATH,
    metavar="FILE",
    help="For perplexity: a second text, in a language or task that the SFT model must not lose "
    "(for example English).",
)
@include_option(
    "For tasks: folder with task files of your own; several if repeated. A task file may run "
    "Python code of its folder (!function): use only folders that you trust."
)
@limit_option("For tasks: only the first N items of each.")
@fewshot_option("For tasks: examples before each item.  [as each task says]")
@batch_size_option("For tasks: requests that a model answers at once.  [auto on a GPU, 1 on a CPU]")
@chat_template_option("For tasks: put each item into the chat template of the model.")
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    metavar="N",
    help="For tasks: decides which half of the items is held out until all is chosen.",
)
@click.option(
    "--method",
    metavar="NAME,...",
    callback=_names,
    help="Merge methods to compare, such as slack_ties,ties,task_arithmetic.  [that of the config]",
)
@numbers_option("--slack", "Values for the SFT model to try.  [0,0.05,0.1,0.15,0.2,0.3,0.4]")
@numbers_option("--density", "Values for all models to try.  [as in the config]")
@numbers_option(
    "--weight",
    "Values for the SFT model to try.  [as in the config; 0.5,1,1.5 for methods without slack]",
)
@numbers_option("--ct-weight", "Values for the CT model to try.  [as in the config]")
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    metavar="N",
    help="Let Optuna choose N candidates within the range of these values.",
)
@click.option(
    "-o", "--output", type=PATH, help="File for the best config.  [CONFIG-tuned-METRIC.yml]"
)
@click.option(
    "--study", type=PATH, help="File that records the results.  [CONFIG-tune-METRIC.json]"
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace the file for the best config, and the page, even if tune did not write "
    "them, or if the best config was edited.",
)
@allow_unrelated
@download_options
@with_settings
def tune(  # noqa: PLR0913 - one per option
    *,
    config: Path,
    metric: str,
    text: Path | None,
    text_sft: Path | None,
    include: tuple[Path, ...],
    limit: int | None,
    fewshot: int | None,
    batch_size: str,
    chat_template: bool,
    seed: int,
    method: tuple[str, ...],
    slack: tuple[float, ...],
    density: tuple[float, ...],
    weight: tuple[float, ...],
    ct_weight: tuple[float, ...],
    trials: int | None,
    output: Path | None,
    study: Path | None,
    overwrite: bool,
    as_json: bool,
    settings: Settings,
) -> None:
    """Search for a method, slack, density and weight, and write the best config.

    It merges candidates in memory, several in one pass over the models, and writes no candidate
    to disk. `kept` looks at the weights only: a candidate scores high if the merge keeps the
    most important parameters of both the CT and the SFT models. `perplexity` runs each candidate
    on your own texts. Neither measures how well a model does a task: name tasks for that. They
    need: pip install "slack-ties[eval]"

    Candidates are compared on one half of the items of each task. The best one and the config as
    it was are then scored once on the other half, and the table says whether they differ by more
    than chance.

    You can stop it at any time: the same command continues from the results so far.

    \b
    Examples:
      slack-ties tune merge_configs/bo.yml
      slack-ties tune merge_configs/bo.yml --metric perplexity --text tibetan.txt
      slack-ties tune merge_configs/bo.yml --slack 0,0.1,0.2 --density 0.4,0.6 --weight 1,1.25
      slack-ties tune merge_configs/bo.yml --metric belebele_bod_Tibt --ct-weight 0.7,0.85,1
      slack-ties tune merge_configs/bo.yml --metric tasks --method slack_ties,ties,task_arithmetic
    """
    from slack_ties.tuning.search import Search  # noqa: PLC0415 - heavy
    from slack_ties.tuning.tune import tune_config  # noqa: PLC0415 - heavy
    from slack_ties.tuning.tuned import tuned_as_json  # noqa: PLC0415 - heavy

    search = Search(slack or Search.slack, density, weight, ct_weight, trials or 0, method)
    found = tune_config(
        config,
        metric=metric,
        search=search,
        text=text,
        text_sft=text_sft,
        output=output,
        study=study,
        overwrite=overwrite,
        include=include,
        limit=limit,
        fewshot=fewshot,
        batch_size=batch_size,
        chat_template=chat_template,
        seed=seed,
        **vars(settings),
    )
    if as_json:
        print_json(tuned_as_json(found))
        return
    if not settings.quiet:
        click.echo(f"{found.as_text()}\n\nPicture: {found.page}")
    click.echo(found.config)
    if not settings.quiet:
        flags = download_flags(settings.download, settings.window)
        step = _next(found, config, flags, limited=limit is not None)
        say_next(step)


def _next(found: Tuned, config: Path, flags: list[str], *, limited: bool) -> str:
    """Return what to do after a search: merge its best config only if nothing speaks against it."""
    again = f"slack-ties tune {shlex.quote(str(config))}"
    if found.verdict.speaks_for_best:
        if found.metric == "perplexity" and len(found.best.parts) == 1:
            text = "a text of what the SFT model can do counts too with --text-sft FILE"
            return f"{again} --metric tasks  # or {text}"
        return " ".join(["slack-ties merge", shlex.quote(str(found.config)), "OUT", *flags])
    if not found.best.items:
        again = " ".join([again, *flags])
        return f"{again} --slack NUMBERS --weight NUMBERS  # other values: these make no difference"
    more = "more items: no --limit, and another --study" if limited else "tasks with more items"
    return f"{again} --metric TASKS  # other tasks, or {more}"

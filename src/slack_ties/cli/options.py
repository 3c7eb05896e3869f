"""The options that several commands share, each as one decorator."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from slack_ties.cli.group import command, prepare
from slack_ties.cli.timeout import timeout_option
from slack_ties.config.choices import Choices
from slack_ties.config.defaults import RECOMMENDED
from slack_ties.config.methods import METHODS
from slack_ties.licenses.known import Stated
from slack_ties.recipe.check import DTYPES
from slack_ties.settings import Settings

if TYPE_CHECKING:
    from mergekit.options import MergeOptions

__all__ = [
    "Numbers",
    "allow_unrelated",
    "as_json",
    "choices",
    "collection_option",
    "license_options",
    "numbers_option",
    "public_option",
    "quiet",
    "report_option",
    "update_option",
    "with_output",
    "with_settings",
]

F = TypeVar("F", bound=Callable[..., Any])


as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
quiet = click.option(
    "-q",
    "--quiet",
    is_flag=True,
    help="Print only the result and errors: no progress, warnings or next steps.",
)
allow_unrelated = click.option(
    "--allow-unrelated",
    is_flag=True,
    help="Accept models that do not seem to come from the same base.",
)


def with_output(function: F) -> F:
    """Add --quiet and --json, and turn our errors into exit code 1."""
    return quiet(as_json(command(function)))


def with_settings(function: F) -> F:
    """Add the options of every command that reads models; they arrive as `settings`, `as_json`.

    The options are --timeout, --quiet and --json; `MergeCommand` adds mergekit's own. If a command
    has --allow-unrelated, or the options of `download_options`, they are in the settings too.
    """

    @functools.wraps(function)
    def wrapper(
        *,
        allow_unrelated: bool = False,
        quiet: bool = False,
        merge_options: MergeOptions | None = None,
        download: bool | None = None,
        window: int | None = None,
        **others: Any,
    ) -> Any:
        quiet = prepare(merge_options, quiet=quiet)
        settings = Settings(
            merge_options,
            quiet=quiet,
            allow_unrelated=allow_unrelated,
            download=download,
            window=window,
        )
        return function(settings=settings, **others)

    return with_output(timeout_option(wrapper))  # type: ignore[return-value]


class Numbers(click.ParamType):  # type: ignore[type-arg]  # generic only in newer versions of click
    """A number, or numbers by role or language: 0.5, or ct=1,sft=0.5."""

    name = "numbers"

    def __init__(self, *, share: bool = False) -> None:
        """Accept any number; with `share`, only numbers from 0 to 1."""
        self.share = share

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | dict[str, float]:
        """Return one number, or a mapping."""
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]
        try:
            if "=" not in value:
                numbers = {"": float(value)}
            else:
                pairs = [pair.partition("=") for pair in value.split(",")]
                numbers = {key.strip(): float(number) for key, _, number in pairs}
                if len(numbers) < len(pairs):
                    self.fail(f"{value!r} names a role twice", param, ctx)
        except ValueError:
            self.fail(
                f"{value!r} is neither a number nor ROLE=NUMBER, such as ct=1,sft=0.5", param, ctx
            )
        for number in numbers.values() if self.share else ():
            if not 0 <= number <= 1:
                self.fail(f"{number:g} is not in the range 0 to 1", param, ctx)
        return numbers.get("", numbers)


def choices(function: F) -> F:
    """Add the options that choose models and parameters; they arrive as `choices`."""
    recommended = {name: str(value).lower() for name, value in RECOMMENDED.items()}
    numbers = functools.partial(click.option, multiple=True, metavar="NUMBER|ROLE=NUMBER")
    model = functools.partial(click.option, metavar="MODEL")
    options = [
        model("--base", help="Base model: a folder or a Hub id."),
        model(
            "--ct",
            multiple=True,
            help="CT model: the base, continually pre-trained on the language. One for each LANG.",
        ),
        model(
            "--sft",
            multiple=True,
            help="SFT model: the base, instruction-tuned in English. One or more.",
        ),
        numbers(
            "--weight",
            "--weights",
            type=Numbers(),
            help="Factor for the deltas of all models, or of one role (ct, sft) or language.  "
            f"[{recommended['weight']}]",
        ),
        numbers(
            "--density",
            type=Numbers(share=True),
            help=f"Share of each tensor's entries to keep, 0 to 1.  [{recommended['density']}]",
        ),
        numbers(
            "--slack",
            type=Numbers(share=True),
            help="Share of entries that vote first, 0 to 1; NUMBER alone is for the SFT model.  "
            f"[{recommended['slack']}]",
        ),
        click.option(
            "--normalize/--no-normalize",
            default=None,
            help=f"Divide by the sum of the weights that were added.  [{recommended['normalize']}]",
        ),
        click.option(
            "--lambda",
            "lambda_",
            type=float,
            metavar="NUMBER",
            help=f"Factor for the merged delta.  [{recommended['lambda']}]",
        ),
        click.option(
            "--method",
            metavar="NAME",
            help=f"Merge method: {', '.join(METHODS)}, or a name such as chat-vector; each has its "
            "own defaults. The file is named by mergekit's name: LANG-task_arithmetic.yml for "
            "chat-vector.  [slack_ties]",
        ),
        click.option(
            "--dtype",
            type=click.Choice(DTYPES),
            help="Type of the merged weights.  [type of the base]",
        ),
    ]

    options.append(
        click.option(
            "--language-name",
            metavar="NAME",
            help="English name of a language outside the catalogue, for the card.",
        )
    )

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        found = {"tokenizer", "sft_languages"}  # by `look_at_choices`
        names = [name for name in Choices.__dataclass_fields__ if name not in found]
        chosen = {name: kwargs.pop(name) for name in names}
        for name in ("weight", "density", "slack"):
            chosen[name] = _one_or_by_role(name, chosen[name])
        for name in ("ct", "sft"):
            chosen[name] = chosen[name] or None
        return function(*args, choices=Choices(**chosen), **kwargs)

    for option in reversed(options):
        wrapper = option(wrapper)
    return wrapper  # type: ignore[return-value]


def _one_or_by_role(
    name: str, given: tuple[float | dict[str, float], ...]
) -> float | dict[str, float] | None:
    """Return the values of a repeatable option as one number, or as a mapping."""
    mappings = [value for value in given if isinstance(value, dict)]
    if len(mappings) < len(given):
        if len(given) > 1:
            msg = f"--{name}: to give several values, write each as ROLE=NUMBER"
            raise click.UsageError(msg)
        return given[0]
    return {key: number for mapping in mappings for key, number in mapping.items()} or None


def numbers_option(flag: str, help_text: str) -> Callable[[F], F]:
    """Return an option of several numbers: 0,0.1,0.2."""

    def numbers(
        _ctx: click.Context, _param: click.Parameter, value: str | None
    ) -> tuple[float, ...]:
        try:
            return tuple(float(one) for one in value.split(",")) if value else ()
        except ValueError:
            msg = f"{value!r} is not a list of numbers, such as 0,0.1,0.2"
            raise click.BadParameter(msg) from None

    return click.option(flag, metavar="NUMBER,...", callback=numbers, help=help_text)


def license_options(function: F) -> F:
    """Add the options that state a licence; they arrive as `license`, a `Stated` or None."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        named = [kwargs.pop(f"license_{name}") for name in ("name", "link")]
        stated = kwargs.pop("license")
        if any(named) and stated != "other":
            msg = "--license-name and --license-link need --license other"
            raise click.UsageError(msg)
        kwargs["license"] = Stated(stated, *(text or "" for text in named)) if stated else None
        return function(*args, **kwargs)

    options = [
        click.option(
            "--license",
            metavar="ID",
            help="Licence of the merged model, as a Hub id such as llama2.  [from its parents]",
        ),
        click.option("--license-name", metavar="NAME", help="With --license other: its name."),
        click.option(
            "--license-link",
            metavar="URL",
            help="With --license other: a link to its text, or LICENSE for the file in the folder.",
        ),
    ]
    for option in reversed(options):
        wrapper = option(wrapper)
    return wrapper  # type: ignore[return-value]


public_option = click.option(
    "--public/--private",
    default=None,
    help="Visibility of a new repository; an existing one keeps its own.  [private]",
)

report_option = click.option(
    "--report",
    is_flag=True,
    help="Write report.json and report.html: what the merge keeps and loses.",
)

update_option = click.option(
    "--update",
    is_flag=True,
    help="Overwrite a repository that was made from a different recipe.",
)

collection_option = click.option(
    "--collection", default="", metavar="TITLE|SLUG", help="Add the model to this collection."
)

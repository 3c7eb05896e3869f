"""Which commands need a package that is not installed?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from slack_ties.batch.slurm.send import check_submitit
from slack_ties.doctor.finding import NOTE, OK, Finding
from slack_ties.errors import SlackTiesError
from slack_ties.harness.extra import check_lm_eval
from slack_ties.report.pictures import check_plot
from slack_ties.tuning.search import check_optuna

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["EXTRAS", "look_at_extras"]

# The extras of pyproject.toml: what checks each, and which commands need it.
EXTRAS: dict[str, tuple[Callable[[], object], str]] = {
    "eval": (check_lm_eval, "`evaluate`, `tune --metric` by tasks"),
    "plot": (check_plot, "`report --pictures`"),
    "slurm": (check_submitit, "`batch --on slurm`"),
    "tune": (check_optuna, "`tune --trials`"),
}


def look_at_extras() -> Iterator[Finding]:
    """Yield whether each extra is installed."""
    for name, (check, commands) in EXTRAS.items():
        facts = {"commands": commands.replace("`", "")}
        try:
            check()
        except SlackTiesError as error:
            yield Finding(name, NOTE, f"{error}; for {commands}", error.hint, facts)
        except Exception as error:  # noqa: BLE001 - a package that does not fit to another one
            text = f"cannot be imported: {type(error).__name__}: {error}; for {commands}"
            hint = f'pip install --force-reinstall "slack-ties[{name}]"'
            yield Finding(name, NOTE, text, hint, facts)
        else:
            yield Finding(name, OK, f"installed, for {commands}", facts=facts)

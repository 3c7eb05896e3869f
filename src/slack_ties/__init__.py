"""Give a language its own LLM by merging: mergekit's `slack_ties` and the commands around it.

Every name below is loaded when it is first used, because Python imports this
file at each start of an environment that has slack-ties (see `_mergekit_hook.py`).
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from slack_ties.card import write_card
    from slack_ties.compare import compare_merges
    from slack_ties.config import Choices, write_configs
    from slack_ties.errors import SlackTiesError
    from slack_ties.languages import list_languages
    from slack_ties.merge import merge_models
    from slack_ties.method import slack_ties_merge
    from slack_ties.plan import plan_merge
    from slack_ties.publish import publish_model
    from slack_ties.recipes import adapt_recipe, pull_recipe, search_recipes
    from slack_ties.report import make_report
    from slack_ties.run import run_all
    from slack_ties.tune import tune_config
    from slack_ties.verify import verify_model

__all__ = [
    "Choices",
    "SlackTiesError",
    "adapt_recipe",
    "compare_merges",
    "list_languages",
    "make_report",
    "merge_models",
    "plan_merge",
    "publish_model",
    "pull_recipe",
    "run_all",
    "search_recipes",
    "slack_ties_merge",
    "tune_config",
    "verify_model",
    "write_card",
    "write_configs",
]

# Functions are not named like their modules: `slack_ties.merge` would turn from
# function into module as soon as anything imports slack_ties/merge.py.
_HOME = {
    "Choices": "config",
    "SlackTiesError": "errors",
    "adapt_recipe": "recipes",
    "compare_merges": "compare",
    "list_languages": "languages",
    "make_report": "report",
    "merge_models": "merge",
    "plan_merge": "plan",
    "publish_model": "publish",
    "pull_recipe": "recipes",
    "run_all": "run",
    "search_recipes": "recipes",
    "slack_ties_merge": "method",
    "tune_config": "tune",
    "verify_model": "verify",
    "write_card": "card",
    "write_configs": "config",
}


def __getattr__(name: str) -> object:
    """Import a public name on first use (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - keeps start-up instant

        return version("slack-ties")
    if name not in _HOME:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module  # noqa: PLC0415 - keeps start-up instant

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    """Show the lazy names to dir() and to tab completion."""
    return [*__all__, "__version__"]

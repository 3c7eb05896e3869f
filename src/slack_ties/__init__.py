"""Give a language its own LLM by merging: mergekit's `slack_ties` and the commands around it.

Every name below is loaded on first use, because Python imports this file at every start
in an environment with slack-ties (see `_mergekit_hook.py`).
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from slack_ties.card.write import write_card
    from slack_ties.config.choices import Choices
    from slack_ties.config.write import write_configs
    from slack_ties.doctor.check import check_installation
    from slack_ties.errors import SlackTiesError
    from slack_ties.evaluating.evaluate import evaluate_merge
    from slack_ties.explore.compare import compare_merges
    from slack_ties.explore.report import make_report
    from slack_ties.exporting.export import export_model
    from slack_ties.hub.log_in import log_in
    from slack_ties.hub.retries import Retries
    from slack_ties.licenses.known import Stated
    from slack_ties.merge.merge import merge_models
    from slack_ties.plan.languages import list_languages
    from slack_ties.plan.make import plan_merge
    from slack_ties.publish.destination import Destination
    from slack_ties.publish.publish import publish_model
    from slack_ties.rule.definition import slack_ties_merge
    from slack_ties.run import run_all
    from slack_ties.sharing.adapt import adapt_recipe
    from slack_ties.sharing.pull import pull_recipe
    from slack_ties.sharing.search import search_recipes
    from slack_ties.sharing.verify import verify_model
    from slack_ties.trying.try_prompts import try_prompts
    from slack_ties.tuning.search import Search
    from slack_ties.tuning.tune import tune_config

__all__ = [
    "Choices",
    "Destination",
    "Retries",
    "Search",
    "SlackTiesError",
    "Stated",
    "adapt_recipe",
    "check_installation",
    "compare_merges",
    "evaluate_merge",
    "export_model",
    "list_languages",
    "log_in",
    "make_report",
    "merge_models",
    "plan_merge",
    "publish_model",
    "pull_recipe",
    "run_all",
    "search_recipes",
    "slack_ties_merge",
    "try_prompts",
    "tune_config",
    "verify_model",
    "write_card",
    "write_configs",
]

# No public function has the name of a sub-package: if code imports slack_ties/merge/, the name
# `slack_ties.merge` becomes that package.
_HOME = {
    "Choices": "config.choices",
    "SlackTiesError": "errors",
    "Stated": "licenses.known",
    "Search": "tuning.search",
    "Retries": "hub.retries",
    "Destination": "publish.destination",
    "adapt_recipe": "sharing.adapt",
    "check_installation": "doctor.check",
    "compare_merges": "explore.compare",
    "evaluate_merge": "evaluating.evaluate",
    "export_model": "exporting.export",
    "list_languages": "plan.languages",
    "log_in": "hub.log_in",
    "make_report": "explore.report",
    "merge_models": "merge.merge",
    "plan_merge": "plan.make",
    "publish_model": "publish.publish",
    "pull_recipe": "sharing.pull",
    "run_all": "run",
    "search_recipes": "sharing.search",
    "slack_ties_merge": "rule.definition",
    "try_prompts": "trying.try_prompts",
    "tune_config": "tuning.tune",
    "verify_model": "sharing.verify",
    "write_card": "card.write",
    "write_configs": "config.write",
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

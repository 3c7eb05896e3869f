"""Plan a merge: what it would do, what it costs, and what is wrong with it.

`slack-ties plan` calls this; `merge` and `run` call it before they begin. It reads configs,
tokenizers, cards and the headers of weight files. It reads at most some KB of the weights, to
check whether the models have a common ancestor.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from slack_ties.errors import visible
from slack_ties.hub.retries import READING
from slack_ties.hub.timeouts import timeouts
from slack_ties.licenses.resolve import resolve_license
from slack_ties.plan.ancestry import compare_ancestry
from slack_ties.plan.cost import Result, free_here, result_dtype, result_size
from slack_ties.plan.draft import Draft
from slack_ties.plan.heads import say_what_heads_become
from slack_ties.plan.method import check_method
from slack_ties.plan.models import look_at, planned_model
from slack_ties.plan.nothing import refuse_nothing
from slack_ties.plan.odd import say_what_is_alike, say_what_is_odd
from slack_ties.plan.parameters import merge_settings
from slack_ties.plan.shown import ShownPlan
from slack_ties.plan.structure import check_same, compare_structure, prove_result
from slack_ties.plan.tokens import chat_text, plan_vocabulary, vocabulary_text
from slack_ties.plan.unknown import unknown_facts, without_unknown
from slack_ties.plan.ways import choose_way, say_memory_is_short
from slack_ties.recipe.pin import add_section
from slack_ties.recipe.read import read_recipe
from slack_ties.recipe.recipe import Recipe
from slack_ties.record import Parent
from slack_ties.settings import Settings

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from slack_ties.settings import SettingsByName

__all__ = ["plan_merge", "plan_pinned"]

COSTS = ("disk", "download")


@timeouts(READING)
def plan_merge(
    config: str | Path | Recipe,
    *,
    out: str | Path | None = None,
    streamed: bool = False,
    writes: bool = True,
    **settings: Unpack[SettingsByName],
) -> ShownPlan:
    """Return what the merge of `config` would do, and all errors in it.

    Args:
        config: A merge config, or the path of one.
        out: The folder of the result, to check the free space; if not given, the current folder.
        streamed: Each weight file is uploaded and deleted when it is written.
        writes: The result is written; if not, only the download must fit on the disk, and the
            models may all be the base.
        settings: All of `Settings`, by name.

    Raises:
        RecipeError: The config cannot be read, or asks for something impossible. Errors of the
            models are in the plan's `errors`.

    """
    how = Settings(**settings)
    recipe = config if isinstance(config, Recipe) else read_recipe(config)
    draft = Draft(recipe, how)
    if recipe.method != "slack_ties":
        draft.warnings += check_method(recipe)
    look_at(draft)
    say_what_is_odd(draft)
    check_same(draft)
    if set(recipe.models) <= set(draft.headers):
        compare_structure(draft)
    section = plan_vocabulary(draft)
    dtype = result_dtype(draft)
    if draft.layout and not draft.errors:
        prove_result(draft, section, dtype)
        say_what_heads_become(draft, section, dtype)
    if draft.first in draft.headers and "models" in recipe.data:
        compare_ancestry(draft)
        say_what_is_alike(draft)
    if writes:
        refuse_nothing(draft)
    result = Result(section, dtype, result_size(draft, section), out, writes, streamed)
    free = free_here(out, how.cache)
    chat = chat_text(draft)
    unknown = unknown_facts(draft, chat)
    way = choose_way(draft, result, free["memory_free"], known=not unknown.keys() & {*COSTS})
    if "memory" not in unknown and way.cost["memory"] > free["memory_free"]:
        draft.warnings.append(say_memory_is_short(way, free["memory_free"]))
    models = tuple(planned_model(draft, name) for name in recipe.models if name in draft.looks)
    resolution = resolve_license(
        Parent(
            m.model,
            m.role,
            m.commits,
            m.license,
            adapter_license=m.adapter_license,
            made_from=m.parents,
        )
        for m in models
    )
    draft.warnings += resolution.warnings
    facts: dict[str, Any] = {
        "dtype": dtype,
        "parameters": result.parameters,
        "vocabulary": vocabulary_text(draft, section),
        "chat": chat,
        "license": resolution.license.key if resolution.license else "",
        "license_reason": resolution.reason,
        **{name: value for name, value in way.cost.items() if name != "cache"},
    }
    facts = {**without_unknown(facts, unknown), **free}
    return ShownPlan(
        config=recipe.where,
        method=recipe.method,
        languages=tuple(one.get("name") or one.get("tag", "") for one in recipe.facts.languages),
        models=models,
        settings=merge_settings(recipe),
        tokenizer=section.data if section else None,
        unknown=unknown,
        warnings=tuple(map(visible, draft.warnings)),
        license_warnings=tuple(map(visible, resolution.warnings)),
        errors=tuple(draft.errors),
        recipe=recipe,
        device=draft.settings.device,
        **way.facts,
        places=draft.places,
        **facts,
    )


def plan_pinned(config: str | Path | Recipe, **chosen: Any) -> ShownPlan:
    """Return the plan of `config`; add the tokenizer section if the config needs and lacks it.

    Arguments and errors are those of `plan_merge`. The plan's `pinned` returns the new config.
    """
    recipe = config if isinstance(config, Recipe) else read_recipe(config)
    plan = plan_merge(recipe, **chosen)
    given = recipe.data.get("tokenizer") or recipe.data.get("tokenizer_source")
    if given or not plan.tokenizer:
        return plan
    return plan_merge(add_section(recipe, plan.tokenizer), **chosen)

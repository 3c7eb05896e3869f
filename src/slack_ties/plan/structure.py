"""Check whether the models of a merge fit each other and the recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slack_ties.errors import CheckpointError, RecipeError
from slack_ties.models.entries import first_entries_alike
from slack_ties.models.header import check_shapes
from slack_ties.plan.configs import compare_configs
from slack_ties.plan.method import check_values
from slack_ties.plan.models import known_of
from slack_ties.plan.tokens import result_rows
from slack_ties.recipe.recipe import Recipe, reference
from slack_ties.tensors.known import know
from slack_ties.tensors.layout import Source, without_adapter
from slack_ties.tensors.make_layout import make_layout
from slack_ties.tensors.modules import stacks_of_modules
from slack_ties.tensors.origin import Proof
from slack_ties.tensors.result import layers_of_result, result_headers
from slack_ties.tensors.result_config import Changes, changed_config
from slack_ties.tensors.slices import check_slices

if TYPE_CHECKING:
    from collections.abc import Callable

    from slack_ties.plan.draft import Draft
    from slack_ties.tokenizer.section import Section

__all__ = ["check_same", "compare_structure", "prove_result"]


def check_same(draft: Draft) -> None:
    """Refuse a model under two names: mergekit would merge it once."""
    seen: dict[tuple[str, ...], str] = {}
    for name, looks in draft.looks.items():
        key = tuple(look.commit or str(look.folder.resolve()) for look in looks)
        other = seen.setdefault(key, name)
        if other != name:
            msg = f"{draft.recipe.where}: {other!r} and {name!r} are the same model"
            hint = "list it once, under one name, with the sum of the weights"
            draft.errors.append(RecipeError(msg, hint=hint))


def compare_structure(draft: Draft) -> None:
    """Find each tensor of the result in each model, or the reason why it is missing."""
    recipe, first = draft.recipe, draft.first
    allow_crimes = draft.settings.allow_crimes
    order = [first, *(name for name in recipe.models if name != first)]
    configs = {name: draft.configs[name] for name in order}
    errors, warnings = compare_configs(configs, allow_crimes=allow_crimes)
    draft.errors += errors
    draft.warnings += warnings
    if draft.errors or draft.incomplete:
        return
    try:
        known = {name: known_of(draft, name) for name in order}
    except CheckpointError as error:
        draft.errors.append(error)
        return
    sources = [
        Source(
            name,
            draft.configs[name],
            draft.headers[name],
            known[name],
            first_entries_alike(draft.looks[name][0], draft.headers[name], draft.settings.api),
            adapted=len(draft.looks[name]) > 1,
        )
        for name in order
    ]
    if len(draft.looks[first]) > 1:  # the result has the tensors of the model in its own folder
        plain = draft.plain[first]
        same = first_entries_alike(draft.looks[first][0], plain[1], draft.settings.api)
        sources.insert(0, Source(without_adapter(first), *plain, know(first, *plain), same))
    layout = make_layout(sources, allow_crimes=allow_crimes)
    draft.warnings += layout.notes
    if known[first] is None:
        kind = draft.configs[first]["architectures"][0]
        draft.warnings.append(
            f"transformers has no class {kind}: tensors are compared only by name, and we cannot "
            "check that the result loads"
        )
    draft.errors += layout.errors
    if layout.errors:
        return
    draft.layout = layout
    try:
        check_shapes(layout.found, vocabulary_may_differ=True, per_token=layout.vocabulary)
    except CheckpointError as error:
        draft.errors.append(error)
    check = _inputs_check(recipe)
    if "models" in recipe.data and check:
        names = [reference(part["model"]) for part in recipe.data["models"]]
        names += [recipe.base] if recipe.base and recipe.base not in names else []
        try:
            check(names, recipe.base, "models")
        except ValueError as error:
            draft.errors.append(RecipeError(f"{recipe.where}: {error}"))
    draft.errors += check_values(recipe, layout.tensors)
    if "models" not in recipe.data:
        modules, module_errors = stacks_of_modules(recipe, draft.configs[first], layout)
        draft.errors += module_errors or check_slices(recipe, layout, check, modules=modules)


def prove_result(draft: Draft, section: Section | None, dtype: str) -> None:
    """Refuse a merge if its result differs from the base and transformers could not load it."""
    layout, config = draft.layout, draft.plain[draft.first][0]
    layers, rows = layers_of_result(draft.recipe), result_rows(draft, section)
    sliced = any(
        module.get("slices") for module in (draft.recipe.data.get("modules") or {}).values()
    )
    if layout is None or not (layers or rows or sliced or layout.ties is not None):
        return
    before = next((layout.tensors[n].shape[a] for n, a in layout.vocabulary.items()), 0)
    for name, found in layout.found.items() if rows else ():
        counts = {found[n].shape[a] for n, a in layout.vocabulary.items() if n in found}
        if len(counts) > 1:
            msg = f"{name!r} has tensors of {' and '.join(map(str, sorted(counts)))} tokens, which "
            msg += "mergekit's tokenizer section cannot align"
            hint = "if all vocabularies are the same, remove the tokenizer section"
            draft.errors.append(CheckpointError(msg, hint=hint))
            return
    modules, _ = stacks_of_modules(draft.recipe, config, layout)
    headers = result_headers(draft.recipe, layout, rows, modules=modules)
    pair = (before, rows) if rows and rows != before else None
    config = changed_config(config, Changes(dtype, pair, layers, ties=layout.ties))
    try:
        known = know("the merged model", config, headers)
        problem = known.prove(headers) if known else Proof()
    except CheckpointError as error:
        draft.errors.append(error)
        return
    if what := problem.wrong or ", ".join(problem.missing[:1]):
        msg = f"transformers could not load the merged model: {what}"
        draft.errors.append(CheckpointError(msg, hint="use models: without slices or modules"))


def _inputs_check(recipe: Recipe) -> Callable[[list[str], str, str], None] | None:
    """Return mergekit's check of the inputs of a method; None for our own method."""
    if recipe.method == "slack_ties":
        return None
    from mergekit import merge_methods  # noqa: PLC0415 - `check_method` has imported it

    method = merge_methods.get(recipe.method)
    return lambda names, base, group: method.validate_inputs(names, base or None, group_name=group)

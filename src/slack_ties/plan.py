"""Know before you merge: what will be merged, what it costs, and what is wrong with it.

`slack-ties plan` calls this, and `merge` and `run` do before they begin. It reads configs,
tokenizers, cards, and the headers of weight files; of the weights themselves at most some KB,
to see whether the models have a common ancestor.
"""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slack_ties.adapter import read_adapter
from slack_ties.ancestry import FAR, UNRELATED, Likeness, compare_weights
from slack_ties.checkpoint import (
    ENTRY_BYTES,
    PER_TOKEN,
    Header,
    check_shapes,
    main_type,
    model_config,
    placed,
    read_headers,
    read_headers_of_file,
    read_headers_of_shard,
)
from slack_ties.errors import (
    CheckpointError,
    OutputError,
    RecipeError,
    SlackTiesError,
    nearest,
    visible,
)
from slack_ties.hub import Look, descends, hub_errors, look_at_model, open_weights, split_reference
from slack_ties.layers import layer_place
from slack_ties.layout import Layout, Source, know, make_layout, without_adapter
from slack_ties.licenses import resolve_license
from slack_ties.origin import Proof
from slack_ties.pin import add_section, one_line, pin_recipe, used_versions
from slack_ties.recipe import Recipe, check_parameter_names, places, read_recipe, reference
from slack_ties.record import Parent
from slack_ties.result_config import Changes, changed_config
from slack_ties.structure import (
    check_slices,
    compare_configs,
    first_entries_alike,
    layers_of_result,
    result_headers,
    stacks_of_modules,
    zeros_of,
)
from slack_ties.tokenizer_files import named_template, template_names
from slack_ties.vocabulary import (
    Section,
    Vocabulary,
    choose_section,
    read_template,
    read_vocabulary,
)
from slack_ties.weight_index import Weights, is_lfs_pointer, lfs_error

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from mergekit.options import MergeOptions

    from slack_ties.origin import Known

__all__ = ["Plan", "PlannedModel", "nearest_folder", "plan_merge", "plan_pinned", "size"]

LOG = logging.getLogger("slack_ties")

SHARD = 1_000_000_000  # bytes of a file of the result, unless an option says otherwise
# What a merge takes beside tensors: Python, torch, transformers and mergekit.
# Measured with the CPU build of torch 2.13.0: see benchmarks/README.md.
PROCESS = 350_000_000


@dataclass(frozen=True)
class PlannedModel:
    """One model of a merge, as it is known before its weights are read."""

    model: str  # as the config names it
    role: str = ""  # base, ct, sft or not known
    commits: tuple[str, ...] = ()  # of the Hub, of the model and of its adapter; or empty
    architecture: str = ""
    dtype: str = ""  # the widest of its tensors
    parameters: int = 0
    format: str = ""  # safetensors or .bin
    bytes: int = 0  # of its weight files
    download: int = 0  # of these, what is not on this disk
    tokens: int = 0  # in its tokenizer that the embedding has a row for; 0: no tokenizer
    license: str = ""
    adapter_license: str = ""
    adapter: str = ""  # how much of the model its adapter changes
    gated: bool = False
    parents: tuple[str, ...] = ()  # base_model, as its card says
    likeness: Likeness | None = None  # of its entries to the base's


@dataclass(frozen=True)
class Plan:
    """What a merge would do."""

    config: str  # its path
    method: str
    languages: tuple[str, ...]
    models: tuple[PlannedModel, ...]
    dtype: str = ""  # of the result
    parameters: int = 0
    vocabulary: str = ""  # whose tokens the result has, for people
    tokenizer: Mapping[str, Any] | None = None  # mergekit's section; None if none is needed
    chat: str = ""  # where its chat template and special tokens come from
    license: str = ""  # of the merged model; empty if it does not follow from its models'
    license_reason: str = ""
    download: int = 0  # bytes
    disk: int = 0  # bytes, of the result and of what is made on the way
    disk_free: int = 0
    memory: int = 0  # bytes at the peak, without what the system caches of files; an estimate
    memory_free: int = 0
    device: str = "cpu"
    device_memory: int = 0  # bytes at least, on a device other than the CPU
    warnings: tuple[str, ...] = ()
    errors: tuple[SlackTiesError, ...] = ()
    recipe: Recipe | None = field(default=None, repr=False)  # as it was given

    @property
    def space(self) -> tuple[int, int]:
        """Bytes of the disk that are needed, and that are free."""
        return self.disk, self.disk_free

    def pinned(self, options: Mapping[str, Any] | None = None) -> Recipe:
        """Return the config with the commits that were planned, and the versions here.

        Raises:
            SlackTiesError: There are errors: not all commits are known.

        """
        self.check()
        if self.recipe is None:
            msg = f"{self.config}: this plan has no config"
            raise RecipeError(msg)
        return pin_recipe(self.recipe, {m.model: m.commits for m in self.models}, options)

    def __str__(self) -> str:
        return self.as_text()

    def as_json(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        data = {
            name: getattr(self, name)
            for name in self.__dataclass_fields__
            if name not in {"errors", "recipe", "models"}
        }
        errors = [{"message": str(e), "next": e.hint} for e in self.errors]
        models = [
            {**vars(m), "likeness": vars(m.likeness) if m.likeness else None} for m in self.models
        ]
        return {**data, "models": models, "errors": errors, "versions": used_versions()}

    def as_text(self) -> str:
        """Return what a person reads."""
        return "\n".join(map(visible, _text(self)))

    def check(self) -> None:
        """Raise the first error, if there is one."""
        if not self.errors:
            return
        first, *others = self.errors
        if others:
            s = "s" * (len(others) > 1)
            hint = f"{first.hint}; " if first.hint else ""
            hint += f"{len(others)} more error{s}: slack-ties plan {self.config}"
            raise type(first)(str(first), hint=hint)
        raise first


@dataclass
class _Draft:
    """What is known so far, while a plan is made."""

    recipe: Recipe
    looks: dict[str, list[Look]] = field(default_factory=dict)
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    headers: dict[str, dict[str, Header]] = field(default_factory=dict)
    words: dict[str, Vocabulary | None] = field(default_factory=dict)
    # Of each model without its adapter: its config and its headers.
    plain: dict[str, tuple[dict[str, Any], dict[str, Header]]] = field(default_factory=dict)
    kinds: dict[str, Known | None] = field(default_factory=dict)
    adapters: dict[str, str] = field(default_factory=dict)  # what they change, for people
    layout: Layout | None = None  # None if it is not known
    dark: bool = False  # a weight file cannot be looked into before it is downloaded
    likeness: dict[str, Likeness] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    errors: list[SlackTiesError] = field(default_factory=list)

    @property
    def first(self) -> str:
        """The model that the others must fit: the base, or the first where there is none."""
        return self.recipe.base or self.recipe.models[0]


def plan_merge(  # noqa: PLR0913 - all by name
    config: str | Path | Recipe,
    *,
    out: str | Path | None = None,
    options: MergeOptions | None = None,
    api: HfApi | None = None,
    allow_unrelated: bool = False,
    streamed: bool = False,
) -> Plan:
    """Return what the merge of `config` would do, and everything that is wrong with it.

    Args:
        config: A merge config, or the path of one.
        out: Where the result would go, to see what is free there; the current folder if not
            given.
        options: mergekit's own.
        api: The Hub client; the default one if not given.
        allow_unrelated: Only warn of models whose weights have nothing in common.
        streamed: Weight files leave this disk as they are written.

    Raises:
        RecipeError: The config cannot be read, or says something that cannot be done. What
            is wrong with the models is in the plan's `errors`.

    """
    recipe = config if isinstance(config, Recipe) else read_recipe(config)
    if recipe.method != "slack_ties":
        _check_method(recipe)
    draft = _Draft(recipe)
    for name in recipe.models:
        try:
            _look(draft, name, api, options)
        except SlackTiesError as error:
            draft.errors.append(error)
    _say_what_is_odd(draft)
    _check_same(draft)
    if set(recipe.models) <= set(draft.headers):
        _compare_structure(draft, api, allow_crimes=bool(options and options.allow_crimes))
    section = _plan_vocabulary(draft, options)
    dtype = _result_dtype(draft)
    if draft.layout and not draft.errors:
        _prove_result(draft, section, dtype)
    if recipe.base in draft.headers and "models" in recipe.data:
        _compare_ancestry(draft, api, allow_unrelated=allow_unrelated)
    parameters = _result_size(draft, section)
    cost = _cost(draft, section, dtype, parameters, options, streamed=streamed)
    free = _free(out)
    if cost["disk"] > free["disk_free"]:
        there = str(nearest_folder(Path(out or "OUT")))
        msg = f"the merged model needs {size(cost['disk'])}, {there!r} has "
        msg += f"{size(free['disk_free'])} free"
        hint = "free some space, or choose a folder on another disk"
        draft.errors.append(OutputError(msg, hint=hint))
    if cost["memory"] > free["memory_free"]:
        draft.warnings.append(
            f"about {size(cost['memory'])} of memory are needed and {size(free['memory_free'])} "
            "are free: close other programs, or make the files of the result smaller "
            "(--out-shard-size 500M)"
        )
    models = tuple(_model(draft, name) for name in recipe.models if name in draft.looks)
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
    return Plan(
        config=recipe.where,
        method=recipe.method,
        languages=tuple(one.get("name") or one.get("tag", "") for one in recipe.facts.languages),
        models=models,
        dtype=dtype,
        parameters=parameters,
        vocabulary=_vocabulary_text(draft, section),
        tokenizer=section.data if section else None,
        chat=_chat_text(draft),
        license=resolution.license.key if resolution.license else "",
        license_reason=resolution.reason,
        warnings=tuple(map(visible, draft.warnings)),
        errors=tuple(draft.errors),
        recipe=recipe,
        device=options.device if options else "cpu",
        **cost,
        **free,
    )


def plan_pinned(config: str | Path | Recipe, **chosen: Any) -> Plan:
    """Return the plan of `config` with the tokenizer section that it needs, if it has none.

    Arguments and errors as for `plan_merge`; the plan's `pinned` is what to write.
    """
    recipe = config if isinstance(config, Recipe) else read_recipe(config)
    plan = plan_merge(recipe, **chosen)
    told = recipe.data.get("tokenizer") or recipe.data.get("tokenizer_source")
    if told or not plan.tokenizer:
        return plan
    return plan_merge(add_section(recipe, plan.tokenizer), **chosen)


# What each model is


def _look(draft: _Draft, name: str, api: HfApi | None, options: MergeOptions | None) -> None:
    """Learn what can be known of one model, and of its adapter if it has one."""
    cache = options.transformers_cache if options else None
    looks = [
        look_at_model(path, revision, api=api, cache=cache)
        for path, revision in split_reference(name)
    ]
    draft.looks[name] = looks
    draft.configs[name] = model_config(looks[0].folder, name)
    if not looks[0].weights:
        read_headers(looks[0].folder, name)  # says what is missing
    draft.warnings += [look.note for look in looks if look.note]
    draft.headers[name] = _headers(draft, looks[0], name, api)
    draft.plain[name] = (draft.configs[name], draft.headers[name])
    adapter = looks[1].folder if len(looks) > 1 else None
    draft.words[name] = read_vocabulary(looks[0].folder, name, adapter=adapter)
    for adapter_look in looks[1:]:
        _check_adapter(draft, name, adapter_look, api)


def _untie(draft: _Draft, name: str, heads: list[str]) -> None:
    """Know that a model has a head of its own once its adapter is merged into it."""
    config, headers = draft.configs[name], draft.headers[name]
    known = draft.kinds.pop(name)
    for head in heads:
        group = next((group for group in known.tied if head in group), ()) if known else ()
        embedding = next((one for one in group if one in headers), None)
        if embedding:
            draft.headers[name] = {**headers, head: headers[embedding]}
            draft.configs[name] = {**config, "tie_word_embeddings": False}


def _known(draft: _Draft, name: str) -> Known | None:
    """Return what transformers knows of a model."""
    if name not in draft.kinds:
        draft.kinds[name] = know(name, draft.configs[name], draft.headers[name])
    return draft.kinds[name]


def _headers(draft: _Draft, look: Look, name: str, api: HfApi | None) -> dict[str, Header]:
    if not look.missing:
        return read_headers(look.folder, name)
    weights = look.chosen or Weights(tuple(look.weights))
    found: dict[str, dict[str, Header]] = {}
    from huggingface_hub import HfApi  # noqa: PLC0415 - not for local folders

    for file in look.weights:
        with hub_errors(f"model {name!r}", api or HfApi()), open_weights(look, file, api) as opened:
            try:
                found[file] = read_headers_of_file(opened, file, name)
            except CheckpointError:
                if file.endswith(".safetensors"):
                    raise
                # PyTorch's old format, or more than tensors: known once it is here.
                draft.warnings.append(
                    f"{name}: {file} cannot be looked into before it is downloaded"
                )
    draft.dark |= len(found) < len(look.weights)
    return placed(weights, found, name)


def _check_adapter(draft: _Draft, name: str, adapter: Look, api: HfApi | None) -> None:
    import json  # noqa: PLC0415

    try:
        config = json.loads((adapter.folder / "adapter_config.json").read_text(encoding="utf-8"))
        kind = config["peft_type"]
    except (OSError, ValueError, KeyError, TypeError):
        if is_lfs_pointer(adapter.folder / "adapter_config.json"):
            raise lfs_error(name, "adapter_config.json") from None
        if (adapter.folder / "adapter_config.json").is_file():
            msg = f"model {name!r}: adapter_config.json of {adapter.path!r} is damaged or names no "
            msg += "peft_type"
            raise CheckpointError(msg, hint="get that file again") from None
        msg = f"model {name!r}: {adapter.path!r} is no adapter, expected one with an "
        raise CheckpointError(msg + "adapter_config.json, as PEFT writes it") from None
    if kind != "LORA":
        msg = f"model {name!r}: {adapter.path!r} is an adapter of type {kind!r}, expected LORA"
        raise CheckpointError(msg)
    if not adapter.weights:
        msg = f"model {name!r}: {adapter.path!r} has no adapter_model.safetensors or .bin"
        raise CheckpointError(msg)
    file = next(iter(adapter.weights))
    with open_weights(adapter, file, api) as opened:
        headers = (
            read_headers_of_file(opened, file, f"{name} (its adapter)")
            if file in adapter.missing
            else read_headers_of_shard(adapter.folder / file, f"{name} (its adapter)")
        )
    known = _known(draft, name)
    found = read_adapter(
        name,
        config=config,
        headers=headers,
        model=draft.headers[name],
        zeros=zeros_of(adapter, headers, api),
        modules=known.state.keys() if known else None,
        tied=bool(known and any(known.heads & group for group in known.tied)),
    )
    draft.adapters[name] = found.as_text()
    draft.warnings += [f"{name}: {warning}" for warning in found.warnings]
    if known and found.whole and not config.get("ensure_weight_tying"):
        groups = {head: next((g for g in known.tied if head in g), ()) for head in known.heads}
        _untie(draft, name, [head for head in groups if {head, *groups[head]} & {*found.whole}])
    made_for = str(config.get("base_model_name_or_path") or "")
    here = split_reference(name)[0][0]
    if made_for and Path(made_for).name.lower() != Path(here).name.lower():
        draft.warnings.append(f"{adapter.path} says it was made for {made_for}, not for {here}")


def _model(draft: _Draft, name: str) -> PlannedModel:
    look, *adapters = draft.looks[name]
    headers = draft.headers.get(name, {})
    words = draft.words.get(name)
    architectures = draft.configs.get(name, {}).get("architectures") or [""]
    weights = next(iter(look.weights), "")
    return PlannedModel(
        model=name,
        role=draft.recipe.role(name),
        commits=tuple(part.commit for part in draft.looks[name]),
        architecture=str(architectures[0]),
        dtype=main_type(headers) if headers else "",
        parameters=sum(header.size for header in headers.values()),
        format="safetensors" if weights.endswith(".safetensors") else ".bin" if weights else "",
        bytes=sum(sum(part.weights.values()) for part in draft.looks[name]),
        download=sum(part.download for part in (look, *adapters)),
        tokens=len(words.tokens) if words else 0,
        license=look.card.license or draft.recipe.facts.licenses.get(name, ""),
        adapter_license=adapters[0].card.license if adapters else "",
        adapter=draft.adapters.get(name, ""),
        gated=any(part.gated for part in draft.looks[name]),
        parents=look.card.made_from,
        likeness=draft.likeness.get(name),
    )


def _say_what_is_odd(draft: _Draft) -> None:
    """Warn of branches that moved, of other versions, and of inputs that change nothing."""
    for looks in draft.looks.values():
        for look in looks:
            if look.head:
                draft.warnings.append(
                    f"{look.path} is pinned at {look.commit[:7]}, and its main has moved on to "
                    f"{look.head[:7]}: look there for what changed"
                )
    recipe, facts = draft.recipe, draft.recipe.facts
    listed = [reference(part["model"]) for part in recipe.data.get("models") or ()]
    if recipe.method == "slack_ties" and recipe.base in listed:
        draft.warnings.append(f"{recipe.base} is the base itself: it has no change to add")
    weights = [
        {**(recipe.data.get("parameters") or {}), **(part.get("parameters") or {})}.get("weight")
        for part in recipe.data.get("models") or ()
    ]
    if weights and not any(weights) and None not in weights:
        draft.warnings.append("all weights are 0: the result is the base")
    here = used_versions()
    other = {
        f"{name} {there} (here {here[name]})"
        for name, there in facts.versions.items()
        if name in here and here[name] != there
    }
    if other:
        draft.warnings.append(
            f"this config was made with {', '.join(sorted(other))}: the bytes may differ"
        )


# Whether they fit


def _check_same(draft: _Draft) -> None:
    """Refuse a model under two names: mergekit would take it once."""
    seen: dict[tuple[str, ...], str] = {}
    for name, looks in draft.looks.items():
        key = tuple(look.commit or str(look.folder.resolve()) for look in looks)
        other = seen.setdefault(key, name)
        if other != name:
            msg = f"{draft.recipe.where}: {other!r} and {name!r} are the same model"
            hint = "list it once, under one name, with the sum of the weights"
            draft.errors.append(RecipeError(msg, hint=hint))


def _check_method(recipe: Recipe) -> None:
    """Refuse a method that mergekit does not have, and parameters that the method does not."""
    from mergekit import merge_methods  # noqa: PLC0415 - seconds to import

    import slack_ties.method  # noqa: F401, PLC0415 - so that it is named as the nearest

    methods = {method.spec.name: method.spec for method in merge_methods.registered_methods()}
    if recipe.method not in methods:
        msg = f"{recipe.where}: unknown merge method {recipe.method!r}."
        raise RecipeError(msg + nearest(recipe.method, list(methods)))
    known = [parameter.name for parameter in methods[recipe.method].parameters]
    check_parameter_names(recipe, known)


def _compare_structure(draft: _Draft, api: HfApi | None, *, allow_crimes: bool) -> None:
    """Find where each tensor of the result is in each model, or why it cannot be."""
    recipe, first = draft.recipe, draft.first
    order = [first, *(name for name in recipe.models if name != first)]
    configs = {name: draft.configs[name] for name in order}
    errors, warnings = compare_configs(configs, allow_crimes=allow_crimes)
    draft.errors += errors
    draft.warnings += warnings
    if draft.errors or draft.dark:
        return
    try:
        kinds = {name: _known(draft, name) for name in order}
    except CheckpointError as error:
        draft.errors.append(error)
        return
    sources = [
        Source(
            name,
            draft.configs[name],
            draft.headers[name],
            kinds[name],
            first_entries_alike(draft.looks[name][0], draft.headers[name], api),
        )
        for name in order
    ]
    if len(draft.looks[first]) > 1:  # what lies in its own folder says what the result has
        plain = draft.plain[first]
        sources.insert(0, Source(without_adapter(first), *plain, know(first, *plain)))
    layout = make_layout(sources, allow_crimes=allow_crimes)
    draft.warnings += layout.notes
    if kinds[first] is None:
        kind = draft.configs[first]["architectures"][0]
        draft.warnings.append(
            f"transformers has no class {kind}: tensors are compared by name alone, and that the "
            "result loads is not proved"
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
    if "models" not in recipe.data:
        modules, module_errors = stacks_of_modules(recipe, draft.configs[first], layout)
        draft.errors += module_errors or check_slices(recipe, layout, check, modules=modules)


def _prove_result(draft: _Draft, section: Section | None, dtype: str) -> None:
    """Refuse a merge whose result, if it is not as the base, transformers could not load."""
    layout, config = draft.layout, draft.plain[draft.first][0]
    layers, rows = layers_of_result(draft.recipe), _result_rows(draft, section)
    sliced = any(
        module.get("slices") for module in (draft.recipe.data.get("modules") or {}).values()
    )
    if layout is None or not (layers or rows or sliced or layout.untied):
        return
    before = next((layout.tensors[n].shape[a] for n, a in layout.vocabulary.items()), 0)
    for name, found in layout.found.items() if rows else ():
        counts = {found[n].shape[a] for n, a in layout.vocabulary.items() if n in found}
        if len(counts) > 1:
            msg = f"{name!r} has tensors of {' and '.join(map(str, sorted(counts)))} tokens, which "
            msg += "mergekit's tokenizer section cannot align"
            hint = "are all vocabularies the same? Then leave the tokenizer section out"
            draft.errors.append(CheckpointError(msg, hint=hint))
            return
    modules, _ = stacks_of_modules(draft.recipe, config, layout)
    headers = result_headers(draft.recipe, layout, rows, modules=modules)
    pair = (before, rows) if rows and rows != before else None
    config = changed_config(config, Changes(dtype, pair, layers, untied=layout.untied))
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
    """Return mergekit's check of the models that a method is given; None for our own method."""
    if recipe.method == "slack_ties":
        return None
    from mergekit import merge_methods  # noqa: PLC0415 - `_check_method` has imported it

    method = merge_methods.get(recipe.method)
    return lambda names, base, group: method.validate_inputs(names, base or None, group_name=group)


def _compare_ancestry(draft: _Draft, api: HfApi | None, *, allow_unrelated: bool) -> None:
    """Find models that were not trained from the declared base."""
    if draft.errors:
        return
    base = draft.recipe.base
    base_look = draft.looks[base][0]
    others = {
        name: (look, headers)
        for name, headers in draft.headers.items()
        for look in draft.looks[name][:1]
        if name != base
        # The cards may say so; then weights that are not here need not be fetched for it.
        and not ((look.missing or base_look.missing) and descends(look, base_look, api))
    }
    try:
        draft.likeness = compare_weights((base_look, draft.headers[base]), others, api)
    except CheckpointError as error:  # a .bin file that can be merged, but not looked into
        draft.warnings.append(f"whether the models have a common ancestor is not known: {error}")
    except SlackTiesError as error:
        draft.errors.append(error)
    for name, found in draft.likeness.items():
        measure = f"(cosine {found.cosine:.2f}: 1 is the same model, 0 an unrelated one)"
        if found.cosine < UNRELATED:
            msg = f"the weights of {name!r} have nothing in common with the base {base!r} "
            msg += f"{measure}, expected a model that was trained from it"
            hint = "is base_model right? To merge all the same: --allow-unrelated"
            if allow_unrelated:
                draft.warnings.append(msg)
            else:
                draft.errors.append(CheckpointError(msg, hint=hint))
        elif found.cosine < FAR:
            draft.warnings.append(
                f"the weights of {name!r} are not much like the base's {measure}: is it of another "
                "version of the base?"
            )
        elif found.change == 0 and len(draft.looks[name]) == 1:
            draft.warnings.append(
                f"{name}: no difference from the base in {found.entries:,} entries: is it the "
                "model that you mean?"
            )


# Tokenizer


def _plan_vocabulary(draft: _Draft, options: MergeOptions | None) -> Section | None:
    """Return what the result's vocabulary is; an error if the config has to say more."""
    recipe = draft.recipe
    _check_template(draft)
    _check_sources(draft)
    if draft.first not in draft.words or "models" not in recipe.data:
        return None
    roles = {name: recipe.role(name) for name in recipe.models}
    words = {name: draft.words[name] for name in recipe.models if name in draft.words}
    base = words[draft.first]
    data = recipe.data.get("tokenizer")
    if recipe.data.get("tokenizer_source"):
        data = {"source": recipe.data["tokenizer_source"]}
    if data:
        _check_rows(draft, data)
        return Section(data, _told_text(draft, data))
    _say_what_tokens_lack(draft)
    if draft.errors:  # of what the vocabularies are compared with, too
        return None
    section = choose_section(words, roles)
    if options and options.unsafe_truncate_embeddings:
        return None
    if section is None:
        _check_rows_alike(draft)
        return None
    if _check_rows(draft, section.data):
        different = [name for name, one in words.items() if one and base and not one.is_same(base)]
        msg = f"the vocabulary of {', '.join(map(repr, different))} is not the base's, and the "
        msg += f"config has no tokenizer section. It can give the result {section.why}"
        hint = f"slack-ties plan {recipe.where} --pin (adds: tokenizer: {one_line(section.data)})"
        draft.errors.append(CheckpointError(msg, hint=hint))
        draft.warnings += [section.warning] if section.warning else []
    return section


def _say_what_tokens_lack(draft: _Draft) -> None:
    """Warn of tokens without a row, and of a base without the tokenizer that others have."""
    for name, words in draft.words.items():
        if not words or not words.beyond:
            continue
        special = [f"{key} {word!r}" for key, word in words.special.items() if word in words.beyond]
        which = f"its {special[0]}" if special else _some(sorted(words.beyond))
        draft.warnings.append(
            f"{name}: its tokenizer has {which}, for which the embedding has no row: the merged "
            "model will be without it"
        )
    if draft.words.get(draft.first) is None and any(draft.words.values()):
        draft.warnings.append(
            f"the base {draft.first} has no tokenizer that can be read here, and the merged model "
            "gets the base's: copy that of another model into it"
        )


def _check_rows_alike(draft: _Draft) -> None:
    """Refuse matrices of different length that no tokenizer explains."""
    if draft.errors or not draft.layout:
        return
    try:
        check_shapes(draft.layout.found)
    except CheckpointError as error:
        draft.errors.append(error)


def _check_rows(draft: _Draft, told: Mapping[str, Any]) -> bool:
    """Refuse tokens without a row, at which mergekit would trip while it merges."""
    known = {name: words for name, words in draft.words.items() if words}
    out = _tokens(draft, told)
    added = {token: how or {} for token, how in (told.get("tokens") or {}).items()}
    hint = "remove these tokens from its tokenizer, or choose another tokenizer source"
    for name, words in known.items():
        # mergekit strips them from the base's tokenizer, and from no other.
        if name != draft.first and (bad := sorted(words.beyond & out)):
            msg = f"{name!r}: its tokenizer has {_some(bad)}, and its embedding only "
            msg += f"{words.rows:,} rows"
            draft.errors.append(CheckpointError(msg, hint=hint))
            return False
    base = known.get(draft.first)
    new = [token for token in added if base and token not in base.tokens]
    if new and base and told.get("source") == "base" and len(base.tokens) >= base.rows:
        msg = f"{draft.recipe.where}: tokenizer.tokens adds {_some(new)} to the base's own "
        msg += "tokenizer, which mergekit cannot do"
        hint = "name a model as the source, or union"
        draft.errors.append(RecipeError(msg, hint=hint))
        return False
    for token, how in added.items():
        source = how.get("source")
        donor = known.get(reference(source)) if isinstance(source, str) else None
        if donor and token not in donor.tokens:
            msg = f"{draft.recipe.where}: tokenizer.tokens: {source!r} has no token {token!r}"
            draft.errors.append(RecipeError(msg))
            return False
    return True


def _tokens(draft: _Draft, told: Mapping[str, Any]) -> set[str]:
    """Return the tokens of the result's tokenizer."""
    source = told.get("source", "union")
    words = draft.words.get(draft.first if source == "base" else reference(source))
    if words:
        found = words.tokens.keys() | (() if source == "base" else words.beyond)
    else:
        found = {token for one in draft.words.values() if one for token in one.tokens}
    return {*found, *(told.get("tokens") or ())}


def _check_sources(draft: _Draft) -> None:
    """Refuse tokenizers of models that take no part: nobody would fetch or pin them."""
    recipe = draft.recipe
    for place, value in places(recipe.data):
        outside = reference(value) not in recipe.models
        if place[0] in ("tokenizer", "tokenizer_source") and outside:
            msg = f"{recipe.where}: {place[0]}: {reference(value)!r} is none of the merged models"
            hint = f"expected base, union, or one of {', '.join(recipe.models)}"
            draft.errors.append(RecipeError(msg, hint=hint))


def _check_template(draft: _Draft) -> None:
    """Refuse a chat template that mergekit would not find when the merge is done."""
    name = str(draft.recipe.data.get("chat_template") or "auto")
    if name == "auto" or "{" in name or named_template(name) is not None:
        return
    known = template_names()
    if known:
        msg = f"{draft.recipe.where}: chat_template: unknown template {name!r}."
        hint = f"known: auto, {', '.join(known)}, or a template itself"
        draft.errors.append(RecipeError(msg + nearest(name, known), hint=hint))


def _told_text(draft: _Draft, told: Mapping[str, Any]) -> str:
    source = told.get("source", "union")
    if source == "union":
        return "all tokens of all models, as the config says"
    words = draft.words.get(draft.first if source == "base" else reference(source))
    count = f"the {len(words.tokens):,} tokens" if words else "the tokens"
    of = "the base" if source == "base" else reference(source).partition("@")[0]
    added = told.get("tokens") or {}
    more = f" and {len(added)} more" if added else ""
    return f"{count} of {of}{more}, as the config says"


def _vocabulary_text(draft: _Draft, section: Section | None) -> str:
    if section:
        return section.why
    known = {name: words for name, words in draft.words.items() if words}
    if draft.recipe.base not in known:
        return "the base has no tokenizer, so the merged model has none" if draft.words else ""
    count = f"{len(known[draft.recipe.base].tokens):,} tokens"
    if all(words.is_same(known[draft.recipe.base]) for words in known.values()):
        silent = "" if len(known) == len(draft.words) else " (one has no tokenizer)"
        return f"the same {count} in all models{silent}"
    return f"the base's {count}; others differ"


def _chat_text(draft: _Draft) -> str:  # noqa: PLR0911 - one for each place it can be in
    if draft.recipe.data.get("chat_template"):
        return "the template that the config names"
    base = draft.words.get(draft.recipe.base)
    told = draft.recipe.data.get("tokenizer") or draft.recipe.data.get("tokenizer_source")
    if draft.recipe.base in draft.words and not base and not told:
        return "none: the base has no tokenizer"
    for name in draft.recipe.models_of("sft"):
        words = draft.words.get(name)
        if (
            not words
            and name in draft.looks
            and any(read_template(look.folder) for look in draft.looks[name])
        ):
            return f"template of {name}"
        if words and words.chat_template:
            return f"template and special tokens of {name}"
        if words and base and words.special != base.special:
            return f"no template; special tokens of {name}"
    if base and base.chat_template:
        return "the base's template"
    unused = [name for name, words in draft.words.items() if words and words.chat_template]
    if unused:
        return f"none: {unused[0]} has one, but the config does not say that it is the SFT model"
    return "no model has a chat template" if draft.words else ""


# Result and cost


def _result_dtype(draft: _Draft) -> str:
    """Return the type of the result, and say so if mixed inputs make it wider than they are."""
    named = draft.recipe.data.get("out_dtype") or draft.recipe.data.get("dtype")
    if named:
        return str(named).removeprefix("torch.")
    types = {name: main_type(headers) for name, headers in draft.headers.items() if headers}
    if set(types.values()) == {"float16", "bfloat16"}:
        narrow = types.get(draft.recipe.models[0], "bfloat16")
        draft.warnings.append(
            "the models mix float16 and bfloat16, so the result is float32 and twice as large; "
            f"to prevent it add to the config: out_dtype: {narrow} (or, with a language, --dtype)"
        )
        return "float32"
    return max(types.values(), key=ENTRY_BYTES.__getitem__, default="")


def _result_size(draft: _Draft, section: Section | None) -> int:
    """Return the number of entries of the result; as of the first model, with its own rows."""
    headers = draft.layout.tensors if draft.layout else draft.headers.get(draft.first, {})
    rows = _result_rows(draft, section)
    layers = Counter(layers_of_result(draft.recipe) if not draft.errors else ())
    return sum(
        header.size // header.shape[0] * rows
        if rows and header.shape and _is_per_token(draft, name)
        else header.size * (layers[place.number] if layers and place else 1)
        for name, header in headers.items()
        for place in [layer_place(name)]
    )


def _is_per_token(draft: _Draft, name: str) -> bool:
    return name in draft.layout.vocabulary if draft.layout else name.endswith(PER_TOKEN)


def _result_rows(draft: _Draft, section: Section | None) -> int:
    """Return the rows of the result's embedding; 0 for those of the base."""
    if section is None or not any(draft.words.values()):
        return 0
    rows = len(_tokens(draft, section.data))
    multiple = section.data.get("pad_to_multiple_of") or 1
    return -(-rows // multiple) * multiple


def _cost(  # noqa: PLR0913 - what cost depends on
    draft: _Draft,
    section: Section | None,
    dtype: str,
    parameters: int,
    options: MergeOptions | None,
    *,
    streamed: bool,
) -> dict[str, int]:
    """Return what the merge needs, in bytes."""
    width = ENTRY_BYTES.get(dtype, 2)
    result = parameters * width
    shard = options.out_shard_size if options else SHARD
    rows = _result_rows(draft, section)
    largest: Counter[str] = Counter()
    for headers in draft.headers.values():
        for name, header in headers.items():
            entries = header.size
            if rows and _is_per_token(draft, name) and header.shape:
                entries = entries // header.shape[0] * rows * 2  # as it was, and aligned
            largest[name] += entries * ENTRY_BYTES.get(header.dtype, 4)
    buffered = result if options and options.async_write else min(shard, result)
    pairs = [sum(looks[0].weights.values()) for looks in draft.looks.values() if len(looks) > 1]
    # One file is written while the one before it is sent; a file may be as large as a tensor.
    most = 2 * max(shard, max(largest.values(), default=0))
    stored = min(result, most) if streamed else result
    # A repository that stands twice, alone and under an adapter, is downloaded once.
    once = {(look.path, look.commit): look for looks in draft.looks.values() for look in looks}
    download = sum(look.download for look in once.values())
    memory = PROCESS + buffered + max(largest.values(), default=0)
    # On a device: the largest tensor of each model and of the result; what the method needs
    # beside them was not measured on one.
    working = 0
    if options and options.device != "cpu":
        kept = options.low_cpu_memory or options.gpu_rich
        working = max(largest.values(), default=0) + (buffered if kept else 0)
    return {
        "device_memory": working,
        "download": download,
        "disk": stored + sum(pairs),  # a model with its adapter is made before it is merged
        "memory": max(memory, PROCESS + max(pairs, default=0)),
    }


def _free(out: str | Path | None) -> dict[str, int]:
    import psutil  # noqa: PLC0415 - not for --help

    return {
        "disk_free": shutil.disk_usage(nearest_folder(Path(out or "OUT"))).free,
        "memory_free": int(psutil.virtual_memory().available),
    }


def nearest_folder(out: Path) -> Path:
    """Return the innermost folder that is there already, of those that `out` will lie in."""
    return next(parent for parent in out.absolute().parents if parent.exists())


# For people


def size(count: int) -> str:
    """Return a number of bytes as people write it."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"  # noqa: PLR2004


def _count(entries: int) -> str:
    """Return a number of parameters as people write it."""
    for unit, name in ((1e9, "B"), (1e6, "M")):
        if entries >= unit:
            return f"{entries / unit:.2f}{name}"
    return f"{entries:,}"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
    return f"{names[0]!r}{more}"


def _text(plan: Plan) -> list[str]:
    languages = " and ".join(plan.languages)
    lines = [f"{plan.config}: {plan.method}{f' for {languages}' if languages else ''}", ""]
    for model in plan.models:
        lines += _model_text(model)
    if plan.models:
        lines.append("")
    files = f" of about {plan.parameters:,} parameters" if plan.parameters else ""
    rows = [
        ("Result", f"{plan.dtype}{files}, {size(plan.disk)}" if plan.dtype else ""),
        ("Vocabulary", plan.vocabulary),
        ("Chat", plan.chat),
        ("Licence", _license_text(plan) if plan.models else ""),
        ("Download", _download_text(plan)),
        ("Disk", f"{size(plan.disk)} of {size(plan.disk_free)} free here" if plan.models else ""),
        (
            "Memory",
            f"about {size(plan.memory)} of {size(plan.memory_free)} free here"
            if plan.models
            else "",
        ),
        (plan.device, f"at least {size(plan.device_memory)}" if plan.device_memory else ""),
    ]
    lines += [f"{name + ':':12}{text}" for name, text in rows if text]
    for title, found in (("Warnings", plan.warnings), ("Errors", [str(e) for e in plan.errors])):
        if found:
            lines += ["", f"{title}:", *(f"  - {line}" for line in found)]
    return lines


def _model_text(model: PlannedModel) -> list[str]:
    commit = " + ".join(c[:7] for c in model.commits if c)
    facts = [
        model.dtype,
        f"{_count(model.parameters)} parameters",
        f"{model.format}, {size(model.bytes)}",
        model.license or "licence not stated",
    ]
    facts += ["gated, and you may read it"] if model.gated else []
    if model.likeness and (model.likeness.change or "+" not in model.model):
        facts.append(f"similarity to the base {model.likeness.cosine:.2f} of 1")
    elif model.role not in ("", "base") and model.parents:
        facts.append(f"says it was made from {', '.join(model.parents)}")
    name = f"{model.model.partition('@')[0]} at {commit}" if commit else model.model
    role = {"ct": "CT", "sft": "SFT"}.get(model.role, model.role or "model")
    lines = [f"{role:6}{name}", f"      {', '.join(filter(None, facts))}"]
    return [*lines, f"      adapter: {model.adapter}"] if model.adapter else lines


def _license_text(plan: Plan) -> str:
    if plan.license:
        return plan.license_reason
    return f"not settled, so publishing will ask for --license. {plan.license_reason}"


def _download_text(plan: Plan) -> str:
    if not plan.models:
        return ""
    if not any(any(model.commits) for model in plan.models):
        return "nothing: all models are folders here"
    here = sum(model.bytes - model.download for model in plan.models)
    if not plan.download and here:
        return f"nothing: {size(here)} are here already"
    return f"{size(plan.download)}{f', {size(here)} are here already' if here else ''}"

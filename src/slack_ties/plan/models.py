"""Look at each model of a merge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from slack_ties.adapter.read import read_adapter
from slack_ties.adapter.unproven import unproven
from slack_ties.catalogue.languages import list_languages
from slack_ties.errors import (
    CheckpointError,
    GatedError,
    NoRangesError,
    NotOnHubError,
    SlackTiesError,
)
from slack_ties.hub.errors import hub_errors
from slack_ties.models.entries import zeros_of
from slack_ties.models.header import Header, main_type
from slack_ties.models.headers import (
    placed,
    read_headers,
    read_headers_of_file,
    read_headers_of_shard,
)
from slack_ties.models.look import Look, open_weights
from slack_ties.models.look_together import look_at_models
from slack_ties.models.model_config import model_config
from slack_ties.models.names import split_reference
from slack_ties.models.parents import parent_of
from slack_ties.models.places import places_of
from slack_ties.models.weight_index import Weights, is_lfs_pointer, lfs_error
from slack_ties.plan.heads import copied_entries
from slack_ties.plan.odd import roles_of
from slack_ties.plan.parameters import model_settings
from slack_ties.plan.plan import PlannedModel
from slack_ties.plan.room import ungated_merge
from slack_ties.tensors.known import know
from slack_ties.tensors.plain_models import plain_model
from slack_ties.tokenizer.vocabulary import read_vocabulary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slack_ties.adapter.adapter import Adapter
    from slack_ties.models.places import FilePlaces
    from slack_ties.plan.draft import Draft
    from slack_ties.tensors.origin import Known

__all__ = ["known_of", "look_at", "planned_model"]

# The bytes for each entry of a tensor while PEFT merges an adapter into it, beside the tensor:
# the product of the matrices in float32, twice; for DoRA, whose weights' norms need more, we
# measured 21.
LORA, DORA = 8, 24


def look_at(draft: Draft) -> None:
    """Collect the facts about all models, and about their adapters."""
    settings = draft.settings
    answers = look_at_models(draft.recipe.models, api=settings.api, cache=settings.cache)
    for name in draft.recipe.models:
        try:
            _collect(draft, name, [one.get() for one in answers[name]])
        except GatedError as error:
            key = ungated_merge(draft.recipe)
            other = f"; for models without a known gate: slack-ties config {key}" if key else ""
            draft.errors.append(GatedError(f"{error}{other}", hint=error.hint))
        except NotOnHubError as error:
            draft.errors.append(_said_by_catalogue(draft, name, error))
        except SlackTiesError as error:
            draft.errors.append(error)


def _said_by_catalogue(draft: Draft, name: str, error: NotOnHubError) -> NotOnHubError:
    """Return the error; if the catalogue has the model for this language, it says so."""
    tags = {language.get("tag") for language in draft.recipe.facts.languages}
    keys = [
        triple.key
        for triple in list_languages()
        if triple.language.tag in tags and name in {model.id for model in triple.models}
    ]
    if not keys:
        return error
    msg = f"{error}; the catalogue of slack-ties names this model for {keys[0]}"
    hint = f"slack-ties languages {keys[0]}  # then name another one: --base, --ct or --sft MODEL"
    return NotOnHubError(msg, hint=hint)


def _collect(draft: Draft, name: str, looks: list[Look]) -> None:
    """Collect the facts about one model, and about its adapter if it has one."""
    draft.looks[name] = looks
    draft.configs[name] = model_config(looks[0].folder, name)
    if not looks[0].weights:
        read_headers(looks[0].folder, name)  # raises, and says what is missing
    draft.warnings += [look.note for look in looks if look.note]
    draft.warnings += [
        f"the card of {look.path} cannot be read: {look.card.problem}"
        for look in looks
        if look.card.problem
    ]
    draft.headers[name] = _headers(draft, looks[0], name)
    draft.plain[name] = (draft.configs[name], draft.headers[name])
    adapter = looks[1].folder if len(looks) > 1 else None
    draft.vocabularies[name] = read_vocabulary(looks[0].folder, name, adapter=adapter)
    for adapter_look in looks[1:]:
        _check_adapter(draft, name, adapter_look)


def _untie(draft: Draft, name: str, heads: list[str]) -> None:
    """Record that a model has its own head when its adapter is merged into it."""
    config, headers = draft.configs[name], draft.headers[name]
    known = draft.known.pop(name)
    for head in heads:
        group = next((group for group in known.tied if head in group), ()) if known else ()
        embedding = next((one for one in group if one in headers), None)
        if embedding:
            draft.headers[name] = {**headers, head: headers[embedding]}
            draft.configs[name] = {**config, "tie_word_embeddings": False}


def known_of(draft: Draft, name: str) -> Known | None:
    """Return what transformers knows about a model."""
    if name not in draft.known:
        draft.known[name] = know(name, draft.configs[name], draft.headers[name])
    return draft.known[name]


def _headers(draft: Draft, look: Look, name: str) -> dict[str, Header]:
    if not look.missing:
        return read_headers(look.folder, name)
    weights = look.chosen or Weights(tuple(look.weights))
    found: dict[str, dict[str, Header]] = {}
    for file in look.weights:
        places, reason = _places(draft, look, file, name)
        if places:
            found[file] = places.headers()
        else:
            # PyTorch's old format, or more than tensors: we read it after the download.
            draft.warnings.append(f"{name}: {file} can be checked only after the download")
        if file in look.missing and places:
            draft.places.setdefault(name, {})[file] = places
        elif file in look.missing:
            draft.unreadable.setdefault(name, {})[file] = reason
    draft.incomplete |= len(found) < len(look.weights)
    return placed(weights, found, name)


def _places(draft: Draft, look: Look, file: str, name: str) -> tuple[FilePlaces | None, str]:
    """Return where the tensors of a weight file lie; if it cannot be read so, why."""
    from huggingface_hub import HfApi  # noqa: PLC0415 - not for local folders

    if draft.no_ranges and file in look.missing:
        return None, draft.no_ranges
    api = draft.settings.api or HfApi()
    try:
        with hub_errors(f"model {name!r}", api), open_weights(look, file, api) as opened:
            return places_of(opened, file, look.weights[file], name), ""
    except NoRangesError as error:
        draft.no_ranges = str(error).partition(f"{file}: ")[2] or str(error)
        return None, draft.no_ranges
    except CheckpointError as error:
        if file.endswith(".safetensors"):
            raise
        return None, str(error).partition(f"{file} cannot be read: ")[2] or str(error)


def _check_adapter(draft: Draft, name: str, adapter: Look) -> None:
    import json  # noqa: PLC0415

    try:
        config = json.loads((adapter.folder / "adapter_config.json").read_text(encoding="utf-8"))
        kind = config["peft_type"]
    except (OSError, ValueError, KeyError, TypeError):
        if is_lfs_pointer(adapter.folder / "adapter_config.json"):
            raise lfs_error(name, "adapter_config.json") from None
        if (adapter.folder / "adapter_config.json").is_file():
            msg = f"model {name!r}: adapter_config.json of {adapter.path!r} is damaged or has no "
            msg += "peft_type"
            raise CheckpointError(msg, hint="download that file again") from None
        msg = f"model {name!r}: {adapter.path!r} is not an adapter, expected one with an "
        raise CheckpointError(msg + "adapter_config.json, as PEFT writes it") from None
    if kind != "LORA":
        msg = f"model {name!r}: {adapter.path!r} is an adapter of type {kind!r}, expected LORA"
        raise CheckpointError(msg)
    if not adapter.weights:
        msg = f"model {name!r}: {adapter.path!r} has no adapter_model.safetensors or .bin"
        raise CheckpointError(msg)
    file = next(iter(adapter.weights))
    with open_weights(adapter, file, draft.settings.api) as opened:
        headers = (
            read_headers_of_file(opened, file, f"{name} (its adapter)")
            if file in adapter.missing
            else read_headers_of_shard(adapter.folder / file, f"{name} (its adapter)")
        )
    known = known_of(draft, name)
    found = read_adapter(
        name,
        config=config,
        headers=headers,
        model=draft.headers[name],
        zeros=zeros_of(adapter, headers, draft.settings.api),
        modules=known.state.keys() if known else None,
        tied=bool(known and any(known.heads & group for group in known.tied)),
    )
    draft.adapters[name] = found.as_text()
    _check_whole(draft, name, config, headers, found)
    draft.warnings += [f"{name}: {warning}" for warning in found.warnings]
    if known and found.whole and not config.get("ensure_weight_tying"):
        groups = {head: next((g for g in known.tied if head in g), ()) for head in known.heads}
        _untie(draft, name, [head for head in groups if {head, *groups[head]} & {*found.whole}])
    made_for = str(config.get("base_model_name_or_path") or "")
    here = split_reference(name)[0][0]
    if made_for and Path(made_for).name.lower() != Path(here).name.lower():
        draft.warnings.append(
            f"{adapter.path} states that it was made for {made_for}, not for {here}"
        )


def _check_whole(
    draft: Draft,
    name: str,
    config: Mapping[str, Any],
    headers: Mapping[str, Header],
    found: Adapter,
) -> None:
    """Find out whether the adapter needs the whole model on this disk."""
    model = draft.headers[name]
    kind = plain_model(draft.configs[name], model)
    unreadable = min(draft.unreadable.get(name, {}), default="")
    reason = f"{unreadable} can be read only as a whole" if unreadable else ""
    reason = reason or unproven(
        config=config,
        headers=headers,
        model_config=draft.configs[name],
        model=model,
        plain=kind is not None,
        tied=kind is not None and kind.ties,
        options=draft.settings.options,
    )
    if reason:
        draft.whole[name] = reason
        draft.adapters[name] += f"; it needs the whole model on this disk: {reason}"
        return
    largest = max((model[tensor].size for tensor in found.changes if tensor in model), default=0)
    draft.merging[name] = largest * (DORA if config.get("use_dora") else LORA)


def planned_model(draft: Draft, name: str) -> PlannedModel:
    """Return the facts of one model for the plan."""
    look, *adapters = draft.looks[name]
    parent = parent_of(draft.recipe, name, [part.card for part in draft.looks[name]])
    headers = draft.headers.get(name, {})
    vocabulary = draft.vocabularies.get(name)
    architectures = draft.configs.get(name, {}).get("architectures") or [""]
    weights = next(iter(look.weights), "")
    roles = roles_of(draft.recipe, name)
    # `slices` lists the base too; the method uses no parameters of it.
    unused = roles == ("base",) and draft.recipe.method == "slack_ties"
    return PlannedModel(
        model=name,
        role=parent.role,
        roles=roles,
        settings=() if unused else model_settings(draft.recipe, name),
        commits=tuple(part.commit for part in draft.looks[name]),
        architecture=str(architectures[0]),
        dtype=main_type(headers) if headers else "",
        parameters=sum(header.size for header in headers.values()),
        copied=copied_entries(draft, name),
        format="safetensors" if weights.endswith(".safetensors") else ".bin" if weights else "",
        bytes=sum(sum(part.weights.values()) for part in draft.looks[name]),
        download=sum(part.download for part in (look, *adapters)),
        tokens=len(vocabulary.tokens) if vocabulary else 0,
        license=parent.license,
        adapter_license=parent.adapter_license,
        adapter=draft.adapters.get(name, ""),
        gated=any(part.gated for part in draft.looks[name]),
        parents=parent.made_from,
        likeness=draft.likeness.get(name),
    )

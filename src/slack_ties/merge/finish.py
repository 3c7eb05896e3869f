"""Complete a merged model: write config, tokenizer and chat template, check that it loads."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

from slack_ties.errors import CheckpointError
from slack_ties.models.header import Header, main_type
from slack_ties.models.model_config import model_config
from slack_ties.recipe.recipe import reference
from slack_ties.tensors.known import know
from slack_ties.tensors.result import layers_of_result
from slack_ties.tensors.result_config import Changes, write_config
from slack_ties.tokenizer.chat import adopt_chat, translate_ids
from slack_ties.tokenizer.files import carry_over, has_tokenizer, readable_by_all
from slack_ties.tokenizer.templates import named_template, read_template, set_template

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mergekit.options import MergeOptions

    from slack_ties.merge.engine import Merged
    from slack_ties.models.cached import Snapshot
    from slack_ties.recipe.recipe import Recipe
    from slack_ties.tensors.layout import Layout
    from slack_ties.tensors.origin import Known

__all__ = ["complete_model", "prove_loading", "what_is_not_loaded", "write_beside"]

LOG = logging.getLogger("slack_ties")


def complete_model(  # noqa: PLR0913 - all by name
    work: Path,
    merged: Merged,
    headers: Mapping[str, Header],
    *,
    recipe: Recipe,
    layout: Layout,
    base_config: Mapping[str, Any],
    snapshots: Mapping[str, list[Snapshot]],
    options: MergeOptions,
) -> None:
    """Write config and tokenizer beside the merged weights, and check that the model loads.

    Args:
        work: The folder that holds the weights.
        merged: What mergekit wrote.
        headers: The headers of the weights.
        recipe: The merge config.
        layout: The tensors of the result.
        base_config: The base's config.json.
        snapshots: The folders of the models.
        options: mergekit's options.

    Raises:
        CheckpointError: The weights differ from the planned ones, or cannot be loaded.
        OSError: A file cannot be written.

    """
    _check_names(merged, headers)
    write_beside(
        work,
        merged.tokenizer,
        headers,
        recipe=recipe,
        layout=layout,
        base_config=base_config,
        snapshots=snapshots,
        options=options,
    )
    prove_loading(work, headers, "merged model", unread=layout.unread)


def write_beside(  # noqa: PLR0913 - all by name
    work: Path,
    tokenizer: Any,
    headers: Mapping[str, Header],
    *,
    recipe: Recipe,
    layout: Layout,
    base_config: Mapping[str, Any],
    snapshots: Mapping[str, list[Snapshot]],
    options: MergeOptions,
    say: bool = True,
) -> None:
    """Write all files of a merged model but its weights.

    Args:
        work: The folder for them.
        tokenizer: What mergekit built; None if the config does not ask for one.
        headers: The names, shapes and types of the merged weights.
        recipe: The merge config.
        layout: The tensors of the result.
        base_config: The base's config.json.
        snapshots: The folders of the models.
        options: mergekit's options.
        say: Log what is copied from the SFT model.

    Raises:
        OSError: A file cannot be written.

    """
    first = recipe.base or recipe.models[0]
    base = snapshots[first][0].path
    write_config(base_config, _changes(recipe, layout, headers), work)
    copied = options.copy_tokenizer and tokenizer is None and has_tokenizer(base)
    carry_over(base, work, base_config, tokenizer=copied)
    if tokenizer is not None:
        tokenizer.save_pretrained(work)
    if has_tokenizer(work):
        if tokenizer is not None:
            translate_ids(work, base)
        readable_by_all(work, base if copied else _source_of_tokenizer(recipe, snapshots, base))
        _set_chat_template(recipe, snapshots, work)
        _adopt_chat(recipe, work, snapshots, say=say)


def prove_loading(
    folder: Path, headers: Mapping[str, Header], name: str, *, unread: tuple[str, ...] = ()
) -> None:
    """Refuse a model if transformers would initialize missing weights, or skip stored ones.

    Args:
        folder: Holds config.json.
        headers: The headers of the model's weights.
        name: The model's name in errors.
        unread: Tensors that transformers also skips in the base.

    Raises:
        CheckpointError: A tensor is missing, or would not be read.

    """
    config = model_config(folder, name)
    known = know(name, config, headers)
    if known is None:
        kind = str(config["architectures"][0])
        LOG.info("  transformers has no class %s: could not check that the model loads", kind)
        return
    if problem := _missing_weights(known, headers):
        msg = f"the {name} cannot be loaded: {problem}"
        raise CheckpointError(msg, hint="please report this, with the config")
    becomes = known.origins(headers)
    if left := [one for one in headers if one not in becomes and one not in unread]:
        msg = f"the {name} contains {left[0]!r}, which transformers would not read"
        raise CheckpointError(msg, hint="please report this, with the config")


def what_is_not_loaded(folder: Path, headers: Mapping[str, Header], name: str) -> str:
    """Return what transformers would have to initialize in a model; "" if the model is complete.

    See `prove_loading` for the arguments.

    Raises:
        CheckpointError: The model's config cannot be read.

    """
    known = know(name, model_config(folder, name), headers)
    return _missing_weights(known, headers) if known else ""


def _missing_weights(known: Known, headers: Mapping[str, Header]) -> str:
    proof = known.prove(headers)
    first = f"{proof.missing[0]!r} is missing" if proof.missing else ""
    return proof.wrong or first


def _check_names(merged: Merged, headers: Mapping[str, Header]) -> None:
    """Raise if the written tensors are not the merged ones."""
    lost = sorted(merged.tensors - headers.keys())
    new = sorted(headers.keys() - merged.tensors)
    if lost or new:
        what = f"lacks {lost[0]!r}" if lost else f"contains {new[0]!r}, which was not merged"
        msg = f"the merged model {what}"
        raise CheckpointError(msg, hint="please report this, with the config")


def _changes(recipe: Recipe, layout: Layout, headers: Mapping[str, Header]) -> Changes:
    rows = None
    for name, axis in layout.vocabulary.items():
        before = layout.tensors[name].shape
        if name in headers and headers[name].shape[axis] != before[axis]:
            rows = (before[axis], headers[name].shape[axis])
    layers = layers_of_result(recipe)
    return Changes(main_type(headers), rows, layers, ties=layout.ties)


def _source_of_tokenizer(
    recipe: Recipe, snapshots: Mapping[str, list[Snapshot]], base: Path
) -> Path:
    """Return the folder of the model whose tokenizer the config chooses; else the base's."""
    section = recipe.data.get("tokenizer") or {}
    source = section.get("source") or recipe.data.get("tokenizer_source")
    found = snapshots.get(reference(source))
    return found[0].path if found else base


def _set_chat_template(recipe: Recipe, snapshots: Mapping[str, list[Snapshot]], work: Path) -> None:
    """Set the config's chat template: a text, the name of one in mergekit, or the most common."""
    chosen = recipe.data.get("chat_template")
    if not chosen:
        return
    template = str(chosen)
    if chosen == "auto":
        templates = [read_template(part.path) for found in snapshots.values() for part in found[:1]]
        counts = Counter(one.strip() for one in templates if one.strip())
        template = counts.most_common(1)[0][0] if counts else ""
    elif "{" not in template:
        template = named_template(template) or ""
    if template:
        set_template(work, template)


def _adopt_chat(
    recipe: Recipe, work: Path, snapshots: Mapping[str, list[Snapshot]], *, say: bool
) -> None:
    """Copy the chat template and the special tokens of the first SFT model."""
    for name in recipe.models_of("sft")[:1]:
        model, *adapters = (part.path for part in snapshots[name])
        try:
            taken = adopt_chat(
                work,
                model,
                template=not recipe.data.get("chat_template"),
                adapter=adapters[0] if adapters else None,
            )
        except (CheckpointError, OSError) as error:  # a bad file must not spoil a finished merge
            LOG.warning("  nothing was copied from the tokenizer of %s: %s", name, error)
            return
        if taken and say:
            LOG.info("  copied from %s: %s", name.partition("@")[0], ", ".join(taken))

"""Fill in the template of the model card."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from huggingface_hub import EvalResultEntry, ModelCard

from slack_ties.card.markdown import plain_text
from slack_ties.card.measured import measured_by
from slack_ties.card.metadata import LANGUAGE
from slack_ties.card.method_text import citations, method_text, repeats_text
from slack_ties.card.own_text import PLACES, OwnText, place
from slack_ties.card.parents import HUB, files_not_compared, hub_ids, link_to, parent_row
from slack_ties.card.sections import license_section, limits_section, what_each_brings
from slack_ties.catalogue.tags import LANGUAGE_TAG
from slack_ties.errors import OutputError
from slack_ties.licenses.resolve import Resolution, resolve_license
from slack_ties.models.text_files import VOCABULARY_FILES
from slack_ties.private.huggingface_hub import as_it_is
from slack_ties.recipe.pin import rename_models
from slack_ties.recipe.public import published_names
from slack_ties.record import MergeRecord, Parent
from slack_ties.wording import join_names

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from slack_ties.card.shown import Shown
    from slack_ties.evaluation.scores import Evaluation
    from slack_ties.recipe.recipe import Recipe

__all__ = ["make_card", "planned_parents"]

RIGHT_TO_LEFT = {"Arab", "Hebr", "Syrc", "Thaa", "Nkoo", "Adlm", "Rohg"}  # ISO 15924


def make_card(  # noqa: PLR0913 - all by name
    recipe: Recipe,
    record: MergeRecord | None = None,
    *,
    folder: Path | None = None,
    repo_id: str | None = None,
    resolution: Resolution | None = None,
    own: OwnText | None = None,
    results: Sequence[EvalResultEntry] = (),
    evaluation: Evaluation | None = None,
    examples: str = "",
    shown: Sequence[Shown] = (),
    planned: Sequence[Parent] = (),
) -> ModelCard:
    """Return the card of a merge; without `record`, an example card for a merge that did not run.

    `evaluation` is one of this merge, from `measured.evaluation_of`.

    `planned` are the models of a merge that did not run, from `read_parents`; if they are not
    given, the card says of them what the config does.

    Raises:
        OutputError: The Hub does not accept the metadata that a person added.

    """
    parents = record.parents if record else planned or planned_parents(recipe)
    if not record:
        public = published_names(parents)
        recipe = rename_models(recipe, public)
        parents = [replace(one, model=public[one.model]) for one in parents]
    facts, own = recipe.facts, own or OwnText()
    resolution = resolution or resolve_license(parents)
    names = [plain_text(one.get("name") or one.get("tag", "")) for one in facts.languages]
    language = join_names(names)
    title = _title(recipe, language, folder, resolution)
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", recipe.text + "``")))
    where = repo_id or (folder.name if folder else "OUT")
    where = where.encode(errors="replace").decode()  # a folder's name may be invalid text
    first = facts.language
    script = first.get("script") or first.get("tag", "").partition("-")[2]
    data = _metadata(recipe, parents, record, resolution, own)
    measured = measured_by(evaluation, recipe) if evaluation else None
    data["model_name"] = f"{title}, merged with {plain_text(recipe.method)}"
    try:
        card: ModelCard = ModelCard.from_template(
            as_it_is(data),
            template_str=_template(),
            title=title,
            display=resolution.display,
            language=join_names(_with_endonyms(recipe)),
            in_english=language,
            brings=what_each_brings(recipe, parents, language),
            record=record,
            own={name: own.places.get(name, "") for name in PLACES},
            places={name: place(name, own.places.get(name, "")) for name in PLACES},
            tag=plain_text(first.get("tag", "")).replace('"', ""),
            direction="rtl" if script in RIGHT_TO_LEFT else "auto",
            parents=[parent_row(parent) for parent in parents],
            not_compared=files_not_compared(parents),
            load=f"name = {json.dumps(where, ensure_ascii=False)}",
            tokenizer=_tokenizer(folder, parents),
            chat=_has_chat_template(folder),
            chat_from=_chat_from(recipe),
            in_language=f" in {language}" if language else "",
            sft_language="English" if "en" in facts.sft_languages else "the SFT model's language",
            results=[_result(entry) for entry in results],
            measured=measured,
            examples=examples,
            shown=[replace(one, text=plain_text(one.text, 600)) for one in shown],
            method=plain_text(recipe.method),
            method_text=method_text(recipe),
            repeats=repeats_text(recipe, record),
            citations=citations(recipe),
            parameters=f"{record.parameters:,}" if record else "",
            dtype=record.dtype if record else "",
            fence=fence,
            config=recipe.text.rstrip("\n").replace("<!--", "<! --"),  # not the comment of a place
            config_name=shlex.quote(recipe.where),
            versions=" ".join(f"{k}=={v.partition('+')[0]}" for k, v in record.versions.items())
            if record
            else "",
            options=f" {shlex.join(record.flags())}".rstrip() if record else "",
            unpinned=join_names([link_to(one) for one in parents if not one.commits]),
            on_hub=all(all(parent.commits) for parent in parents),
            files=sorted(record.files.items()) if record else [],
            limits=limits_section(recipe, parents, evaluated=bool(results), measured=measured),
            license=license_section(resolution),
        )
    except (ValueError, TypeError) as error:
        msg = f"the metadata that a person added to the card: {error}"
        raise OutputError(msg, hint="correct the lines between the two --- of README.md") from None
    return card


# Parts of the card


def _metadata(
    recipe: Recipe,
    parents: Sequence[Parent],
    record: MergeRecord | None,
    resolution: Resolution,
    own: OwnText,
) -> dict[str, Any]:
    facts = recipe.facts
    codes = [one.get("iso_639_1") or one.get("iso_639_3") or "" for one in facts.languages]
    codes = [code for code in [*codes, *facts.sft_languages] if LANGUAGE.fullmatch(code)]
    scripts = [tag for one in facts.languages if "-" in (tag := one.get("tag", ""))]
    stock = record and record.adopted and recipe.method != "slack_ties"
    by = ["mergekit"] if stock else ["mergekit", "slack-ties"]
    ours = ["merge", *by, *filter(LANGUAGE_TAG.fullmatch, scripts)]
    datasets = [name for parent in parents for name in parent.datasets]
    return {
        "language": list(dict.fromkeys(codes)) or None,
        **resolution.metadata,
        "base_model": [name for one in parents for name in hub_ids(one, record)] or None,
        "base_model_relation": "merge",
        "datasets": list(dict.fromkeys([*datasets, *own.datasets])) or None,
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": list(dict.fromkeys([*ours, *own.tags])),
        **own.metadata,
    }


def _title(recipe: Recipe, language: str, folder: Path | None, resolution: Resolution) -> str:
    words = [plain_text(recipe.facts.family), language]
    title = " ".join(filter(None, words)) or plain_text(folder.name if folder else "Merged model")
    prefix = resolution.prefix
    return title if title.startswith(prefix) else f"{prefix} {title}"


def _with_endonyms(recipe: Recipe) -> list[str]:
    return [
        plain_text(one.get("name") or one.get("tag", ""))
        + (f" ({plain_text(one['endonym'])})" if one.get("endonym") else "")
        for one in recipe.facts.languages
    ]


def _tokenizer(folder: Path | None, parents: Sequence[Parent]) -> str:
    """Return what the example loads the tokenizer from: the base if the model has no tokenizer."""
    known = (*VOCABULARY_FILES, "tokenizer_config.json")
    if folder is None or any(any(folder.glob(name)) for name in known):
        return "name"
    ids = [name for parent in parents[:1] for name in parent.hub_ids]
    return json.dumps(ids[0]) if ids else '"..."'


def _chat_from(recipe: Recipe) -> str:
    if recipe.data.get("chat_template"):
        return "the chat template that its config names"
    return "the SFT model's chat template" if recipe.models_of("sft") else "a chat template"


def _result(entry: EvalResultEntry) -> dict[str, str]:
    """Return a row of the table of results."""
    source = f"[source]({entry.source_url})" if entry.source_url else ""
    notes = [plain_text(entry.notes or ""), plain_text(entry.date or ""), source]
    return {
        "dataset": f"[`{entry.dataset_id}`]({HUB}/datasets/{entry.dataset_id})",
        "task": plain_text(entry.task_id),
        "value": plain_text(str(entry.value)),
        "notes": ", ".join(filter(None, notes)),
    }


def planned_parents(recipe: Recipe) -> tuple[Parent, ...]:
    """Return the models of a config, with the licences that the config states."""
    licenses = recipe.facts.licenses
    return tuple(
        Parent(model, role=recipe.role(model), license=licenses.get(model, ""))
        for model in recipe.models
    )


def _template() -> str:
    return files(__package__).joinpath("model_card.md").read_text(encoding="utf-8")


def _has_chat_template(folder: Path | None) -> bool:
    if folder is None:
        return False
    if (folder / "chat_template.jinja").is_file():
        return True
    try:
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(isinstance(config, dict) and config.get("chat_template"))

"""Write the model card of a merged model: README.md. `slack-ties card` calls this.

Every sentence follows from the config and from the record of the merge. What is not known
is left out, or said to be unknown.
"""

from __future__ import annotations

import json
import re
import shlex
from importlib.resources import files
from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData

from slack_ties.errors import OutputError
from slack_ties.files import write_whole
from slack_ties.hub import HUB_ID, LICENSE_ID, own_license, split_reference
from slack_ties.recipe import Recipe, read_recipe
from slack_ties.record import CONFIG_FILE, MergeRecord, Parent, read_record

__all__ = ["CARD_FILE", "load_line", "make_card", "merged_license", "write_card"]

CARD_FILE = "README.md"
ROLES = {"base": "base", "ct": "CT: continual pre-training", "sft": "SFT: instruction tuning"}


def write_card(
    out: str | Path,
    *,
    repo_id: str | None = None,
    license: str | None = None,  # noqa: A002 - the Hub's word for it
    overwrite: bool = False,
) -> Path:
    """Write the card of the merged model in the folder `out` and return its path.

    Args:
        out: A folder made by `merge_models`.
        repo_id: Where the model will be published; the card's example loads it from there.
        license: The merged model's licence, as a Hub licence id. If not given it is the
            parents', where all of them state the same one.
        overwrite: Replace a card that is already there.

    Raises:
        OutputError: `out` is no merged model of ours, or a card is there already.

    """
    out = Path(out)
    record = read_record(out)
    recipe = read_recipe(out / CONFIG_FILE)
    path = out / CARD_FILE
    if path.exists() and not overwrite:
        msg = f"{path} is already there"
        stated = f" --license {license}" if license else ""
        raise OutputError(msg, hint=f"slack-ties card {out}{stated} --overwrite  (replaces it)")
    # A licence that somebody stated stays when the card is made again.
    license = license or own_license(out)  # noqa: A001
    card = make_card(recipe, record, folder=out.resolve(), repo_id=repo_id, license=license)
    try:
        write_whole(path, str(card))
    except OSError as error:
        msg = f"cannot write {path}: {error.strerror or error}"
        raise OutputError(msg) from None
    return path


def make_card(
    recipe: Recipe,
    record: MergeRecord | None = None,
    *,
    folder: Path | None = None,
    repo_id: str | None = None,
    license: str | None = None,  # noqa: A002 - the Hub's word for it
) -> ModelCard:
    """Return the card of a merge; without `record`, an example card of one not yet run."""
    facts = recipe.facts
    parents = record.parents if record else _planned(recipe)
    codes = [one.get("iso_639_1") or one.get("iso_639_3") for one in facts.languages]
    tags = [tag for one in facts.languages if "-" in (tag := one.get("tag", ""))]
    names = [_plain(one.get("name") or one.get("tag", "")) for one in facts.languages]
    language = _and(names)
    both = [
        f"{name} ({_plain(one['endonym'])})" if one.get("endonym") else name
        for name, one in zip(names, facts.languages, strict=True)
    ]
    family = _plain(facts.family)
    title = " ".join(filter(None, [language, family])) or _plain(folder.name if folder else "")
    stated, license_text = merged_license(parents, license)
    data = ModelCardData(
        language=list(dict.fromkeys(filter(None, [*codes, *facts.sft_languages]))) or None,
        license=stated or None,
        base_model=[hub_id for parent in parents for hub_id in _hub_ids(parent, record)] or None,
        base_model_relation="merge",
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["merge", "mergekit", "slack-ties", *tags],
        model_name=f"{title or 'Language model'}, merged with {recipe.method}",
    )
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", recipe.text + "``")))
    card: ModelCard = ModelCard.from_template(
        data,
        template_str=files("slack_ties").joinpath("model_card.md").read_text(encoding="utf-8"),
        title=data.model_name,
        language=_and(both),
        roles=" ".join(sorted(set(facts.roles) - {"base"})),
        record=record,
        parents=[
            {
                "role": ROLES.get(parent.role, "merged"),
                "model": _plain(_unpinned(parent)),
                "commit": " + ".join(f"`{c}`" if c else "local folder" for c in parent.commits),
                "license": _plain(parent.license) or "not stated",
            }
            for parent in parents
        ],
        load=load_line(repo_id or (folder.name if folder else "OUT")),
        chat=_has_chat_template(folder),
        in_language=f", in {language}" if language else "",
        method=_plain(recipe.method),
        fence=fence,
        config=recipe.text.rstrip("\n"),
        config_name=shlex.quote(recipe.where),
        versions=" ".join(f"{k}=={v.partition('+')[0]}" for k, v in record.versions.items())
        if record
        else "",
        options=f" {shlex.join(record.flags())}".rstrip() if record else "",
        license_text=license_text,
    )
    return card


def load_line(where: str) -> str:
    """Return the line of the card's example that says what to load."""
    return f"name = {json.dumps(where, ensure_ascii=False)}"


def _planned(recipe: Recipe) -> tuple[Parent, ...]:
    licenses = recipe.facts.licenses
    return tuple(
        Parent(model, role=recipe.role(model), license=licenses.get(model, ""))
        for model in recipe.models
    )


def _hub_ids(parent: Parent, record: MergeRecord | None) -> list[str]:
    """Return the Hub ids for the metadata: only of models known to have come from the Hub."""
    if record:
        return parent.hub_ids
    paths = [path for path, _ in split_reference(parent.model)]
    return [path for path in paths if HUB_ID.fullmatch(path) and not Path(path).exists()]


def merged_license(
    parents: tuple[Parent, ...],
    chosen: str | None = None,
) -> tuple[str, str]:
    """Return the merged model's licence, or nothing, and the reason in a sentence.

    It is what somebody chose, or what all parents state.
    """
    common = ""
    licenses = {parent.license for parent in parents}
    if len(licenses) == 1:
        (only,) = licenses
        # Two models "of another licence" need not have the same one.
        named = re.fullmatch(LICENSE_ID, only) and only not in {"other", "unknown"}
        common = only if named else ""
    if chosen and chosen != common:
        return chosen, f"`{chosen}`, as stated by whoever made this model."
    if common:
        return common, f"`{common}`, which every parent states."
    silent = [_plain(_unpinned(parent)) for parent in parents if not parent.license]
    if silent:
        who = ", ".join(silent)
        return (
            "",
            f"Unknown: no licence is known of {who}. Ask the authors before you rely on it.",
        )
    return "", "Unknown: the parents state different licences (see the table)."


def _unpinned(parent: Parent) -> str:
    """Return a parent's name without the commits that stand beside it."""
    if not any(parent.commits):
        return parent.model
    return "+".join(part.partition("@")[0] for part in parent.model.split("+"))


def _and(names: list[str]) -> str:
    *first, last = names or [""]
    return f"{', '.join(first)} and {last}" if first else last


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


def _plain(text: str) -> str:
    """Make somebody's text harmless in markdown: one line, no markup, of bounded length."""
    line = " ".join(text.split())[:200]
    return re.sub(r"([\\`*\[\]<>|])", r"\\\1", line)

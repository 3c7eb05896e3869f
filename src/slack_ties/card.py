"""Write the model card of a merged model, and what its licence asks for. `slack-ties card`.

Every sentence follows from the config, from the record of the merge or from the parents'
metadata. What is not known is left out, or said to be unknown. A person's own text stays.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import EvalResultEntry, ModelCard, ModelCardData

from slack_ties.errors import OutputError
from slack_ties.evaluation import add_results, results_of
from slack_ties.files import write_whole
from slack_ties.hub import HUB_ID, split_reference
from slack_ties.languages import TAG
from slack_ties.licenses import License, Resolution, Stated, find_license, resolve_license
from slack_ties.metadata import LANGUAGE, MODEL_ID
from slack_ties.notice import license_file, write_notices
from slack_ties.own_text import (
    PLACES,
    OwnText,
    find_load_line,
    place,
    read_own_text,
    sealed,
)
from slack_ties.recipe import Recipe, read_recipe
from slack_ties.record import CONFIG_FILE, MergeRecord, Parent, read_record
from slack_ties.report_card import Shown, show_report

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ["CARD_FILE", "address_card", "make_card", "resolve_for", "write_card"]

CARD_FILE = "README.md"
OLD_CARD = ".README.md.old"  # no part of what is published
HUB = "https://huggingface.co"  # where the models of a card are looked for by its readers
ROLES = {"base": "base", "ct": "CT: continual pre-training", "sft": "SFT: instruction tuning"}
RIGHT_TO_LEFT = {"Arab", "Hebr", "Syrc", "Thaa", "Nkoo", "Adlm", "Rohg"}  # ISO 15924


def write_card(  # noqa: PLR0913 - all by name
    out: str | Path,
    *,
    repo_id: str | None = None,
    license: str | Stated | None = None,  # noqa: A002 - the Hub's word for it
    texts: Mapping[str, str] | None = None,
    results: str | Path | None = None,
    overwrite: bool = False,
    api: HfApi | None = None,
) -> Path:
    """Write the card of the merged model in the folder `out` and return its path.

    LICENSE, Notice and what else the parents' licences ask for are written beside it. What a
    person wrote into a card that is there stays: texts in their places, keys and tags of the
    metadata, the licence, and files beside the card.

    Args:
        out: A folder made by `merge_models`.
        repo_id: Where the model will be published; the card's example loads it from there.
        license: The merged model's licence. If not given it is that of the card that is
            there, or follows from the parents'.
        texts: A person's own texts by their place in the card: see `own_text.PLACES`.
        results: Results of evaluations, a file in the Hub's `.eval_results` format.
        overwrite: Replace a card that was edited outside of these places; the old one is
            kept as .README.md.old.
        api: The Hub client; the default one if not given.

    Raises:
        OutputError: `out` is no merged model of ours, or its card was edited elsewhere.
        RecipeError: `license` is none that the Hub takes.

    """
    out = Path(out)
    record = read_record(out)
    recipe = read_recipe(out / CONFIG_FILE)
    stated = Stated(license) if isinstance(license, str) else license
    stated = stated.check() if stated else None
    path = out / CARD_FILE
    old = _read(path)
    own = read_own_text(old) if old is not None else OwnText()
    if own.edited and not overwrite:
        msg = f"{path} was written or edited by hand, outside of the places for your own text"
        flags = f" {shlex.join(stated.flags())}" if stated else ""
        hint = "move it between the comments `your text: more` and `end of your text`, or: "
        hint += f"slack-ties card {out}{flags} --overwrite  (keeps the old one as {OLD_CARD})"
        raise OutputError(msg, hint=hint)
    resolution = resolve_license(record.parents, stated or own.license)
    own = OwnText({**own.places, **(texts or {})}, own.metadata, own.tags, own.datasets)
    if results:
        add_results(Path(results), out)
    write_notices(out, record, resolution, api=api)
    loaded = find_load_line(old or "")
    if not repo_id and loaded and HUB_ID.fullmatch(name := json.loads(loaded[1])) and "/" in name:
        repo_id = name
    card = make_card(
        recipe,
        record,
        folder=out.resolve(),
        repo_id=repo_id,
        resolution=resolution,
        own=own,
        results=results_of(out),
        shown=show_report(out),
    )
    text = sealed(str(card))
    try:
        if old is not None and read_own_text(old).edited:
            kept = out / OLD_CARD
            while kept.exists() and kept.read_bytes() != path.read_bytes():  # older ones stay
                kept = kept.with_name(f"{kept.name}.old")
            kept.write_bytes(path.read_bytes())
        write_whole(path, text)
    except OSError as error:
        msg = f"cannot write {path}: {error.strerror or error}"
        raise OutputError(msg) from None
    return path


def make_card(  # noqa: PLR0913 - all by name
    recipe: Recipe,
    record: MergeRecord | None = None,
    *,
    folder: Path | None = None,
    repo_id: str | None = None,
    resolution: Resolution | None = None,
    own: OwnText | None = None,
    results: Sequence[EvalResultEntry] = (),
    shown: Sequence[Shown] = (),
) -> ModelCard:
    """Return the card of a merge; without `record`, an example card of one not yet run.

    Raises:
        OutputError: The metadata that a person added are not what the Hub takes.

    """
    facts, own = recipe.facts, own or OwnText()
    parents = record.parents if record else _planned(recipe)
    resolution = resolution or resolve_license(parents)
    names = [_plain(one.get("name") or one.get("tag", "")) for one in facts.languages]
    language = _and(names)
    title = _title(recipe, language, folder, resolution)
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", recipe.text + "``")))
    where = repo_id or (folder.name if folder else "OUT")
    where = where.encode(errors="replace").decode()  # a folder may have a name that is no text
    first = facts.language
    script = first.get("script") or first.get("tag", "").partition("-")[2]
    data = _metadata(recipe, parents, record, resolution, own)
    data["model_name"] = f"{title}, merged with {_plain(recipe.method)}"
    try:
        card: ModelCard = ModelCard.from_template(
            _card_data(data),
            template_str=_template(),
            title=title,
            display=resolution.display,
            language=_and(_with_endonyms(recipe)),
            in_english=language,
            brings=_brings(recipe, parents, language),
            record=record,
            own={name: own.places.get(name, "") for name in PLACES},
            places={name: place(name, own.places.get(name, "")) for name in PLACES},
            tag=_plain(first.get("tag", "")).replace('"', ""),
            direction="rtl" if script in RIGHT_TO_LEFT else "auto",
            parents=[_row(parent) for parent in parents],
            load=f"name = {json.dumps(where, ensure_ascii=False)}",
            tokenizer=_tokenizer(folder, parents),
            chat=_has_chat_template(folder),
            chat_from=_chat_from(recipe),
            in_language=f" in {language}" if language else "",
            sft_language="English" if "en" in facts.sft_languages else "the SFT model's language",
            results=[_result(entry) for entry in results],
            shown=[replace(one, text=_plain(one.text, 600)) for one in shown],
            method=_plain(recipe.method),
            parameters=f"{record.parameters:,}" if record else "",
            dtype=record.dtype if record else "",
            fence=fence,
            config=recipe.text.rstrip("\n").replace("<!--", "<! --"),  # no place for a text
            config_name=shlex.quote(recipe.where),
            versions=" ".join(f"{k}=={v.partition('+')[0]}" for k, v in record.versions.items())
            if record
            else "",
            options=f" {shlex.join(record.flags())}".rstrip() if record else "",
            on_hub=all(all(parent.commits) for parent in parents),
            files=sorted(record.files.items()) if record else [],
            limits=_limits(recipe, parents, evaluated=bool(results)),
            license=_license(resolution),
        )
    except (ValueError, TypeError) as error:
        msg = f"the metadata that were added to the card by hand: {error}"
        raise OutputError(msg, hint="mend the lines between the two --- of README.md") from None
    return card


def resolve_for(folder: Path) -> Resolution:
    """Return the licence of a merged model: by its parents, and as its card states it."""
    own = read_own_text(_read(folder / CARD_FILE) or "")
    return resolve_license(read_record(folder).parents, own.license)


def address_card(folder: Path, repo_id: str) -> bool:
    """Let the card's example load the model from the Hub; return whether that changed it.

    A line that somebody wrote to load another Hub id stays.
    """
    path = folder / CARD_FILE
    text = path.read_bytes().decode()
    found = find_load_line(text)
    if not found or "/" in json.loads(found[1]):
        return False
    line = f"name = {json.dumps(repo_id, ensure_ascii=False)}"
    write_whole(path, text[: found.start()] + line + text[found.end() :])
    return True


def _plain(text: str, length: int = 200) -> str:
    """Make somebody's text harmless in markdown: one line, no markup, of bounded length."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())[:length]
    return re.sub(r"[\\`*\[\]<>|~]|(?<!\w)_|_(?!\w)", r"\\\g<0>", line)


# What the card says


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
    ours = ["merge", "mergekit", "slack-ties", *filter(TAG.fullmatch, scripts)]
    datasets = [name for parent in parents for name in parent.datasets]
    return {
        "language": list(dict.fromkeys(codes)) or None,
        **resolution.metadata,
        "base_model": [name for one in parents for name in _hub_ids(one, record)] or None,
        "base_model_relation": "merge",
        "datasets": list(dict.fromkeys([*datasets, *own.datasets])) or None,
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": list(dict.fromkeys([*ours, *own.tags])),
        **own.metadata,
    }


def _card_data(data: Mapping[str, Any]) -> ModelCardData:
    """Return the metadata in this order, as it is: what a person added is not looked into."""
    card_data = ModelCardData()
    card_data.__dict__.clear()
    card_data.__dict__.update(eval_results=None, **{str(key): one for key, one in data.items()})
    return card_data


def _title(recipe: Recipe, language: str, folder: Path | None, resolution: Resolution) -> str:
    words = [_plain(recipe.facts.family), language]
    title = " ".join(filter(None, words)) or _plain(folder.name if folder else "Merged model")
    prefix = resolution.prefix
    return title if title.startswith(prefix) else f"{prefix} {title}"


def _with_endonyms(recipe: Recipe) -> list[str]:
    return [
        _plain(one.get("name") or one.get("tag", ""))
        + (f" ({_plain(one['endonym'])})" if one.get("endonym") else "")
        for one in recipe.facts.languages
    ]


def _brings(recipe: Recipe, parents: Sequence[Parent], language: str) -> str:
    """Say what each model brings to the merge, if the config says what they are."""
    roles = {role: [_name(p) for p in parents if p.role == role] for role in ("ct", "sft")}
    if not (roles["ct"] and roles["sft"]):
        return ""
    english = " in English" if "en" in recipe.facts.sft_languages else ""
    was = "were" if len(roles["ct"]) > 1 else "was"
    of = f" on {language}" if language else " on it"
    tuned = "were" if len(roles["sft"]) > 1 else "was"
    return (
        f"{_and(roles['ct'])} {was} continually pre-trained{of}, {_and(roles['sft'])} {tuned} "
        f"instruction-tuned{english}; the merge is to join what both learnt."
    )


def _row(parent: Parent) -> dict[str, str]:
    """Return a row of the table of parents."""
    links = [
        f"[`{name}`]({HUB}/{name})" if on_hub else _plain(name)
        for name, _, on_hub in _parts(parent)
    ]
    commits = [
        f"[`{commit[:7]}`]({HUB}/{name}/tree/{commit})" if commit else "local folder"
        for name, commit, _ in _parts(parent)
    ]
    licenses = [parent.license or "not stated"]
    licenses += [parent.adapter_license or "not stated"] if len(links) > 1 else []
    return {
        "role": ROLES.get(parent.role, "merged"),
        "model": " + ".join(links),
        "commit": " + ".join(commits),
        "license": _plain(" + ".join(licenses)),
    }


def _parts(parent: Parent) -> list[tuple[str, str, bool]]:
    """Return the model and its adapter: name, commit, and whether it is on the Hub."""
    if parent.commits:
        pairs = zip(parent.names, parent.commits, strict=False)
        return [(name, commit, bool(commit)) for name, commit in pairs]
    paths = [path for path, _ in split_reference(parent.model)]
    return [(path, "", bool(HUB_ID.fullmatch(path)) and not Path(path).exists()) for path in paths]


def _name(parent: Parent) -> str:
    return "+".join(f"`{name}`" if hub else _plain(name) for name, _, hub in _parts(parent))


def _tokenizer(folder: Path | None, parents: Sequence[Parent]) -> str:
    """Return what the example loads the tokenizer from: the base, if the model has none."""
    known = (
        "tokenizer.json",
        "tokenizer.model",
        "vocab.json",
        "vocab.txt",
        "tokenizer_config.json",
    )
    if folder is None or any((folder / name).is_file() for name in known):
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
    notes = [_plain(entry.notes or ""), _plain(entry.date or ""), source]
    return {
        "dataset": f"[`{entry.dataset_id}`]({HUB}/datasets/{entry.dataset_id})",
        "task": _plain(entry.task_id),
        "value": _plain(str(entry.value)),
        "notes": ", ".join(filter(None, notes)),
    }


def _limits(recipe: Recipe, parents: Sequence[Parent], *, evaluated: bool) -> list[str]:
    """Return what follows from the method and the parents for whoever uses the model."""
    limits = [
        (
            "Where the models' changes to a parameter disagree, the merge follows one side. "
            "Anything that one of the models can do may be lost in part, in any language."
        ),
        "Whatever keeps the SFT model from harmful answers may be weakened in the same way.",
    ]
    if not evaluated:
        limits.append("Neither was measured: no evaluation of this model is known.")
    source = str((recipe.data.get("tokenizer") or {}).get("source") or "")
    if source in recipe.models_of("ct"):
        limits.append(
            "Tokens that only the CT model has were never seen in instruction tuning: their "
            "embeddings are the CT model's own."
        )
    datasets = list(dict.fromkeys(name for parent in parents for name in parent.datasets))
    if datasets:
        links = [f"[`{name}`]({HUB}/datasets/{name})" for name in datasets[:20]]
        more = f" and {len(datasets) - 20} more" if len(datasets) > 20 else ""  # noqa: PLR2004
        limits.append(
            "What is wrong, biased or private in the data of the parents can come out again. "
            f"Their cards name: {', '.join(links)}{more}."
        )
    return limits


def _license(resolution: Resolution) -> dict[str, Any]:
    """Return the section on the licence: which and why, what is odd, what each one asks for."""
    lines = [_plain(f"{warning}.", 1000) for warning in resolution.warnings]
    if resolution.license:
        key = _plain(resolution.license.key)
        reason = _plain(" ".join(resolution.steps), 2000)
        reason = f"**{key}**{reason.removeprefix(key) if reason.startswith(key) else f': {reason}'}"
        if resolution.license.link and not find_license(resolution.license.key):
            lines.append(f"Its text: {_plain(resolution.license.link, 400)}")
    else:
        reason = "**Not known**, and to be stated by whoever publishes the model."
        lines = [_plain(problem, 1000) for problem in resolution.problems] + lines
    if any(one.noncommercial for one in resolution.duties):
        reason += " **This model may not be used commercially.**"
    duties = [
        {
            "name": one.name,
            "link": one.link,
            "lines": [
                *_asked(one, resolution),
                *map(_plain_sentence, one.terms),
                *([f"Its [use policy]({one.policy}) is part of it."] if one.policy else []),
            ],
        }
        for one in resolution.duties
    ]
    return {"reason": reason, "lines": lines, "duties": [one for one in duties if one["lines"]]}


def _asked(one: License, resolution: Resolution) -> list[str]:
    """Say what a licence asks for of whoever passes the model on."""
    asked = []
    if one.copy:
        asked.append(f"a copy of it (`{license_file(one, resolution)}`)")
    asked += ["the sentence in `Notice`"] if one.notice else []
    asked += [f'the words "{one.display}"'] if one.display else []
    return [f"To pass this model on needs {_and(asked)} ({one.source})."] if asked else []


def _plain_sentence(text: str) -> str:
    return _plain(text, 1000)


def _planned(recipe: Recipe) -> tuple[Parent, ...]:
    licenses = recipe.facts.licenses
    return tuple(
        Parent(model, role=recipe.role(model), license=licenses.get(model, ""))
        for model in recipe.models
    )


def _hub_ids(parent: Parent, record: MergeRecord | None) -> list[str]:
    """Return the Hub ids for the metadata: only of models known to have come from the Hub."""
    ids = parent.hub_ids if record else [name for name, _, on_hub in _parts(parent) if on_hub]
    return [name for name in ids if MODEL_ID.fullmatch(name)]


def _template() -> str:
    return files("slack_ties").joinpath("model_card.md").read_text(encoding="utf-8")


def _and(names: Sequence[str]) -> str:
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


def _read(path: Path) -> str | None:
    """Return the card that is there; None if there is none."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path} cannot be read: {error}"
        raise OutputError(msg, hint="move it away, then run the same command again") from None

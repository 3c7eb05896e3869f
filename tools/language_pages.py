"""Write docs/languages/: a page for each language of the catalogue, and a table of all.

Usage: python tools/language_pages.py [--check]

With --check it writes nothing, and fails if a page is not what the catalogue says.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from language_text import (
    ABOUT,
    ACCESS,
    COMMANDS,
    EVALUATE,
    MERGE,
    NO_LICENSE,
    NOT_HERE,
    OVERVIEW,
    TERMS,
    UNKNOWN_GATE,
    WHAT,
)

from slack_ties.catalogue.languages import Language, Source, Triple, list_languages
from slack_ties.catalogue.tasks import LanguageTasks, TaskFacts, task_facts, tasks_for
from slack_ties.plan.expected import expect, terms_of
from slack_ties.wording import counted, join_names, size

FOLDER = Path(__file__).parents[1] / "docs" / "languages"
TABLE = "README.md"  # the page of all languages: GitHub shows it with the folder
MARK = "<!-- Made by tools/language_pages.py from the catalogue: run `make docs`. -->"
HUB = "https://huggingface.co"


def main() -> None:
    """Write the pages, or compare them."""
    pages, found = make_pages(), _found()
    stale = sorted(name for name in {*pages, *found} if pages.get(name) != found.get(name))
    if "--check" in sys.argv[1:]:
        if stale:
            sys.exit(f"docs/languages: not current: {', '.join(stale)}; run `make docs`")
        return
    FOLDER.mkdir(exist_ok=True)
    for name in stale:
        if name in pages:
            (FOLDER / name).write_text(pages[name], "utf-8", newline="\n")
        else:
            (FOLDER / name).unlink()
    print(f"docs/languages: {counted(len(pages), 'page')}, {len(stale)} changed")


def _found() -> dict[str, str]:
    """Return the pages that this program wrote, by name."""
    texts = {path.name: path.read_text("utf-8") for path in FOLDER.glob("*.md")}
    return {name: text for name, text in texts.items() if MARK in text}


def make_pages() -> dict[str, str]:
    """Return all pages by the names of their files."""
    triples: dict[Language, list[Triple]] = {}
    for triple in list_languages():
        triples.setdefault(triple.language, []).append(triple)
    triples = {one: sorted(triples[one], key=_need) for one in sorted(triples, key=_name)}
    pages = {f"{one.tag}.md": _page(one, of_it) for one, of_it in triples.items()}
    return {TABLE: _table(triples), **pages}


def _name(language: Language) -> str:
    return language.name


def _need(triple: Triple) -> tuple[bool, int]:
    """Return what triples are sorted by, as `slack-ties languages` does it."""
    cost = expect(triple)
    return cost.gated is True, cost.download


def _table(triples: dict[Language, list[Triple]]) -> str:
    counts = {
        "languages": counted(len(triples), "language"),
        "triples": counted(sum(map(len, triples.values())), "triple"),
    }
    rows = []
    for language, (first, *more) in triples.items():
        download, _, license_, gate = _costs(first)
        cells = [f"[{language.name}]({language.tag}.md)", native(language), str(1 + len(more))]
        rows.append(_row([*cells, download, gate, license_]))
    return f"{ABOUT.format(mark=MARK, **counts)}{''.join(rows)}{NOT_HERE}"


def native(language: Language) -> str:
    """Return a language's name in itself, with its direction for a browser; "" if it has none."""
    if not language.endonym:
        return ""
    right = any(unicodedata.bidirectional(one) in {"R", "AL"} for one in language.endonym)
    direction = ' dir="rtl"' if right else ""
    return f'<span lang="{language.tag}"{direction}>{language.endonym}</span>'


def _page(language: Language, triples: Sequence[Triple]) -> str:
    codes = [f"Tag `{language.tag}`", f"script {language.script}"]
    codes += [f"ISO 639-3 `{language.iso_639_3}`", *filter(None, [_also(language)])]
    own = native(language)
    parts = [
        f"# {language.name}\n\n{MARK}\n\n",
        f"In itself: {own}\n\n" if own else "",
        f"{', '.join(codes)}\n",
        WHAT.format(name=_short(language), triples=counted(len(triples), "triple")),
        OVERVIEW,
        *(_row([f"`{one.key}`", one.family, *_costs(one)]) for one in triples),
        TERMS,
        *(_triple(one) for one in triples),
        _merge(language, triples),
        _evaluate(language),
        "\n## Sources\n\n",
        *_sources(language, triples),
    ]
    return "".join(parts)


def _also(language: Language) -> str:
    names = [one for one in language.aliases if one[:1].isupper()]
    return f"also called {join_names(names)}" if names else ""


def _short(language: Language) -> str:
    """Return the name without what is in brackets."""
    return language.name.partition(" (")[0]


def _costs(triple: Triple) -> list[str]:
    """Return download, result, licence and gate of a triple."""
    cost = expect(triple)
    more = " or more"
    return [
        size(cost.download) + more * cost.download_is_least,
        size(cost.result) + more * cost.result_is_least,
        (cost.license or "not known") + ", no commercial use" * cost.noncommercial,
        _gate(cost.gated),
    ]


def _gate(gated: bool | None) -> str:  # noqa: FBT001 - a fact
    return {True: "yes", False: "no", None: "not known"}[gated]


def _triple(triple: Triple) -> str:
    """Return the section of a triple: its models, and what is not verified."""
    head = f"\n### {triple.key}\n\n| | Model | Weights | Licence | Gate |\n"
    head += "| --- | --- | ---: | --- | --- |\n"
    rows = [
        _row(
            [
                role,
                f"[{model.id}]({HUB}/{model.id})",
                size(model.size) if model.size else "not seen",
                model.license or "not seen",
                _gate(model.gated),
            ]
        )
        for role, model in zip(("Base", "CT", "SFT"), triple.models, strict=True)
    ]
    config = f"[{triple.key}.yml](../../merge_configs/{triple.key}.yml)"
    card = f"[model card](../../model_cards/{triple.key}.md)"
    text = f"\nThe config is {config}; this is the {card} that it leads to. The merged model is "
    text += f"in {triple.dtype}."
    if triple.extended:
        text += " The CT model has tokens that the base does not have; the config handles them."
    if expect(triple).download_is_least:
        text += " Where weights were not seen, 2 bytes are counted for each parameter."
    notes = [f"\n- {one}" for one in triple.unverified.split("; ") if one]
    found = f"\n\n**Not verified on the Hub:**\n{''.join(notes)}" if notes else ""
    steps = [f"\n\n{_begun(one)}." for one in terms_of(triple).warnings]
    return f"{head}{''.join(rows)}{text}{''.join(steps)}{found}\n"


def _begun(warning: str) -> str:
    """Return a warning as a sentence; the id of a model at its beginning stays as it is."""
    return warning if "/" in warning.partition(" ")[0] else f"{warning[0].upper()}{warning[1:]}"


def _merge(language: Language, triples: Sequence[Triple]) -> str:
    """Return the commands for the triple that needs least."""
    first, *more = triples
    name, terms = _short(language), terms_of(first)
    text = MERGE.format(key=first.key, other=" For another, type its key." if more else "")
    if gated := [one.id for one in first.models if one.gated]:
        text += ACCESS.format(models=_links(gated))
    elif unsure := [one.id for one in first.models if one.gated is None]:
        text += UNKNOWN_GATE.format(models=_links(unsure))
    if not terms.license:
        unknown = [one.id for one in first.models if not one.license]
        text += NO_LICENSE.format(models=_links(unknown), license=terms.suggestion)
    return text + COMMANDS.format(
        key=first.key,
        download=size(expect(first).download),
        out=_out(language),
        name=name,
        repo=f"ME/{first.family.replace(' ', '-')}-{name}",
        license="" if terms.license else " --license ID",
    )


def _links(models: Sequence[str]) -> str:
    """Return models of the Hub as links, in a sentence."""
    return join_names([f"[{one}]({HUB}/{one})" for one in models])


def _out(language: Language) -> str:
    """Return the folder of the merged model in the commands."""
    return _short(language).lower().replace(" ", "-")


def _evaluate(language: Language) -> str:
    tasks = tasks_for(language)
    rows = [
        _row([f"`{name}`", where, _items(facts), facts.needs])
        for where, names in ((_short(language), tasks.default), ("English", tasks.english))
        for name in names
        for facts in [task_facts(name)]
    ]
    text = EVALUATE.format(out=_out(language)) + "".join(rows)
    text += f"\n{tasks.note}\n" if tasks.note else ""
    if tasks.more:
        text += f"\nMore tasks in {_short(language)}, for `--tasks`:\n\n{''.join(_more(tasks))}"
    return f"{text}\n[The tasks of all languages](../tasks.md) says how to add tasks of your own.\n"


def _items(facts: TaskFacts) -> str:
    return f"{facts.items:,}" if facts.items else "not known"


def _more(tasks: LanguageTasks) -> Iterator[str]:
    """Return the other tasks as a list, by what they need."""
    by_need: dict[str, list[str]] = {}
    for name in tasks.more:
        facts = task_facts(name)
        items = f" ({facts.items:,} items)" if facts.items else ""
        by_need.setdefault(facts.needs, []).append(f"`{name}`{items}")
    for needs, names in sorted(by_need.items()):
        yield f"- {', '.join(names)}{needs and f': {needs}'}\n"


def _sources(language: Language, triples: Sequence[Triple]) -> Iterator[str]:
    """Return a line for each fact's source, each once."""
    yield "Names and codes: Unicode CLDR, ISO 639-3, ISO 15924"
    yield f"; {_linked(language.source)}.\n\n" if language.source else ".\n\n"
    models: dict[str, Source] = {one.id: one for one in chain(*(t.models for t in triples))}
    for one in models.values():
        about = [("licence", one.source), ("weights and gate", one.files)]
        said = "; ".join(f"{what}: {_linked(source)}" for what, source in about if source)
        yield f"- {one.id}: {said or 'none'}\n"


def _linked(source: str) -> str:
    """Return a source with its addresses as links."""
    return re.sub(r"https://[^\s;,()]+[^\s;,().]", lambda found: f"<{found[0]}>", source)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    main()

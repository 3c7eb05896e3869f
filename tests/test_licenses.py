"""The merged model's licence, by the licences of real parents, and what has to be shipped."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hub_server import LICENSES
from slack_ties.card.license_files import write_notices
from slack_ties.catalogue.languages import list_languages
from slack_ties.errors import HubError, RecipeError
from slack_ties.licenses.known import License, Stated, find_license, hub_licenses, list_licenses
from slack_ties.licenses.names import check_repo_name, suggest_name
from slack_ties.licenses.resolve import resolve_license
from slack_ties.licenses.words import license_of, nearest_license
from slack_ties.record import MergeRecord, Parent

COMMIT = "0123456789" * 4
L2, FLAN = "meta-llama/Llama-2-7b-hf", "pkupie/Llama-2-7b-FLAN-step884"
CHAT2, L13 = "meta-llama/Llama-2-7b-chat-hf", "meta-llama/Llama-2-13b-hf"
L3, CHAT3 = "meta-llama/Meta-Llama-3-8B", "meta-llama/Meta-Llama-3-8B-Instruct"
L31, CHAT31 = "meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B-Instruct"
MISTRAL, MISTRAL_CHAT = "mistralai/Mistral-7B-v0.1", "mistralai/Mistral-7B-Instruct-v0.1"
Q15, Q3 = "Qwen/Qwen2.5-1.5B", "Qwen/Qwen2.5-3B"
SMALL, SEVEN = "Qwen/Qwen1.5-0.5B", "Qwen/Qwen1.5-7B"
GEMMA = "google/gemma-2-2b"
RESEARCH = "tongyi-qianwen-research"
NAMES = ("a/base", "a/ct", "a/sft")


def triple(base: str, ct: str, sft: str, *, names: tuple[str, str, str]) -> list[Parent]:
    """Return three parents with these licences."""
    return [
        Parent(name, role=role, commits=(COMMIT,), license=license_)
        for name, role, license_ in zip(names, ("base", "ct", "sft"), (base, ct, sft), strict=True)
    ]


# (base, CT, SFT), their licences as their cards print them, the merged model's or nothing, what
# the reason or the problem says, what is warned of, and the files to be shipped.
# Sources of the licences: src/slack_ties/catalogue/languages.toml, and the histories of the cards.
BOTH = {"LICENSE", "Notice"}
TABLE = [
    # One licence throughout.
    ((L2, "pkupie/Llama-2-7b-bod", FLAN), "llama2 llama2 llama2",
     "llama2", "of every parent", "", BOTH),
    ((L2, "tartuNLP/Llama-2-7b-Ukrainian", CHAT2), "llama2 llama2 llama2",
     "llama2", "of every parent", "", BOTH),
    ((L2, "sambanovasystems/SambaLingo-Hungarian-Base", CHAT2), "llama2 llama2 llama2",
     "llama2", "of every parent", "", BOTH),
    ((L3, "AI-Sweden-Models/Llama-3-8B", CHAT3), "llama3 llama3 llama3",
     "llama3", "of every parent", "", BOTH),
    ((L31, "proxectonos/Llama-3.1-Carballo", CHAT31), "llama3.1 llama3.1 llama3.1",
     "llama3.1", "of every parent", "", BOTH),
    ((L31, "ilsp/Llama-Krikri-8B-Base", CHAT31), "llama3.1 llama3.1 llama3.1",
     "llama3.1", "of every parent", "", BOTH),
    ((GEMMA, "cjvt/GaMS-2B", "google/gemma-2-2b-it"), "gemma gemma gemma",
     "gemma", "of every parent", "", BOTH),
    ((Q15, "pkupie/Qwen2.5-1.5B-bo-cpt", f"{Q15}-Instruct"), "apache-2.0 apache-2.0 apache-2.0",
     "apache-2.0", "of every parent", "", BOTH),
    ((Q3, "pkupie/Qwen2.5-3B-bo-cpt", f"{Q3}-Instruct"),
     "qwen-research qwen-research qwen-research",
     "qwen-research", "of every parent", "", BOTH),
    # A licence that is not stated: whoever merges has to ask, and state one.
    ((L2, "pkupie/Llama-2-7b-ori", FLAN), "llama2 - llama2",
     "", "pkupie/Llama-2-7b-ori states no licence; the terms of meta-llama/Llama-2-7b-hf (llama2)",
     "", BOTH),
    ((L2, "tartuNLP/Llammas-base", CHAT2), "llama2 - llama2",
     "", "tartuNLP/Llammas-base states no licence; the terms", "", BOTH),
    ((L31, "Lugha-Llama/Lugha-Llama-8B-wura", CHAT31), "llama3.1 - llama3.1",
     "", "states no licence; the terms of meta-llama/Llama-3.1-8B (llama3.1)", "", BOTH),
    ((L31, "orai-nlp/Llama-eus-8B", CHAT31), "llama3.1 - llama3.1",
     "", "orai-nlp/Llama-eus-8B states no licence", "", BOTH),
    ((L2, "Jacaranda/kiswallama-pretrained", CHAT2), "llama2 - llama2",
     "", "states no licence", "", BOTH),
    ((Q15, "pkupie/Qwen2.5-1.5B-ug-cpt", f"{Q15}-Instruct"), "apache-2.0 - apache-2.0",
     "", "pkupie/Qwen2.5-1.5B-ug-cpt states no licence.", "", BOTH),
    ((Q15, "me/ct", f"{Q15}-Instruct"), "apache-2.0 other apache-2.0",
     "", "me/ct states only other.", "", BOTH),
    ((L2, "me/ct", CHAT2), "llama2 unknown llama2",
     "", "me/ct states only unknown; the terms of", "", BOTH),
    ((MISTRAL, "me/ct", MISTRAL_CHAT), "apache-2.0 falcon-180b-license apache-2.0",
     "", "me/ct is under falcon-180b-license, whose terms are not known here", "", BOTH),
    # Drift: the CT model calls itself something freer than what it was made from.
    ((L13, "ReliableAI/UCCIX-Llama2-13B", "meta-llama/Llama-2-13b-chat-hf"),
     "llama2 apache-2.0 llama2",
     "llama2", "the licence of all that it was made from",
     "ReliableAI/UCCIX-Llama2-13B calls itself apache-2.0, but was made from "
     "meta-llama/Llama-2-13b-hf, whose licence llama2 stays with", BOTH),
    ((L3, "AI-Sweden-Models/Llama-3-8B", CHAT3), "llama3 apache-2.0 llama3",
     "llama3", "the licence of all", "calls itself apache-2.0", BOTH),
    ((SMALL, "sail/Sailor-0.5B", f"{SMALL}-Chat"), f"{RESEARCH} apache-2.0 {RESEARCH}",
     RESEARCH, "the licence of all", "sail/Sailor-0.5B calls itself apache-2.0", BOTH),
    ((SEVEN, "sail/Sailor-7B", f"{SEVEN}-Chat"), "tongyi-qianwen apache-2.0 tongyi-qianwen",
     "tongyi-qianwen", "the licence of all", "sail/Sailor-7B calls itself apache-2.0", BOTH),
    ((Q3, "pkupie/Qwen2.5-3B-mn-cpt", f"{Q3}-Instruct"), "qwen-research apache-2.0 qwen-research",
     "qwen-research", "the licence of all", "calls itself apache-2.0", BOTH),
    ((GEMMA, "me/ct", "google/gemma-2-2b-it"), "gemma mit gemma",
     "gemma", "the licence of all", "me/ct calls itself mit", BOTH),
    # Licences that leave derivatives to their makers, beside each other and beside others.
    ((MISTRAL, "danish-foundation-models/munin-7b-alpha", MISTRAL_CHAT),
     "apache-2.0 cc-by-4.0 apache-2.0",
     "cc-by-4.0", "with the most conditions among the parents; apache-2.0 allows other terms", "",
     {"LICENSE", "LICENSE-apache-2.0", "Notice"}),
    ((MISTRAL, "NbAiLab/nb-sau-7b-4k-step100k", MISTRAL_CHAT), "apache-2.0 mit bsd-3-clause",
     "apache-2.0", "bsd-3-clause and mit allow other terms", "",
     {"LICENSE", "LICENSE-mit", "LICENSE-bsd-3-clause", "Notice"}),
    ((MISTRAL, "timpal0l/Mistral-7B-v0.1-flashback-v2", MISTRAL_CHAT),
     "apache-2.0 cc-by-nc-4.0 apache-2.0",
     "cc-by-nc-4.0", "the licence of timpal0l/Mistral-7B-v0.1-flashback-v2, whose terms stay", "",
     {"LICENSE", "LICENSE-apache-2.0", "Notice"}),
    ((MISTRAL, "me/ct", MISTRAL_CHAT), "apache-2.0 cc-by-sa-4.0 cc-by-4.0",
     "cc-by-sa-4.0", "which every model made from it must have (section 3.b)", "",
     {"LICENSE", "LICENSE-apache-2.0", "Notice"}),
    ((MISTRAL, "me/ct", MISTRAL_CHAT), "apache-2.0 cc-by-nc-4.0 cc-by-nc-sa-4.0",
     "cc-by-nc-sa-4.0", "which contains the terms of cc-by-nc-4.0 and cc-by-nc-sa-4.0", "",
     {"LICENSE", "LICENSE-apache-2.0", "Notice"}),
    ((MISTRAL, "me/ct", MISTRAL_CHAT), "apache-2.0 gpl-3.0 mit",
     "gpl-3.0", "which every model made from it must have", "",
     {"LICENSE", "LICENSE-apache-2.0", "LICENSE-mit", "Notice"}),
    # No commercial use, on top of a base with terms of its own: both hold.
    ((L2, "OpenLLM-Ro/RoLlama2-7b-Base-2024-05-14", CHAT2), "llama2 cc-by-nc-4.0 llama2",
     "llama2-and-cc-by-nc-4.0", "the ban of commercial use of cc-by-nc-4.0", "",
     {"LICENSE", "LICENSE-llama2", "Notice"}),
    ((L31, "issai/LLama-3.1-KazLLM-1.0-8B", CHAT31), "llama3.1 cc-by-nc-4.0 llama3.1",
     "llama3.1-and-cc-by-nc-4.0", "the terms of llama3.1 stay with the model", "",
     {"LICENSE", "LICENSE-llama3.1", "Notice"}),
    # Conflicts.
    ((L31, "inceptionai/Llama-3.1-Sherkala-8B-Chat", CHAT31), "llama3.1 cc-by-nc-sa-4.0 llama3.1",
     "", "llama3.1 and cc-by-nc-sa-4.0 all stay with the model, and no one licence meets them", "",
     {"LICENSE-llama3.1", "Notice"}),
    ((L2, "abhinand/tamil-llama-7b-base-v0.1", CHAT2), "llama2 gpl-3.0 llama2",
     "", "llama2 and gpl-3.0 all stay", "", {"LICENSE-llama2", "LICENSE-gpl-3.0", "Notice"}),
    ((L3, "me/ct", CHAT31), "llama3 llama3 llama3.1",
     "", "llama3 and llama3.1 all stay", "", {"LICENSE-llama3", "LICENSE-llama3.1", "Notice"}),
    ((MISTRAL, "me/ct", MISTRAL_CHAT), "apache-2.0 gpl-2.0 mit",
     "", "gpl-2.0 and apache-2.0 cannot both be met", "",
     {"LICENSE-apache-2.0", "LICENSE-gpl-2.0", "LICENSE-mit", "Notice"}),
    ((MISTRAL, "me/ct", MISTRAL_CHAT), "apache-2.0 cc-by-nd-4.0 apache-2.0",
     "", "me/ct: cc-by-nd-4.0 lets nobody share what is made from it", "",
     {"LICENSE-apache-2.0", "Notice"}),
    ((MISTRAL, "me/ct", MISTRAL_CHAT), "apache-2.0 creativeml-openrail-m mit",
     "creativeml-openrail-m", "the licence of me/ct, whose terms stay", "",
     {"LICENSE", "LICENSE-apache-2.0", "LICENSE-mit", "Notice"}),
]  # fmt: skip


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0][1]}: {row[1]}")
def test_of_real_parents(row: tuple[Any, ...], tmp_path: Path) -> None:
    """The licence, why, what is odd, and what has to lie beside the weights."""
    names, licenses, expected, reason, warning, files = row
    stated = (one.strip("-") for one in licenses.split(" "))
    parents = triple(*stated, names=names)
    found = resolve_license(parents)

    assert (found.license.key if found.license else "") == expected
    assert reason in found.reason
    assert bool(found.license) == (not found.problems)
    assert [warning in one for one in found.warnings] == [True] * bool(warning)
    own = None if found.license else Stated("other", "mine", "LICENSE")
    record = MergeRecord("slack_ties", "bfloat16", 1, tuple(parents), {})
    write_notices(tmp_path, record, resolve_license(parents, own))
    made = {path.name for path in tmp_path.iterdir()}
    if found.license:
        assert made == files
    else:
        # With a licence of one's own, the parents' texts lie beside it.
        assert "Notice" in made
        assert {name for name in files if name.startswith("LICENSE-")} <= made


def test_of_the_catalogue() -> None:
    """Every entry has a licence, or a problem that says what is missing; bases are all known."""
    unsettled = {}
    for triple_ in list_languages():
        models = zip(("base", "ct", "sft"), (triple_.base, triple_.ct, triple_.sft), strict=True)
        found = resolve_license(
            Parent(one.id, role=role, license=one.license) for role, one in models
        )
        assert bool(found.license) != bool(found.problems)
        if not found.license:
            unsettled[triple_.key] = found.problems
    assert all(len(problems) == 1 for problems in unsettled.values())  # the CT model's alone
    assert {"or", "et", "sw"} <= unsettled.keys()
    assert not {"bo", "gl", "sl", "lo", "ga"} & unsettled.keys()


def test_the_license_of_an_adapter_counts() -> None:
    """It is part of what is merged."""
    parents = triple("apache-2.0", "apache-2.0", "apache-2.0", names=("a/b", "a/c", "a/s+a/lora"))
    both = Parent(
        "a/s+a/lora", "sft", (COMMIT, COMMIT), "apache-2.0", adapter_license="cc-by-nc-4.0"
    )
    silent = Parent("a/s+a/lora", "sft", (COMMIT, COMMIT), "apache-2.0")

    assert resolve_license([*parents[:2], both]).license == Stated("cc-by-nc-4.0")
    assert resolve_license([*parents[:2], silent]).problems == ("a/lora states no licence.",)


def test_what_a_card_says_of_its_origin_counts() -> None:
    """A base in a folder says nothing; the CT model's card names Llama 2."""
    parents = [
        Parent("./base", "base", ("",), "mit"),
        Parent("a/ct", "ct", (COMMIT,), "mit", made_from=("meta-llama/Llama-2-7b-hf",)),
    ]

    found = resolve_license(parents)

    assert found.license == Stated("llama2")
    assert "a/ct calls itself mit, but was made from meta-llama/Llama-2-7b-hf" in found.warnings[0]


def test_the_catalogue_helps_a_parent_without_a_card() -> None:
    """Of a gated base whose card could not be read the licence is known all the same."""
    parents = [Parent(L2, "base", (COMMIT,)), Parent("a/ct", "ct", (COMMIT,), "llama2")]

    assert resolve_license(parents).license == Stated("llama2")


def test_what_is_stated_is_followed_and_said() -> None:
    """Whoever made the model has the last word; the parents' conditions stay."""
    parents = triple("llama2", "", "llama2", names=("a/base", "a/ct", "a/sft"))

    found = resolve_license(parents, Stated("llama2"))

    assert found.license == Stated("llama2")
    assert found.chosen
    assert found.reason == (
        "llama2, as stated by the person who made this model. "
        "a/ct states no licence; the terms of a/base (llama2) stay with it in any case."
    )
    laxer = resolve_license(triple("llama2", "llama2", "llama2", names=NAMES), Stated("mit"))
    assert "By the parents' licences it would be llama2." in laxer.steps
    assert [one.id for one in laxer.duties] == ["llama2", "mit"]
    same = resolve_license(triple("llama2", "llama2", "llama2", names=NAMES), Stated("llama2"))
    assert not same.chosen


@pytest.mark.parametrize("own", ["cc-by-nc-4.0", "mit", ""])
def test_what_a_parent_was_made_from_binds_whatever_it_says(own: str) -> None:
    """Terms that stay with a model stay with what is made from that, merged here or not."""
    parents = [
        Parent("a/base", "base", (COMMIT,), "mit"),
        Parent("a/ct", "ct", (COMMIT,), own, made_from=(L3, L2)),
    ]

    for one in (parents, [parents[0], replace(parents[1], made_from=(L2, L3))]):
        found = resolve_license(one, Stated("mit"))

        assert {"llama2", "llama3"} <= {duty.id for duty in found.duties}
        assert resolve_license(one).license is None  # two licences that both want to be the one


def test_ids_of_the_hub_ignore_case() -> None:
    """As a card may name what its model was made from."""
    parents = [Parent("a/b", "base", (COMMIT,), "mit", made_from=(L3.lower(),))]

    assert resolve_license(parents).license == Stated("llama3")


def test_the_longest_name_that_is_asked_for() -> None:
    """Llama 3 and a later Llama: what begins with one begins with the other too."""
    found = resolve_license(triple("llama3", "llama3.1", "llama3.1", names=NAMES), Stated("mit"))

    assert found.prefix == "Llama 3"


def test_what_is_suggested_is_accepted() -> None:
    """Several licences at once, by the name that the resolver gives them."""
    parents = triple("llama2", "cc-by-nc-4.0", "", names=NAMES)
    found = resolve_license(parents)
    assert (found.license, found.suggestion) == (None, "llama2-and-cc-by-nc-4.0")

    stated = Stated(found.suggestion).check()

    assert stated == Stated("other", "llama2-and-cc-by-nc-4.0", "LICENSE")
    assert resolve_license(parents, stated).license == stated
    assert [one.id for one in resolve_license(parents, stated).duties] == ["llama2", "cc-by-nc-4.0"]


@pytest.mark.parametrize(
    ("words", "meant", "near"),
    [
        ("CC BY-NC 4.0", "cc-by-nc-4.0", "cc-by-nc-4.0"),
        ("Creative Commons Attribution-ShareAlike 4.0 International", "cc-by-sa-4.0", None),
        ("The MIT License (MIT)", "mit", None),
        ("Apache License, Version 2.0", "apache-2.0", None),
        ("GNU GPL v3", "gpl-3.0", None),
        ("Llama 2 Community License", "llama2", None),
        ("Gemma Terms of Use", "gemma", None),
        ("cc-by-nc", "", "cc-by-nc-4.0"),
        ("apache", "", "apache-2.0"),
        # Nothing that allows more than the words do.
        ("CC BY 4.0, research only", "", ""),
        ("apache 2.0 non-commercial", "", ""),
        ("unlicensed", "", ""),
        ("llama", "", ""),
        ("my own terms", "", ""),
        # Any of several licences.
        *((words, "", "") for words in ("GNU", "Meta Llama", "llama license")),
        ("Creative Commons", "cc", ""),
        *((words, "", "") for words in ("Llama Community License", "Llama 5", "RAIL")),
        *((words, words, "") for words in ("cc", "gpl", "lgpl")),
        # A word that the name of the licence does not have may be a limit.
        *((words, "", "") for words in ("Apache-2.0 + RAIL", "Apache 2.0 + AUP", "not apache-2.0")),
        *((words, "", "") for words in ("apache-2.0-edu", "Apache 2.0 (no mil)", "bsd-4-clause")),
        *((words, "", "") for words in ("CC BY 4.0 (no AI)", "MIT, all rights reserved", "mit-0")),
        *(
            (words, "", "")
            for words in ("mit-and-other", "Apache 2.0 (仅限研究)", "MIT не для всех")
        ),
        # Errors of the keyboard.
        ("appache 2.0", "", "apache-2.0"),
        ("Gema Terms of Use", "", "gemma"),
    ],
)
def test_a_license_in_other_words(words: str, meant: str, near: str | None) -> None:
    """An id only if there is no doubt; a near one never allows more."""
    assert license_of(words) == meant
    assert nearest_license(words) == (meant if near is None else near)


@pytest.mark.parametrize(
    ("of_ct", "problem", "suggestion"),
    [
        (
            "cc-by-nc",
            "a/ct is under cc-by-nc, whose terms are not known here (the nearest id: ",
            "cc-by-nc-4.0",
        ),
        (
            "CC BY-NC, research only",
            "a/ct states 'CC BY-NC, research only', which is not the id of",
            "",
        ),
        ("my terms, https://x.example", "a/ct states 'my terms, https://x.example', which is", ""),
        ("other", "a/ct states only other.", ""),
        ("", "a/ct states no licence.", "apache-2.0"),
    ],
)
def test_what_is_proposed_allows_no_more_than_a_parent(
    of_ct: str, problem: str, suggestion: str
) -> None:
    """The words of the card are shown; nothing is proposed if no licence is near to them."""
    found = resolve_license(triple("apache-2.0", of_ct, "apache-2.0", names=NAMES))

    assert found.license is None
    assert problem in found.problems[0]
    assert found.suggestion == suggestion


@pytest.mark.parametrize(
    ("licenses", "expected", "reason"),
    [
        (("gpl-3.0", "agpl-3.0", "mit"), "agpl-3.0-and-gpl-3.0", "section 13 of both"),
        (
            ("cc-by-sa-3.0", "cc-by-sa-4.0", "mit"),
            "cc-by-sa-4.0",
            "cc-by-sa-3.0 allows cc-by-sa-4.0 for it",
        ),
        (("cc-by-sa-4.0", "gpl-3.0", "mit"), "gpl-3.0", "cc-by-sa-4.0 allows gpl-3.0 for it"),
        # An earlier share-alike licence does not allow it, also not in the company of a later one.
        (("cc-by-sa-3.0", "gpl-3.0", "mit"), "", "no one licence meets them"),
        (("cc-by-sa-3.0", "cc-by-sa-4.0", "gpl-3.0"), "", "no one licence meets them"),
        (
            ("cc-by-sa-4.0", "gpl-3.0", "agpl-3.0"),
            "agpl-3.0-and-gpl-3.0",
            "gpl-3.0 and agpl-3.0, each for its own part (section 13 of both); cc-by-sa-4.0 allows "
            "gpl-3.0 for it (section 3.b).",
        ),
        (("cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "mit"), "cc-by-nc-sa-4.0", "allows cc-by"),
        (("gpl-2.0", "gpl-3.0", "mit"), "", "no one licence meets them"),
        (("mit-and-llama2", "llama2", "llama2"), "llama2", "llama2, the licence of"),
        (("llama2-and-cc-by-nc-4.0", "llama2", "llama2"), "llama2-and-cc-by-nc-4.0", "both"),
    ],
)
def test_licenses_that_can_be_met_together(
    licenses: tuple[str, str, str], expected: str, reason: str
) -> None:
    """Later versions, compatible licences and several licences of one model."""
    found = resolve_license(triple(*licenses, names=NAMES))

    assert (found.license.key if found.license else "") == expected
    assert reason in found.reason


KNOWN = [one.id for one in list_licenses()]


@given(st.lists(st.sampled_from(KNOWN), min_size=1, max_size=4))
@example(["cc0-1.0", "mit", "bsd"])  # neither asks for more than the other
def test_laws(licenses: list[str]) -> None:
    """No use is gained by merging: bans stay, binding terms stay, and the order is nothing."""
    parents = [
        Parent(f"a/{i}", "base" if not i else "ct", (COMMIT,), name)
        for i, name in enumerate(licenses)
    ]
    terms = [find_license(name) for name in licenses]

    found = resolve_license(parents)

    assert bool(found.license) != bool(found.problems)
    if found.license:
        parts = [find_license(one) for one in found.license.key.split("-and-")]
        if any(one.noncommercial for one in terms):
            assert any(one.noncommercial for one in parts)
        for one in terms:
            same_family = {p.derivatives for p in parts} >= {"same"} and one.id.startswith(
                "cc-by-nc"
            )
            if one.binding:
                newer = any(p.id[:9] == one.id[:9] == "cc-by-nc-" for p in parts)
                taken = any(p.id in one.accepts for p in parts)
                assert one in parts or newer or same_family or taken
        assert {one.id for one in found.duties if one.binding} >= {
            one.id for one in terms if one.binding
        }
    backwards = resolve_license([parents[0], *reversed(parents[1:])])
    assert backwards.license == found.license
    assert resolve_license([*parents, Parent("a/x", "ct", (COMMIT,))]).license is None


def test_the_table_of_licenses() -> None:
    """Ids of the Hub's, and the sentences letter by letter as the licences have them."""
    assert set(hub_licenses()) == LICENSES
    assert {
        *("llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4", "gemma", "apache-2.0"),
        *("mit", "bsd", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "qwen"),
        *("qwen-research", "tongyi-qianwen", "tongyi-qianwen-research", "openrail"),
    } <= set(KNOWN)
    assert find_license("llama2").notice == (
        "Llama 2 is licensed under the LLAMA 2 Community License, Copyright (c) Meta Platforms, "
        "Inc. All Rights Reserved."
    )
    assert find_license("llama3").notice == (
        "Meta Llama 3 is licensed under the Meta Llama 3 Community License, Copyright © Meta "
        "Platforms, Inc. All Rights Reserved."
    )
    for version in ("3.1", "3.2", "3.3", "4"):
        one = find_license(f"llama{version}")
        assert one.notice == (
            f"Llama {version} is licensed under the Llama {version} Community License, Copyright "
            "© Meta Platforms, Inc. All Rights Reserved."
        )
        assert (one.display, one.prefix) == ("Built with Llama", "Llama")
    assert find_license("gemma").notice == (
        "Gemma is provided under and subject to the Gemma Terms of Use found at "
        "ai.google.dev/gemma/terms"
    )
    for name, holder in (
        ("qwen-research", "Qwen is licensed under the Qwen RESEARCH LICENSE AGREEMENT"),
        (
            RESEARCH,
            "Tongyi Qianwen is licensed under the Tongyi Qianwen RESEARCH LICENSE AGREEMENT",
        ),
    ):
        assert find_license(name).notice == (
            f"{holder}, Copyright (c) Alibaba Cloud. All Rights Reserved."
        )


@pytest.mark.parametrize("name", KNOWN)
def test_each_license_says_where_it_is_from(name: str) -> None:
    """Name, text, and the place in it that a rule was read from."""
    one = find_license(name)

    assert isinstance(one, License)
    assert one.derivatives in {"free", "bound", "same", "none"}
    assert re.match("https?://", one.link)
    assert one.source
    assert not one.notice or one.copy


@pytest.mark.parametrize(
    ("license_", "name", "better"),
    [
        ("llama3.1", "me/bo-model", "me/Llama-bo-model"),
        ("llama3.1", "me/llama-3.1-8b-bo", "me/Llama-3.1-8b-bo"),
        ("llama3.2", "bo-llama", "Llama-bo"),
        ("llama4", "me/Basque-Llama", "me/Llama-Basque"),
        ("llama3", "me/Llama-bo", "me/Llama-3-bo"),
        ("llama3", "me/bo", "me/Llama-3-bo"),
        ("llama3.1", "me/" + "x" * 96, "me/Llama-" + "x" * 90),
    ],
)
def test_a_name_that_a_license_does_not_allow(license_: str, name: str, better: str) -> None:
    """The rule is named, and a name that would do, which does."""
    found = resolve_license(triple(license_, license_, license_, names=NAMES))

    with pytest.raises(HubError, match="a name that begins with 'Llama") as caught:
        check_repo_name(name, found)

    assert caught.value.hint == f"publish it as {better}"
    check_repo_name(better, found)


@pytest.mark.parametrize(
    ("license_", "name"),
    [
        ("llama3.1", "me/Llama-3.1-8B-Basque"),
        ("llama3.1", "Llama-bo"),
        ("llama3", "me/Llama-3-8B-Swedish"),
        ("llama3", "me/Llama3-Swedish"),
        ("llama2", "me/tibetan"),
        ("gemma", "me/slovene"),
    ],
)
def test_a_name_that_a_license_allows(license_: str, name: str) -> None:
    """Llama 2 and Gemma have no such rule."""
    check_repo_name(name, resolve_license(triple(*[license_] * 3, names=NAMES)))


def test_suggesting_a_name() -> None:
    """No rule changes nothing."""
    assert suggest_name("NAME", "") == "NAME"
    assert suggest_name("NAME", "Llama") == "Llama-NAME"


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (Stated("llama2"), Stated("llama2")),
        (
            Stated("qwen-research"),
            Stated("other", "qwen-research", find_license("qwen-research").link),
        ),
        (Stated("other", "my-license", "LICENSE"), Stated("other", "my-license", "LICENSE")),
        (
            Stated("other", "my-license", "https://me.example/license"),
            Stated("other", "my-license", "https://me.example/license"),
        ),
    ],
)
def test_a_stated_license_as_the_hub_takes_it(given: Stated, taken: Stated) -> None:
    """One that the Hub has no id for becomes `other` with its name and link."""
    assert given.check() == taken
    assert taken.check() == taken


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Stated("lama2"), "'lama2' is not a licence id of the Hub. Did you mean 'llama2'?"),
        (Stated("Apache 2.0"), "not a licence id of the Hub"),
        (Stated("other"), "needs a name and a link"),
        (Stated("other", "my license", "LICENSE"), "needs a name and a link"),
        (Stated("other", "mine", "file:///etc/passwd"), "needs a name and a link"),
        (Stated("other", "mine", "https://x.example/a b"), "needs a name and a link"),
        (Stated("mit", "mine", "LICENSE"), "has its name and text on the Hub"),
    ],
)
def test_a_license_that_the_hub_does_not_take(wrong: Stated, message: str) -> None:
    """Refused at once, not after the upload."""
    with pytest.raises(RecipeError, match=re.escape(message)):
        wrong.check()


@pytest.mark.parametrize(
    ("stated", "flags"),
    [
        (Stated("mit"), ["--license", "mit"]),
        (Stated("qwen").check(), ["--license", "qwen"]),
        (
            Stated("other", "mine", "LICENSE"),
            ["--license", "other", "--license-name", "mine", "--license-link", "LICENSE"],
        ),
    ],
)
def test_as_it_is_typed(stated: Stated, flags: list[str]) -> None:
    """What the next command needs to state the same."""
    assert stated.flags() == flags

"""The catalogue is complete, consistent and easy to find things in."""

from __future__ import annotations

import re
import sys
from importlib.resources import files

import pytest
from babel import Locale

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from slack_ties.catalogue.languages import (
    _names,
    find_triple,
    list_languages,
    match_triples,
    unlisted_language,
)
from slack_ties.catalogue.names import folded
from slack_ties.catalogue.tags import SPECIAL
from slack_ties.errors import CatalogueError

TRIPLES = list_languages()


def test_holds_the_paper_and_the_small_models() -> None:
    """Seven languages on Llama 2 7B, four small triples on Qwen2.5 1.5B, and more after them."""
    assert [(t.key, t.ct.id) for t in TRIPLES][:11] == [
        ("bo", "pkupie/Llama-2-7b-bod"),
        ("ug", "pkupie/Llama-2-7b-uig"),
        ("mn-Mong", "pkupie/Llama-2-7b-mon"),
        ("bn", "pkupie/Llama-2-7b-ben"),
        ("ta", "pkupie/Llama-2-7b-tam"),
        ("te", "pkupie/Llama-2-7b-tel"),
        ("or", "pkupie/Llama-2-7b-ori"),
        ("bo-qwen2.5-1.5b", "pkupie/Qwen2.5-1.5B-bo-cpt"),
        ("ug-qwen2.5-1.5b", "pkupie/Qwen2.5-1.5B-ug-cpt"),
        ("kk-Arab-qwen2.5-1.5b", "pkupie/Qwen2.5-1.5B-kk-cpt"),
        ("mn-Mong-qwen2.5-1.5b", "pkupie/Qwen2.5-1.5B-mn-cpt"),
    ]
    extended = {t.key for t in TRIPLES if t.extended}
    assert extended >= {"hu", "sr", "ta-llama-2-7b-chat", "ga", "el", "si"}
    assert all(t.unverified for t in TRIPLES if "not looked up" in t.base.source + t.sft.source)


@pytest.mark.parametrize("triple", TRIPLES, ids=lambda t: t.key)
def test_states_every_fact_and_its_source(triple: object) -> None:
    """Codes have their standards' form, and every model names where it was read."""
    language = triple.language
    assert re.fullmatch("[a-z]{2}", language.iso_639_1)
    assert re.fullmatch("[a-z]{3}", language.iso_639_3)
    assert re.fullmatch("[A-Z][a-z]{3}", language.script)
    assert language.name
    assert language.endonym
    for source in (triple.base, triple.ct, triple.sft):
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", source.id)
        assert source.source.startswith("https://")
    assert triple.sft.languages == ("en",)
    assert triple.dtype in {"float16", "bfloat16"}


@pytest.mark.parametrize("language", sorted({t.language for t in TRIPLES}, key=lambda x: x.tag))
def test_names_agree_with_cldr(language: object) -> None:
    """Names in English and in the language are those of Unicode CLDR, where it has them."""
    code = language.tag.partition("-")[0]
    english = Locale("en").languages[code]
    own = Locale.parse(language.tag.replace("-", "_")).languages.get(code)

    assert language.name.partition(" (")[0] == english
    assert own in (None, language.endonym)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("bo", "bo"),
        ("BOD", "bo"),
        ("Tibetan", "bo"),
        ("tibetan ", "bo"),
        ("བོད་སྐད་", "bo"),
        ("mn", "mn-Mong"),
        ("mongolian", "mn-Mong"),
        ("bengali", "bn"),
        ("no", "no"),
        ("nb", "no"),
        ("српски", "sr"),
        ("kk", "kk-Arab-qwen2.5-1.5b"),
        ("kazakh", "kk-Arab-qwen2.5-1.5b"),
        ("BO-qwen2.5-1.5B", "bo-qwen2.5-1.5b"),
        ("Uighur", "ug"),
        ("laotian", "lo"),
        ("Oriya", "or"),
        ("Sinhalese", "si"),
        ("slovene", "sl"),
        ("Tieng  Viet", "vi"),
        ("swh", "sw"),
    ],
)
def test_finds_a_triple_by_any_name(name: str, key: str) -> None:
    """Key, tag, ISO codes, names; the language's first triple if several fit."""
    assert find_triple(name).key == key


def test_every_name_means_one_language() -> None:
    """No code or name is claimed by two languages."""
    claims: dict[str, set[str]] = {}
    for triple in TRIPLES:
        known = triple.language
        for name in (known.tag, known.iso_639_1, known.iso_639_3, known.name, *known.aliases):
            claims.setdefault(name.casefold(), set()).add(known.tag)

    assert {name for name, tags in claims.items() if len(tags) > 1} == set()


def test_an_unknown_language_is_an_error_with_the_nearest() -> None:
    """A misspelt name is answered with the name that was meant."""
    with pytest.raises(CatalogueError, match="Did you mean 'Tibetan'") as caught:
        find_triple("tibetian")

    assert caught.value.hint.startswith("slack-ties languages")


def proposed(name: str) -> str:
    """Return what is proposed for a name that the catalogue does not have."""
    with pytest.raises(CatalogueError) as caught:
        find_triple(name)
    match = re.search("Did you mean '(.+)'", str(caught.value))
    return match[1] if match else ""


def test_no_language_is_taken_for_another() -> None:
    """For a language that is not in the catalogue, no other one is proposed."""
    known = {folded(name) for t in TRIPLES for name in (*_names(t.language), t.key)}
    others = {name for name in Locale("en").languages.values() if folded(name) not in known}
    others |= {"Burmese", "Myanmar", "Cambodian", "Farsi", "Siamese", "Serbo-Croatian", "xx", "qu"}

    assert len(others) > 500
    assert {name: near for name in others if (near := proposed(name))} == {}


@pytest.mark.parametrize(
    ("typed", "step"),
    [
        ("quechua", "slack-ties config qu --base BASE --ct CT --sft SFT #"),
        ("que", "slack-ties config qu --base"),
        ("tibetian", "slack-ties languages #"),
        ("no such language", "slack-ties languages #"),
    ],
)
def test_the_next_step_for_a_language_outside_the_catalogue(typed: str, step: str) -> None:
    """Its own code in the command, if there is such a language."""
    with pytest.raises(CatalogueError) as caught:
        find_triple(typed)

    assert caught.value.hint.startswith(step)


@pytest.mark.parametrize(("typed", "step"), [("quechua", "type qu"), ("eu_ES", "type eu-ES")])
def test_the_next_step_for_a_name_instead_of_a_tag(typed: str, step: str) -> None:
    """The tag to type: the language is not in the catalogue, so the list does not help."""
    with pytest.raises(CatalogueError) as caught:
        unlisted_language(typed)

    assert caught.value.hint == step


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("uyghr", "Uyghur"),
        ("kazak", "Kazakh"),
        ("Laos", "Lao"),
        ("laotien", "Laotian"),
        ("Viet-Nam", ""),
        ("english", ""),
        ("norweigan", "Norwegian"),
        ("telgu", "Telugu"),
        ("bo-qwen", "bo-qwen2.5-1.5b"),
        ("mn-mong-qwen2.5-3", "mn-Mong-qwen2.5-3b"),
    ],
)
def test_a_misspelt_name_is_understood(typed: str, meant: str) -> None:
    """A letter too many, too few or in another place, and a key that is not complete."""
    assert proposed(typed) == meant


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        ([], [t.key for t in TRIPLES]),
        (["bo"], ["bo", "bo-qwen2.5-1.5b", "bo-qwen2.5-3b"]),
        (["བོད་སྐད་"], ["bo", "bo-qwen2.5-1.5b", "bo-qwen2.5-3b"]),
        (["tibt"], ["bo", "bo-qwen2.5-1.5b", "bo-qwen2.5-3b"]),
        (["bo-qwen2.5-3b"], ["bo-qwen2.5-3b"]),
        (["Bengali", "oriya"], ["bn", "or"]),
        (["cyrl"], ["uk", "sr", "sr-gemma-2-2b", "sr-gemma-2-9b"]),
    ],
)
def test_a_word_names_all_triples_of_a_language(words: list[str], keys: list[str]) -> None:
    """By each name, code, endonym or script; a key names its triple only."""
    assert [triple.key for triple in match_triples(words)] == keys


def test_a_word_that_names_nothing_is_an_error() -> None:
    """Also beside words that name something."""
    with pytest.raises(CatalogueError, match=r"no language 'tibetian'.* Did you mean 'Tibetan'"):
        match_triples(["bo", "tibetian"])


@pytest.mark.parametrize(
    ("typed", "tag", "name", "endonym", "codes"),
    [
        ("qu", "qu", "Quechua", "Runasimi", ("qu", "que")),
        ("que", "qu", "Quechua", "Runasimi", ("qu", "que")),
        ("ckb", "ckb", "Central Kurdish", "کوردیی ناوەندی", ("", "ckb")),
        ("mvf-Mong", "mvf-Mong", "Peripheral Mongolian (Mongolian)", "", ("", "mvf")),
        ("pt-BR", "pt-BR", "Portuguese (Brazil)", "", ("pt", "por")),
        ("zh-hant-tw", "zh-Hant-TW", "Chinese (Traditional, Taiwan)", "", ("zh", "zho")),
        ("EU-es", "eu-ES", "Basque (Spain)", "", ("eu", "eus")),
        ("ca-ES-valencia", "ca-ES-valencia", "Catalan (Spain)", "", ("ca", "cat")),
        ("es-419", "es-419", "Spanish (Latin America)", "", ("es", "spa")),
        ("kk-CN", "kk-CN", "Kazakh (China)", "", ("kk", "kaz")),  # қазақ тілі is written elsewhere
        ("tgl", "tl", "Tagalog", "", ("tl", "tgl")),
        ("iw", "he", "Hebrew", "עברית", ("he", "heb")),
        ("qaa", "qaa", "", "", ("", "qaa")),
    ],
)
def test_a_language_outside_the_catalogue(
    typed: str, tag: str, name: str, endonym: str, codes: tuple[str, str]
) -> None:
    """Its tag as BCP 47 writes it, its names, and each code only where it belongs."""
    found = unlisted_language(typed)

    assert (found.tag, found.name, found.endonym) == (tag, name, endonym)
    assert (found.iso_639_1, found.iso_639_3) == codes
    assert unlisted_language(found.tag) == found


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        ("", "'' is not a language tag: expected a code such as eu, mn-Mong or pt-BR."),
        ("quechua", "or pt-BR. The code of Quechua is 'qu'."),
        ("eu_ES", "or pt-BR. Did you mean 'eu-ES'?"),
        ("../x", "'../x' is not a language tag"),
        ("xx", "'xx' is no language code."),
        ("zqu", "'zqu' is no language code. Did you mean '"),
        ("eu-Basq", "'Basq' in 'eu-Basq' is no script code. Did you mean 'Bass' (Bassa Vah)?"),
        ("eu-XX", "'XX' in 'eu-XX' is no region code."),
        ("und", "'und' (Unknown language) names no language: expected the code of one"),
        ("MUL-Latn", "'mul' (Multiple languages) names no language"),
        ("mis", "'mis' (Uncoded languages) names no language"),
        ("zxx", "'zxx' (No linguistic content) names no language"),
    ],
)
def test_refuses_what_is_no_tag(tag: str, message: str) -> None:
    """Tags become file names: only codes that exist get through; the nearest is named."""
    with pytest.raises(CatalogueError, match=re.escape(message)):
        unlisted_language(tag)


def test_every_code_of_the_table_is_read() -> None:
    """8,000 languages: each has a name, and a code that leads to itself; four name no language."""
    text = files("slack_ties.catalogue").joinpath("tags.tsv").read_text("utf-8")
    rows = [line.split("\t") for line in text.splitlines() if line.startswith("l\t")]

    assert len(rows) > 8000
    named = [row for row in rows if row[1] not in SPECIAL]
    assert len(named) == len(rows) - 4
    for _, code, name, *_ in named:
        found = unlisted_language(code)
        assert (found.tag, found.name) == (code, name)
        assert name.strip() == name != ""


def test_the_catalogue_agrees_with_the_table() -> None:
    """Tags and codes of the catalogue's languages are those of the registry."""
    for triple in list_languages():
        ours = triple.language
        found = unlisted_language(ours.tag)
        assert (found.tag, found.iso_639_1) == (ours.tag, ours.iso_639_1)
        assert unlisted_language(ours.iso_639_3).name


def test_the_file_holds_nothing_unused() -> None:
    """Every language and family of the file is used by a triple."""
    data = tomllib.loads(
        files("slack_ties.catalogue").joinpath("languages.toml").read_text("utf-8")
    )

    assert {row["language"] for row in data["triple"]} == set(data["language"])
    assert {row["family"] for row in data["triple"]} == set(data["family"])

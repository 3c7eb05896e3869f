"""Pinning a config: only names of models change, wherever they stand and however written."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from slack_ties.config.choices import Choices
from slack_ties.config.make import make_config
from slack_ties.recipe.pin import add_section, pin_recipe, pinned_name, used_versions
from slack_ties.recipe.read import parse_recipe
from slack_ties.recipe.recipe import FACTS_KEY

SHA = {name: letter * 40 for name, letter in (("a/base", "a"), ("a/ct", "b"), ("a/sft", "c"))}
COMMITS = {name: (sha,) for name, sha in SHA.items()}
BASE, CT, SFT = (f"{name}@{sha}" for name, sha in SHA.items())
RECIPE = make_config("eu", Choices(base="a/base", ct="a/ct", sft="a/sft"))


def test_every_name_gets_its_commit() -> None:
    """In the merge, under our key, and nothing else changes; comments stay."""
    commented = parse_recipe(
        RECIPE.text.replace("- model: a/ct", "- model: a/ct  # the best one"), where="eu.yml"
    )

    pinned = pin_recipe(commented, COMMITS)

    assert pinned.models == (BASE, CT, SFT)
    assert pinned.facts.roles == {"base": (BASE,), "ct": (CT,), "sft": (SFT,)}
    assert [pinned.role(model) for model in pinned.models] == ["base", "ct", "sft"]
    assert f"- model: {CT}  # the best one" in pinned.text
    assert pinned.facts.versions == used_versions()
    expected = json.loads(json.dumps(RECIPE.data))
    text = json.dumps(expected)
    for name, (sha,) in COMMITS.items():
        text = text.replace(f'"{name}"', f'"{name}@{sha}"')
    data = json.loads(text)
    data[FACTS_KEY]["versions"] = used_versions()
    assert pinned.data == data


def test_licences_and_tokenizer_sources_follow() -> None:
    """Whatever names a model by its old name would not find it any more."""
    data = {
        **RECIPE.data,
        "tokenizer": {"source": "a/ct", "tokens": {"<x>": {"source": "a/sft"}}},
        FACTS_KEY: {**RECIPE.data[FACTS_KEY], "licenses": {"a/ct": "mit"}},
    }

    pinned = pin_recipe(parse_recipe(yaml.safe_dump(data), where="x"), COMMITS)

    assert pinned.data["tokenizer"] == {"source": CT, "tokens": {"<x>": {"source": SFT}}}
    assert pinned.facts.licenses == {CT: "mit"}


@pytest.mark.parametrize(
    "written",
    [
        "a/ct",
        "'a/ct'",
        '"a/ct"',
        "a/ct@main",
        "{path: a/ct, revision: main}",
        "{model: {path: a/ct}}",
        "\n        path: a/ct\n        revision: v1",
        "&x a/ct",
    ],
)
def test_every_way_to_write_a_model(written: str) -> None:
    """Short, quoted, long, over several lines, with a branch."""
    text = (
        "merge_method: linear\nmodels:\n"
        f"  - model: {written}\n    parameters: {{weight: 1}}\n"
        "  - model: a/sft\n    parameters: {weight: 1}\n"
    )
    recipe = parse_recipe(text, where="x.yml")

    pinned = pin_recipe(recipe, {recipe.models[0]: SHA["a/ct"].split(), **COMMITS})

    assert pinned.models == (CT, SFT)
    assert pinned.data["models"][0]["parameters"] == {"weight": 1}


def test_adapters_and_folders() -> None:
    """Each part of a pair has its own commit; a folder has none, whatever its name."""
    assert pinned_name("a/b@main+c/d", ["1" * 40, "2" * 40]) == f"a/b@{'1' * 40}+c/d@{'2' * 40}"
    assert pinned_name("a/b+./lora", ["1" * 40, ""]) == f"a/b@{'1' * 40}+./lora"
    assert pinned_name("/x/a@b+c", [""]) == "/x/a@b+c"


def test_twice_is_the_same_as_once() -> None:
    """A pinned config stays as it is; options replace options."""
    once = pin_recipe(RECIPE, COMMITS, {"random_seed": 1})
    again = {name: name.partition("@")[2].split() for name in once.models}

    assert pin_recipe(once, again).text == once.text
    assert pin_recipe(once, again, {"random_seed": 1}).text == once.text
    assert once.facts.options == {"random_seed": 1}
    assert pin_recipe(once, again, {}).facts.options == {}


@pytest.mark.parametrize("dump", [json.dumps, yaml.safe_dump])
def test_a_config_without_our_key(dump: object) -> None:
    """It gets one, in JSON too."""
    data = {k: v for k, v in RECIPE.data.items() if k != FACTS_KEY}

    pinned = pin_recipe(parse_recipe(dump(data), where="x"), COMMITS)

    assert pinned.models == (BASE, CT, SFT)
    assert pinned.data[FACTS_KEY] == {"recipe": 1, "versions": used_versions()}


@pytest.mark.parametrize("dump", [json.dumps, yaml.safe_dump])
def test_adds_a_tokenizer_section(dump: object) -> None:
    """With tokens that YAML has to quote."""
    section = {"source": "a/ct", "tokens": {"<|im_end|>": {"source": "a/sft"}, "# no": {}}}

    added = add_section(parse_recipe(dump(RECIPE.data), where="x"), section)

    assert added.data == {**RECIPE.data, "tokenizer": section}


@given(
    names=st.lists(
        st.from_regex(r"[A-Za-z0-9][\w.-]{0,8}/[A-Za-z0-9][\w.-]{0,8}", fullmatch=True),
        min_size=3,
        max_size=3,
        unique=True,
    ),
    flow=st.booleans(),
    facts=st.booleans(),
)
def test_pinned_is_parsed_as_the_same_config(names: list[str], *, flow: bool, facts: bool) -> None:
    """Whatever the names and the layout, data are the same but for the names."""
    data = make_config("eu", Choices(base=names[0], ct=names[1], sft=names[2])).data
    data = {k: v for k, v in data.items() if facts or k != FACTS_KEY}
    recipe = parse_recipe(yaml.safe_dump(data, default_flow_style=flow), where="x")

    pinned = pin_recipe(recipe, dict.fromkeys(names, ("f" * 40,)))

    assert pinned.models == tuple(f"{name}@{'f' * 40}" for name in names)
    for key in ("merge_method", "parameters"):
        assert pinned.data[key] == data[key]
    assert [m["parameters"] for m in pinned.data["models"]] == [
        m["parameters"] for m in data["models"]
    ]


PLAIN = """\
# head
merge_method: slack_ties
base_model: a/base   # the base
models:
  - model: a/ct
    parameters: {weight: 1}
  - model: a/sft
    parameters: {weight: 1, slack: 0.2}
"""
FACTS = "slack_ties:\n  recipe: 1\n  roles: {base: a/base, ct: a/ct, sft: a/sft}\n"


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN + FACTS,
        PLAIN.rstrip() + "  # no line end",
        f"---\n{PLAIN}...\n",
        f"---\n{PLAIN}{FACTS}...\n# after the end\n",
        "".join(f"  {line}\n" for line in PLAIN.splitlines()),
        "".join(f"  {line}\n" for line in (PLAIN + FACTS).splitlines()),
        PLAIN.replace("\n", "\r\n"),
        (PLAIN + FACTS).replace("\n", "\r\n"),
        PLAIN + "slack_ties:\n",
        PLAIN + "slack_ties: {}\n",
        PLAIN + "slack_ties: {recipe: 1}\n",
        PLAIN + FACTS.replace("  recipe: 1\n", "  recipe: 1\n  recipe: 1\n"),
        PLAIN + FACTS.replace("  recipe: 1\n", "") + "  <<: {recipe: 1}\n",
        PLAIN + "? slack_ties\n: {recipe: 1}\n",
        PLAIN + FACTS.replace("  recipe: 1\n", "") + "  recipe: 1  # last\n# the end\n",
        PLAIN.replace("a/base ", "&b a/base ") + FACTS.replace("a/base", "*b"),
        PLAIN.replace("model: a/ct", "model: &c a/ct")
        .replace("a/sft", "*c")
        .replace("*c", "a/sft"),
        PLAIN.replace("model: a/ct", "'model': \"a/ct\""),
        PLAIN.replace("a/ct", "!!str a/ct"),
        PLAIN.replace("  - model: a/ct\n", "  - model: # why\n      path: a/ct # which\n"),
        PLAIN.replace("- model: a/ct\n", "- model: {model: {path: a/ct}, lora: {path: a/sft}}\n"),
        PLAIN.replace(
            "- model: a/ct\n", "- model: {model: a/ct, override_architecture: LlamaForCausalLM}\n"
        ),
        PLAIN
        + "tokenizer: {source: a/ct, tokens: {model: {source: a/sft}, source: {source: a/ct}}}",
        json.dumps(yaml.safe_load(PLAIN + FACTS + "  licenses: {a/base: mit}\n")),
        json.dumps(
            yaml.safe_load(PLAIN + FACTS + "  licenses: {a/base: mit}\n"), separators=(",", ":")
        ),
        PLAIN + FACTS + '  licenses: {"a/base":"mit"}\n',
    ],
)
def test_any_layout(text: str) -> None:
    """Every model is pinned, whatever stands around it; data are what they were otherwise."""
    recipe = parse_recipe(text, where="x.yml")
    commits = {
        name: tuple(SHA[part.partition("@")[0]] for part in name.split("+"))
        for name in recipe.models
    }

    pinned = pin_recipe(recipe, commits)

    assert all("@" in part for name in pinned.models for part in name.split("+"))
    assert pinned.facts.versions == used_versions()
    assert len(pinned.models) == len(recipe.models)
    unpinned = pinned.text
    for name, sha in SHA.items():
        unpinned = unpinned.replace(f"{name}@{sha}", name)
    again = parse_recipe(unpinned, where="x.yml")
    assert again.models == recipe.models
    assert again.facts.roles == recipe.facts.roles
    assert again.facts.licenses == recipe.facts.licenses
    assert again.data.get("tokenizer") == recipe.data.get("tokenizer")
    for comment in ("# head", "# the base"):
        written_anew = any(odd in text for odd in ("&", "!!", "<<", "?", "recipe: 1\n  recipe"))
        if comment in text and (comment == "# head" or not written_anew):
            assert comment in pinned.text
    ends = "\r\n" if "\r\n" in text else "\n"
    assert "\r" not in pinned.text.replace(ends, "")
    assert pinned.text.count(ends) == pinned.text.count("\n")
    assert parse_recipe(pinned.text, where="x.yml").data == pinned.data
    section = add_section(parse_recipe(PLAIN, where="x.yml"), {"source": "union"})
    assert section.data["tokenizer"] == {"source": "union"}


def test_comments_of_a_pinned_config_stay() -> None:
    """Also those that follow what is replaced, to the end of the file."""
    text = PLAIN + FACTS + "  versions:\n    torch: 1.0  # old\n# note one\n\n# note two\n"

    pinned = pin_recipe(parse_recipe(text, where="x.yml"), COMMITS)

    assert pinned.text.endswith("# note one\n\n# note two\n")
    assert pinned.facts.versions == used_versions()

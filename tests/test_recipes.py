"""Recipes of others: found, fetched by commit, refused when they want more than to merge."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from huggingface_hub import HfApi

import processes
from command import Invoke, environment
from hub_server import Fault, Refused, Server
from slack_ties.config.choices import Choices
from slack_ties.config.make import make_config
from slack_ties.errors import CatalogueError, HubError, RecipeError
from slack_ties.hub.retries import READING
from slack_ties.recipe.pin import pin_recipe
from slack_ties.recipe.read import parse_recipe, read_recipe
from slack_ties.sharing.adapt import adapt_recipe, to_slack_ties
from slack_ties.sharing.pull import pull_recipe
from slack_ties.sharing.search import search_recipes
from slack_ties.sharing.untrusted import check_untrusted, lint_recipe
from test_next_steps import commands
from triple import Folders, extend

QUICK = replace(READING, timeout=3, first_wait=0.01)
ROOT = Path(__file__).parent.parent
GOOD = make_config("bo")
CARD = """---
language: {language}
license: {license}
base_model: [{base}]
tags: [{tags}]
---
"""


def publish(api: HfApi, name: str, text: str = GOOD.text, **card: str) -> str:
    """Put a recipe and a card on the Hub; return the id."""
    values = {"language": "bo", "license": "mit", "base": "me/base", "tags": "slack-ties", **card}
    api.create_repo(f"me/{name}", private=False)
    for path, content in (("mergekit_config.yml", text), ("README.md", CARD.format(**values))):
        api.upload_file(path_or_fileobj=content.encode(), path_in_repo=path, repo_id=f"me/{name}")
    return f"me/{name}"


def good(**changes: object) -> str:
    """Return a recipe of Hub models with some keys changed; None removes one."""
    data = {**GOOD.data, **changes}
    return yaml.safe_dump({key: value for key, value in data.items() if value is not None})


# Search


def test_search_finds_what_was_published(api: HfApi) -> None:
    """By our tag, by language, by parent, by author; nobody else's merges."""
    publish(api, "tibetan", license="llama2")
    publish(api, "uyghur", language="ug")
    publish(api, "mongolian", language="mn", tags="slack-ties, mn-Mong")
    publish(api, "other", tags="mergekit")
    publish(api, "elsewhere", base="you/base")

    def ids(**wanted: str) -> set[str]:
        return {one.repo_id for one in search_recipes(**wanted, api=api)}

    everything = {f"me/{name}" for name in ("tibetan", "uyghur", "mongolian", "elsewhere")}
    assert ids() == ids(author="me") == everything
    assert ids(language="bo") == ids(language="Tibetan") == {"me/tibetan", "me/elsewhere"}
    assert ids(language="mn-Mong") == {"me/mongolian"}
    assert ids(base="you/base@main") == {"me/elsewhere"}
    assert ids(author="nobody") == set()
    assert {one.license for one in search_recipes(author="me", api=api)} == {"llama2", "mit"}
    publish(api, "two", license="[apache-2.0, cc-by-4.0]", language="ckb")
    (two,) = search_recipes(language="ckb", api=api)
    assert two.license == "apache-2.0, cc-by-4.0"
    publish(api, "named", license="other\nlicense_name: my-licence", language="dz")
    (named,) = search_recipes(language="dz", api=api).rows()
    assert named[2] == "my-licence"
    (tibetan,) = (one for one in search_recipes(api=api) if one.repo_id == "me/tibetan")
    assert (tibetan.languages, tibetan.bases, tibetan.license) == (("bo",), ("me/base",), "llama2")
    with pytest.raises(CatalogueError, match="not a language tag"):
        ids(language="Klingonese")


def test_a_refused_search(api: HfApi, hub: Server) -> None:
    """One line."""

    def refuse() -> None:
        raise Refused(403, "Please verify your e-mail address")

    hub.hub.repos = refuse

    expected = (
        r"(?m)^searching for recipes: \S+ does not allow this: Please verify your e-mail address$"
    )
    with pytest.raises(HubError, match=expected):
        search_recipes(api=api)


def test_a_list_in_pages(api: HfApi, hub: Server) -> None:
    """As many pages are read as the limit needs."""
    ids = [publish(api, name) for name in ("a", "b", "c", "d", "e")]
    hub.hub.page_size = 2
    hub.hub.requests.clear()

    assert [one.repo_id for one in search_recipes(language="bo", author="me", api=api)] == ids
    assert [one.repo_id for one in search_recipes(limit=3, api=api)] == ids[:3]
    assert hub.hub.requests == ["GET /api/models"] * (3 + 2)


@pytest.mark.parametrize("how", ["500", "limited", "dropped_before"])
def test_one_fault_ends_no_search(how: str, api: HfApi, hub: Server) -> None:
    """The Hub is asked again."""
    publish(api, "a")
    hub.hub.faults.append(Fault("list", how))

    assert [one.repo_id for one in search_recipes(retries=QUICK, api=api)] == ["me/a"]


def test_a_search_of_a_silent_hub_ends(api: HfApi, hub: Server) -> None:
    """It gives up after the limit."""
    hub.hub.faults.append(Fault("list", "stalled", math.inf))
    began = time.monotonic()

    with pytest.raises(HubError, match=r"searching for recipes: .* did not answer in time"):
        search_recipes(retries=QUICK, api=api)

    assert time.monotonic() - began < 2 * QUICK.timeout


def test_a_search_without_network() -> None:
    """It is one line and the next step: none of the client's own lines."""
    ended = subprocess.run(
        [sys.executable, "-m", "slack_ties", "recipes", "search"],
        env={**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    problem, hint = ended.stderr.splitlines()
    assert problem.startswith("Error: searching for recipes: cannot reach http://127.0.0.1:9: ")
    assert hint == "Next: check the network, then run the same command again"
    assert (ended.stdout, ended.returncode) == ("", 1)


@pytest.mark.parametrize("also", ["tibetan", ""])
def test_search_proposes_a_recipe_that_can_be_pulled(
    also: str, api: HfApi, hub: Server, tmp_path: Path
) -> None:
    """The newest whose models are on the Hub; nothing if there is none."""
    if also:
        publish(api, also)
    publish(api, "of-folders", good(base_model="./base"), base="")
    variables = environment(hub, tmp_path, "hf_writer")

    found = processes.run(["recipes", "search"], env=variables, cwd=tmp_path)

    assert found.stdout.splitlines()[1].startswith("me/of-folders ")
    proposed = commands(found.stderr)
    assert proposed == ([["recipes", "pull", f"me/{also}"]] if also else [])
    for words in proposed:
        assert processes.run(words, env=variables, cwd=tmp_path).returncode == 0


# Pull


def test_pulls_by_commit(api: HfApi, hub: Server) -> None:
    """The file of the commit that was asked for, and nothing else is fetched."""
    repo = publish(api, "tibetan")
    old = api.model_info(repo).sha
    newer = GOOD.text.replace("slack: 0.2", "slack: 0.3")
    api.upload_file(
        path_or_fileobj=newer.encode(), path_in_repo="mergekit_config.yml", repo_id=repo
    )
    hub.hub.sent.clear()

    pulled = pull_recipe(repo, api=api)

    assert pulled.commit == api.model_info(repo).sha
    assert pulled.recipe.text == newer
    assert pulled.recipe.where == f"{repo}@{pulled.commit}"
    assert pulled.changes == ()
    assert set(hub.hub.sent) == {"mergekit_config.yml"}
    assert pull_recipe(f"{repo}@{old}", api=api).recipe.text == GOOD.text


def test_nothing_to_pull(api: HfApi) -> None:
    """No repository, or no recipe in it."""
    api.create_repo("me/empty", private=False)

    with pytest.raises(HubError, match=r"'me/empty' has no mergekit_config\.yml"):
        pull_recipe("me/empty", api=api)
    api.upload_file(
        path_or_fileobj=b"experts: []\n",
        path_in_repo="mergekit_moe_config.yml",
        repo_id="me/empty",
    )
    with pytest.raises(HubError, match="'me/empty' is a mixture of experts, made by mergekit-moe"):
        pull_recipe("me/empty", api=api)
    with pytest.raises(HubError, match="recipe of 'me/none': not found"):
        pull_recipe("me/none", api=api)
    with pytest.raises(HubError, match=r"recipe of '\.\./\.\./etc': "):
        pull_recipe("../../etc", api=api)


@pytest.mark.usefixtures("own_cache")
def test_a_corrupt_copy_is_found(api: HfApi) -> None:
    """The client takes what lies in its cache: git's hash is compared with the Hub's."""
    repo = publish(api, "tibetan")
    path = Path(api.hf_hub_download(repo, "mergekit_config.yml"))
    path.write_bytes(path.read_bytes().replace(b"0.5", b"0.9"))

    with pytest.raises(HubError, match="the file in the cache differs from") as caught:
        pull_recipe(repo, api=api)

    assert caught.value.hint == f"hf download {repo} mergekit_config.yml --force-download"


def test_a_huge_recipe_is_not_fetched(api: HfApi, hub: Server) -> None:
    """Its size is known beforehand."""
    repo = publish(api, "huge", GOOD.text + "#" * 300_000)
    hub.hub.sent.clear()

    with pytest.raises(RecipeError, match=r"is refused: it has 30\d,\d+ bytes"):
        pull_recipe(repo, api=api)

    assert hub.hub.sent == {}


MODELS = GOOD.data["models"]


def with_model(model: object) -> str:
    """Return a recipe with this as its CT model."""
    return good(models=[{"model": model, "parameters": {"weight": 1}}, MODELS[1]])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        # Paths: absolute, relative, of another drive, of a home, up, and in disguise.
        (with_model("/etc/passwd"), "the model '/etc/passwd', expected a Hub id"),
        (with_model("./models/ct"), r"the model '\./models/ct'"),
        (with_model("../ct"), r"the model '\.\./ct'"),
        (with_model("a/../ct"), r"the model 'a/\.\./ct'"),
        (with_model(".."), r"the model '\.\.'"),
        (with_model("~/ct"), "the model '~/ct'"),
        (with_model("C:\\models\\ct"), "the model 'C:"),
        (with_model("\\\\host\\share"), "the model "),
        (with_model("a/b/c"), "the model 'a/b/c'"),
        (with_model("https://evil.example/x"), "the model 'https:"),
        (with_model("a/b@../../x"), r"the model 'a/b@\.\./\.\./x'"),
        (with_model("a/b@"), "the model 'a/b@'"),
        (with_model("a/b+/tmp/lora"), r"the model 'a/b\+/tmp/lora'"),
        (with_model({"path": "/etc"}), "the model '/etc'"),
        (with_model({"model": {"path": "a/b"}, "lora": "../x"}), r"the model 'a/b\+\.\./x'"),
        (with_model("а/b"), "the model 'а/b'"),  # noqa: RUF001 - a Cyrillic letter
        (good(base_model="/base"), "the model '/base'"),
        (good(tokenizer={"source": "/words"}), "the model '/words'"),
        (good(tokenizer_source="./words"), r"the model '\./words'"),
        (
            good(tokenizer={"source": "base", "tokens": {"x": {"source": "/w"}}}),
            "the model '/w'",
        ),
        (
            good(
                tokenizer={
                    "source": "base",
                    "tokens": {
                        "x": {"source": {"kind": "model_token", "model": "/w", "token": "y"}}
                    },
                }
            ),
            "the model '/w'",
        ),
        # Programs.
        ("!!python/object/apply:os.system [id]", "the YAML tag 'tag:yaml.org,2002:python/object"),
        (f"{GOOD.text}\nname: !!python/name:os.system x", "the YAML tag"),
        (f"{GOOD.text}\nname: !include /etc/passwd", "the YAML tag '!include'"),
        (
            good(chat_template="{% for x in range(10**9) %}a{% endfor %}"),
            "the text of a chat template",
        ),
        (good(chat_template="a\nb"), "the text of a chat template, which is a program"),
        # More than a merge.
        (good(trust_remote_code=True), "unknown key 'trust_remote_code'"),
        (good(hub_token="hf_x"), "unknown key 'hub_token'"),
        (good(models=[{"model": "a/b", "command": "rm"}]), "unknown key 'command'"),
        (good(slack_ties={"recipe": 1, "run": "rm"}), "unknown key 'run'"),
        (good(slack_ties={"recipe": 2}), "slack_ties.recipe: expected 1, got 2"),
        # Bombs.
        (
            "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nmerge_method: linear\nmodels: *c",
            "a YAML alias",
        ),
        ("[" * 10_000, "more than 32 levels of brackets"),
        (good(name="x" * 300_000), "it has 300,"),
        (good(tokenizer={"source": "base", "pad_to_multiple_of": 10**12}), "pad_to_multiple_of"),
        # What a terminal would obey.
        (good(name="\x1b]0;owned\x07"), "control characters "),
        (with_model("a/b\x1b[2J"), "control characters "),
        (good(name="\u202egpj.exe"), "control characters "),
        (f'{GOOD.text}\nname: "\\ud83d"', "control characters |not valid YAML"),
        (
            good(tokenizer={"source": "base", "tokens": {"\x1b[31m": {"soruce": "a"}}}),
            "control characters ",
        ),
        # A path where our own key's name would hide it.
        (
            good(
                models=None,
                modules={"slack_ties": {"models": [{"model": "/etc"}, {"model": "../up"}]}},
            ),
            "the model '/etc'",
        ),
        (
            good(tokenizer={"source": "base", "tokens": {"slack_ties": {"source": "/etc"}}}),
            "the model '/etc'",
        ),
        (good(tokenizer={"source": ["/etc"]}), "expected a folder or a Hub id"),
        (good(tokenizer={"source": {"lora": {"path": "/etc"}}}), "model is missing"),
        (good(tokenizer={"source": {"path": "/etc", "kind": "x"}}), "unknown key 'kind'"),
        (
            good(parameters={"weight": "X"}).replace("X", "0x" + "f" * 6000),
            "a number is too long|Exceeds the limit",
        ),
        # No recipe at all.
        ("just words", "expected a mergekit config"),
        ("", "expected a mergekit config"),
    ],
)
def test_a_malicious_recipe_is_refused(text: str, found: str) -> None:
    """With what was found; nothing of it was run or fetched."""
    with pytest.raises(RecipeError, match=found):
        check_untrusted(text, where="you/evil@0")


@pytest.mark.parametrize(
    "text",
    [
        GOOD.text,
        with_model("a/b@v1.0"),
        with_model("a/b@refs/pr/1+c/d"),
        with_model({"model": {"path": "a/b", "revision": "main"}, "lora": "c/d"}),
        with_model("gpt2"),
        good(chat_template="chatml", tokenizer={"source": "union", "pad_to_multiple_of": 8}),
        good(tokenizer_source="base", name="a name"),
    ],
)
def test_a_harmless_recipe_is_accepted(text: str) -> None:
    """Hub ids in every form, and what mergekit's documentation shows."""
    assert check_untrusted(text, where="x").text == text


def test_no_number_of_aliases_takes_long() -> None:
    """Nine levels of ten would be a billion texts."""
    lines = ["a0: &a0 [x]"] + [
        f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)
    ]

    with pytest.raises(RecipeError, match="a YAML alias"):
        check_untrusted("\n".join(lines), where="x")


# What would make it slack_ties


def test_says_what_to_change_of_stock_ties() -> None:
    """Line by line, in the words of the config."""
    text = """
merge_method: dare_ties
base_model: a/base
models:
  - model: a/base
  - model: a/ct
    parameters: {weight: 1, density: 0.5}
  - model: a/sft
    parameters: {weight: 1, density: 0.5}
parameters: {int8_mask: true, rescale: true, normalize: true}
"""
    assert to_slack_ties(parse_recipe(text, where="x")) == [
        "merge_method: slack_ties  (now dare_ties)",
        "remove int8_mask: it only saves memory, which slack_ties does not need",
        "remove rescale: slack_ties does not rescale",
        "remove a/base from models: the base adds nothing",
        "density keeps the largest changes, not random ones: try 0.5",
        "add slack: 0.2 to the parameters of the SFT model",
    ]


def test_says_what_to_change_of_a_soup() -> None:
    """A method without a base."""
    text = "merge_method: linear\nmodels:\n- {model: a/b, parameters: {weight: 1}}\n"

    changes = to_slack_ties(parse_recipe(text, where="x"))

    assert "add base_model: slack_ties adds changes to a base" in changes
    assert "weights of linear are for whole models, weights of slack_ties for changes" in changes
    assert to_slack_ties(GOOD) == []


# Adapt


def test_adapts_to_another_language() -> None:
    """CT model and language are new; base, SFT model with its commit, and values stay."""
    pinned = pin_recipe(GOOD, dict.fromkeys(GOOD.models, ("a" * 40,)), {"random_seed": 1})

    adapted = adapt_recipe(pinned, language="dz", ct="me/dzongkha")

    assert adapted.where == "dz.yml"
    named = adapt_recipe(pinned, language="dz", ct="me/dzongkha", file="my.yml")
    assert "#   slack-ties run my.yml --out OUT\n" in named.text
    assert adapted.models == (pinned.models[0], "me/dzongkha", pinned.models[2])
    assert adapted.facts.language == {
        "tag": "dz",
        "name": "Dzongkha",
        "endonym": "རྫོང་ཁ",
        "iso_639_1": "dz",
        "iso_639_3": "dzo",
    }
    assert [adapted.role(m) for m in adapted.models] == ["base", "ct", "sft"]
    assert "me/dzongkha" not in adapted.facts.licenses
    assert set(adapted.facts.licenses) == {pinned.models[0], pinned.models[2]}
    assert (adapted.facts.versions, adapted.facts.options) == ({}, {})
    assert [m["parameters"] for m in adapted.data["models"]] == [
        m["parameters"] for m in GOOD.data["models"]
    ]
    assert adapt_recipe(GOOD, language="Uyghur", ct="x/y").text.startswith("# Uyghur, ئۇيغۇرچە")


def test_adapting_forgets_the_old_models_tokens() -> None:
    """Whether the new CT model has tokens of its own is another question."""
    text = good(tokenizer={"source": GOOD.models[1]})

    adapted = adapt_recipe(parse_recipe(text, where="x"), language="dz", ct="me/dz")

    assert "tokenizer" not in adapted.data
    assert adapted.role("me/dz") == "ct"
    assert GOOD.models[1] not in adapted.text
    kept = parse_recipe(good(tokenizer={"source": "base"}), where="x")
    assert adapt_recipe(kept, language="dz", ct="me/dz").data["tokenizer"] == {"source": "base"}


@pytest.mark.parametrize("before", ["plain", "extended"])
def test_a_ct_model_with_tokens_of_its_own(
    before: str, invoke: Invoke, triple: Folders, tmp_path: Path
) -> None:
    """Adapt adds the tokenizer section that keeps them, says so, and plan accepts the recipe."""
    new = extend(tmp_path / "new ct", triple.ct)
    old = triple.ct if before == "plain" else extend(tmp_path / "old ct", triple.ct, words=32)
    words = ["--base", triple.base, "--ct", old, "--sft", triple.sft]
    assert invoke("config", "bo", *words).exit_code == 0

    adapted = invoke("recipes", "adapt", "merge_configs/bo.yml", "--language", "dz", "--ct", new)

    assert adapted.exit_code == 0, adapted.output
    recipe = read_recipe("merge_configs/dz.yml")
    assert recipe.data["tokenizer"] == {"source": str(new)}
    assert f"Tokenizer section added, for the 576 tokens of {new}, 64 more" in adapted.stderr
    planned = invoke("plan", "merge_configs/dz.yml")
    assert planned.exit_code == 0, planned.output
    again = ["--ct", triple.ct, "-o", "plain.yml", "--json"]
    back = invoke("recipes", "adapt", "merge_configs/dz.yml", "--language", "ug", *again)
    assert json.loads(back.stdout) == {"config": "plain.yml", "tokenizer": None}
    assert invoke("plan", "plain.yml").exit_code == 0


def test_adapting_without_network(invoke: Invoke) -> None:
    """The recipe is written, and it is said that the models were not looked at."""
    Path("tibetan.yml").write_text(GOOD.text, "utf-8")

    adapted = invoke("recipes", "adapt", "tibetan.yml", "--language", "dz", "--ct", "me/dz")

    assert adapted.exit_code == 0
    assert "Could not check the models now: " in adapted.stderr
    assert read_recipe("merge_configs/dz.yml").role("me/dz") == "ct"


def test_the_model_without_slack_is_the_ct_model() -> None:
    """A slack_ties config says so much even without our key."""
    recipe = parse_recipe(good(slack_ties=None), where="x.yml")

    adapted = adapt_recipe(recipe, language="dz", ct="me/dz", language_name="Dzongkha")

    assert adapted.models == (recipe.models[0], "me/dz", recipe.models[2])
    assert adapted.facts.language["name"] == "Dzongkha"


def test_adapting_a_config_without_roles() -> None:
    """The user says which model is replaced."""
    models = [{"model": m["model"], "parameters": {"weight": 1, "density": 1}} for m in MODELS]
    text = good(slack_ties=None, merge_method="ties", parameters=None, models=models)
    recipe = parse_recipe(text, where="x.yml")

    with pytest.raises(RecipeError, match="it does not name its CT model") as caught:
        adapt_recipe(recipe, language="dz", ct="me/dz")
    others = " or ".join(recipe.models[1:])
    assert caught.value.hint == f"name the model to replace: --instead-of {others}"
    with pytest.raises(RecipeError, match="there is no model 'a/b' to replace"):
        adapt_recipe(recipe, language="dz", ct="me/dz", instead_of="a/b")
    adapted = adapt_recipe(recipe, language="dz", ct="me/dz", instead_of=recipe.models[1])
    assert adapted.models == (recipe.models[0], "me/dz", recipe.models[2])
    assert adapted.role("me/dz") == "ct"


# Shared configs


@pytest.mark.parametrize("path", sorted((ROOT / "merge_configs").glob("*.yml")), ids=str)
def test_every_shared_config_is_good(path: Path) -> None:
    """What CI asks of a contributed file."""
    assert lint_recipe(path).method == "slack_ties"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"merge_method": "slerp"}, "merge_method is slerp, expected one of slack_ties, ties, "),
        ({"slack_ties": None}, "slack_ties.language has no tag"),
        ({"out_dtype": None}, "out_dtype is missing"),
        (
            {"slack_ties": {**GOOD.data["slack_ties"], "roles": {"base": GOOD.base}}},
            "roles has no role for pkupie/Llama-2-7b-bod",
        ),
        (
            {"slack_ties": {**GOOD.data["slack_ties"], "licenses": {"a/b": "mit"}}},
            "slack_ties names a/b, which is not merged",
        ),
    ],
)
def test_a_shared_config_that_says_too_little(
    tmp_path: Path, changes: dict[str, object], problem: str
) -> None:
    """Each gap is named."""
    data = json.loads(json.dumps({**GOOD.data, **changes}))
    path = tmp_path / "bo.yml"
    path.write_text(yaml.safe_dump({k: v for k, v in data.items() if v is not None}))

    with pytest.raises(RecipeError, match=problem):
        lint_recipe(path)


def test_a_shared_config_is_named_after_its_language(tmp_path: Path) -> None:
    """So that others find it."""
    (tmp_path / "mine.yml").write_text(GOOD.text)

    with pytest.raises(RecipeError, match="its name is mine, expected one that begins with bo"):
        lint_recipe(tmp_path / "mine.yml")


def test_choices_of_hub_models_are_looked_into(api: HfApi) -> None:
    """A recipe of local folders cannot be pulled: nobody else has them."""
    local = make_config("bo", Choices(base="/a/base", ct="/a/ct", sft="/a/sft"))
    repo = publish(api, "local", local.text)

    with pytest.raises(RecipeError, match="the model '/a/base', expected a Hub id"):
        pull_recipe(repo, api=api)

"""The model card: true metadata, and text that nobody's names can break."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from huggingface_hub import ModelCard
from mergekit.options import MergeOptions

from hub_server import check_card
from slack_ties.card import make_card, write_card
from slack_ties.config import Choices, make_config
from slack_ties.errors import OutputError
from slack_ties.languages import list_languages
from slack_ties.merge import merge_models
from slack_ties.recipe import parse_recipe
from slack_ties.record import MergeRecord, Parent

if TYPE_CHECKING:
    from triple import Folders

ROOT = Path(__file__).parent.parent
RECORD = MergeRecord(
    method="slack_ties",
    dtype="bfloat16",
    parameters=12,
    parents=(
        Parent("me/base", role="base", commits=("a" * 40,), license="mit"),
        Parent("me/ct@main", role="ct", commits=("b" * 40,), license="mit"),
        Parent("./sft", role="sft", commits=("",), license="mit"),
    ),
    versions={"slack-ties": "1.2.3", "torch": "2.13.0+cpu"},
    options={"out_shard_size": 7},
)
RECIPE = make_config("mn", Choices(base="me/base", ct="me/ct@main", sft="./sft"))


@pytest.fixture(scope="module")
def merged(triple: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A merged model without a card; not to be changed."""
    out = tmp_path_factory.mktemp("card") / "out"
    choices = Choices(base=str(triple.base), ct=str(triple.ct), sft=str(triple.sft))
    merge_models(make_config("bo", choices), out, options=MergeOptions(quiet=True))
    return out


def test_metadata() -> None:
    """Every field follows from config and record."""
    assert make_card(RECIPE, RECORD).data.to_dict() == {
        "language": ["mn", "en"],
        "license": "mit",
        "base_model": ["me/base", "me/ct"],
        "base_model_relation": "merge",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["merge", "mergekit", "slack-ties", "mn-Mong"],
        "model_name": "Mongolian (traditional script), merged with slack_ties",
    }


@pytest.mark.parametrize(
    ("licenses", "given", "stated", "text"),
    [
        (["mit", "mit", "mit"], None, "mit", "`mit`, which every parent states."),
        (["mit", "", "mit"], None, None, "no licence is known of me/ct."),
        (["mit", "apache-2.0", "mit"], None, None, "the parents state different licences"),
        (["mit", "", "mit"], "llama2", "llama2", "`llama2`, as stated by whoever made"),
    ],
)
def test_license(licenses: list[str], given: str | None, stated: str | None, text: str) -> None:
    """Stated if all parents agree or the user says so; otherwise said to be unknown."""
    parents = zip(RECORD.parents, licenses, strict=True)
    record = replace(RECORD, parents=tuple(replace(p, license=name) for p, name in parents))

    card = make_card(RECIPE, record, license=given)

    assert card.data.to_dict().get("license") == stated
    assert text in card.text


def test_text() -> None:
    """Parents with roles and commits, the exact config, versions and options to repeat it."""
    text = make_card(RECIPE, RECORD, repo_id="me/merged").text

    assert f"| CT: continual pre-training | me/ct | `{'b' * 40}` | mit |" in text
    assert "| SFT: instruction tuning | ./sft | local folder | mit |" in text
    assert f"```yaml\n{RECIPE.text}```" in text
    assert "pip install slack-ties==1.2.3 torch==2.13.0\n" in text
    assert "slack-ties run mergekit_config.yml --out OUT --out-shard-size 7\n" in text
    assert 'name = "me/merged"' in text
    assert "may differ from the paper's TIES-SV" in text
    assert text.count("@inproceedings") == 3
    assert "{%" not in text


@pytest.mark.parametrize("key", [triple.key for triple in list_languages()])
def test_the_example_cards_are_what_is_written(key: str) -> None:
    """model_cards/ holds exactly what `slack-ties card CONFIG` prints, and the Hub accepts it."""
    recipe = parse_recipe(
        (ROOT / "merge_configs" / f"{key}.yml").read_text("utf-8"), where=f"merge_configs/{key}.yml"
    )

    card = str(make_card(recipe))

    assert card == (ROOT / "model_cards" / f"{key}.md").read_text("utf-8")
    assert "was not run" in card
    assert check_card(card) == []


def test_a_merged_model_gets_a_card(merged: Path, tmp_path: Path) -> None:
    """In the place where the Hub looks, readable by its client."""
    out = Path(shutil.copytree(merged, tmp_path / "out"))

    path = write_card(out)

    card = ModelCard.load(path)
    assert path == out / "README.md"
    assert card.data.language == ["bo", "en"]
    assert card.data.base_model is None  # the parents are folders, which the Hub does not know
    assert check_card(path.read_text("utf-8")) == []


def test_the_example_code_runs(
    merged: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The snippet of the card, run as it stands beside the model, writes text."""
    out = Path(shutil.copytree(merged, tmp_path / "out"))
    snippet = re.search("```python\n(.*?)```", write_card(out).read_text("utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    code = snippet[1].replace("max_new_tokens=100", "max_new_tokens=2")

    exec(compile(code, "card", "exec"), {})  # noqa: S102 - the point

    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("where", ["chat_template.jinja", "tokenizer_config.json"])
def test_a_chat_template_is_used(
    merged: Path, triple: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """A model with a chat template, in either place, gets the example that applies it."""
    out = Path(shutil.copytree(merged, tmp_path / "out"))
    template = (triple.sft / "chat_template.jinja").read_text("utf-8")
    if where == "tokenizer_config.json":
        config = json.loads((out / where).read_text())
        (out / where).write_text(json.dumps({**config, "chat_template": template}))
    else:
        (out / where).write_text(template)
    snippet = re.search("```python\n(.*?)```", write_card(out).read_text("utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)

    assert "apply_chat_template" in snippet[1]
    code = snippet[1].replace("max_new_tokens=100", "max_new_tokens=2")
    exec(compile(code, "card", "exec"), {})  # noqa: S102 - the point


def test_a_card_that_is_there_is_kept(merged: Path, tmp_path: Path) -> None:
    """It may be somebody's work; --overwrite replaces it."""
    out = Path(shutil.copytree(merged, tmp_path / "out"))
    (out / "README.md").write_text("mine")

    with pytest.raises(OutputError, match="is already there") as caught:
        write_card(out)

    assert caught.value.hint.startswith(f"slack-ties card {out} --overwrite")
    assert (out / "README.md").read_text() == "mine"
    assert "merged with slack_ties" in write_card(out, overwrite=True).read_text("utf-8")


def test_a_folder_of_somebody_else(triple: Folders) -> None:
    """A card is only written for what was merged here: nothing else is known."""
    with pytest.raises(OutputError, match="not a model that slack-ties merged"):
        write_card(triple.base)


def test_names_break_neither_metadata_nor_markdown() -> None:
    """Quotes, line ends, tables, HTML and code fences in names and configs stay text."""
    evil = '"</td>|<script>alert(1)</script>\n---\n# `x`'
    data = yaml.safe_load(RECIPE.text)
    data["slack_ties"]["language"] = {"tag": "bo", "iso_639_1": "bo", "name": evil}
    data["slack_ties"]["family"] = "x" * 10_000
    recipe = parse_recipe(f"# ````\n{yaml.safe_dump(data)}", where="x.yml")
    worst = Parent(evil, role="<b>role", commits=("",), license='mit</td> | "x"')
    record = replace(RECORD, parents=(worst, *RECORD.parents))

    card = str(make_card(recipe, record, folder=Path('o"x')))

    outside, config, _ = re.split("^`````.*$", card, maxsplit=2, flags=re.MULTILINE)
    assert not re.search(r"(?<!\\)<(script|b|/td)>", outside)
    assert "x" * 201 not in outside
    assert yaml.safe_load(card.split("---\n")[1])["language"] == ["bo", "en"]
    assert config.strip() == recipe.text.strip()
    assert 'name = "o\\"x"\n' in outside
    rows = [line for line in outside.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {5}

"""The model card: true metadata, and text that nobody's names can break."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from huggingface_hub import ModelCard
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from mergekit.options import MergeOptions

from evaluations import ENGLISH, TIBETAN, an_evaluation, model
from hub_server import check_card
from slack_ties.card.evaluation import read_results
from slack_ties.card.metadata import metadata_problems
from slack_ties.card.own_text import PLACES, OwnText, read_own_text, sealed
from slack_ties.card.text import make_card
from slack_ties.card.write import address_card, write_card
from slack_ties.catalogue.languages import list_languages
from slack_ties.config.choices import Choices
from slack_ties.config.make import make_config
from slack_ties.errors import OutputError, RecipeError
from slack_ties.evaluation.file import weights_digest, write_evaluation
from slack_ties.evaluation.scores import Evaluated, Score, TaskScore
from slack_ties.licenses.known import Stated
from slack_ties.licenses.resolve import resolve_license
from slack_ties.merge.merge import merge_models
from slack_ties.recipe.read import parse_recipe, read_recipe
from slack_ties.record import MergeRecord, Parent, read_record, write_record
from triple import MIT

if TYPE_CHECKING:
    from triple import Folders

ROOT = Path(__file__).parent.parent
RECORD = MergeRecord(
    method="slack_ties",
    dtype="bfloat16",
    parameters=12,
    parents=(
        Parent("me/base", role="base", commits=("a" * 40,), license="mit"),
        Parent(
            "me/ct@main",
            role="ct",
            commits=("b" * 40,),
            license="mit",
            datasets=("me/data", "me/more"),
        ),
        Parent("./sft", role="sft", commits=("",), license="mit"),
    ),
    versions={"slack-ties": "1.2.3", "torch": "2.13.0+cpu"},
    options={"out_shard_size": 7},
    files={"model.safetensors": "ab" * 32},
)
MODELS = Choices(base="me/base", ct="me/ct@main", sft="./sft", sft_languages=["en"])
RECIPE = make_config("mn-Mong", MODELS)


@pytest.fixture(scope="module")
def merged(triple: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A merged model without a card; not to be changed."""
    out = tmp_path_factory.mktemp("card") / "out"
    choices = Choices(str(triple.base), str(triple.ct), str(triple.sft), sft_languages=["en"])
    merge_models(make_config("bo", choices), out, options=MergeOptions(quiet=True))
    return out


def test_metadata() -> None:
    """Every field follows from config, record and the parents' cards, in the Hub's order."""
    card = make_card(RECIPE, RECORD)

    assert card.data.to_dict() == {
        "language": ["mn", "en"],
        "license": "mit",
        "base_model": ["me/base", "me/ct"],
        "base_model_relation": "merge",
        "datasets": ["me/data", "me/more"],
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["merge", "mergekit", "slack-ties", "mn-Mong"],
        "model_name": "Mongolian (traditional script), merged with slack_ties",
    }
    assert str(card).startswith("---\nlanguage:\n- mn\n- en\nlicense: mit\nbase_model:\n")


@pytest.mark.parametrize(
    ("tag", "language", "tags", "title"),
    [
        ("qu", "qu", [], "# Quechua\n"),
        ("ckb", "ckb", [], "# Central Kurdish\n"),
        ("bod", "bo", [], "# Tibetan\n"),
        ("pt-BR", "pt", ["pt-BR"], "# Portuguese (Brazil)\n"),
        ("zh-Hant-TW", "zh", ["zh-Hant-TW"], "# Chinese (Traditional, Taiwan)\n"),
    ],
)
def test_a_language_outside_the_catalogue(
    tag: str, language: str, tags: list[str], title: str
) -> None:
    """The card has its name as the title, the code that the Hub lists, and its whole tag."""
    recipe = make_config(tag, Choices(base="a/base", ct="a/ct", sft="a/sft"))

    card = make_card(recipe)

    assert card.data.language == [language]
    assert card.data.tags == ["merge", "mergekit", "slack-ties", *tags]
    assert title in card.text or f"# Llama{title[1:]}" in card.text
    assert metadata_problems(card.data.to_dict()) == []
    assert "iso_639_1: " + language in recipe.text if len(language) == 2 else True
    assert "iso_639_1: ckb" not in recipe.text


def test_the_language_no_is_no_truth_value() -> None:
    """In the YAML of old, which the Hub and its client read, a bare no is false."""
    recipe = read_recipe(ROOT / "merge_configs" / "no.yml")

    card = str(make_card(recipe))

    assert "language:\n- 'no'\n- en\n" in card
    assert ModelCard(card).data.language == ["no", "en"]


@pytest.mark.parametrize(
    ("licenses", "stated", "data", "text"),
    [
        ("mit mit mit", None, {"license": "mit"}, "**mit**, the licence of every parent."),
        ("mit - mit", None, {}, "**Not known.** The person who publishes the model must state it."),
        ("mit - mit", None, {}, "- me/ct states no licence."),
        (
            "mit - mit",
            Stated("llama2"),
            {"license": "llama2"},
            "**llama2**, as stated by the person who made this model. me/ct states no licence.",
        ),
        (
            "llama2 apache-2.0 llama2",
            None,
            {"license": "llama2"},
            "- me/ct calls itself apache-2.0, but was made from me/base, whose licence llama2",
        ),
        (
            "llama3.1 llama3.1 llama3.1",
            None,
            {"license": "llama3.1"},
            "# Llama Mongolian (traditional script)\n\n**Built with Llama**\n\nA language model",
        ),
        (
            "llama3.1 llama3.1 llama3.1",
            None,
            {"license": "llama3.1"},
            "- If you share this model, include a copy of this licence (`LICENSE`), the sentence "
            "in `Notice` and "
            'the words "Built with Llama" (sections 1.b.i and 1.b.iii).',
        ),
        (
            "qwen-research qwen-research qwen-research",
            None,
            {
                "license": "other",
                "license_name": "qwen-research",
                "license_link": "https://huggingface.co/Qwen/Qwen2.5-3B/blob/main/LICENSE",
            },
            "**qwen-research**, the licence of every parent. **This model may not be used "
            "commercially.**",
        ),
        (
            "llama2 cc-by-nc-4.0 llama2",
            None,
            {
                "license": "other",
                "license_name": "llama2-and-cc-by-nc-4.0",
                "license_link": "LICENSE",
            },
            "**llama2-and-cc-by-nc-4.0**: llama2 and cc-by-nc-4.0, both: the terms of llama2",
        ),
        (
            "mit mit mit",
            Stated("other", "mine", "https://me.example/license"),
            {
                "license": "other",
                "license_name": "mine",
                "license_link": "https://me.example/license",
            },
            "- Its text: https://me.example/license",
        ),
    ],
)
def test_license(licenses: str, stated: Stated | None, data: dict[str, str], text: str) -> None:
    """In the metadata as the Hub takes it, in the text with the reason and what it asks for."""
    names = (name.strip("-") for name in licenses.split())
    parents = zip(RECORD.parents, names, strict=True)
    record = replace(RECORD, parents=tuple(replace(p, license=name) for p, name in parents))

    card = make_card(RECIPE, record, resolution=resolve_license(record.parents, stated))

    found = card.data.to_dict()
    assert {key: found[key] for key in found if key.startswith("license")} == data
    assert text in card.text
    assert "It is not legal advice." in card.text
    assert check_card(str(card)) == metadata_problems(found) == []


def test_text() -> None:
    """Parents with roles, revisions and licences; the config, and all it takes to repeat it."""
    text = make_card(RECIPE, RECORD, repo_id="me/merged").text

    hub = "https://huggingface.co"
    assert (
        f"| CT: continual pre-training | [`me/ct`]({hub}/me/ct) "
        f"| [`bbbbbbb`]({hub}/me/ct/tree/{'b' * 40}) | mit |" in text
    )
    assert "| SFT: instruction tuning | ./sft | local folder | mit |" in text
    assert (
        "`me/ct` was continually pre-trained on Mongolian (traditional script). ./sft was "
        "instruction-tuned in English. The merge is meant to combine what they learned." in text
    )
    assert "**No evaluation of this model is known" in text
    assert f"```yaml\n{RECIPE.text}```" in text
    assert "pip install slack-ties==1.2.3 torch==2.13.0\n" in text
    assert "slack-ties run mergekit_config.yml --out OUT --out-shard-size 7\n" in text
    assert "to repeat the merge, you need the same folders" in text  # ./sft
    assert f"| `model.safetensors` | `{'ab' * 32}` |" in text
    assert 'name = "me/merged"' in text
    assert "12 parameters, stored as bfloat16" in text
    assert f"Their cards name: [`me/data`]({hub}/datasets/me/data), [`me/more`]" in text
    assert "may differ from its TIES-SV" in text
    assert text.count("@inproceedings") == 3
    assert "{%" not in text
    assert "\n\n\n\n" not in text


def test_of_another_method_and_of_nothing_known() -> None:
    """What is not known is left out: no language, no roles, no claim."""
    recipe = parse_recipe(
        "merge_method: ties\nbase_model: a/b\nmodels: [{model: a/c, parameters: {weight: 1}}]\n",
        where="x.yml",
    )

    card = make_card(recipe, folder=Path("merged"))

    assert "language" not in card.data.to_dict()
    assert card.text.startswith("\n# merged\n\nA language model made without training:")
    assert "The merge method is mergekit's `ties` ([TIES](" in card.text
    assert "pre-trained" not in card.text.partition("## Citation")[0]


def test_tokens_of_the_ct_model() -> None:
    """A vocabulary that was extended is a limit that a user has to know."""
    recipe = read_recipe(ROOT / "merge_configs" / "hu.yml")

    assert "- The instruction tuning did not use the tokens that only the CT model has" in str(
        make_card(recipe)
    )


@pytest.mark.parametrize("key", [triple.key for triple in list_languages()])
def test_the_example_cards_are_what_is_written(key: str) -> None:
    """model_cards/ holds exactly what `slack-ties card CONFIG` prints, and the Hub accepts it."""
    recipe = parse_recipe(
        (ROOT / "merge_configs" / f"{key}.yml").read_text("utf-8"), where=f"merge_configs/{key}.yml"
    )

    card = str(make_card(recipe))

    assert card == (ROOT / "model_cards" / f"{key}.md").read_text("utf-8")
    assert "has not been run" in card
    assert check_card(card) == metadata_problems(make_card(recipe).data.to_dict()) == []


def test_a_merged_model_gets_a_card(merged: Path, tmp_path: Path) -> None:
    """In the place where the Hub looks, readable by its client."""
    out = Path(shutil.copytree(merged, tmp_path / "out"))

    path = write_card(out)

    card = ModelCard.load(path)
    assert path == out / "README.md"
    assert card.data.language == ["bo", "en"]
    assert card.data.base_model is None  # the parents are folders, which the Hub does not know
    assert check_card(path.read_text("utf-8")) == []


def test_checksums_that_were_not_compared(merged: Path, tmp_path: Path) -> None:
    """Record and card name the files that were read in pieces; other cards say nothing."""
    out = Path(shutil.copytree(merged, tmp_path / "out"))
    assert "in pieces" not in write_card(out).read_text("utf-8")
    record = read_record(out)
    base, ct, sft = record.parents
    files = ("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin")
    ct = replace(ct, model="me/ct", commits=("a" * 40,), not_compared=files)
    write_record(replace(record, parents=(base, ct, sft)), out)

    text = write_card(out).read_text("utf-8")

    assert read_record(out).parents[1].not_compared == files
    said = "These files were read from the Hub in pieces while they were merged, so their checksums"
    assert said in text
    listed = "".join(f"- `{file}` of `me/ct`\n" for file in files)
    assert f"were not compared with the Hub's:\n\n{listed}\nThe exact config" in text


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


def test_no_tokenizer(merged: Path, tmp_path: Path) -> None:
    """The example does not load one from where there is none."""
    out = Path(shutil.copytree(merged, tmp_path / "out"))
    for path in out.glob("tokenizer*"):
        path.unlink()

    assert 'tokenizer = AutoTokenizer.from_pretrained("...")' in write_card(out).read_text("utf-8")
    text = make_card(RECIPE, RECORD, folder=tmp_path).text
    assert 'tokenizer = AutoTokenizer.from_pretrained("me/base")' in text


@pytest.mark.parametrize("name", ["tekken.json", "spiece.model", "tokenizer.v3.model"])
def test_a_tokenizer_of_another_name(name: str, tmp_path: Path) -> None:
    """The example loads the model's own tokenizer, whatever its vocabulary is called."""
    (tmp_path / name).write_text("{}")

    text = make_card(RECIPE, RECORD, folder=tmp_path).text
    assert "tokenizer = AutoTokenizer.from_pretrained(name)" in text


TEXTS = {
    "description": "# Not a comment\n\nབོད་ཡིག *yes* | no",
    "in-language": "ئۇيغۇرچە",
    "intended-use": "Reading.",
    "contact": "me@example.org",
    "more": "## Thanks\n\n- all",
}


def test_a_persons_own_text_stays(merged: Path, tmp_path: Path) -> None:
    """Given as options or typed into the card, it is there when the card is made again."""
    out = Path(shutil.copytree(merged, tmp_path / "out"))
    card = write_card(out, texts=TEXTS)
    for text in TEXTS.values():
        assert text in card.read_text("utf-8")
    assert '<div lang="bo" dir="auto">' in card.read_text("utf-8")
    assert "## Intended use\n\n<!-- your text" in card.read_text("utf-8")
    typed = card.read_text("utf-8").replace("me@example.org", "me@example.org\n\nor by post")
    typed = typed.replace("- slack-ties\n", "- slack-ties\n- mine\n").replace(
        "library_name:", "thumbnail: x.png\nlibrary_name:"
    )
    card.write_text(typed, "utf-8")

    write_card(out, texts={"intended-use": "Writing."}, repo_id="me/merged")

    again = card.read_text("utf-8")
    own = read_own_text(again)
    assert own.places == {
        **TEXTS,
        "intended-use": "Writing.",
        "contact": "me@example.org\n\nor by post",
    }
    assert own.metadata == {"thumbnail": "x.png"}
    assert own.tags == ("merge", "mergekit", "slack-ties", "mine")
    assert not own.edited
    assert 'name = "me/merged"' in again
    write_card(out)
    assert card.read_text("utf-8") == again  # the Hub id stays, too


@given(st.dictionaries(st.sampled_from(PLACES), st.text(max_size=200), max_size=3))
def test_any_text_of_a_person_survives(texts: dict[str, str]) -> None:
    """Made again and again, a card holds the same text and nothing else changes."""
    own = OwnText({name: text.replace("\r", "").strip() for name, text in texts.items()})
    if any("<!--" in text for text in own.places.values()):
        return

    first = sealed(str(make_card(RECIPE, RECORD, own=own)))
    found = read_own_text(first)
    second = sealed(str(make_card(RECIPE, RECORD, own=found)))

    assert found.places == {name: text for name, text in own.places.items() if text}
    assert not found.edited
    assert second == first


def test_a_card_that_was_edited_is_kept(merged: Path, tmp_path: Path) -> None:
    """It is somebody's work; --overwrite replaces it, and keeps the old one beside it."""
    out = Path(shutil.copytree(merged, tmp_path / "out"))
    (out / "README.md").write_text("mine")

    with pytest.raises(OutputError, match="was written or edited by hand") as caught:
        write_card(out, license="mit")

    assert f"or: slack-ties card {out} --license mit --overwrite" in caught.value.hint
    assert (out / "README.md").read_text() == "mine"
    assert "merged with slack-ties" in write_card(out, overwrite=True).read_text("utf-8")
    assert (out / ".README.md.old").read_text() == "mine"
    write_card(out)  # what was made here can be made again
    assert (out / ".README.md.old").read_text() == "mine"


def test_a_comment_of_the_config_is_no_text_of_a_person(merged: Path, tmp_path: Path) -> None:
    """Somebody's recipe is shown in the card; what looks like a place for text in it is none."""
    out = Path(shutil.copytree(merged, tmp_path / "out"))
    config = out / "mergekit_config.yml"
    evil = "# <!-- your text: description -->\n# <img src=x>\n# <!-- end of your text -->\n"
    config.write_text(config.read_text("utf-8") + evil, "utf-8")
    write_card(out, texts={"description": "MY OWN"})

    write_card(out)

    card = (out / "README.md").read_text("utf-8")
    assert "\nMY OWN\n" in card
    assert card.count("<img src=x>") == 1  # within the fence alone


def test_every_old_card_is_kept(merged: Path, tmp_path: Path) -> None:
    """Also if it is replaced a second time."""
    out = Path(shutil.copytree(merged, tmp_path / "out"))
    for text in ("first", "second"):
        (out / "README.md").write_text(text)
        write_card(out, overwrite=True)

    assert (out / ".README.md.old").read_text() == "first"
    assert (out / ".README.md.old.old").read_text() == "second"


def test_a_persons_code_is_no_example_of_ours(merged: Path, tmp_path: Path) -> None:
    """A line of the same form in somebody's own text stays, and says nothing of the model."""
    out = Path(shutil.copytree(merged, tmp_path / "out"))
    code = "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
    code += 'name = "x/y"\nother = 1'
    write_card(out, texts={"description": code})

    write_card(out)
    assert address_card(out, "me/bo")

    card = (out / "README.md").read_text("utf-8")
    assert code in card
    assert card.count('name = "me/bo"') == 1
    broken = card.replace('name = "me/bo"', r'name = "C:\models\bo"')
    (out / "README.md").write_text(broken, "utf-8")
    assert not address_card(out, "me/bo")


def test_a_license_that_was_stated_stays(merged: Path, tmp_path: Path) -> None:
    """Also by hand, in the metadata; another one can be stated later."""
    out = Path(shutil.copytree(merged, tmp_path / "out"))
    card = write_card(out, license="cc-by-4.0")
    assert "license: cc-by-4.0" in card.read_text("utf-8")
    write_card(out)
    assert "license: cc-by-4.0" in card.read_text("utf-8")
    card.write_text(card.read_text("utf-8").replace("license: cc-by-4.0", "license: apache-2.0"))
    write_card(out)
    assert "**apache-2.0**, as stated by the person who made this model." in card.read_text("utf-8")

    write_card(out, license="mit")

    assert "**mit**, the licence of every parent." in card.read_text("utf-8")


def test_a_license_that_the_hub_does_not_have(merged: Path, tmp_path: Path) -> None:
    """Nothing is written."""
    out = Path(shutil.copytree(merged, tmp_path / "out"))

    with pytest.raises(RecipeError, match="'lama2' is not a licence id of the Hub"):
        write_card(out, license="lama2")

    assert not (out / "README.md").exists()


def test_the_files_of_the_license(merged: Path, tmp_path: Path) -> None:
    """The base's text, and a Notice that says what was changed."""
    out = Path(shutil.copytree(merged, tmp_path / "out"))

    write_card(out)

    assert (out / "LICENSE").read_text("utf-8") == MIT
    assert (out / "Notice").read_text("utf-8").startswith("This model has changed weights.")


def test_terms_of_ones_own_are_not_the_text_of_another_license(
    merged: Path, tmp_path: Path
) -> None:
    """What README and LICENSE say is of one licence; the own terms come back with their name."""
    out = tmp_path / "out"
    shutil.copytree(merged, out)
    (out / "LICENSE").write_text("My Custom Terms")
    mine = Stated("other", "my-terms", "LICENSE")
    write_card(out, license=mine)
    assert (out / "LICENSE").read_text() == "My Custom Terms"

    write_card(out, license="llama2")

    assert ModelCard.load(out / "README.md").data.license == "llama2"
    assert (out / "LICENSE").read_text().startswith("Llama 2 Community License Agreement")
    assert (out / "LICENSE-my-terms").read_text() == "My Custom Terms"
    write_card(out, license=mine)
    assert (out / "LICENSE").read_text() == "My Custom Terms"
    assert not (out / "LICENSE-my-terms").exists()


def test_results_of_an_evaluation(merged: Path, tmp_path: Path) -> None:
    """As a table, and as a file for the Hub; they stay when the card is made again."""
    out = Path(shutil.copytree(merged, tmp_path / "out"))
    (tmp_path / "belebele.yaml").write_text(
        "- dataset: {id: facebook/belebele, task_id: bod_Tibt}\n  value: 31.5\n"
        "  notes: '5-shot | <b>'\n  source: {url: https://me.example/logs}\n"
    )

    write_card(out, results=tmp_path / "belebele.yaml")
    card = write_card(out).read_text("utf-8")

    assert (out / ".eval_results" / "belebele.yaml").is_file()
    assert (
        "| [`facebook/belebele`](https://huggingface.co/datasets/facebook/belebele) | bod_Tibt "
        r"| 31.5 | 5-shot \| \<b\>, [source](https://me.example/logs) |" in card
    )
    assert "No evaluation of this model is known" not in card


def evaluated(out: Path, **fields: Any) -> Path:
    """Put an evaluation of its weights into a merged folder, and return the file."""
    settings = {"limit": None, "device": "cpu", "weights": weights_digest(read_record(out))}
    return write_evaluation(an_evaluation(**{"settings": settings, **fields}), out)


def test_an_evaluation_is_in_the_card(merged: Path, tmp_path: Path) -> None:
    """The table with the parents beside, the sentences, what weakens it, and how to repeat it."""
    out = Path(shutil.copytree(merged, tmp_path / "out"))
    evaluated(out)

    card = write_card(out).read_text("utf-8")

    assert "No evaluation of this model is known" not in card
    assert "no evaluation of this model is known" not in card
    assert card.count("## Evaluation") == 1
    assert (
        "| Task | Metric | Merged | Base | CT | SFT | Chance | Items | Shots |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
        "| [belebele_bod_Tibt](https://huggingface.co/datasets/facebook/belebele), version 0.0 "
        r"| acc | 60.0 ±4.9 | 26.0 ±4.4 +\~ | 45.0 ±5.0 + | 30.0 ±4.6 +\~ | 25.0 | 100 | 0 |"
        in card
    )
    assert "It is worse than the SFT model, by more than the uncertainty." in card
    assert "On belebele_bod_Tibt (in Tibetan), the merged model scores 60.0 %" in card
    assert "Made by lm-eval 0.4.13 on 2026-11-27 with device cpu;" in card
    assert (
        'pip install "slack-ties[eval]" lm_eval==0.4.13\n'
        "slack-ties evaluate OUT --tasks belebele_bod_Tibt,arc_easy\n" in card
    )
    assert "with the folder of this model as OUT" in card  # its models are in folders
    assert "The evaluation above shows a part of this" in card
    page = MarkdownIt().enable("table").render(card.split("---", 2)[2])
    assert page.count("<td>60.0 ±4.9</td>") == 1
    assert "<li>+ the merged model is better than this one" in page
    assert "<p>The person who made this model reports" not in page


def test_an_evaluation_in_the_hubs_format(merged: Path, tmp_path: Path) -> None:
    """The merged model's scores on whole benchmarks; the card does not show them twice."""
    out = Path(shutil.copytree(merged, tmp_path / "out"))
    evaluated(out)

    card = write_card(out).read_text("utf-8")

    file = out / ".eval_results" / "slack-ties-evaluation.yaml"
    belebele, arc = read_results(file)
    assert (belebele.dataset_id, belebele.task_id, belebele.value) == (
        "facebook/belebele",
        "bod_Tibt",
        60.0,
    )
    assert belebele.date == "2026-11-27T20:00:00+00:00"
    assert belebele.notes == (
        "lm-eval 0.4.13, task belebele_bod_Tibt version 0.0, acc in percent, 0-shot, 100 items, "
        "standard error 4.9"
    )
    assert (arc.dataset_id, arc.task_id, arc.value) == ("allenai/ai2_arc", "ARC-Easy", 70.0)
    assert "The person who made this model reports" not in card

    evaluated(out, tasks=(TIBETAN, replace(ENGLISH, of=2376)))
    write_card(out)
    assert [entry.dataset_id for entry in read_results(file)] == ["facebook/belebele"]
    evaluated(out, tasks=(replace(TIBETAN, dataset=""), replace(ENGLISH, of=2376)))
    write_card(out)
    assert not file.exists()


def test_parts_of_a_benchmark_are_no_benchmark(merged: Path, tmp_path: Path) -> None:
    """Two tasks with other items of the same data are left out; two prompts give one result."""
    out = Path(shutil.copytree(merged, tmp_path / "out"))
    file = out / ".eval_results" / "slack-ties-evaluation.yaml"
    same = replace(ENGLISH, dataset=TIBETAN.dataset, subset=TIBETAN.subset, docs=TIBETAN.docs)

    evaluated(out, tasks=(TIBETAN, same))
    write_card(out)
    assert [entry.value for entry in read_results(file)] == [60.0]
    evaluated(out, tasks=(TIBETAN, replace(same, docs="b" * 64)))
    write_card(out)
    assert not file.exists()


def test_the_commit_of_a_benchmark(merged: Path, tmp_path: Path) -> None:
    """Data on the Hub can change: the card links what was scored, and the Hub's page gets it."""
    out = Path(shutil.copytree(merged, tmp_path / "out"))
    commit = "ab" * 20
    evaluated(out, tasks=(replace(TIBETAN, commit=commit), ENGLISH))

    card = write_card(out).read_text("utf-8")

    entries = read_results(out / ".eval_results" / "slack-ties-evaluation.yaml")
    assert [entry.dataset_revision for entry in entries] == [commit, None]
    assert f"](https://huggingface.co/datasets/facebook/belebele/tree/{commit}), version" in card


def test_results_of_a_person_stay(merged: Path, tmp_path: Path) -> None:
    """What a person provides is shown as that, beside the evaluation; their file stays."""
    out = Path(shutil.copytree(merged, tmp_path / "out"))
    theirs = tmp_path / "slack-ties-evaluation.yaml"
    theirs.write_text("- {dataset: {id: a/b, task_id: t}, value: 3}")
    evaluated(out)

    card = write_card(out, results=theirs).read_text("utf-8")

    assert card.count("## Evaluation") == 1
    assert "The person who made this model reports these results:" in card
    assert "| [`a/b`](https://huggingface.co/datasets/a/b) | t | 3 |  |" in card
    folder = out / ".eval_results"
    assert {path.name for path in folder.iterdir()} == {
        "slack-ties-evaluation.yaml",
        "slack-ties-evaluation-given.yaml",
    }
    shutil.copy(theirs, folder)
    (out / "evaluation.json").unlink()
    write_card(out)
    assert (folder / "slack-ties-evaluation.yaml").read_text() == theirs.read_text()


@pytest.mark.parametrize("content", ["other weights", "damaged"])
def test_an_evaluation_of_other_weights_is_not_shown(
    merged: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    """A warning names the command that makes a new one; the Hub's file of the old one goes."""
    out = Path(shutil.copytree(merged, tmp_path / "out"))
    evaluated(out)
    write_card(out)
    file = evaluated(out, settings={"weights": "d" * 64})
    if content == "damaged":
        file.write_text("{")

    card = write_card(out).read_text("utf-8")

    assert "No evaluation of this model is known" in card
    assert "belebele" not in card
    again = " --overwrite" * (content == "damaged")
    assert f"Next: slack-ties evaluate {out}{again}\n" in caplog.text
    assert not (out / ".eval_results" / "slack-ties-evaluation.yaml").exists()


def test_an_evaluation_in_which_all_models_guess(merged: Path, tmp_path: Path) -> None:
    """The card says that nothing is known of the model."""
    out = Path(shutil.copytree(merged, tmp_path / "out"))
    evaluated(out, models=(model("merged", 26, 25), model("ct", 20, 31)))

    card = write_card(out).read_text("utf-8")

    assert "none of the models can be told from guessing: this says nothing about the" in card
    assert "this: the evaluation above cannot tell any of the models from guessing." in card
    first = card.partition("\n| Role ")[0]
    told = "The evaluation below cannot tell it from guessing in Tibetan."
    assert f"Use it for tasks in Tibetan. {told}" in first


def test_an_evaluation_that_speaks_against_the_model(merged: Path, tmp_path: Path) -> None:
    """The first paragraph names the models that are decidedly better in the language."""
    out = Path(shutil.copytree(merged, tmp_path / "out"))
    evaluated(out, models=(model("merged", 50, 70), model("base", 52, 90), model("ct", 90, 70)))
    worse = "In the evaluation below, it is worse in Tibetan than the CT model."
    assert f"Use it for tasks in Tibetan. {worse}\n" in write_card(out).read_text("utf-8")

    evaluated(out)

    assert "Use it for tasks in Tibetan.\n" in write_card(out).read_text("utf-8")


def test_texts_of_an_evaluation_are_no_markup(merged: Path, tmp_path: Path) -> None:
    """A name in the file cannot add markup or a command to the card."""
    out = Path(shutil.copytree(merged, tmp_path / "out"))
    bad = "x](https://bad.example) | <b> `; rm -rf ~"
    task = replace(TIBETAN, name=bad, version="<i>", metric="acc,<u>", dataset="")
    found = TaskScore({"acc,<u>": Score(0.5, 0.1)})
    settings = {
        "weights": weights_digest(read_record(out)),
        "dtype": "x; rm -rf ~",
        "device": "<s>",
        "include": [{"folder": "$(rm)", "sha256": "0"}, {"folder": "my-tasks", "sha256": "0"}],
    }
    evaluated(
        out,
        tasks=(task,),
        models=(Evaluated("OUT", "merged", {bad: found}),),
        settings=settings,
        versions={"lm_eval": "0.4.13; rm", "torch": "2.6.0+cu124"},
    )

    card = write_card(out).read_text("utf-8")

    page = MarkdownIt().enable("table").render(card.split("---", 2)[2])
    for tag in ("<b>", "<i>", "<u>", "<s>", 'href="https://bad'):
        assert tag not in page
    assert 'pip install "slack-ties[eval]" torch==2.6.0\n' in card
    command = next(line for line in card.splitlines() if line.startswith("slack-ties evaluate"))
    assert shlex.split(command)[3:] == [
        *("--tasks", bad, "--alone", "--include-path", "TASK_FILES")
    ]
    assert "- Tasks can be from task files of the person who made this model: to repeat" in card
    assert "my-tasks" not in card
    settings["include"] = [{"folder": "my-tasks", "tasks": [bad, "gone", 3]}, "x", {"tasks": 7}]
    evaluated(
        out, tasks=(task,), models=(Evaluated("O", "merged", {bad: found}),), settings=settings
    )
    card = write_card(out).read_text("utf-8")
    assert "- The task x" in card
    assert "is from task files of the person who made this model" in card
    assert "gone" not in card
    settings["include"] = 7
    evaluated(out, settings=settings)
    assert "- Tasks can be from task files" in write_card(out).read_text("utf-8")


def test_metadata_that_a_person_broke(merged: Path, tmp_path: Path) -> None:
    """One line that says where, no traceback."""
    out = Path(shutil.copytree(merged, tmp_path / "out"))
    card = write_card(out)
    card.write_text(
        card.read_text("utf-8").replace("library_name:", "model-index: 3\nlibrary_name:"), "utf-8"
    )

    with pytest.raises(OutputError, match="the metadata that a person added to the card"):
        write_card(out)


def test_a_card_that_is_no_text(merged: Path, tmp_path: Path) -> None:
    """Or a folder of its name."""
    out = Path(shutil.copytree(merged, tmp_path / "out"))
    (out / "README.md").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(OutputError, match="cannot be read"):
        write_card(out, overwrite=True)


def test_a_folder_of_somebody_else(triple: Folders) -> None:
    """A card is only written for what was merged here: nothing else is known."""
    with pytest.raises(OutputError, match="slack-ties did not merge this model"):
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

    outside, config, after = re.split("^`````.*$", card, maxsplit=2, flags=re.MULTILINE)
    outside += after.partition("## Citation")[0]
    assert not re.search(r"(?<!\\)<(script|b>|/td)", outside)
    assert "x" * 201 not in outside
    assert yaml.safe_load(card.split("---\n")[1])["language"] == ["bo", "en"]
    assert config.strip() == recipe.text.strip()
    assert 'name = "o\\"x"\n' in outside
    rows = [line for line in outside.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {3, 5}  # files, parents


hostile = st.text() | st.sampled_from(
    [
        "</div><script>x</script>",
        "]: javascript:x",
        "---\n",
        "\n# x",
        "0)",
        "1. x",
        "- x",
        "`" * 9,
        "{{ x }}",
        "&lt;",
        "no",
    ]
)


@given(
    language=st.fixed_dictionaries(
        {"tag": hostile, "name": hostile, "endonym": hostile, "iso_639_1": hostile}
    ),
    family=hostile,
    models=st.lists(hostile.filter(str.strip), min_size=3, max_size=3, unique=True),
    licenses=st.lists(hostile, min_size=3, max_size=3),
)
def test_no_text_of_others_breaks_out(
    language: dict[str, str], family: str, models: list[str], licenses: list[str]
) -> None:
    """Whatever a recipe says: the YAML is what was meant, and no tag gets into the HTML."""
    base, ct, sft = models
    data = {
        "merge_method": "slack_ties",
        "base_model": base,
        "models": [{"model": name, "parameters": {"weight": 1}} for name in (ct, sft)],
        "slack_ties": {
            "recipe": 1,
            "language": language,
            "family": family,
            "roles": {"base": base, "ct": ct, "sft": sft},
            "licenses": dict(zip(models, licenses, strict=True)),
            "sft_languages": ["en"],
        },
    }
    recipe = parse_recipe(yaml.safe_dump(data), where="x.yml")

    card = str(make_card(recipe))

    front, body = re.match(r"---\n(.*?)\n---\n(.*)", card, re.DOTALL).groups()
    meta = yaml.safe_load(front)
    assert ModelCard(card).data.to_dict() == meta
    assert set(meta["language"]) <= {language["iso_639_1"], "en"}
    assert not [one for one in metadata_problems(meta) if not one.startswith("model_name")]
    assert meta["base_model_relation"] == "merge"
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(body)
    tags = set(re.findall(r"<(/?[a-zA-Z][\w-]*)", html))
    assert {tag.strip("/") for tag in tags} <= ALLOWED
    assert "javascript:" not in "".join(re.findall(r'(?:href|src)="([^"]*)"', html))


# What the card itself has.
ALLOWED = {
    *("h1", "h2", "p", "strong", "em", "a", "code", "pre", "ul", "li", "br"),
    *("table", "thead", "tbody", "tr", "th", "td", "details", "summary", "div"),
}

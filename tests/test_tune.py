"""A search gives the same table however often it is stopped, and its best config keeps its word."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import HfApi
from mergekit.options import MergeOptions
from transformers import AutoModelForCausalLM, AutoTokenizer

from command import Invoke
from hub_server import Server
from slack_ties.errors import CheckpointError, OutputError, RecipeError, SlackTiesError
from slack_ties.explore.report import make_report
from slack_ties.merge.merge import merge_models
from slack_ties.recipe.read import read_recipe
from slack_ties.report.figures import Figures
from slack_ties.rule.tally import CONFIG, TOPS
from slack_ties.tuning.candidates import config_values
from slack_ties.tuning.search import Search
from slack_ties.tuning.study import key_of, open_study
from slack_ties.tuning.trials import AT_ONCE
from slack_ties.tuning.tune import tune_config
from triple import Folders, extend

TOP = TOPS.index(0.2)
SEARCH = Search(slack=(0.0, 0.2), density=(0.3, 0.6))
TIBETAN = "བོད་སྐད་དང་བོད་ཡིག "


def make_config(folders: Folders, path: Path, **more: object) -> Path:
    """Write a config of a triple, whose SFT model is told by its slack."""
    data: dict[str, object] = {
        "merge_method": "slack_ties",
        "base_model": str(folders.base),
        "models": [
            {"model": str(folders.ct), "parameters": {"weight": 1.0, "density": 0.5}},
            {
                "model": str(folders.sft),
                "parameters": {"weight": 1.0, "density": 0.5, "slack": 0.1},
            },
        ],
        "parameters": {"normalize": False},
        "out_dtype": "float32",
        **more,
    }
    path.write_text(yaml.safe_dump(data))
    return path


@pytest.fixture
def config(triple: Folders, tmp_path: Path) -> Path:
    """The config of the triple."""
    return make_config(triple, tmp_path / "a.yml")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A text, longer than the model's context."""
    path = tmp_path / "text.txt"
    path.write_text(TIBETAN * 40, "utf-8")
    return path


def test_kept_is_what_reports_say(config: Path, tmp_path: Path) -> None:
    """Each trial has the shares of a report of that config; the score is their harmonic mean."""
    found = tune_config(config, search=SEARCH, quiet=True)

    assert len(found.results) == 5
    for number, result in enumerate(found.results):
        data = yaml.safe_load(config.read_text())
        for place, part in enumerate(data["models"]):
            for name, value in result.values.items():
                if name == "density" or place == 1:
                    part["parameters"][name] = value
        roles = {"ct": [data["models"][0]["model"]], "sft": [data["models"][1]["model"]]}
        data["slack_ties"] = {"recipe": 1, "roles": roles}
        one = tmp_path / f"one{number}.yml"
        one.write_text(yaml.safe_dump(data))
        report, _ = make_report(one, tmp_path / f"r{number}", quiet=True)
        ct, sft = (Figures(report.total, t).top_kept(TOP, CONFIG) for t in (0, 1))
        assert dict(result.parts) == {"ct": ct, "sft": sft}
        assert result.score == pytest.approx(2 / (1 / ct + 1 / sft))
    assert found.best.score == max(result.score for result in found.results)


def test_a_search_looks_at_its_models_once(
    triple: Folders, tmp_path: Path, api: HfApi, hub: Server
) -> None:
    """Two passes over the models ask the Hub no more than one."""
    for role in ("base", "ct", "sft"):
        api.create_repo(f"me/{role}")
        api.upload_folder(folder_path=getattr(triple, role), repo_id=f"me/{role}")
    names = Folders(*(Path(f"me/{role}") for role in ("base", "ct", "sft")))
    config = make_config(names, tmp_path / "hub.yml")
    asked = []
    for count in (1, 1, AT_ONCE + 1):  # the first one downloads the models
        hub.hub.requests.clear()
        search = Search(slack=tuple(0.01 * step for step in range(count)))
        study = tmp_path / f"study-{count}-{len(asked)}.json"
        tune_config(config, search=search, study=study, overwrite=True, quiet=True, api=api)
        asked.append(sorted(hub.hub.requests))

    assert asked[2] == asked[1]


def test_perplexity_is_that_of_the_model_on_disk(config: Path, text: Path, tmp_path: Path) -> None:
    """Merged, saved, loaded by transformers and run: the same number, for the config as it is."""
    found = tune_config(
        config, metric="perplexity", text=text, search=Search(slack=(0.0,)), quiet=True
    )

    merge_models(config, tmp_path / "out", quiet=True)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32).eval()
    tokens = AutoTokenizer.from_pretrained(tmp_path / "out")(
        text.read_text("utf-8"), return_tensors="pt", verbose=False
    ).input_ids[0]
    longest = model.config.max_position_embeddings
    assert len(tokens) > 2 * longest
    losses = []
    with torch.no_grad():
        for start in range(0, len(tokens) - 1, longest - 1):
            piece = tokens[start : start + longest]
            logits = model(piece[None]).logits[0].log_softmax(-1)
            losses += [-float(logits[i, piece[i + 1]]) for i in range(len(piece) - 1)]
    assert len(losses) == len(tokens) - 1
    expected = math.exp(sum(losses) / len(losses))
    assert found.results[0].score == pytest.approx(expected, rel=1e-5)
    assert found.results[0].score != found.results[1].score


@pytest.mark.parametrize("metric", ["kept", "perplexity"])
def test_a_search_that_was_stopped_gives_the_same_table(
    metric: str, config: Path, text: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Ctrl-C after the third trial: the next run has two left to do, and the same results."""
    how = {"metric": metric, "search": SEARCH, "quiet": True}
    how |= {"text": text} if metric == "perplexity" else {}
    whole = tune_config(config, study=tmp_path / "whole.json", **how)
    caplog.set_level("INFO", logger="slack_ties")
    scored = re.compile(rf"  \S.*: {metric} \d+\.\d+")

    def trials() -> list[str]:
        return [one for record in caplog.records if scored.match(one := record.getMessage())]

    def stop(record: logging.LogRecord) -> bool:
        if scored.match(record.getMessage()) and len(trials()) == 2:
            raise KeyboardInterrupt
        return True

    caplog.clear()
    logger = logging.getLogger("slack_ties")
    logger.addFilter(stop)
    try:
        with pytest.raises(KeyboardInterrupt):
            tune_config(config, study=tmp_path / "half.json", **how)
    finally:
        logger.removeFilter(stop)
    assert len(json.loads((tmp_path / "half.json").read_text())["trials"]) == 3
    last = f"  stopped: the same command goes on; 3 finished trials are in {tmp_path / 'half.json'}"
    assert caplog.records[-1].getMessage() == last
    caplog.clear()

    again = tune_config(config, study=tmp_path / "half.json", **how)

    assert len(trials()) == 2
    assert again.results == whole.results
    assert again.as_text() == whole.as_text()
    assert (tmp_path / "half.json").read_bytes() == (tmp_path / "whole.json").read_bytes()


@pytest.mark.parametrize("metric", ["kept", "perplexity"])
def test_the_best_config_reproduces_its_score(metric: str, config: Path, text: Path) -> None:
    """As it is, to the last digit; it names the SFT model also where its slack is 0."""
    how = {"metric": metric, "quiet": True}
    how |= {"text": text, "text_sft": text} if metric == "perplexity" else {}
    found = tune_config(config, search=Search(slack=(0.0,), density=(0.2, 0.9)), **how)

    best = read_recipe(found.config)
    again = tune_config(found.config, search=Search(slack=(), density=(0.5,)), **how)

    assert again.results[0].score == found.best.score
    assert best.models_of("sft") == read_recipe(config).models_of("sft")
    assert f"({found.best.score:.4f})" in best.text.partition("\n")[0]


def test_weight_is_of_the_sft_model(config: Path) -> None:
    """And density of all: the best config says so."""
    search = Search(slack=(0.0,), density=(1.0,), weight=(40.0,))

    found = tune_config(config, search=search, quiet=True)

    result = found.results[1]
    assert result.values == {"slack": 0.0, "density": 1.0, "weight": 40.0}
    assert result.parts["sft"] == 1.0
    assert found.results[1].parts["ct"] < found.results[0].parts["ct"]


def test_ct_weight_is_of_the_ct_model(config: Path) -> None:
    """The other models' `weight`: the best config says so, and has the score of the trial."""
    search = Search(slack=(0.0,), density=(1.0,), ct_weight=(1.0, 0.5, 40.0))

    found = tune_config(config, search=search, quiet=True)

    _, as_it_is, light, heavy = found.results
    assert as_it_is.values["ct weight"] == 1.0
    assert light.key == "slack 0, density 1, ct weight 0.5"
    assert light.parts["sft"] > as_it_is.parts["sft"] > heavy.parts["sft"]
    assert heavy.parts["ct"] == 1.0
    best = read_recipe(found.config)
    weights = [part["parameters"]["weight"] for part in best.data["models"]]
    assert weights == [found.best.values["ct weight"], 1.0]
    assert config_values(best)["ct weight"] == weights[0]
    again = tune_config(found.config, search=Search(slack=()), quiet=True)
    assert again.results[0].score == found.best.score


def test_optuna_goes_on_where_it_was(config: Path, tmp_path: Path) -> None:
    """Five trials, then eight: the first five are the same, and are not merged again."""
    how = {"study": tmp_path / "s.json", "quiet": True}
    first = tune_config(config, search=Search(trials=5), **how)

    second = tune_config(config, search=Search(trials=8), **how)

    assert second.results[: len(first.results)] == first.results
    assert len(second.results) > len(first.results)
    assert second.best.score >= first.best.score


def test_without_optuna_the_pip_command_is_said(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A grid needs nothing."""
    monkeypatch.setitem(sys.modules, "optuna", None)

    with pytest.raises(SlackTiesError, match="Optuna") as caught:
        tune_config(config, search=Search(trials=3))

    assert 'pip install "slack-ties[tune]"' in caught.value.hint


def test_an_extended_vocabulary_is_scored_with_its_tokenizer(
    triple: Folders, tmp_path: Path, text: Path
) -> None:
    """That of the model that the config names; the embedding has its rows."""
    ct = extend(tmp_path / "ct", triple.ct)
    config = make_config(
        Folders(triple.base, ct, triple.sft), tmp_path / "a.yml", tokenizer={"source": str(ct)}
    )

    found = tune_config(
        config, metric="perplexity", text=text, search=Search(slack=(0.2,)), quiet=True
    )

    assert all(math.isfinite(result.score) for result in found.results)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is empty"), (b" \n", "is empty"), (b"\xff\xfe", "not UTF-8"), (None, "cannot read")],
)
def test_bad_texts_are_refused_before_a_model_is_read(
    content: bytes | None, said: str, tmp_path: Path
) -> None:
    """The models of this config are nowhere."""
    config = make_config(
        Folders(Path("no/base"), Path("no/ct"), Path("no/sft")), tmp_path / "a.yml"
    )
    text = tmp_path / "text.txt"
    if content is not None:
        text.write_bytes(content)

    with pytest.raises(SlackTiesError, match=said):
        tune_config(config, metric="perplexity", text=text)


def test_what_cannot_be_tuned_is_refused(triple: Folders, tmp_path: Path, text: Path) -> None:
    """No SFT model, a single model, another method, a text that is not used or missing."""
    part = {"model": str(triple.ct), "parameters": {"weight": 1.0}}
    other = {"model": str(triple.sft), "parameters": {"weight": 1.0}}
    unknown = make_config(triple, tmp_path / "b.yml", models=[part, other])
    with pytest.raises(RecipeError, match="which model is the SFT model") as caught:
        tune_config(unknown)
    assert "roles" in caught.value.hint
    with pytest.raises(RecipeError, match="only one model"):
        tune_config(make_config(triple, tmp_path / "c.yml", models=[other]))
    linear = make_config(triple, tmp_path / "d.yml", merge_method="linear", parameters={})
    with pytest.raises(RecipeError, match="scores only slack_ties and ties, not linear"):
        tune_config(linear)
    config = make_config(triple, tmp_path / "e.yml")
    with pytest.raises(SlackTiesError, match="needs --metric perplexity"):
        tune_config(config, text=text)
    with pytest.raises(SlackTiesError, match="needs a text"):
        tune_config(config, metric="perplexity")
    with pytest.raises(SlackTiesError, match="slack must be"):
        Search(slack=(1.5,))


def test_a_study_of_other_weights_is_refused(triple: Folders, tmp_path: Path, api: HfApi) -> None:
    """A folder whose files changed, a repository with a new commit: also if no trial is left."""
    shutil.copytree(triple.sft, tmp_path / "sft")
    api.create_repo("me/ct")
    api.upload_folder(folder_path=triple.ct, repo_id="me/ct")
    folders = Folders(triple.base, Path("me/ct"), tmp_path / "sft")
    config = make_config(folders, tmp_path / "a.yml")
    how = {"quiet": True, "api": api}
    tune_config(config, search=Search(slack=(0.0,)), **how)
    (tmp_path / "sft" / "README.md").write_text("This is no weight.")
    tune_config(config, search=Search(slack=(0.0,)), **how)

    api.upload_file(path_or_fileobj=b"new", path_in_repo="new.txt", repo_id="me/ct")
    with pytest.raises(OutputError, match=r"belongs to commit [0-9a-f]{12} of me/ct, got"):
        tune_config(config, search=Search(slack=(0.2,)), **how)
    weights = tmp_path / "sft" / "model.safetensors"
    os.utime(weights, ns=(1, 1))
    with pytest.raises(OutputError, match="a model folder whose files have changed"):
        tune_config(config, search=Search(slack=(0.0,)), **how)


def test_a_study_with_another_seed_or_device_is_refused(config: Path, text: Path) -> None:
    """Random numbers of another seed, or floats of another device, are other scores."""
    how = {"metric": "perplexity", "text": text, "search": Search(slack=())}
    found = tune_config(config, quiet=True, **how)

    with pytest.raises(OutputError, match="a search that differs in --random-seed"):
        tune_config(config, options=MergeOptions(random_seed=3, quiet=True), **how)
    data = json.loads(found.study.read_text("utf-8"))
    data["about"]["device"] = "cuda"
    found.study.write_text(json.dumps(data), "utf-8")
    with pytest.raises(OutputError, match="belongs to another kind of device"):
        tune_config(config, quiet=True, **how)


def test_a_model_without_delta_cannot_be_tuned(triple: Folders, tmp_path: Path) -> None:
    """There is no share of nothing; the study holds nothing afterwards."""
    same = tmp_path / "same"
    same.mkdir()
    for path in triple.base.iterdir():
        (same / path.name).write_bytes(path.read_bytes())
    config = make_config(Folders(triple.base, triple.ct, same), tmp_path / "a.yml")

    with pytest.raises(SlackTiesError, match="does not differ from the base"):
        tune_config(config, quiet=True)

    assert not (tmp_path / "a-tuned-kept.yml").exists()


def test_nan_is_an_error_as_in_a_merge(triple: Folders, tmp_path: Path) -> None:
    """It names model and tensor."""
    model = AutoModelForCausalLM.from_pretrained(triple.sft)
    with torch.no_grad():
        model.model.norm.weight[3] = math.nan
    model.save_pretrained(tmp_path / "bad")
    config = make_config(Folders(triple.base, triple.ct, tmp_path / "bad"), tmp_path / "a.yml")

    with pytest.raises(CheckpointError, match=r"model\.norm.*bad.*NaN"):
        tune_config(config, quiet=True)


def test_a_study_of_something_else_is_refused(config: Path, tmp_path: Path) -> None:
    """Another config, another metric, a file that is none: nothing of it is overwritten."""
    study = tmp_path / "s.json"
    tune_config(config, search=Search(slack=(0.0,)), study=study, quiet=True)
    before = study.read_bytes()
    config.write_text(config.read_text() + "# changed\n")

    with pytest.raises(OutputError, match="belongs to another config"):
        tune_config(config, study=study)
    assert study.read_bytes() == before
    with pytest.raises(OutputError, match=r"belongs to other texts\n"):
        open_study(study, {"texts": ["a new one"]})
    study.write_text("{")
    with pytest.raises(OutputError, match="damaged"):
        tune_config(config, study=study)


@pytest.mark.parametrize("method", ["slack_ties", "ties"])
def test_the_values_of_the_config_are_one_trial(
    method: str, triple: Folders, tmp_path: Path
) -> None:
    """They stand in the first row, and are a point of the curve; slack is 0 where none is given."""
    roles = {"roles": {"ct": [str(triple.ct)], "sft": [str(triple.sft)]}}
    language = {"tag": "bo", "name": "Tibetan"}
    more: dict[str, object] = {"slack_ties": {"recipe": 1, **roles, "language": language}}
    if method == "ties":
        part = {"weight": "1e0", "density": 0.5}  # YAML 1.1 reads 1e0 as text
        more |= {
            "merge_method": "ties",
            "models": [{"model": str(one), "parameters": part} for one in (triple.ct, triple.sft)],
        }
    config = make_config(triple, tmp_path / "a.yml", **more)
    slack = 0.0 if method == "ties" else 0.1
    search = Search(slack=(slack, 0.2, 0.2), density=(0.5,), weight=(1.0,))

    found = tune_config(config, search=search, quiet=True)

    other = {"slack": 0.2, "density": 0.5, "weight": 1.0}
    assert [dict(one.values) for one in found.results] == [{}, other]
    assert len(json.loads(found.study.read_text("utf-8"))["trials"]) == 2
    table, _, below = found.as_text().partition("\n\n")
    head, first, *_ = table.splitlines()
    legend, *columns = below.splitlines()
    assert f"as the config (slack {slack:g}, density 0.5, weight 1, ct weight 1)" in first
    assert head.split()[0] == "TRIAL"
    assert legend == f"More is better. * is the best trial: its values are in {found.config}"
    assert [line.partition(":")[0] for line in columns] == ["kept", "ct", "sft", "question"]
    page = found.page.read_text("utf-8")
    shown = [re.sub("`(.+?)`", r"<code>\1</code>", line) for line in columns]
    assert all(f"{line}." in page for line in shown)
    assert page.count('<circle class="dot') == 6  # the score, and its two parts
    assert "a.yml, for Tibetan" in page
    assert "base: ./base; CT: ./ct; SFT: ./sft" in page
    assert str(triple.ct.parent) not in page  # folders are private
    assert "More is better. * is the best trial." in page


def test_equal_best_trials_are_counted(config: Path) -> None:
    """Slack above density protects no more: the legend says that another trial is as good."""
    found = tune_config(config, search=Search(slack=(0.2, 0.3), density=(0.2,)), quiet=True)

    scores = [one.score for one in found.results]
    assert scores.count(max(scores)) == 2
    assert "* is the best trial (1 more with the same score):" in found.as_text()


def test_one_merge_runs_once(config: Path, text: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Slack above density is the same merge: its score is taken over, and a note names the two."""
    caplog.set_level(logging.INFO, "slack_ties")
    search = Search(slack=(0.2, 0.3), density=(0.2,))

    found = tune_config(config, metric="perplexity", text=text, text_sft=text, search=search)

    assert "slack 0.3, density 0.2: the same merge as slack 0.2, density 0.2" in caplog.text
    _, one, other = found.results
    assert (one.score, one.in_effect) == (other.score, other.in_effect)
    assert found.notes == (
        "slack 0.2 and 0.3 give nearly the same merge (with density 0.2, weight 1, ct weight 1): "
        f"in effect each is {one.in_effect:.2f}, so do not choose between them by their scores",
    )


def test_a_text_alone_is_doubted(
    config: Path, text: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What the SFT model can do is not in it: that is said before and after, with a command."""
    search = Search(slack=(0.2,))

    found = tune_config(config, metric="perplexity", text=text, search=search, quiet=True)

    (note,) = found.notes
    assert "does not show what the SFT model can do" in note
    assert "slack-ties tune CONFIG --metric tasks" in note
    assert caplog.text.count(note) == 1
    assert f"note: {note}" in found.as_text()


def test_a_gradient_is_no_value(triple: Folders, tmp_path: Path) -> None:
    """A candidate with one number for all layers is another merge than the config."""
    part = {"weight": 1.0, "density": [0.5, 0.5], "slack": 0.1}
    models = [
        {"model": str(triple.ct), "parameters": {"weight": 1.0}},
        {"model": str(triple.sft), "parameters": part},
    ]
    recipe = read_recipe(make_config(triple, tmp_path / "a.yml", models=models))

    assert config_values(recipe) == {"weight": 1.0, "slack": 0.1, "ct weight": 1.0}


def test_only_its_own_best_config_is_replaced(config: Path, tmp_path: Path) -> None:
    """The input, an edited result, a file of a person: each stays, until --overwrite is given."""
    how = {"search": Search(slack=(0.0,)), "quiet": True}
    before = config.read_bytes()
    with pytest.raises(OutputError, match=r"a\.yml' is the config that is tuned") as caught:
        tune_config(config, output=tmp_path / "." / "a.yml", **how)
    assert "--overwrite" in caught.value.hint
    assert config.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.yml"]  # nothing was merged

    best = tune_config(config, **how).config
    assert best.name == "a-tuned-kept.yml"
    wrote = best.read_bytes()
    more = Search(slack=(0.0, 0.3), density=(0.2, 0.9))
    tune_config(config, search=more, quiet=True)  # its own: another trial may be the best now
    assert tune_config(config, **how).config.read_bytes() == wrote
    tune_config(config, study=tmp_path / "another.json", **how)
    assert best.read_bytes() == wrote
    again = tune_config(best, **how)  # as a config of its own, it is not replaced either
    with pytest.raises(OutputError, match="is the config that is tuned"):
        tune_config(best, output=best, **how)
    assert again.config != best
    best.write_bytes(wrote + b"# mine\n")
    with pytest.raises(OutputError, match="or it was edited since"):
        tune_config(config, **how)
    assert best.read_bytes() == wrote + b"# mine\n"
    tune_config(config, overwrite=True, **how)
    assert best.read_bytes() == wrote

    other = tmp_path / "notes.txt"
    other.write_text("notes")
    with pytest.raises(OutputError, match="tune did not write it"):
        tune_config(config, output=other, **how)
    assert other.read_text() == "notes"
    with pytest.raises(OutputError, match="is a folder"):
        tune_config(config, output=tmp_path, overwrite=True, **how)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"output": "/proc/best.yml"}, "cannot write '/proc/best.yml': "),
        ({"study": "/proc/study.json"}, "cannot write '/proc/study.json': "),
        ({"study": "gone/study.json"}, "there is no folder '.*gone' for study.json"),
    ],
)
def test_a_file_that_cannot_be_written(
    names: dict[str, Any], said: str, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused before the tasks of the metric are loaded."""
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())

    with pytest.raises(OutputError, match=said):
        tune_config(config, metric="nosuch", quiet=True, **names)

    assert sorted(tmp_path.iterdir()) == before


def test_a_page_of_somebody_else_stays(config: Path, tmp_path: Path) -> None:
    """It is refused before a model is read; --overwrite replaces it."""
    page = tmp_path / "a-tune-kept.html"
    page.write_text("<title>Mine</title>")
    how = {"search": Search(slack=(0.0,)), "quiet": True}

    with pytest.raises(OutputError, match="is not a page of slack-ties tune"):
        tune_config(config, **how)

    assert page.read_text() == "<title>Mine</title>"
    assert not (tmp_path / "a-tune-kept.json").exists()
    tune_config(config, overwrite=True, **how)
    assert "Mine" not in page.read_text("utf-8")
    tune_config(config, **how)
    with pytest.raises(OutputError, match="for the page of this search"):
        tune_config(config, output=page, overwrite=True, **how)


def test_an_edit_during_a_search_stays(
    config: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The file appears after the first check: the search is kept, the file too."""
    best = tmp_path / "a-tuned-kept.yml"
    caplog.set_level("INFO", logger="slack_ties")

    def edit(record: logging.LogRecord) -> bool:
        if ": kept " in record.getMessage():
            best.write_text("mine")
        return True

    logger = logging.getLogger("slack_ties")
    logger.addFilter(edit)
    try:
        with pytest.raises(OutputError, match="tune did not write it"):
            tune_config(config, search=Search(slack=(0.0,)), quiet=True)
    finally:
        logger.removeFilter(edit)

    assert best.read_text() == "mine"
    assert len(json.loads((tmp_path / "a-tune-kept.json").read_text())["trials"]) == 2


def test_the_best_config_is_proposed_only_if_values_make_a_difference(
    invoke: Invoke, triple: Folders, config: Path, tmp_path: Path
) -> None:
    """Where the SFT model is the base, all trials have one perplexity."""
    text = tmp_path / "text.txt"
    text.write_text(TIBETAN * 9, "utf-8")
    same = make_config(Folders(triple.base, triple.ct, triple.base), tmp_path / "same.yml")
    data = yaml.safe_load(same.read_text())
    shutil.copytree(triple.base, tmp_path / "sft")
    data["models"][1]["model"] = str(tmp_path / "sft")
    same.write_text(yaml.safe_dump(data))

    kept = invoke("tune", str(config), "--slack", "0,0.3")
    how = ["--metric", "perplexity", "--text", str(text), "--slack", "0.3"]
    equal = invoke("tune", str(same), *how)
    alone = invoke("tune", str(config), *how)
    both = invoke(
        "tune", str(config), *how, "--text-sft", str(text), "--study", f"{tmp_path}/s.json"
    )

    assert f"Next: slack-ties merge {tmp_path / 'a-tuned-kept.yml'} OUT\n" in kept.stderr
    assert f"Next: slack-ties merge {tmp_path / 'a-tuned-perplexity.yml'} OUT\n" in both.stderr
    assert f"Next: slack-ties tune {config} --metric tasks  # or a text" in alone.stderr
    assert "slack-ties merge" not in equal.stderr + alone.stderr
    assert f"Next: slack-ties tune {same} --slack NUMBERS --weight NUMBERS" in equal.stderr


def test_the_page_has_a_curve_and_the_table(config: Path) -> None:
    """A line for each combination of the other values, the best one marked."""
    found = tune_config(config, search=SEARCH, quiet=True)

    page = found.page.read_text("utf-8")
    # Two lines of the score, one of each part, and their keys.
    assert page.count('<path class="line') == 8
    assert page.count('<circle class="ring"') == 2  # the best one, and its key
    assert page.count("<tr>") == 6
    assert f"* {key_of(found.best.values)}" in page
    assert "<script" not in page
    heights = [float(y) for y in re.findall(r'<circle class="dot[^>]* cy="([\d.]+)"', page)]
    assert max(heights) - min(heights) > 100  # of 192: the line is not flat
    assert "do not begin at 0" in page

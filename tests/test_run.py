"""All stages in one call, and what stays when one of them fails."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi
from mergekit.options import MergeOptions

from hub_server import Refused, Server
from slack_ties.config.choices import Choices
from slack_ties.config.write import write_configs
from slack_ties.errors import HubError, OutputError, RecipeError, SlackTiesError
from slack_ties.publish.result import Result
from slack_ties.run import run_all
from triple import Folders

QUIET = MergeOptions(quiet=True, lazy_unpickle=True)


@pytest.fixture
def choices(triple: Folders) -> Choices:
    """The models of the triple."""
    return Choices(base=str(triple.base), ct=str(triple.ct), sft=str(triple.sft))


def test_from_a_language_to_a_folder(
    choices: Choices, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Config, merge and card, each said as it begins; nothing is published unasked."""
    with caplog.at_level(logging.INFO, "slack_ties"):
        result = run_all("Tibetan", tmp_path / "out", choices=choices, options=QUIET)

    assert {path.name for path in (tmp_path / "out").iterdir()} >= {
        *("README.md", "mergekit_config.yml", "slack_ties.json", "model.safetensors")
    }
    assert result.published is None
    assert [f"[{i}/3]" in caplog.text for i in (1, 2, 3)] == [True] * 3
    assert "[1/3] config  made for Tibetan" in caplog.text
    assert "bo.yml" not in caplog.text  # no such file is written


def test_from_a_config_to_the_hub(choices: Choices, tmp_path: Path, api: HfApi) -> None:
    """The published card loads the model from where it is."""
    (config,) = write_configs(["bo"], tmp_path, choices=choices)

    result = run_all(
        config,
        tmp_path / "out",
        options=QUIET,
        publish="tibetan",
        license="mit",
        api=api,
    )

    info = api.model_info("me/tibetan")
    card = result.card.read_text("utf-8")
    assert (result.published.repo_id, result.published.commit) == ("me/tibetan", info.sha)
    assert info.private
    assert info.card_data.license == "mit"
    assert 'name = "me/tibetan"' in card


def test_the_type_of_a_base_on_the_hub_is_kept(
    choices: Choices, triple: Folders, tmp_path: Path, api: HfApi
) -> None:
    """Mixed inputs do not make the result wider than the base."""
    api.create_repo("me/base", private=False)
    api.upload_folder(repo_id="me/base", folder_path=triple.base)

    result = run_all(
        "bo", tmp_path / "out", choices=replace(choices, base="me/base"), options=QUIET, api=api
    )

    assert result.record.dtype == "bfloat16"


def test_the_stored_config_repeats_the_merge(choices: Choices, tmp_path: Path) -> None:
    """Running what lies in the result gives the same bytes."""
    run_all("bo", tmp_path / "one", choices=choices, options=QUIET)

    run_all(tmp_path / "one" / "mergekit_config.yml", tmp_path / "two", options=QUIET)

    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two")]
    assert files[0] == files[1]


def test_choices_do_not_change_a_config(choices: Choices, tmp_path: Path) -> None:
    """A config says everything itself."""
    (config,) = write_configs(["bo"], tmp_path, choices=choices)

    with pytest.raises(RecipeError, match="--slack would change it"):
        run_all(config, tmp_path / "out", choices=Choices(slack=0.1), options=QUIET)


def test_a_missing_config_is_not_taken_for_a_language(tmp_path: Path) -> None:
    """Its ending tells."""
    with pytest.raises(RecipeError, match=r"no config file 'none\.yml'"):
        run_all("none.yml", tmp_path / "out")


def test_permission_to_publish_is_asked_before_the_merge(
    choices: Choices, tmp_path: Path, hub: Server
) -> None:
    """Hours of work must not end at a missing token."""
    with pytest.raises(HubError, match="needs a token"):
        run_all(
            "bo",
            tmp_path / "out",
            choices=choices,
            publish="me/x",
            api=HfApi(endpoint=hub.url),
        )

    assert list(tmp_path.glob("**/*.safetensors")) == []


@pytest.mark.parametrize(
    ("license_", "message"),
    [
        ("", "the licence of the result of bo.yml is not known: .*ct states no licence"),
        ("llama3.1", "a name that begins with 'Llama'"),
    ],
)
def test_licence_and_name_are_looked_at_before_the_merge(
    triple: Folders, tmp_path: Path, api: HfApi, license_: str, message: str
) -> None:
    """Hours of work must not end at what the models' cards say."""
    ct = shutil.copytree(triple.ct, tmp_path / "ct")
    (ct / "README.md").write_text(f"---\nlicense: {license_}\n---\n" if license_ else "")
    choices = Choices(base=str(triple.base), ct=str(ct), sft=str(triple.sft))

    with pytest.raises(SlackTiesError, match=message):
        run_all("bo", tmp_path / "out", choices=choices, publish="me/tibetan", api=api)

    assert not (tmp_path / "out").exists()


def test_a_licence_that_the_hub_does_not_have(choices: Choices, tmp_path: Path) -> None:
    """Said first, though the card comes last."""
    with pytest.raises(RecipeError, match="'lama2' is not a licence id of the Hub"):
        run_all("bo", tmp_path / "out", choices=choices, license="lama2")

    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_is_not_empty(choices: Choices, tmp_path: Path) -> None:
    """Said first of all."""
    (tmp_path / "file").write_text("")

    with pytest.raises(OutputError, match="is not empty"):
        run_all("bo", tmp_path, choices=choices)


def test_a_merged_model_survives_a_failed_publication(
    choices: Choices, tmp_path: Path, api: HfApi, hub: Server
) -> None:
    """It stays, complete, and the message says how to publish it later."""

    def refuse(*_: object) -> None:
        raise Refused(403, "No")

    hub.hub.commit = refuse

    with pytest.raises(HubError, match="the merged model is complete in") as caught:
        run_all("bo", tmp_path / "out", choices=choices, options=QUIET, publish="x", api=api)

    assert caught.value.hint.endswith(f"slack-ties publish {tmp_path / 'out'} me/x")
    assert (tmp_path / "out" / "README.md").is_file()


def test_a_stopped_publication_goes_on(
    choices: Choices,
    tmp_path: Path,
    api: HfApi,
    hub: Server,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The same call does not merge again, publishes what an earlier one made, and only once."""

    def run(**other: Any) -> Result:
        return run_all(
            "bo", tmp_path / "out", choices=choices, options=QUIET, publish="x", api=api, **other
        )

    def stop(*_: object) -> None:
        raise Refused(403, "No")

    commit, hub.hub.commit = hub.hub.commit, stop
    with pytest.raises(HubError, match="the merged model is complete"):
        run()
    hub.hub.commit = commit
    weights = (tmp_path / "out" / "model.safetensors").stat()

    with caplog.at_level(logging.INFO, "slack_ties"):
        first = run()
        again = run(stream=True)

    assert caplog.text.count("out holds this merge already: publishing it") == 2
    assert "main of me/x has all files already" in caplog.text
    assert first.published == again.published
    assert first.published.commit == api.model_info("me/x").sha
    assert (tmp_path / "out" / "model.safetensors").stat() == weights
    with pytest.raises(OutputError, match="holds a finished merge of other models") as caught:
        run_all(
            "bo",
            tmp_path / "out",
            choices=replace(choices, slack=0.3),
            options=QUIET,
            publish="me/x",
            api=api,
        )
    assert caught.value.hint.startswith(f"slack-ties publish {tmp_path / 'out'} me/x #")


def test_a_card_that_was_edited_on_the_hub_is_seen_before_the_merge(
    choices: Choices, tmp_path: Path, api: HfApi
) -> None:
    """What somebody wrote there would be lost; a card that we sent is replaced."""

    def run(out: str) -> None:
        run_all("bo", tmp_path / out, choices=choices, options=QUIET, publish="me/x", api=api)

    run("one")
    run("two")
    card = (tmp_path / "one" / "README.md").read_text("utf-8").replace("## ", "## My ")
    api.upload_file(path_or_fileobj=card.encode(), path_in_repo="README.md", repo_id="me/x")

    with pytest.raises(HubError, match="was changed on the Hub, and would be replaced"):
        run("three")

    assert not (tmp_path / "three").exists()


def test_a_model_that_was_changed_is_merged_again(
    triple: Folders, tmp_path: Path, api: HfApi
) -> None:
    """The folder with the old result is not taken for the result of the new weights."""
    ct = shutil.copytree(triple.ct, tmp_path / "ct")
    choices = Choices(base=str(triple.base), ct=str(ct), sft=str(triple.sft))
    out = tmp_path / "out"
    run_all("bo", out, choices=choices, options=QUIET, publish="x", api=api)
    max(ct.iterdir(), key=lambda file: file.stat().st_size).touch()

    with pytest.raises(OutputError, match="holds a finished merge"):
        run_all("bo", out, choices=choices, options=QUIET, publish="x", api=api)


def test_a_card_that_was_edited_is_published_as_it_is(
    choices: Choices, tmp_path: Path, api: HfApi
) -> None:
    """A run that only publishes does not ask to replace a person's text."""
    run_all("bo", tmp_path / "out", choices=choices, options=QUIET, publish="x", api=api)
    card = tmp_path / "out" / "README.md"
    card.write_text(card.read_text("utf-8").replace("## ", "## My "), "utf-8")

    run_all("bo", tmp_path / "out", choices=choices, options=QUIET, publish="x", api=api)

    assert "## My " in card.read_text("utf-8")
    assert Path(api.hf_hub_download("me/x", "README.md")).read_bytes() == card.read_bytes()


def test_runs_the_recipe_of_a_published_model(triple: Folders, tmp_path: Path, api: HfApi) -> None:
    """By its Hub id: the same bytes; the config is pinned, and says so."""
    for role in ("base", "ct", "sft"):
        api.create_repo(f"me/{role}", private=False)
        api.upload_folder(repo_id=f"me/{role}", folder_path=getattr(triple, role))
    chosen = Choices(base="me/base", ct="me/ct", sft="me/sft")
    first = run_all("bo", tmp_path / "one", choices=chosen, options=QUIET, publish="x", api=api)

    second = run_all("me/x", tmp_path / "two", options=QUIET, api=api)

    commits = {p.model.partition("@")[0]: p.commits for p in first.record.parents}
    assert commits == {p.model.partition("@")[0]: p.commits for p in second.record.parents}
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two")]
    assert files[0] == files[1]
    with pytest.raises(RecipeError, match="me/x is a published model: --slack would change it"):
        run_all("me/x", tmp_path / "three", choices=Choices(slack=0.1), api=api)
    with pytest.raises(HubError, match="recipe of 'me/none': not found"):
        run_all("me/none", tmp_path / "three", api=api)

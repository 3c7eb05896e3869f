"""Nothing of this disk is published: no home folder, no user name, no path of a merged model."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from huggingface_hub import HfApi
from mergekit.options import MergeOptions

from command import Invoke, environment, files_on_main
from evaluations import an_evaluation, model
from hub_server import Server
from processes import run
from slack_ties.card.own_text import SEAL, sealed
from slack_ties.card.text import make_card
from slack_ties.card.write import write_card
from slack_ties.config.choices import Choices
from slack_ties.config.make import make_config
from slack_ties.errors import HubError, OutputError, RecipeError
from slack_ties.evaluation.file import weights_digest, write_evaluation
from slack_ties.merge.merge import merge_models
from slack_ties.publish.publish import plan_publish, publish_model
from slack_ties.record import read_record
from slack_ties.run import run_all
from slack_ties.sharing.pull import pull_recipe
from slack_ties.sharing.verify import verify_model

if TYPE_CHECKING:
    from triple import Folders

QUIET = MergeOptions(quiet=True)

PRIVATE = (b"zebediah", b"customer", b"/home/")


@pytest.fixture
def home(triple: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a telling name, and the models in a folder with a telling name."""
    home = tmp_path / "home" / "zebediah"
    for role in ("base", "ct", "sft"):
        shutil.copytree(getattr(triple, role), home / "customer" / role)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.chdir(home)
    return home


def choices(folder: str = "customer") -> Choices:
    """Return the models in a folder."""
    return Choices(*(f"{folder}/{role}" for role in ("base", "ct", "sft")))


@pytest.mark.parametrize("stream", [False, True])
def test_nothing_private_arrives(home: Path, hub: Server, stream: bool) -> None:  # noqa: FBT001 - a parameter
    """Of all bytes that the Hub gets, none is of the home, the user's name or a folder above."""
    words = ["--base", "customer/base", "--ct", home / "customer/ct", "--sft", "~/customer/sft"]
    words += ["--stream"] if stream else ["--report"]
    told = {**environment(hub, home / "hf", "hf_writer"), "HOME": str(home)}
    command = ["run", "bo", "--out", "my-model", "--publish", "me/bo", *words]
    hub.hub.heard = []
    result = run(command, env=told, cwd=home, merged=True)

    assert result.returncode == 0, result.stdout
    assert "published without their paths, as ./base, ./ct, ./sft" in result.stdout
    sent = files_on_main(hub.hub, "me/bo", "me")
    assert {"README.md", "mergekit_config.yml", "slack_ties.json", "config.json"} <= set(sent)
    objects = [path for path in (hub.hub.root / "objects").rglob("*") if path.is_file()]
    received = [*hub.hub.heard, *sent.values(), *(path.read_bytes() for path in objects)]
    assert len(received) > 50
    assert [one for one in received for word in PRIVATE if word in one] == []
    assert b"model: ./ct\n" in sent["mergekit_config.yml"]
    if not stream:
        assert b'"model": "./ct"' in sent["report.json"]


def test_the_files_here_keep_the_paths(
    home: Path, api: HfApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The merge is repeated from any folder, and publishing changes no file but the card."""
    run_all("bo", "out", choices=choices(), publish="me/bo", options=QUIET, api=api)
    before = {path.name: path.read_bytes() for path in (home / "out").iterdir()}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)

    assert verify_model(home / "out", options=QUIET).same
    assert [one.model for one in read_record(home / "out").parents] == [
        str(home / "customer" / role) for role in ("base", "ct", "sft")
    ]
    again = publish_model(home / "out", "me/bo", api=api)

    assert again.commit == api.model_info("me/bo").sha
    assert len(api.list_repo_commits("me/bo")) == 2  # the Hub's own, and ours
    assert {path.name: path.read_bytes() for path in (home / "out").iterdir()} == before


@pytest.mark.parametrize("absolute", [False, True])
def test_an_evaluation_loses_the_paths(home: Path, api: HfApi, hub: Server, absolute: bool) -> None:  # noqa: FBT001 - a parameter
    """Its models have their published names; the file here keeps the paths."""
    merge_models(make_config("bo", choices()), "out", options=QUIET)
    above = f"{home}/" if absolute else ""
    names = {"merged": "./out", "base": "./base", "ct": "./ct", "sft": "./sft"}
    models = tuple(
        model(role, 60, 70, name=f"{above}out" if role == "merged" else f"{above}customer/{role}")
        for role in names
    )
    settings = {"weights": weights_digest(read_record(Path("out")))}
    write_evaluation(an_evaluation(models=models, settings=settings), Path("out"))
    before = Path("out/evaluation.json").read_bytes()
    write_card("out")

    publish_model("out", "me/bo", api=api)

    sent = files_on_main(hub.hub, "me/bo", "me")
    assert [one for one in sent.values() for word in PRIVATE if word in one] == []
    there = json.loads(sent["evaluation.json"])
    assert [one["name"] for one in there["models"]] == [
        *(["./out"] if absolute else ["out"]),
        *("./base", "./ct", "./sft"),
    ]
    assert there["models"][1]["scores"] == json.loads(before)["models"][1]["scores"]
    assert Path("out/evaluation.json").read_bytes() == before


def test_an_evaluation_names_a_copy_as_what_it_is(
    home: Path, on_hub: dict[str, str], api: HfApi, hub: Server
) -> None:
    """A folder that is a model of the Hub has its id and commit in the published evaluation."""
    merge_models(make_config("bo", choices()), "out", options=QUIET)
    models = (
        model("merged", 60, 70, name=f"{on_hub['ct'].partition('@')[0]}@{'e' * 40}"),
        model("ct", 1, 2, name="customer/ct"),
        model("ct", 3, 4, name=f"{home}/elsewhere/old"),
    )
    settings = {"weights": weights_digest(read_record(Path("out")))}
    write_evaluation(an_evaluation(models=models, settings=settings), Path("out"))
    write_card("out")

    publish_model("out", "me/bo", known_as=known(on_hub), api=api)

    sent = files_on_main(hub.hub, "me/bo", "me")
    names = [one["name"] for one in json.loads(sent["evaluation.json"])["models"]]
    assert names == [models[0].name, on_hub["ct"], "./old"]


@pytest.mark.usefixtures("home")
def test_a_folder_is_no_hub_id(api: HfApi) -> None:
    """Nobody who pulls the recipe gets a stranger's model that has a folder's name."""
    run_all("bo", "out", choices=choices(), publish="me/bo", options=QUIET, api=api)

    with pytest.raises(RecipeError, match=r"it has the model '\./base', expected a Hub id"):
        pull_recipe("me/bo", api=api)


def test_folders_with_the_same_name(triple: Folders, tmp_path: Path, api: HfApi) -> None:
    """They are numbered, so that the published config still tells them apart."""
    names = {}
    for role in ("base", "ct", "sft"):
        names[role] = str(shutil.copytree(getattr(triple, role), tmp_path / role / "checkpoint-9"))
    run_all(
        "bo", tmp_path / "out", choices=Choices(**names), publish="me/bo", options=QUIET, api=api
    )

    text = Path(api.hf_hub_download("me/bo", "mergekit_config.yml")).read_text("utf-8")
    assert "base_model: ./checkpoint-9\n" in text
    assert "- model: ./checkpoint-9-2\n" in text
    assert "- model: ./checkpoint-9-3\n" in text


def test_settings_lose_the_paths_of_the_parents(home: Path, api: HfApi, hub: Server) -> None:
    """Trainers write where they loaded a model from: that is not carried into the merged model."""
    for file, settings in (
        ("config.json", {"_name_or_path": str(home), "text_config": {"_name_or_path": "~/x"}}),
        ("tokenizer_config.json", {"name_or_path": str(home), "special_tokens_map_file": "/x/y"}),
        ("generation_config.json", {"_name_or_path": str(home)}),
    ):
        path = home / "customer" / "base" / file
        data = json.loads(path.read_text("utf-8"))
        path.write_text(json.dumps({**data, **settings}), "utf-8")

    run_all("bo", "out", choices=choices(), publish="me/bo", options=QUIET, api=api)

    sent = files_on_main(hub.hub, "me/bo", "me")
    settings = {name: text for name, text in sent.items() if name.endswith("config.json")}
    assert len(settings) == 3
    assert not any(key in text for text in settings.values() for key in (b"_path", b"_file"))
    assert json.loads(settings["config.json"])["text_config"] == {}


def test_a_text_of_a_parent_with_a_path(home: Path, api: HfApi, hub: Server) -> None:
    """A notice that must be passed on is not changed: the model stays, and the file is named."""
    notice = f"Kept in {home}."
    (home / "customer" / "base" / "NOTICE").write_text(notice, "utf-8")

    with pytest.raises(
        OutputError, match=r"is complete in 'out', but was not published: "
    ) as caught:
        run_all("bo", "out", choices=choices(), publish="me/bo", options=QUIET, api=api)

    assert re.search(r"out/Notice, line \d+, contains your home folder", str(caught.value))
    assert caught.value.hint == (
        "delete it there, or send it as it is: --include Notice; then: slack-ties publish out me/bo"
    )
    publish_model("out", "me/bo", include=["Notice"], api=api)
    assert notice.encode() in files_on_main(hub.hub, "me/bo", "me")["Notice"]


@pytest.mark.usefixtures("home")
def test_the_card_of_a_config_has_no_paths() -> None:
    """It is the card that the merge would get."""
    card = str(make_card(make_config("bo", choices())))

    assert "base_model: ./base\n" in card
    assert "customer" not in card


# A copy of a model on the Hub


@pytest.fixture
def on_hub(triple: Folders, api: HfApi) -> dict[str, str]:
    """The three models on the Hub: their ids with commits, by role."""
    found = {}
    for role in ("base", "ct", "sft"):
        api.create_repo(f"me/{role}", private=False)
        commit = api.upload_folder(repo_id=f"me/{role}", folder_path=getattr(triple, role))
        found[role] = f"me/{role}@{commit.oid}"
    return found


def known(on_hub: dict[str, str]) -> dict[str, str]:
    """Return which folder is which model."""
    return {f"customer/{role}": name for role, name in on_hub.items()}


def test_a_copy_is_published_as_what_it_is(
    home: Path, on_hub: dict[str, str], api: HfApi, hub: Server
) -> None:
    """Recipe, record and card name the Hub id and commit, and other people can repeat the merge."""
    names = {folder: name.partition("@")[0] for folder, name in known(on_hub).items()}
    run_all("bo", "out", choices=choices(), publish="me/bo", known_as=names, options=QUIET, api=api)

    pulled = pull_recipe("me/bo", api=api)
    assert pulled.recipe.models == tuple(on_hub.values())
    data = api.model_info("me/bo").card_data
    assert data.base_model == ["me/base", "me/ct", "me/sft"]
    card = Path(api.hf_hub_download("me/bo", "README.md")).read_text("utf-8")
    assert "`slack-ties verify` with the Hub id of this model repeats the merge" in card
    assert "customer" not in card
    told = environment(hub, home / "hf", "hf_writer")
    result = run(["verify", "me/bo"], env=told, cwd=home, merged=True)
    assert result.returncode == 0, result.stdout


def test_it_can_be_said_after_the_merge(home: Path, on_hub: dict[str, str], api: HfApi) -> None:
    """`publish` writes the card again, and remembers it; a dry run changes nothing."""
    merge_models(make_config("bo", choices()), "out", options=QUIET)
    write_card("out")
    before = {path.name: path.read_bytes() for path in Path("out").iterdir()}
    names = {str(home / "customer/ct"): on_hub["ct"]}

    plan_publish("out", "me/bo", known_as=names, api=api)

    assert {path.name: path.read_bytes() for path in Path("out").iterdir()} == before
    publish_model("out", "me/bo", known_as=names, api=api)
    text = Path(api.hf_hub_download("me/bo", "mergekit_config.yml")).read_text("utf-8")
    assert f"- model: {on_hub['ct']}\n" in text
    assert "- model: ./sft\n" in text
    assert "[`me/ct`](https://huggingface.co/me/ct)" in Path("out/README.md").read_text("utf-8")
    publish_model("out", "me/bo", api=api)
    assert len(api.list_repo_commits("me/bo")) == 2


def test_what_the_warning_proposes(home: Path, on_hub: dict[str, str], hub: Server) -> None:
    """Typed for each folder, it makes a merge that others can repeat, and says so."""
    told = environment(hub, home / "hf", "hf_writer")
    (home / "bo.yml").write_text(make_config("bo", choices()).text, "utf-8")
    command = ["run", "bo.yml", "--out", "out", "--publish", "me/bo"]
    first = run([*command[:4]], env=told, cwd=home, merged=True)
    assert first.returncode == 0, first.stdout
    words = ["publish", "out", "me/bo"]

    for role, name in on_hub.items():
        done = run(words, env=told, cwd=home, merged=True)
        (typed,) = re.findall(r"add: (--is \S+)=OWNER/NAME", done.stdout)
        assert typed == f"--is {home / 'customer' / role}"
        words = [*words[:3], "--update", *words[4:], *f"{typed}={name}".split()]
    done = run(words, env=told, cwd=home, merged=True)

    assert "Check it:  slack-ties verify me/bo\n" in done.stdout
    again = run([*command, *words[4:]], env=told, cwd=home, merged=True)
    assert again.returncode == 0, again.stdout
    assert "out holds this merge already: publishing it" in again.stdout


def test_what_is_typed_wrong(invoke: Invoke) -> None:
    """A folder without an id is refused, as is --is where nothing is published."""
    one = invoke("publish", "out", "me/bo", "--is", "ct")
    other = invoke("run", "bo", "--out", "out", "--is", "ct=me/ct")

    assert (one.exit_code, other.exit_code) == (2, 2)
    assert "'ct': expected FOLDER=OWNER/NAME or FOLDER=OWNER/NAME@COMMIT" in one.stderr
    assert "--collection and --is need --publish" in other.stderr


def test_another_model_under_that_name(
    home: Path, on_hub: dict[str, str], api: HfApi, hub: Server
) -> None:
    """Weights that differ from the Hub's are refused before the merge, as is an unknown folder."""
    weights = home / "customer" / "ct" / "pytorch_model.bin"
    content = bytearray(weights.read_bytes())
    content[-1000] ^= 1
    weights.write_bytes(content)
    asked: dict[str, Any] = {"choices": choices(), "publish": "me/bo", "options": QUIET, "api": api}

    with pytest.raises(OutputError, match=r"pytorch_model\.bin differs from 'me/ct' at commit"):
        run_all("bo", "out", known_as=known(on_hub), **asked)
    with pytest.raises(OutputError, match=r"model\.safetensors is no file of 'me/ct'"):
        run_all("bo", "out", known_as={"customer/sft": "me/ct"}, **asked)
    with pytest.raises(OutputError, match="this merge has no folder 'ct'") as caught:
        run_all("bo", "out", known_as={"ct": "me/ct"}, **asked)
    with pytest.raises(HubError, match="no id of a model on the Hub"):
        run_all("bo", "out", known_as={"customer/ct": "https://hf.co/x"}, **asked)

    assert caught.value.hint == "its folders: customer/base, customer/ct, customer/sft"
    assert not Path("out").exists()
    assert "me/bo" not in hub.hub.repos()


# Text of a person


def test_a_comment_with_a_path_is_refused_before_the_merge(home: Path, api: HfApi) -> None:
    """The config is published, so its line is named while it can still be changed."""
    recipe = make_config("bo", choices())
    config = home / "bo.yml"
    config.write_text(f"# from {home}/notes\n{recipe.text}", "utf-8")

    with pytest.raises(RecipeError, match=r"bo\.yml, line 1, contains your home folder") as caught:
        run_all("bo.yml", "out", publish="me/bo", options=QUIET, api=api)

    assert caught.value.hint == "delete it there, then run the same command again"
    assert not Path("out").exists()


def test_own_text_with_a_path_is_refused(home: Path, api: HfApi, hub: Server) -> None:
    """The file and the line are named, by a dry run too; --include sends the file as it is."""
    merge_models(make_config("bo", choices()), "out", options=QUIET)
    write_card("out", texts={"contact": "me", "description": f"a\nmade in {home}/x\n"})
    card = Path("out/README.md").read_text("utf-8")
    line = card[: card.index("made in")].count("\n") + 1

    for attempt in (plan_publish, publish_model):
        with pytest.raises(OutputError) as caught:
            attempt("out", "me/bo", api=api)
        assert str(caught.value) == (
            f"out/README.md, line {line}, contains your home folder, and would be published"
        )
        assert caught.value.hint == "delete it there, or send it as it is: --include README.md"
    assert hub.hub.requests == []
    assert "README.md" in publish_model("out", "me/bo", include=["README.md"], api=api).files


def test_a_card_of_an_earlier_version(home: Path, api: HfApi) -> None:
    """It has the paths: the next step writes it again, without them."""
    merge_models(make_config("bo", choices()), "out", options=QUIET)
    write_card("out")
    card = Path("out/README.md")
    text = card.read_text("utf-8").replace("./ct", str(home / "customer/ct"))
    card.write_text(sealed(SEAL.sub("", text)), "utf-8")

    with pytest.raises(OutputError, match="contains") as caught:
        publish_model("out", "me/bo", api=api)

    assert caught.value.hint.startswith("slack-ties card out # writes it again")
    write_card("out")
    assert publish_model("out", "me/bo", api=api).commit

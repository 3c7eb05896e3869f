"""A model that stock mergekit-yaml merged is carded and published, and what is unknown is said."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from huggingface_hub import HfApi
from transformers import AutoModelForCausalLM

from command import environment, files_on_main
from processes import run
from slack_ties.card.own_text import addressed
from slack_ties.card.write import write_card
from slack_ties.errors import CheckpointError, OutputError, RecipeError
from slack_ties.publish.publish import publish_model
from slack_ties.record import RECORD_FILE, read_record

if TYPE_CHECKING:
    from hub_server import Server
    from triple import Folders

STOCK = "from mergekit.scripts.run_yaml import main; main()"


def config_of(base: str, ct: str, sft: str, method: str = "slack_ties") -> str:
    """Return a merge config without anything under our key."""
    models = [{"model": name, "parameters": {"weight": 1.0, "density": 0.5}} for name in (ct, sft)]
    data = {"merge_method": method, "base_model": base, "models": models, "dtype": "bfloat16"}
    return yaml.safe_dump(data)


@pytest.fixture(scope="module")
def original(triple: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that the program mergekit-yaml merged from folders; not to be changed."""
    folder = tmp_path_factory.mktemp("stock")
    names = (str(getattr(triple, role)) for role in ("base", "ct", "sft"))
    (folder / "c.yml").write_text(config_of(*names), "utf-8")
    program = Path(sys.executable).with_name("mergekit-yaml")
    subprocess.run([program, "c.yml", "out", "--quiet"], cwd=folder, check=True)
    return folder / "out"


@pytest.fixture
def model(original: Path, tmp_path: Path) -> Path:
    """The same, for one test alone."""
    return Path(shutil.copytree(original, tmp_path / "model"))


def test_card_and_publish(model: Path, triple: Folders, api: HfApi, hub: Server) -> None:
    """The card says how it was merged and what is not known; the published model loads."""
    card = write_card(model).read_text("utf-8")

    assert (
        "were merged with [mergekit](https://github.com/arcee-ai/mergekit), and slack-ties" in card
    )
    assert "Not known are the versions of the packages and the options of the merge; the" in card
    assert "| base | ./base | local folder | mit |" in card
    assert "pip install slack-ties\nslack-ties run mergekit_config.yml --out OUT\n" in card
    record = read_record(model)
    assert (record.adopted, record.versions, record.parameters) == (True, {}, 139_584)
    published = publish_model(model, "me/bo", public=True, api=api)
    folder = Path(api.snapshot_download("me/bo", revision=published.commit))
    assert AutoModelForCausalLM.from_pretrained(folder).num_parameters() == 139_584
    sent = files_on_main(hub.hub, "me/bo", "me")
    assert [name for name, text in sent.items() if str(triple.base.parent).encode() in text] == []
    assert write_card(model).read_text("utf-8") == addressed(card, "me/bo")


def test_models_of_the_hub(triple: Folders, tmp_path: Path, hub: Server, api: HfApi) -> None:
    """Their commits are not known, unless the config has them; the command line says so too."""
    for role in ("base", "ct", "sft"):
        api.create_repo(f"me/{role}", private=False)
        api.upload_folder(repo_id=f"me/{role}", folder_path=getattr(triple, role))
    commit = api.model_info("me/base").sha
    (tmp_path / "c.yml").write_text(config_of(f"me/base@{commit}", "me/ct", "me/sft", "ties"))
    told = environment(hub, tmp_path / "hf", "hf_writer")
    made = run(["c.yml", "out", "--quiet"], env=told, cwd=tmp_path, code=STOCK, merged=True)
    assert made.returncode == 0, made.stdout

    first = run(["publish", "out", "me/bo"], env=told, cwd=tmp_path, merged=True)
    carded = run(["card", "out"], env=told, cwd=tmp_path, merged=True)
    words = ["publish", "out", "me/bo", "--tag", "v1"]
    shown = run([*words, "--dry-run"], env=told, cwd=tmp_path, merged=True)
    then = run(["publish", "out", "me/bo"], env=told, cwd=tmp_path, merged=True)
    nothing = run([*words[:3], "--dry-run"], env=told, cwd=tmp_path, merged=True)

    assert shown.stdout.endswith("sent.\n\nNext: slack-ties publish out me/bo --tag v1\n")
    assert nothing.stdout.endswith("Nothing was made or sent.\n")
    assert first.stdout.endswith("Next: slack-ties card out # adopts a merge of mergekit\n")
    assert carded.returncode == then.returncode == 0, carded.stdout + then.stdout
    assert then.stdout.endswith(
        "Nobody else can repeat this merge: the commits of its models are not known\n"
    )
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert f"[`{commit[:7]}`](https://huggingface.co/me/base/tree/{commit})" in card
    assert "[`me/ct`](https://huggingface.co/me/ct) | not known | mit |" in card
    assert "options of the merge, and the commits of `me/ct` and `me/sft`; the licences" in card
    data = api.model_info("me/bo").card_data
    assert data.base_model == ["me/base", "me/ct", "me/sft"]
    assert data.tags == ["merge", "mergekit"]  # the method is not ours


def test_a_card_of_a_person_stays(model: Path) -> None:
    """Only the card that mergekit wrote is replaced, and a copy of it is kept."""
    text = (model / "README.md").read_text("utf-8")
    (model / "README.md").write_text("# mine\n")

    with pytest.raises(OutputError, match="was written or edited by hand"):
        write_card(model)

    (model / "README.md").write_text(text, "utf-8")
    write_card(model)
    assert (model / ".README.md.old").read_text("utf-8") == text


def test_what_makes_it_impossible(model: Path) -> None:
    """A config that is gone or unknown, or weights that are gone: named, and nothing is written."""
    config, weights = model / "mergekit_config.yml", model / "model.safetensors"
    text, content = config.read_text("utf-8"), weights.read_bytes()
    config.unlink()
    with pytest.raises(OutputError, match=r"and mergekit wrote no mergekit_config\.yml"):
        write_card(model)
    config.write_text(f"{text}experts: []\n", "utf-8")
    with pytest.raises(RecipeError, match="a config of mergekit-moe"):
        write_card(model)
    config.write_text(text, "utf-8")
    weights.unlink()
    with pytest.raises(CheckpointError, match="no weights"):
        write_card(model)

    assert not (model / RECORD_FILE).exists()
    weights.write_bytes(content)
    write_card(model)
    assert json.loads((model / RECORD_FILE).read_text("utf-8"))["adopted"] is True


@pytest.fixture
def beside_parents(original: Path, triple: Folders, tmp_path: Path) -> Path:
    """The same in a folder with its parents, which its config names by their relative paths."""
    for role in ("base", "ct", "sft"):
        shutil.copytree(getattr(triple, role), tmp_path / "m1" / role)
    shutil.copytree(original, tmp_path / "out")
    text = config_of("m1/base", "m1/ct", "m1/sft")
    (tmp_path / "out" / "mergekit_config.yml").write_text(text, "utf-8")
    return tmp_path


def test_relative_folders(beside_parents: Path, hub: Server, api: HfApi) -> None:
    """A folder is not taken for a model of the Hub: the next step names where it is one."""
    told = environment(hub, beside_parents / "hf", "hf_writer")

    inside = run(["card", "."], env=told, cwd=beside_parents / "out", merged=True)
    assert inside.returncode == 1
    assert "model 'm1/base' (no folder of that name here): not found on" in inside.stdout
    assert f"\nNext: cd {beside_parents} && slack-ties card out\n" in inside.stdout
    assert not (beside_parents / "out" / RECORD_FILE).exists()

    right = run(["card", "out"], env=told, cwd=beside_parents, merged=True)
    assert right.returncode == 0, right.stdout
    card = (beside_parents / "out" / "README.md").read_text("utf-8")
    assert "| base | ./base | local folder | mit |" in card
    sent = run(["publish", ".", "me/bo"], env=told, cwd=beside_parents / "out", merged=True)
    assert sent.returncode == 0, sent.stdout
    files = files_on_main(hub.hub, "me/bo", "me")
    assert [name for name, text in files.items() if b"m1/" in text] == []
    assert api.model_info("me/bo").card_data.base_model is None


def test_a_record_that_took_folders_for_models_of_the_hub(
    beside_parents: Path, hub: Server
) -> None:
    """It is corrected by a card from the right folder, and refused elsewhere."""
    told = environment(hub, beside_parents / "hf", "hf_writer")
    out = beside_parents / "out"
    assert run(["card", "out"], env=told, cwd=beside_parents).returncode == 0
    record = json.loads((out / RECORD_FILE).read_text("utf-8"))
    for parent in record["parents"]:
        parent |= {"commits": [], "license": "", "texts": []}
    (out / RECORD_FILE).write_text(json.dumps(record), "utf-8")

    elsewhere = run(["card", "."], env=told, cwd=out, merged=True)
    right = run(["card", "out"], env=told, cwd=beside_parents, merged=True)

    assert "not found on" in elsewhere.stdout
    assert right.returncode == 0, right.stdout
    assert [one.license for one in read_record(out).parents] == ["mit", "mit", "mit"]


@pytest.mark.parametrize("how", ["offline", "away"])
def test_a_hub_that_cannot_be_asked(  # noqa: PLR0917 - fixtures
    how: str, triple: Folders, model: Path, tmp_path: Path, hub: Server, api: HfApi
) -> None:
    """Nothing is guessed: a model is a Hub model if it has a commit, and its card is read later."""
    commits = {}
    for role in ("base", "ct", "sft"):
        api.create_repo(f"me/{role}", private=False)
        api.upload_folder(repo_id=f"me/{role}", folder_path=getattr(triple, role))
        commits[role] = f"me/{role}@{api.model_info(f'me/{role}').sha}"
    config = model / "mergekit_config.yml"
    told = environment(hub, tmp_path / "hf", "hf_writer")
    change = {"HF_HUB_OFFLINE": "1"} if how == "offline" else {"HF_ENDPOINT": "http://127.0.0.1:9"}
    away = {**told, **change}
    words = ["card", "model", "--timeout", "2"]

    config.write_text(config_of("me/base", "me/ct", "me/sft"), "utf-8")
    guessed = run(words, env=away, cwd=tmp_path, merged=True)
    assert guessed.returncode == 1
    assert f"slack-ties card {model} (in the folder where mergekit-yaml ran; or" in guessed.stdout
    assert "Next: ask the Hub again later, or if it is a folder: " in guessed.stdout
    assert not (model / RECORD_FILE).exists()

    config.write_text(config_of(*commits.values()), "utf-8")
    pinned = run(words, env=away, cwd=tmp_path, merged=True)
    assert pinned.returncode == 0, pinned.stdout
    assert "the card of me/base could not be read: its licence is not known." in pinned.stdout
    assert "--license apache" not in pinned.stdout
    refused = run(["publish", "model", "me/bo"], env=told, cwd=tmp_path, merged=True)
    assert "\nNext: slack-ties card model # reads the cards of its models again; " in refused.stdout
    later = run(words, env=told, cwd=tmp_path, merged=True)
    assert later.returncode == 0, later.stdout
    assert {one.license for one in read_record(model).parents} == {"mit"}
    assert run(words, env=away, cwd=tmp_path).returncode == 0  # all is known: nobody is asked


def test_files_that_the_merge_did_not_make(model: Path, api: HfApi) -> None:
    """They are no files of the merge: weights are refused, and others may be moved elsewhere."""
    strays = ("pytorch_model.bin", "model-old.safetensors", "diary.txt")
    for name in strays:
        (model / name).write_bytes(b"old")
    write_card(model)

    assert set(strays) & read_record(model).beside.keys() == set()
    assert {"config.json", "mergekit_config.yml", "tokenizer.json"} <= read_record(
        model
    ).beside.keys()
    for name in ("model-old.safetensors", "pytorch_model.bin", "diary.txt"):
        with pytest.raises(OutputError, match=name):
            publish_model(model, "me/bo", api=api)
        (model / name).unlink()
    publish_model(model, "me/bo", api=api)


def test_a_folder_with_an_adapter_of_the_hub(
    beside_parents: Path, monkeypatch: pytest.MonkeyPatch, api: HfApi
) -> None:
    """A record could not tell such a folder from a model of the Hub, so ./ has to be written."""
    monkeypatch.chdir(beside_parents)
    api.create_repo("me/lora", private=False)
    config = Path("out", "mergekit_config.yml")
    config.write_text(config_of("m1/base", "m1/ct", "m1/sft+me/lora"), "utf-8")

    with pytest.raises(
        CheckpointError, match=r"'m1/sft' of 'm1/sft.me/lora' is a folder"
    ) as caught:
        write_card("out", api=api)

    assert caught.value.hint == "write ./m1/sft there, then run the command again"
    config.write_text(config_of("m1/base", "m1/ct", "./m1/sft+me/lora"), "utf-8")
    text = write_card("out", api=api).read_text("utf-8")
    assert "./sft + [`me/lora`](https://huggingface.co/me/lora)" in text

"""Publishing by the real client to a Hub on loopback: one commit, verified, and never half."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from huggingface_hub import HfApi
from mergekit.options import MergeOptions
from transformers import AutoModelForCausalLM

from command import environment
from evaluations import an_evaluation
from hub_server import Fault, Token
from processes import run
from slack_ties.card.evaluation import read_results
from slack_ties.card.own_text import read_own_text
from slack_ties.card.write import write_card
from slack_ties.config.choices import Choices
from slack_ties.config.make import make_config
from slack_ties.errors import HubError, OutputError
from slack_ties.evaluation.answers import Answer, Answers, Tried, digest_of_weights, write_answers
from slack_ties.evaluation.file import read_evaluation, weights_digest, write_evaluation
from slack_ties.files import sha256
from slack_ties.hub.retries import Retries
from slack_ties.licenses.known import Stated
from slack_ties.licenses.texts import standard_text
from slack_ties.merge.merge import merge_models
from slack_ties.publish.check import check_license, look_at_parents
from slack_ties.publish.destination import Destination, check_publish
from slack_ties.publish.publish import plan_publish, publish_model
from slack_ties.recipe.read import read_recipe
from slack_ties.record import read_record, write_record
from slack_ties.sharing.verify import verify_model

if TYPE_CHECKING:
    from hub_server import Server
    from triple import Folders


@pytest.fixture(scope="module")
def original(triple: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A merged model with its card; not to be changed."""
    out = tmp_path_factory.mktemp("publish") / "out"
    choices = Choices(base=str(triple.base), ct=str(triple.ct), sft=str(triple.sft))
    merge_models(make_config("bo", choices), out, options=MergeOptions(quiet=True))
    write_card(out)
    return out


@pytest.fixture
def model(original: Path, tmp_path: Path) -> Path:
    """The same, for one test alone: publishing writes the Hub id into the card."""
    return Path(shutil.copytree(original, tmp_path / "model"))


def on_hub(api: HfApi, repo_id: str) -> set[str]:
    """Return the files of a repository, without the Hub's own."""
    return set(api.list_repo_files(repo_id)) - {".gitattributes"}


def test_all_files_go_in_one_commit(model: Path, api: HfApi, tmp_path: Path) -> None:
    """The files are there, byte for byte but for names of folders, and transformers loads them."""
    published = publish_model(model, "me/tibetan", public=True, api=api)

    assert published.url == f"{api.endpoint}/me/tibetan"
    assert set(published.files) == {path.name for path in model.iterdir()}
    assert on_hub(api, "me/tibetan") == set(published.files)
    info = api.model_info("me/tibetan")
    assert (info.sha, info.private) == (published.commit, False)
    assert {"merge", "mergekit", "slack-ties"} <= set(info.tags)
    folder = Path(api.snapshot_download("me/tibetan", cache_dir=tmp_path))
    for path in model.iterdir():
        same = (folder / path.name).read_bytes() == path.read_bytes()
        assert same == (path.name not in {"mergekit_config.yml", "slack_ties.json"})
    assert AutoModelForCausalLM.from_pretrained(folder)


def test_it_is_found_by_its_tag(model: Path, api: HfApi) -> None:
    """Whoever lists the Hub's models by our tag sees it."""
    publish_model(model, "me/tibetan", api=api)

    assert [model.id for model in api.list_models(filter="slack-ties")] == ["me/tibetan"]


def test_a_name_alone_is_ones_own(model: Path, api: HfApi) -> None:
    """The owner is who the token belongs to; a repository is private unless one says so."""
    published = publish_model(model, "tibetan", api=api)

    assert published.repo_id == "me/tibetan"
    assert api.model_info("me/tibetan").private


def test_publishing_again_replaces_and_removes(model: Path, tmp_path: Path, api: HfApi) -> None:
    """Old shards and their index go in the same commit; what somebody added there stays."""
    sharded = tmp_path / "sharded"
    options = MergeOptions(quiet=True, out_shard_size=100_000)
    merge_models(read_recipe(model / "mergekit_config.yml"), sharded, options=options)
    write_card(sharded)
    first = publish_model(sharded, "me/tibetan", api=api)
    api.upload_file(path_or_fileobj=b"by hand", path_in_repo="notes.txt", repo_id="me/tibetan")

    second = publish_model(model, Destination("me/tibetan", update=True), api=api)

    assert on_hub(api, "me/tibetan") == {*second.files, "notes.txt"}
    assert len([name for name in first.files if name.startswith("model-0000")]) > 1
    titles = [one.title for one in api.list_repo_commits("me/tibetan")]
    assert titles[:2] == ["Merge with slack-ties", "Upload notes.txt with huggingface_hub"]


def test_a_vocabulary_of_an_earlier_merge_is_removed(
    model: Path, tmp_path: Path, api: HfApi
) -> None:
    """A loader would add its tokens to the new tokenizer; one that somebody changed stays."""
    earlier = Path(shutil.copytree(model, tmp_path / "earlier"))
    record = read_record(earlier)
    names = ("added_tokens.json", "tokenizer.model", "merges.txt")
    for name in names:
        (earlier / name).write_text("{}")
    sums = {name: sha256(earlier / name) for name in names}
    write_record(replace(record, beside={**record.beside, **sums}), earlier)
    publish_model(earlier, "me/bo", api=api)
    api.upload_file(path_or_fileobj=b"mine", path_in_repo="merges.txt", repo_id="me/bo")

    plan = plan_publish(model, "me/bo", update=True, api=api)
    publish_model(model, "me/bo", update=True, api=api)

    assert plan.remove == ("added_tokens.json", "tokenizer.model")
    assert on_hub(api, "me/bo") & set(names) == {"merges.txt"}


def test_another_recipe_is_not_replaced_by_accident(
    triple: Folders, model: Path, tmp_path: Path, api: HfApi
) -> None:
    """Only with --update; nothing is sent before."""
    other = tmp_path / "other"
    choices = Choices(str(triple.base), str(triple.ct), str(triple.sft), slack=0.5)
    merge_models(make_config("bo", choices), other, options=MergeOptions(quiet=True))
    write_card(other)
    first = publish_model(other, "me/tibetan", api=api)

    with pytest.raises(HubError, match="holds the merge of another recipe") as caught:
        publish_model(model, "me/tibetan", api=api)

    assert caught.value.hint == "choose another name, or replace it: --update"
    assert api.model_info("me/tibetan").sha == first.commit
    second = publish_model(model, Destination("me/tibetan", update=True), api=api)
    assert api.model_info("me/tibetan").sha == second.commit != first.commit


def test_weights_of_somebody_else_are_neither_deleted_nor_mixed(model: Path, api: HfApi) -> None:
    """Beside them nobody could tell which ones are loaded."""
    api.create_repo("me/tibetan", private=True)
    name = "pytorch_model.bin"
    api.upload_file(path_or_fileobj=b"x", path_in_repo=name, repo_id="me/tibetan")

    with pytest.raises(HubError, match="contains weights that slack-ties did not upload") as caught:
        publish_model(model, Destination("me/tibetan", update=True), api=api)

    assert caught.value.hint.endswith("hf repo-files delete me/tibetan pytorch_model.bin")
    assert on_hub(api, "me/tibetan") == {name}


def test_a_card_that_was_edited_on_the_hub_is_kept(model: Path, api: HfApi) -> None:
    """Whoever edits it in the browser does not lose that by publishing again."""
    publish_model(model, "me/tibetan", api=api)
    card = model / "README.md"
    ours = card.read_text("utf-8")
    place = "<!-- your text: contact (it stays when the card is made again) -->\n"
    assert place in ours
    theirs = ours.replace(place, f"{place}Write to me.\n")
    api.upload_file(path_or_fileobj=theirs.encode(), path_in_repo=card.name, repo_id="me/tibetan")

    with pytest.raises(
        HubError, match=r"README\.md of 'me/tibetan' was changed on the Hub"
    ) as caught:
        publish_model(model, "me/tibetan", api=api)

    assert caught.value.hint.startswith("hf download me/tibetan README.md --local-dir there")
    card.write_text(theirs, "utf-8")
    publish_model(model, "me/tibetan", api=api)
    card.write_text(ours, "utf-8")
    publish_model(model, Destination("me/tibetan", update=True), api=api)
    assert Path(api.hf_hub_download("me/tibetan", "README.md")).read_text("utf-8") == ours


def test_a_card_that_we_sent_last_is_replaced(model: Path, api: HfApi) -> None:
    """It was changed here, not on the Hub; other files may have changed there since."""
    card = model / "README.md"
    edited = card.read_text("utf-8").replace("## ", "## My ")
    card.write_text(edited, "utf-8")
    publish_model(model, "me/tibetan", api=api)
    write_card(model, overwrite=True)

    publish_model(model, "me/tibetan", api=api)

    there = Path(api.hf_hub_download("me/tibetan", "README.md"))
    assert there.read_bytes() == card.read_bytes()
    card.write_text(edited, "utf-8")
    publish_model(model, "me/tibetan", api=api)
    api.upload_file(path_or_fileobj=b"mine", path_in_repo="notes.txt", repo_id="me/tibetan")
    write_card(model, overwrite=True)
    publish_model(model, "me/tibetan", api=api)
    api.upload_file(path_or_fileobj=edited.encode(), path_in_repo="README.md", repo_id="me/tibetan")
    with pytest.raises(HubError, match="was changed on the Hub"):
        publish_model(model, "me/tibetan", api=api)


def test_a_pointer_does_not_replace_a_license(triple: Folders, tmp_path: Path, api: HfApi) -> None:
    """Somebody put the text of the licence there: ours only says where to find it."""
    out = merged_under(dict.fromkeys(("base", "ct", "sft"), LLAMA), triple, tmp_path)
    publish_model(out, "me/Llama-bo", api=api)
    api.upload_file(path_or_fileobj=b"the text", path_in_repo="LICENSE", repo_id="me/Llama-bo")
    (out / "Notice").write_text("other\n" + (out / "Notice").read_text("utf-8"), "utf-8")

    published = publish_model(out, "me/Llama-bo", api=api)

    assert "LICENSE" not in published.files
    assert Path(api.hf_hub_download("me/Llama-bo", "LICENSE")).read_text() == "the text"


def test_the_card_loads_the_model_from_where_it_went(model: Path, api: HfApi) -> None:
    """Its example names the Hub id, whatever the folder was called; hand-written text stays."""
    card = model / "README.md"
    card.write_text(card.read_text("utf-8") + "\nBy hand.\n", "utf-8")

    publish_model(model, "me/tibetan", api=api)

    published = Path(api.hf_hub_download("me/tibetan", "README.md")).read_text("utf-8")
    assert '\nname = "me/tibetan"\n' in published
    assert published.endswith("\nBy hand.\n")
    assert card.read_text("utf-8") == published


def test_publishing_the_same_again_changes_nothing(model: Path, api: HfApi) -> None:
    """The commit stays, and nothing is uploaded."""
    first = publish_model(model, "me/tibetan", api=api)

    assert publish_model(model, "me/tibetan", api=api) == first


def test_that_a_repository_is_private_is_said(
    model: Path, api: HfApi, caplog: pytest.LogCaptureFixture
) -> None:
    """Each time, after the files are there; of a public one nothing is said."""
    caplog.set_level("INFO", "slack_ties")
    publish_model(model, "me/tibetan", api=api)
    publish_model(model, "me/tibetan", api=api)
    assert caplog.text.count("private: others do not see it until you change that") == 2

    caplog.clear()
    publish_model(model, "me/open", public=True, api=api)
    assert "private: others" not in caplog.text


def test_hidden_files_stay_here(model: Path, api: HfApi) -> None:
    """Editors and systems leave them; they are nobody's model."""
    (model / ".DS_Store").write_text("x")
    (model / ".cache").mkdir()
    (model / ".cache" / "token").write_text("hf_secret")

    assert not any(name[0] == "." for name in publish_model(model, "me/tibetan", api=api).files)


def test_somebody_elses_files_are_left_alone(model: Path, api: HfApi) -> None:
    """A repository with files that are not ours is refused before anything is sent."""
    api.create_repo("me/thesis", private=False)
    api.upload_file(path_or_fileobj=b"mine", path_in_repo="thesis.txt", repo_id="me/thesis")

    with pytest.raises(HubError, match=r"'me/thesis' contains files .* such as 'thesis.txt'"):
        publish_model(model, "me/thesis", api=api)

    assert on_hub(api, "me/thesis") == {"thesis.txt"}


def test_the_visibility_of_a_repository_stays(model: Path, api: HfApi) -> None:
    """Without a word it stays as it is, and a word for the other one is refused."""
    publish_model(model, Destination("me/open", public=True), api=api)
    publish_model(model, "me/closed", api=api)

    publish_model(model, "me/open", api=api)

    assert not api.model_info("me/open").private
    with pytest.raises(HubError, match="already exists and is public, expected a private") as one:
        publish_model(model, "me/open", public=False, api=api)
    with pytest.raises(HubError, match="already exists and is private, expected a public") as other:
        publish_model(model, Destination("me/closed", public=True), api=api)
    change = "out, or change the visibility in the repository's settings on the Hub first"
    assert [one.value.hint, other.value.hint] == [
        f"leave --private {change}",
        f"leave --public {change}",
    ]


def test_a_renamed_repository(
    model: Path, api: HfApi, hub: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """The Hub leads to its new name: the model goes there, and the user reads it."""
    publish_model(model, "me/new", api=api)
    hub.hub.moved["me/old"] = "me/new"
    (model / "tokenizer_config.json").write_text("{}")

    published = publish_model(model, "me/old", api=api)

    assert published.repo_id == "me/new"
    assert published.commit == api.model_info("me/new").sha
    assert "me/old has the name me/new now: publishing there" in caplog.text


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_a_file_name_with_a_line_break(model: Path, api: HfApi) -> None:
    """A dry run prints it as an escape, on one line."""
    (model / "a\nb.png").write_bytes(b"x")

    text = plan_publish(model, "me/tibetan", api=api).as_text()

    assert "  send    a\\nb.png  1 byte\n" in text


# Who may


def test_no_token(model: Path, hub: Server) -> None:
    """Said before the first request, with how to get one."""
    with pytest.raises(HubError, match="needs a token, but no token is stored") as caught:
        publish_model(model, "me/tibetan", api=HfApi(endpoint=hub.url))

    assert caught.value.hint.startswith("hf auth login")
    assert hub.hub.requests == []


def test_a_token_that_can_only_read(model: Path, hub: Server) -> None:
    """Said before anything is made."""
    with pytest.raises(HubError, match="your token can only read"):
        publish_model(model, "you/tibetan", api=HfApi(endpoint=hub.url, token="hf_reader"))

    assert hub.hub.requests == ["GET /api/whoami-v2"]


def test_a_wrong_token(model: Path, hub: Server) -> None:
    """It is not shown."""
    with pytest.raises(HubError, match="does not accept your token") as caught:
        publish_model(model, "me/tibetan", api=HfApi(endpoint=hub.url, token="hf_wrong"))

    assert "hf_wrong" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("role", ["read", "contributor", "write", "admin"])
def test_a_role_in_an_organization(model: Path, hub: Server, role: str) -> None:
    """Who only reads there is refused before the first upload; who may write publishes."""
    hub.hub.tokens["hf_member"] = Token("me", orgs=(("acme", role),))
    theirs = HfApi(endpoint=hub.url, token="hf_member")
    if role != "read":
        assert publish_model(model, "acme/bo", api=theirs).repo_id == "acme/bo"
        return

    with pytest.raises(HubError, match="your role in the organization 'acme' is read") as caught:
        check_publish(Destination("acme/bo"), api=theirs)

    assert caught.value.hint == "ask an admin of acme for the role write"
    assert hub.hub.requests == ["GET /api/whoami-v2", "GET /api/models/acme/bo"]


@pytest.mark.parametrize(
    ("scoped", "may"),
    [
        ((), "to no repository"),
        ((("me", "repo.content.read"),), "to no repository"),
        ((("acme", "repo.write"),), "only to acme"),
        ((("me", "repo.write"),), ""),
        ((("me/bo", "repo.write"), ("acme", "repo.write")), ""),
    ],
)
def test_a_fine_grained_token(hub: Server, scoped: tuple[tuple[str, str], ...], may: str) -> None:
    """What it may write to is compared with the place, before a merge."""
    hub.hub.tokens["hf_fine"] = Token("me", "fineGrained", (("acme", "admin"),), scoped)
    fine = HfApi(endpoint=hub.url, token="hf_fine")

    if not may:
        assert check_publish(Destination("bo"), api=fine).to.repo_id == "me/bo"
        return
    with pytest.raises(HubError, match=f"your fine-grained token may write {may}") as caught:
        check_publish(Destination("bo"), api=fine)
    assert caught.value.hint.startswith("in your token settings on the Hub, give it write access")


@pytest.mark.parametrize("command", ["publish", "run"])
def test_a_token_that_is_not_sent_unasked(
    model: Path, triple: Folders, hub: Server, tmp_path: Path, command: str
) -> None:
    """With HF_HUB_DISABLE_IMPLICIT_TOKEN the stored token publishes: the user asked for it."""
    told = environment(hub, tmp_path / "hf", "hf_writer")
    told["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = "1"
    models = ["--base", triple.base, "--ct", triple.ct, "--sft", triple.sft]
    words = {
        "publish": ["publish", model, "me/bo"],
        "run": ["run", "bo", "--out", tmp_path / "new", "--publish", "me/bo", *models],
    }

    result = run(words[command], env=told, cwd=tmp_path, merged=True)

    assert result.returncode == 0, result.stdout
    assert "me/bo" in hub.hub.repos()


def test_somebody_elses_name(model: Path, api: HfApi) -> None:
    """Said before a merge, which may take hours."""
    with pytest.raises(HubError, match="'them/tibetan': your token belongs to me"):
        publish_model(model, "them/tibetan", api=api)


def test_a_pull_request_is_proposed_where_one_can_be_opened(
    model: Path, api: HfApi, hub: Server
) -> None:
    """In a repository that exists, and by `publish`: `run` has no --pr."""

    def hint(**changes: Any) -> str:
        to = Destination("them/x", pull_request=bool(changes.pop("pull_request", False)))
        with pytest.raises(HubError) as caught:
            check_publish(to, api=api, **changes)
        return caught.value.hint

    assert hint() == "publish to me/x"
    assert hint(pull_request=True) == "publish to me/x, and leave --pr out"
    hub.hub.tokens["hf_them"] = Token("them")
    HfApi(endpoint=hub.url, token="hf_them").create_repo("them/x", private=False)
    assert hint() == "publish to me/x, or open a pull request there: --pr"
    assert hint(proposes=False) == "publish to me/x"
    assert publish_model(model, "them/x", pull_request=True, api=api).branch == "refs/pr/1"


@pytest.mark.parametrize(
    ("typed", "word", "better"),
    [
        ("REPO_ID", "REPO_ID", "with a name that you choose, such as me/my-merge"),
        ("OWNER/NAME", "OWNER", "with a name that you choose, such as me/my-merge"),
        ("me/NAME", "NAME", "with a name that you choose, such as me/my-merge"),
        ("ME/Lao", "ME", "to me/Lao"),
        ("SOMEBODY/Lao", "SOMEBODY", "to me/Lao"),
    ],
)
def test_a_placeholder_is_no_name(
    typed: str, word: str, better: str, model: Path, api: HfApi
) -> None:
    """A word that was copied from an example makes no repository."""
    with pytest.raises(HubError, match=f": {word} is a placeholder") as caught:
        publish_model(model, typed, api=api)

    assert caught.value.hint == f"publish {better}"
    assert list(api.list_models()) == []
    name = better.rsplit(maxsplit=1)[-1]
    assert publish_model(model, name, api=api).repo_id == name


def test_an_organization_may_have_the_name_of_a_placeholder(hub: Server) -> None:
    """Whoever belongs to it publishes there."""
    hub.hub.tokens["hf_member"] = Token("me", orgs=(("ME", "admin"),))
    theirs = HfApi(endpoint=hub.url, token="hf_member")

    assert check_publish(Destination("ME/Lao"), api=theirs).to.repo_id == "ME/Lao"


def test_no_network(model: Path) -> None:
    """A refused connection names the Hub."""
    with pytest.raises(HubError, match=r"cannot reach http://127\.0\.0\.1:9"):
        publish_model(
            model,
            "me/x",
            api=HfApi(endpoint="http://127.0.0.1:9", token="hf_writer"),
            retries=Retries(first_wait=0.01),
        )


@pytest.mark.parametrize("name", ["me/../x", "a/b/c", "me/x y", "me/-x-"])
def test_a_name_that_the_hub_does_not_allow(model: Path, api: HfApi, name: str) -> None:
    """Found by the client before it asks the Hub."""
    with pytest.raises(HubError):
        publish_model(model, name, api=api)

    assert list(api.list_models()) == []


# What may


def test_a_folder_that_is_no_result(triple: Folders, api: HfApi) -> None:
    """Only what slack-ties merged is published."""
    with pytest.raises(OutputError, match="slack-ties did not merge this model"):
        publish_model(triple.base, "me/tibetan", api=api)


def test_a_model_without_a_card(model: Path, api: HfApi) -> None:
    """The next command is named."""
    (model / "README.md").unlink()

    with pytest.raises(OutputError, match="has no model card") as caught:
        publish_model(model, "me/tibetan", api=api)

    assert caught.value.hint == f"slack-ties card {model}"


def test_a_damaged_model(model: Path, api: HfApi) -> None:
    """A truncated file is found before it is sent."""
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])

    with pytest.raises(OutputError, match=r"model\.safetensors cannot be read") as caught:
        publish_model(model, "me/tibetan", api=api)

    assert caught.value.hint == f"merge again: slack-ties merge {model / 'mergekit_config.yml'} OUT"
    assert list(api.list_models()) == []


def test_a_card_that_the_hub_refuses(model: Path, api: HfApi, hub: Server) -> None:
    """Its verdict is shown, though the documented rules say nothing of it; nothing is made."""
    card = model / "README.md"
    card.write_text(card.read_text("utf-8").replace("library_name:", "- a\nlibrary_name:"), "utf-8")
    with pytest.raises(OutputError, match="the metadata cannot be read"):
        publish_model(model, "me/tibetan", api=api)
    write_card(model, overwrite=True)
    hub.hub.refuses = "the Hub has a rule of its own"

    with pytest.raises(HubError, match="the Hub refuses the card: the Hub has a rule of its own"):
        publish_model(model, "me/tibetan", api=api)

    assert hub.hub.repos() == []


LLAMA = "---\nlicense: llama3.1\n---\n"
NOTICE = (
    "Llama 3.1 is licensed under the Llama 3.1 Community License, Copyright © Meta Platforms, "
    "Inc. All Rights Reserved."
)


def merged_under(
    licenses: dict[str, str], triple: Folders, tmp_path: Path, *, card: bool = True
) -> Path:
    """Merge copies of the triple whose cards state these licences; write the card."""
    folders = {}
    for role in ("base", "ct", "sft"):
        folders[role] = shutil.copytree(getattr(triple, role), tmp_path / role)
        (folders[role] / "README.md").write_text(licenses[role])
        (folders[role] / "LICENSE").unlink(missing_ok=True)
    choices = Choices(**{role: str(folder) for role, folder in folders.items()})
    merge_models(make_config("bo", choices), tmp_path / "out", options=MergeOptions(quiet=True))
    if card:
        write_card(tmp_path / "out")
    return tmp_path / "out"


def test_a_doubt_about_a_licence_is_said_once(
    triple: Folders, tmp_path: Path, api: HfApi, caplog: pytest.LogCaptureFixture
) -> None:
    """Also if --license has the card written again, and checked again after that."""
    both = dict.fromkeys(("base", "ct", "sft"), "---\nlicense: mit\n---\n")
    both["ct"] = "---\nlicense: [apache-2.0, mit]\n---\n"
    out = merged_under(both, triple, tmp_path)
    for publishes in (plan_publish, publish_model):
        caplog.clear()
        publishes(out, "me/tibetan", license="mit", api=api)
        assert caplog.text.count("the terms of each are followed") == 1


def test_a_name_that_a_parents_license_forbids(
    triple: Folders, tmp_path: Path, api: HfApi, hub: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """A Llama 3.1 merge goes out as Llama-..., with Notice, LICENSE and "Built with Llama"."""
    out = merged_under(dict.fromkeys(("base", "ct", "sft"), LLAMA), triple, tmp_path)

    with pytest.raises(HubError, match="a name that begins with 'Llama'") as caught:
        publish_model(out, "me/bo-model", api=api)

    assert caught.value.hint == "publish it as me/Llama-bo-model"
    assert hub.hub.requests == []  # nobody was asked

    published = publish_model(out, "me/Llama-bo-model", api=api)

    assert {"Notice", "LICENSE", "README.md"} <= on_hub(api, "me/Llama-bo-model")
    folder = Path(api.snapshot_download("me/Llama-bo-model", revision=published.commit))
    assert (folder / "Notice").read_text("utf-8").startswith(f"{NOTICE}\n")
    assert "/llama3_1/LICENSE" in (folder / "LICENSE").read_text("utf-8")
    assert "\n**Built with Llama**\n" in (folder / "README.md").read_text("utf-8")
    assert "LICENSE contains only a link to the Llama 3.1 Community" in caplog.text


def test_a_license_that_is_not_settled(
    triple: Folders, tmp_path: Path, api: HfApi, hub: Server
) -> None:
    """Publishing stops until somebody states one; then the card says so, and it goes out."""
    cards = {"base": "---\nlicense: llama2\n---\n", "ct": "", "sft": "---\nlicense: llama2\n---\n"}
    out = merged_under(cards, triple, tmp_path)

    with pytest.raises(OutputError, match=r"ct states no licence; the terms of .*llama2") as caught:
        publish_model(out, "me/tibetan", api=api)

    assert caught.value.hint.endswith(f"slack-ties publish {out} me/tibetan --license llama2")
    assert hub.hub.requests == []

    publish_model(out, "me/tibetan", license="llama2", api=api)

    card = Path(api.hf_hub_download("me/tibetan", "README.md")).read_text("utf-8")
    assert "**llama2**, as stated by the person who made this model." in card
    assert api.model_info("me/tibetan").card_data.license == "llama2"


def test_a_license_in_words(triple: Folders, tmp_path: Path, api: HfApi) -> None:
    """The card's own words are shown, in the card of the merge too; nothing freer is proposed."""
    apache = "---\nlicense: apache-2.0\n---\n"
    cards = {"base": apache, "ct": "---\nlicense: Research only!\n---\n", "sft": apache}
    out = merged_under(cards, triple, tmp_path)

    with pytest.raises(OutputError, match="ct states 'Research only!', which is not the") as caught:
        publish_model(out, "me/tibetan", api=api)

    assert caught.value.hint.endswith("--license ID")
    assert " | Research only! |" in (out / "README.md").read_text("utf-8")
    assert "- ct (Research only!)" in (out / "Notice").read_text("utf-8")


def test_a_license_typed_into_the_card(triple: Folders, tmp_path: Path, api: HfApi) -> None:
    """In other words than the Hub's: the id is named, and `card` writes it."""
    apache = "---\nlicense: apache-2.0\n---\n"
    out = merged_under(dict.fromkeys(("base", "ct", "sft"), apache), triple, tmp_path)
    card = out / "README.md"
    typed = card.read_text("utf-8").replace("license: apache-2.0", "license: Apache 2.0")
    card.write_text(typed, "utf-8")

    with pytest.raises(OutputError, match=r"'Apache 2.0' is not a licence id of the Hub") as caught:
        publish_model(out, "me/tibetan", api=api)

    assert "Did you mean 'apache-2.0'?" in str(caught.value)
    assert caught.value.hint.endswith(f"or: slack-ties card {out}")
    write_card(out)
    assert "license: apache-2.0" in card.read_text("utf-8")
    files = publish_model(out, "me/tibetan", api=api).files
    assert [name for name in files if name.startswith("LICENSE")] == ["LICENSE"]


def test_a_license_whose_text_is_only_known_after_the_merge(triple: Folders, api: HfApi) -> None:
    """The folder of the merge cannot hold the text of one's own licence yet: said before it."""
    choices = Choices(base=str(triple.base), ct=str(triple.ct), sft=str(triple.sft))
    recipe = make_config("bo", choices)

    with pytest.raises(OutputError, match="the text of 'mine' has to be in LICENSE before"):
        check_license(
            recipe, look_at_parents(recipe, api=api), "me/bo", Stated("other", "mine", "LICENSE")
        )

    parents = look_at_parents(recipe, api=api)
    check_license(recipe, parents, "me/bo", Stated("other", "mine", "https://x.example/l"))


def test_a_conflict_of_licenses(triple: Folders, tmp_path: Path, api: HfApi) -> None:
    """No licence is proposed where none would do."""
    cards = {
        "base": LLAMA,
        "ct": "---\nlicense: cc-by-nc-sa-4.0\n---\n",
        "sft": LLAMA,
    }
    out = merged_under(cards, triple, tmp_path)

    with pytest.raises(OutputError, match="no one licence meets them") as caught:
        publish_model(out, "me/Llama-x", api=api)

    assert caught.value.hint.endswith("--license ID")


def test_a_license_of_ones_own_needs_its_text(model: Path, api: HfApi, hub: Server) -> None:
    """The card says that it is in LICENSE: it has to be."""
    (model / "LICENSE").unlink()
    write_card(model, license=Stated("other", "mine", "LICENSE"))
    assert not (model / "LICENSE").exists()

    with pytest.raises(OutputError, match="lacks what its licence requires: LICENSE") as caught:
        publish_model(model, "me/tibetan", api=api)

    assert caught.value.hint == f"put the text of your licence into {model / 'LICENSE'}"
    assert hub.hub.requests == []
    text = standard_text("gpl-3.0", [])  # also if we know the text
    (model / "LICENSE").write_text(text)
    write_card(model)
    mine = Stated("other", "mine", "LICENSE")
    assert "LICENSE" in publish_model(model, "me/tibetan", license=mine, api=api).files
    assert (model / "LICENSE").read_text() == text


def test_what_a_license_asks_for_has_to_be_there(
    triple: Folders, tmp_path: Path, api: HfApi, hub: Server
) -> None:
    """Notice, or the words in the card, deleted by hand: nothing is sent."""
    out = merged_under(dict.fromkeys(("base", "ct", "sft"), LLAMA), triple, tmp_path)
    (out / "Notice").unlink()
    card = out / "README.md"
    card.write_text(card.read_text("utf-8").replace("Built with Llama", "Built"), "utf-8")

    with pytest.raises(OutputError, match=r"Notice; the words 'Built with Llama' in README.md"):
        publish_model(out, "me/Llama-bo", api=api)

    assert hub.hub.requests == []


def test_a_card_that_states_no_license(model: Path, api: HfApi, hub: Server) -> None:
    """Deleted by hand: it would go out without one."""
    card = model / "README.md"
    card.write_text(card.read_text("utf-8").replace("license: mit\n", ""), "utf-8")

    with pytest.raises(OutputError, match="states no licence, expected mit") as caught:
        publish_model(model, "me/tibetan", api=api)

    assert caught.value.hint == f"slack-ties card {model}"
    assert hub.hub.requests == []


def test_results_go_with_it(model: Path, api: HfApi, tmp_path: Path) -> None:
    """Though their folder begins with a dot, as the Hub wants it."""
    (tmp_path / "r.yaml").write_text("- {dataset: {id: a/b, task_id: t}, value: 3}")
    write_card(model, results=tmp_path / "r.yaml")
    (model / ".eval_results" / "notes.txt").write_text("mine")

    publish_model(model, "me/tibetan", api=api)

    assert ".eval_results/r.yaml" in on_hub(api, "me/tibetan")
    assert ".eval_results/notes.txt" not in on_hub(api, "me/tibetan")


def evaluated(model: Path, **settings: Any) -> None:
    """Put an evaluation of its weights into a merged folder, and write the card again."""
    given = {"weights": weights_digest(read_record(model)), **settings}
    write_evaluation(an_evaluation(settings=given), model)
    write_card(model)


def test_an_evaluation_goes_with_it(model: Path, api: HfApi) -> None:
    """The file, its form for the Hub's page, and the table in the card that is read there."""
    evaluated(model)

    plan = plan_publish(model, "me/tibetan", api=api)
    publish_model(model, "me/tibetan", api=api)

    names = {"evaluation.json", ".eval_results/slack-ties-evaluation.yaml"}
    assert names <= on_hub(api, "me/tibetan") & set(plan.send)
    there = read_evaluation(Path(api.hf_hub_download("me/tibetan", "evaluation.json")))
    here = read_evaluation(model)
    assert (there.tasks, there.settings) == (here.tasks, here.settings)
    assert [one.scores for one in there.models] == [one.scores for one in here.models]
    card = Path(api.hf_hub_download("me/tibetan", "README.md")).read_text("utf-8")
    assert "| 60.0 ±4.9 |" in card
    entries = read_results(
        Path(api.hf_hub_download("me/tibetan", ".eval_results/slack-ties-evaluation.yaml"))
    )
    assert [entry.value for entry in entries] == [60.0, 70.0]
    assert verify_model("me/tibetan", against=model, api=api, options=MergeOptions(quiet=True)).same


def test_an_evaluation_is_no_difference_of_models(model: Path, original: Path) -> None:
    """`verify` compares models, not what was found out about them."""
    evaluated(model)

    found = verify_model(model, against=original)

    assert found.same
    assert found.files == ()


def test_an_evaluation_of_other_weights_stays_here(
    model: Path, api: HfApi, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not sent, a warning says so, and what an earlier merge left on the Hub is deleted."""
    evaluated(model)
    publish_model(model, "me/tibetan", api=api)
    assert "is not published" not in caplog.text
    evaluated(model, weights="d" * 64)

    publish_model(model, "me/tibetan", api=api)

    assert f"Next: slack-ties evaluate {model}" in caplog.text
    assert "evaluation.json is not published" in caplog.text
    (model / "evaluation.json").write_text("{")  # damaged: the same
    assert not {"evaluation.json"} & set(plan_publish(model, "me/other", api=api).send)
    assert f"Next: slack-ties evaluate {model} --overwrite\n" in caplog.text
    assert "evaluation.json" in on_hub(api, "me/tibetan")  # that of these weights


def test_an_evaluation_of_an_earlier_merge_leaves_the_hub(
    model: Path, triple: Folders, tmp_path: Path, api: HfApi
) -> None:
    """New weights do not stand beside the old ones' scores and answers."""
    said = (Answer("y", 1),)
    digest = digest_of_weights(read_record(model).files)
    answers = Answers(("x",), (Tried("merged", "", said),), 5, weights=digest)
    write_answers(answers, tmp_path / "answers.json")
    evaluated(model)
    write_card(model, examples=tmp_path / "answers.json")
    publish_model(model, "me/tibetan", api=api)
    out = tmp_path / "other"
    choices = Choices(base=str(triple.base), ct=str(triple.ct), sft=str(triple.sft), slack=0.4)
    merge_models(make_config("bo", choices), out, options=MergeOptions(quiet=True))
    write_card(out)

    assert "examples.json" in on_hub(api, "me/tibetan")

    published = publish_model(out, "me/tibetan", update=True, api=api)

    assert on_hub(api, "me/tibetan") == set(published.files)
    assert not {
        "evaluation.json",
        "examples.json",
        ".eval_results/slack-ties-evaluation.yaml",
    } & on_hub(api, "me/tibetan")


def test_results_of_earlier_scores_stay_here(model: Path, api: HfApi) -> None:
    """The Hub's page does not get results that are not those of evaluation.json."""
    evaluated(model)
    evaluation = replace(read_evaluation(model), date="2026-12-01T00:00:00+00:00")
    write_evaluation(evaluation, model)
    results = ".eval_results/slack-ties-evaluation.yaml"

    assert results not in plan_publish(model, "me/tibetan", api=api).send
    write_card(model)
    assert results in plan_publish(model, "me/tibetan", api=api).send

    (model / "evaluation.json").unlink()
    assert results not in plan_publish(model, "me/tibetan", api=api).send
    (model / results).write_text("- {dataset: {id: a/b, task_id: t}, value: 3}")
    assert results in plan_publish(model, "me/tibetan", api=api).send


def test_a_card_without_the_evaluation_is_named(
    model: Path, api: HfApi, caplog: pytest.LogCaptureFixture
) -> None:
    """If the card was written before the evaluation, a warning names the command that shows it."""
    card = (model / "README.md").read_bytes()
    evaluated(model)
    assert "does not show" not in caplog.text
    (model / "README.md").write_bytes(card)

    plan_publish(model, "me/tibetan", api=api)

    assert (
        f"does not show {model / 'evaluation.json'}. Next: slack-ties card {model}" in caplog.text
    )


def test_damage_on_the_way_is_found(model: Path, api: HfApi, hub: Server) -> None:
    """A Hub that ends up with another file than it was sent is noticed."""
    commit = hub.hub.commit

    def damaged(state: dict, title: str, files: dict, ref: str = "main") -> str:
        if "README.md" in files:
            files["README.md"]["oid"] = files[".gitattributes"]["oid"]
        return commit(state, title, files, ref)

    hub.hub.commit = damaged

    with pytest.raises(HubError, match=r"README\.md arrived damaged"):
        publish_model(model, "me/tibetan", api=api)


def test_a_lost_answer_is_not_a_failure(model: Path, api: HfApi, hub: Server) -> None:
    """The connection breaks after the commit: what is there is looked at before failing."""
    hub.hub.faults.append(Fault("commit", "dropped_after"))

    published = publish_model(model, "me/tibetan", api=api)

    assert published.commit == api.model_info("me/tibetan").sha
    assert on_hub(api, "me/tibetan") == set(published.files)


def test_checking_writes_nothing(hub: Server, api: HfApi) -> None:
    """It can be asked before a long merge."""
    target = check_publish(Destination("tibetan"), api=api)
    assert (target.to.repo_id, target.branch, target.private) == ("me/tibetan", None, True)
    assert all(request.startswith("GET") for request in hub.hub.requests)


# What would be done


def test_a_dry_run_names_the_files_of_the_real_run(
    triple: Folders, tmp_path: Path, api: HfApi
) -> None:
    """With --license too, which writes LICENSE and card: the same names and sizes are sent."""
    cards = {"base": "---\nlicense: llama2\n---\n", "ct": "", "sft": ""}
    out = merged_under(cards, triple, tmp_path)
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    plan = plan_publish(out, "me/tibetan", license="llama2", api=api)

    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    published = publish_model(out, "me/tibetan", license="llama2", api=api)
    there = api.model_info("me/tibetan", files_metadata=True).siblings or []
    sizes = {one.rfilename: one.size for one in there if one.rfilename in published.files}
    assert sizes == dict(plan.send)
    assert {name for name in plan.send if name.startswith("LICENSE")} == {"LICENSE"}
    again = plan_publish(out, "me/tibetan", license="llama2", api=api)
    assert (again.send, again.remove) == ({}, ())


def test_a_model_that_moves(model: Path, api: HfApi) -> None:
    """The card in each repository loads the model from there; a person's own line stays."""
    publish_model(model, "me/try-out", api=api)
    publish_model(model, "me/tibetan", api=api)

    for name in ("me/try-out", "me/tibetan"):
        card = Path(api.hf_hub_download(name, "README.md")).read_text("utf-8")
        assert f'\nname = "{name}"\n' in card
        assert not read_own_text(card).edited
    card = model / "README.md"
    card.write_text(card.read_text("utf-8").replace('"me/tibetan"', '"me/elsewhere"'), "utf-8")
    publish_model(model, "me/mirror", api=api)
    assert 'name = "me/elsewhere"' in card.read_text("utf-8")


def test_a_dry_run_touches_nothing(model: Path, api: HfApi, hub: Server) -> None:
    """It says what would be sent, removed and kept; nothing is made, here or there."""
    before = {path.name: path.read_bytes() for path in model.iterdir()}

    plan = plan_publish(model, "tibetan", api=api)

    assert (plan.repo_id, plan.new, plan.private) == ("me/tibetan", True, True)
    assert set(plan.send) == set(before)
    assert plan.send["model.safetensors"] == len(before["model.safetensors"])
    assert "A new private repository me/tibetan would be made" in plan.as_text()
    assert hub.hub.repos() == []
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before

    publish_model(model, "me/tibetan", api=api)
    api.upload_file(path_or_fileobj=b"mine", path_in_repo="notes.txt", repo_id="me/tibetan")
    (model / "tokenizer_config.json").write_text("{}")
    requests = len(hub.hub.requests)
    plan = plan_publish(model, "me/tibetan", api=api)

    assert list(plan.send) == ["tokenizer_config.json"]
    assert set(plan.same) == set(before) - {"tokenizer_config.json"}
    assert plan.keep == (".gitattributes", "notes.txt")
    writing = [one for one in hub.hub.requests[requests:] if one.startswith(("POST", "PUT"))]
    assert writing == ["POST /api/validate-yaml"]  # which checks the card, and keeps nothing


# Elsewhere than main


def test_a_branch(model: Path, api: HfApi) -> None:
    """It is made from main, which stays as it is."""
    with pytest.raises(HubError, match="the repository does not exist, but --revision needs it"):
        publish_model(model, Destination("me/tibetan", branch="next"), api=api)
    first = publish_model(model, "me/tibetan", api=api)
    (model / "tokenizer_config.json").write_text("{}")

    second = publish_model(model, Destination("me/tibetan", branch="next"), api=api)

    assert second.branch == "next"
    assert api.model_info("me/tibetan").sha == first.commit
    assert api.model_info("me/tibetan", revision="next").sha == second.commit


def test_a_pull_request_is_opened_once(model: Path, hub: Server, api: HfApi) -> None:
    """Repeated it goes on with the same one, also in somebody else's repository."""
    publish_model(model, Destination("me/tibetan", public=True), api=api)
    (model / "tokenizer_config.json").write_text("{}")
    hub.hub.tokens["hf_other"] = Token("other")
    theirs = HfApi(endpoint=hub.url, token="hf_other")
    to = Destination("me/tibetan", pull_request=True)
    hub.hub.faults.append(Fault("request", "dropped_after"))

    first = publish_model(model, to, api=theirs)
    again = publish_model(model, to, api=theirs)
    (model / "tokenizer_config.json").write_text("{ }")
    second = publish_model(model, to, api=theirs)

    assert first == again
    assert first.url == second.url == f"{hub.url}/me/tibetan/discussions/1"
    assert first.branch == "refs/pr/1"
    assert first.commit != second.commit
    assert len(list(api.get_repo_discussions("me/tibetan"))) == 1
    assert len(api.list_repo_commits("me/tibetan")) == 2  # main has the first merge alone


def test_no_pull_request_without_a_change(
    model: Path, hub: Server, api: HfApi, caplog: pytest.LogCaptureFixture
) -> None:
    """Main has all files: that is said, and nothing is opened."""
    first = publish_model(model, "me/tibetan", public=True, api=api)
    hub.hub.tokens["hf_other"] = Token("other")
    theirs = HfApi(endpoint=hub.url, token="hf_other")
    caplog.set_level("INFO", logger="slack_ties")

    again = publish_model(model, "me/tibetan", pull_request=True, api=theirs)

    assert (again.commit, again.branch, again.url) == (first.commit, "main", first.url)
    assert "main of me/tibetan has all files already" in caplog.text
    assert list(api.get_repo_discussions("me/tibetan")) == []


def test_a_tag(model: Path, api: HfApi) -> None:
    """It is on the commit; one that is elsewhere is not moved."""
    to = Destination("me/tibetan", tag="v1")
    first = publish_model(model, to, api=api)
    assert publish_model(model, to, api=api) == first
    assert api.model_info("me/tibetan", revision="v1").sha == first.commit
    (model / "tokenizer_config.json").write_text("{}")

    with pytest.raises(HubError, match="already has a tag 'v1', at"):
        publish_model(model, to, api=api)

    assert api.model_info("me/tibetan").sha == first.commit


def test_a_collection(model: Path, api: HfApi, caplog: pytest.LogCaptureFixture) -> None:
    """Models of several languages in one; it is made by its first model."""
    first = publish_model(model, Destination("me/bo", collection="Our languages"), api=api)
    second = publish_model(model, Destination("me/ug", collection="Our languages"), api=api)
    publish_model(model, Destination("me/ug", collection="Our languages"), api=api)

    assert first.collection == second.collection
    slug = first.collection.partition("/collections/")[2]
    found = api.get_collection(slug)
    assert [one.item_id for one in found.items] == ["me/bo", "me/ug"]
    assert found.private
    publish_model(model, Destination("me/bo", collection=slug), api=api)
    publish_model(model, Destination("me/bo", collection=f"me/none-{'0' * 24}"), api=api)
    assert "has no collection" in caplog.text


def test_a_license_that_is_refused_changes_nothing_here(model: Path, api: HfApi) -> None:
    """The card and the licence's files are written when it is known that they may be published."""
    before = {path.name: path.read_bytes() for path in model.iterdir()}

    with pytest.raises(HubError, match="your token belongs to"):
        publish_model(model, "somebody/bo", license="apache-2.0", api=api)

    assert {path.name: path.read_bytes() for path in model.iterdir()} == before

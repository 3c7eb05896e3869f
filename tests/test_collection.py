"""Several models in one collection on the Hub."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import HfApi
from mergekit.options import MergeOptions

from command import environment
from hub_server import Fault
from processes import completed, start
from slack_ties.card.write import write_card
from slack_ties.config.choices import Choices
from slack_ties.config.make import make_config
from slack_ties.errors import HubError
from slack_ties.hub.retries import Retries
from slack_ties.merge.merge import merge_models
from slack_ties.publish.tag_and_collect import the_collection

if TYPE_CHECKING:
    from hub_server import Server
    from triple import Folders

TITLE, MAKE = "Our languages", "POST /api/collections"
QUICK = Retries(timeout=5, first_wait=0.01)


@pytest.fixture(scope="module")
def merged(triple: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A merged model with its card."""
    out = tmp_path_factory.mktemp("merged") / "bo"
    recipe = make_config("bo", Choices(str(triple.base), str(triple.ct), str(triple.sft)))
    merge_models(recipe, out, options=MergeOptions(quiet=True))
    write_card(out)
    return out


def collections(hub: Server) -> dict[str, list[str]]:
    """Return the models of each collection on the Hub, by its slug."""
    found = json.loads((hub.hub.root / "collections.json").read_text())
    return {slug: one["items"] for slug, one in found.items()}


def publish_two(merged: Path, hub: Server, folder: Path, collection: str) -> None:
    """Publish two models at the same time, each by a process of its own."""
    both = []
    for name in ("bo", "ug"):
        shutil.copytree(merged, folder / name)
        words = ["publish", name, f"me/{name}", "--collection", collection, "-q"]
        env = environment(hub, folder / f"hf-{name}", "hf_writer")
        both.append(start(words, env=env, cwd=folder, merged=True))
    for process in both:
        ended = completed(process, ["publish"])
        assert ended.returncode == 0, ended.stdout


def test_two_processes_and_one_title(merged: Path, hub: Server, tmp_path: Path) -> None:
    """Two commands that publish at the same time with a new title make one collection."""
    publish_two(merged, hub, tmp_path, TITLE)

    (models,) = collections(hub).values()
    assert sorted(models) == ["me/bo", "me/ug"]


def test_two_processes_and_one_slug(merged: Path, hub: Server, api: HfApi, tmp_path: Path) -> None:
    """With a slug that was made before, no process asks the Hub for a collection of its own."""
    slug = the_collection(TITLE, "me", private=True, retries=QUICK, api=api)

    publish_two(merged, hub, tmp_path, slug)

    (found,) = collections(hub).items()
    assert (found[0], sorted(found[1])) == (slug, ["me/bo", "me/ug"])
    assert hub.hub.requests.count(MAKE) == 1


def test_the_same_collection_again(hub: Server, api: HfApi) -> None:
    """A title and its slug name one collection, whose owner and visibility stay as they are."""
    slug = the_collection(TITLE, "me", private=True, retries=QUICK, api=api)

    for again in (TITLE, slug):
        assert the_collection(again, "me", private=False, retries=QUICK, api=api) == slug
    assert list(collections(hub)) == [slug]
    assert api.get_collection(slug).private
    other = the_collection("Other languages", "me", private=False, retries=QUICK, api=api)
    assert not api.get_collection(other).private


@pytest.mark.parametrize("how", ["500", "dropped_before", "dropped_after", "busy", "limited"])
def test_a_fault_makes_no_second_collection(hub: Server, api: HfApi, how: str) -> None:
    """Also if the answer is lost after the Hub has made it."""
    hub.hub.faults.append(Fault("collection", how))

    slug = the_collection(TITLE, "me", private=True, retries=QUICK, api=api)

    assert list(collections(hub)) == [slug]
    assert hub.hub.requests.count(MAKE) == 2


def test_a_slug_that_does_not_exist(hub: Server, api: HfApi) -> None:
    """It is refused before anything is published."""
    with pytest.raises(HubError, match=r"has no collection 'me/none-0{24}'"):
        the_collection(f"me/none-{'0' * 24}", "me", private=True, retries=QUICK, api=api)

    assert MAKE not in hub.hub.requests


def test_an_owner_who_is_somebody_else(api: HfApi) -> None:
    """The Hub's refusal names the collection."""
    with pytest.raises(HubError, match=r"collection 'Our languages': .* does not allow this"):
        the_collection(TITLE, "you", private=True, retries=QUICK, api=api)


def test_a_hub_without_collections(
    hub: Server, api: HfApi, caplog: pytest.LogCaptureFixture
) -> None:
    """A batch goes on without one, with a warning."""
    hub.hub.faults.append(Fault("collection", "404"))

    assert the_collection(TITLE, "me", private=True, retries=QUICK, api=api) == ""

    assert "does not support collections" in caplog.text

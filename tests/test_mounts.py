"""Mounted models: found in the Hub cache by id and commit, and nothing is written to the mount."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hub_server import Server, Token
from lao import upload
from slack_ties.batch.jobs.mounts import Mounted, link_mounted
from slack_ties.errors import CheckpointError
from slack_ties.models.checksums import LIST_FILE
from slack_ties.models.find import find_model
from slack_ties.plan.make import plan_merge
from slack_ties.recipe.read import parse_recipe
from triple import Folders

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")


@pytest.fixture
def mounted(triple: Folders, hub: Server, tmp_path: Path) -> Mounted:
    """The base of the triple, on the Hub and mounted."""
    hub.hub.tokens["d"] = Token("d")
    upload(hub, "d", "d/base", triple.base)
    commit = hub.hub.repo("d/base", None)["refs"]["main"]
    folder = Path(shutil.copytree(triple.base, tmp_path / "mount"))
    (folder / "original").mkdir()
    (folder / "original" / "params.json").write_text("{}")
    return Mounted("d/base", commit, folder)


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return each file of a folder, and when it was written."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        f"{one.relative_to(folder)}": (one.read_bytes(), one.stat().st_mtime_ns) for one in files
    }


def test_a_mounted_model_is_its_hub_id(
    mounted: Mounted, hub: Server, api: HfApi, own_cache: Path
) -> None:
    """It is not downloaded; its commit is that of the Hub; each file is hashed once."""
    before = contents(mounted.folder)

    folder = link_mounted(mounted, own_cache)
    found = find_model(mounted.repo_id, mounted.commit, api=api)

    assert (found.path, found.commit) == (folder, mounted.commit)
    assert hub.hub.sent == {}
    assert {*contents(folder)} == {*before}
    known = json.loads((folder.parent.parent / LIST_FILE).read_text())
    assert any("model-00001" in one for one in known)
    assert contents(mounted.folder) == before
    link_mounted(mounted, own_cache)  # again, which changes nothing
    assert find_model(mounted.repo_id, mounted.commit, api=api) == found


def test_a_plan_downloads_nothing(mounted: Mounted, api: HfApi, own_cache: Path) -> None:
    """As for models that were downloaded before."""
    link_mounted(mounted, own_cache)
    name = f"{mounted.repo_id}@{mounted.commit}"
    text = f"merge_method: linear\nmodels:\n- model: {name}\n  parameters: {{weight: 1}}\n"
    recipe = parse_recipe(text, where="one.yml")

    plan = plan_merge(recipe, api=api, writes=False)

    assert plan.download == 0
    assert plan.models[0].commits == (mounted.commit,)


def test_a_damaged_file_is_downloaded_and_the_mount_stays(
    mounted: Mounted, hub: Server, api: HfApi, own_cache: Path
) -> None:
    """The link is replaced, and what it leads to is not written to."""
    (weights, *_) = sorted(mounted.folder.glob("*.safetensors"))
    right = weights.read_bytes()
    weights.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    before = contents(mounted.folder)
    link_mounted(mounted, own_cache)

    found = find_model(mounted.repo_id, mounted.commit, api=api)

    assert (found.path / weights.name).read_bytes() == right
    assert [*hub.hub.sent] == [weights.name]
    assert contents(mounted.folder) == before


@pytest.mark.parametrize("there", [True, False])
def test_a_mount_that_is_not_there(mounted: Mounted, own_cache: Path, *, there: bool) -> None:
    """It is said, before the merge looks for the model on the Hub."""
    shutil.rmtree(mounted.folder)
    if there:
        mounted.folder.mkdir()

    with pytest.raises(CheckpointError, match=r"d/base was to be mounted at .*, but that folder"):
        link_mounted(mounted, own_cache)

"""A parent that arrived damaged, or was damaged in the cache, is not merged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hub_server import Server
from slack_ties.errors import CheckpointError
from slack_ties.models.checksums import LIST_FILE
from slack_ties.models.find import find_model
from triple import Folders

REPO = "me/base"


@pytest.fixture(autouse=True)
def model(triple: Folders, api: HfApi, own_cache: Path) -> Path:
    """A model on the Hub, and an own cache, which is returned."""
    api.create_repo(REPO, private=False)
    api.upload_folder(repo_id=REPO, folder_path=triple.base)
    return own_cache


def damage(path: Path) -> None:
    """Change one bit; the size stays."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def weights_of(folder: Path) -> list[Path]:
    """Return the weight files of a snapshot."""
    return sorted(folder.glob("*.safetensors"))


def test_an_intact_model(api: HfApi, model: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is said, and what was found is remembered beside it."""
    found = find_model(REPO, api=api)

    assert [record for record in caplog.records if record.name == "slack_ties"] == []
    listed = (model / "models--me--base" / LIST_FILE).read_text()
    assert all(path.name in listed for path in found.path.iterdir())


def test_a_file_damaged_in_the_cache(
    api: HfApi, triple: Folders, hub: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """It is named and fetched again, it alone."""
    found = find_model(REPO, api=api)
    path = weights_of(found.path)[1]
    damage(path)
    hub.hub.sent.clear()

    assert find_model(REPO, api=api) == found

    said = [record.getMessage() for record in caplog.records if record.name == "slack_ties"]
    assert said == [f"  {path.name} of {REPO} is damaged in the cache: downloading it again"]
    assert path.read_bytes() == (triple.base / path.name).read_bytes()
    assert list(hub.hub.sent) == [path.name]


def test_a_small_file_too(api: HfApi, triple: Folders) -> None:
    """A config that says something else."""
    found = find_model(REPO, api=api)
    damage(found.path / "config.json")

    find_model(REPO, api=api)

    assert (found.path / "config.json").read_bytes() == (triple.base / "config.json").read_bytes()


def test_what_arrives_damaged_every_time(api: HfApi, hub: Server) -> None:
    """A wrong disk there, or a proxy that changes files: nothing is merged."""
    siblings = api.model_info(REPO, files_metadata=True).siblings
    (one, *_) = [file for file in siblings if file.rfilename.endswith(".safetensors")]
    damage(hub.hub.blob(one.lfs.sha256))

    with pytest.raises(CheckpointError, match="does not have the checksum") as caught:
        find_model(REPO, api=api)

    assert f"{REPO!r}: {one.rfilename} " in str(caught.value)
    assert "hf download me/base" in caught.value.hint


def test_without_the_hub(api: HfApi, hub: Server) -> None:
    """The cache names files after their checksums: that is enough to see it, not to mend it."""
    found = find_model(REPO, api=api)
    path = weights_of(found.path)[0]
    hub.stop()
    assert find_model(REPO, api=api) == found
    damage(path)

    with pytest.raises(CheckpointError, match="is damaged in the cache") as caught:
        find_model(REPO, api=api)

    assert str(path) in str(caught.value)
    assert caught.value.hint == (
        f"hf download {REPO} {path.name} --revision {found.commit} --force-download"
    )


def test_what_did_not_change_is_not_read_again(api: HfApi, model: Path) -> None:
    """By size and time; a list that cannot be read is none."""
    found = find_model(REPO, api=api)
    path = weights_of(found.path)[0].resolve()
    before = path.stat()
    damage(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    wrong = path.read_bytes()

    find_model(REPO, api=api)
    assert path.read_bytes() == wrong
    (model / "models--me--base" / LIST_FILE).write_text("[")
    find_model(REPO, api=api)

    assert path.read_bytes() != wrong

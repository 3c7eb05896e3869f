"""What would be sent: a whole model, and nothing that is none or that is secret."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from mergekit.options import MergeOptions

from slack_ties.card.write import write_card
from slack_ties.config.choices import Choices
from slack_ties.config.make import make_config
from slack_ties.errors import OutputError
from slack_ties.merge.merge import merge_models
from slack_ties.publish.manifest import SentFile, check_weights, read_manifest
from slack_ties.publish.public_files import public_files
from slack_ties.record import MergeRecord, read_record

if TYPE_CHECKING:
    from triple import Folders


def manifest(
    model: Path, record: MergeRecord, include: tuple[str, ...] = ()
) -> dict[str, SentFile]:
    """Return what would be sent; folders are published without their paths."""
    with public_files(model, record) as instead:
        return read_manifest(model, record, include=include, instead=instead)


@pytest.fixture(scope="module")
def original(triple: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A merged model in shards; not to be changed."""
    out = tmp_path_factory.mktemp("manifest") / "out"
    choices = Choices(str(triple.base), str(triple.ct), str(triple.sft))
    options = MergeOptions(quiet=True, out_shard_size=100_000)
    merge_models(make_config("bo", choices), out, options=options)
    return out


@pytest.fixture
def model(original: Path, tmp_path: Path) -> Path:
    """The same, for one test alone."""
    return Path(shutil.copytree(original, tmp_path / "model"))


def test_every_file_with_its_size(model: Path) -> None:
    """All of them, but hidden ones."""
    (model / ".DS_Store").write_text("x")

    files = manifest(model, read_record(model))

    assert {name: file.size for name, file in files.items()} == {
        path.name: path.stat().st_size for path in model.iterdir() if path.name[0] != "."
    } | {name: files[name].size for name in ("mergekit_config.yml", "slack_ties.json")}
    check_weights(files, read_record(model))


@pytest.mark.parametrize("name", ["model-old.safetensors", "pytorch_model.bin"])
def test_weights_of_something_else(model: Path, name: str) -> None:
    """Refused by name, unless it is asked for: a loader could take them for the model's."""
    (model / name).write_bytes(b"weights")

    with pytest.raises(OutputError, match=f"{name} holds weights that this merge") as caught:
        manifest(model, read_record(model))

    assert caught.value.hint.endswith(f"--include {name}")
    assert name in manifest(model, read_record(model), include=(name,))


@pytest.mark.parametrize("name", ["tokenizer.model", "vocab.json", "added_tokens.json"])
def test_a_vocabulary_of_something_else(model: Path, name: str) -> None:
    """A file of a parent's tokenizer, beside the merged tokenizer, is refused unless asked for."""
    (model / name).write_text("{}")

    with pytest.raises(OutputError, match=f"{name} holds tokens that this merge did not") as caught:
        manifest(model, read_record(model))

    assert caught.value.hint == f"move it elsewhere, or upload it too: --include {name}"
    assert name in manifest(model, read_record(model), include=(name,))


def test_a_tokenizer_for_a_model_without_one(model: Path) -> None:
    """The merge says that one may be copied into the folder."""
    (model / "tokenizer.json").rename(model / "vocab.json")
    record = read_record(model)
    beside = {name: known for name, known in record.beside.items() if name != "tokenizer.json"}

    assert "vocab.json" in manifest(model, replace(record, beside=beside))


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_settings_that_cannot_be_read(model: Path, content: str) -> None:
    """A published tokenizer loads."""
    (model / "tokenizer_config.json").write_text(content)

    with pytest.raises(OutputError, match=r"tokenizer_config\.json is empty or damaged"):
        manifest(model, read_record(model))


@pytest.mark.parametrize(
    "name", ["notes.txt", "optimizer.pt", "id_rsa", "run.py", "logs/a.json", "x.ipynb", "config.py"]
)
def test_what_is_no_part_of_a_model(model: Path, name: str) -> None:
    """Refused by name, unless it is asked for."""
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).write_text("x")

    with pytest.raises(OutputError, match="contains files that do not belong to a model") as caught:
        manifest(model, read_record(model))

    assert caught.value.hint.endswith(f"--include {name}")
    assert name in manifest(model, read_record(model), include=(name,))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
@pytest.mark.parametrize("name", ["a\nb.txt", "a  b.txt", "a\tb's.txt", "a[1].txt", "a\u00a0b.txt"])
def test_the_proposed_pattern_includes_the_file(model: Path, name: str) -> None:
    """Also a file whose name cannot be shown as it is."""
    (model / name).write_text("x")

    with pytest.raises(OutputError, match="files that do not belong to a model") as caught:
        manifest(model, read_record(model))

    pattern = shlex.split(caught.value.hint.partition("--include ")[2])
    assert name in manifest(model, read_record(model), include=pattern)


def test_pictures_and_code_that_belong_to_it(model: Path) -> None:
    """Pictures of the card; code only if the config says that the model cannot do without."""
    (model / "images").mkdir()
    (model / "images" / "kept.png").write_bytes(b"x")
    (model / "modeling_x.py").write_text("x")
    config = model / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "auto_map": {}}))

    assert {"images/kept.png", "modeling_x.py"} <= set(manifest(model, read_record(model)))


@pytest.mark.parametrize(
    "secret",
    [
        "hf_" + "aB3" * 12,
        "api_org_" + "aB3" * 12,
        "git clone https://me:passw0rd@git.example/x",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        "AKIA" + "A1" * 8,
        "ghp_" + "a1" * 18,
        "sk-ant-" + "aB1" * 20,
    ],
)
def test_what_looks_like_a_secret(model: Path, secret: str) -> None:
    """The file is named and the kind, never the secret."""
    (model / "tokenizer_config.json").write_text(json.dumps({"x": secret}))

    with pytest.raises(
        OutputError, match=r"tokenizer_config\.json, line 1, seems to contain an? "
    ) as caught:
        manifest(model, read_record(model))

    assert secret not in f"{caught.value} {caught.value.hint}"


def test_a_model_that_is_not_whole(model: Path) -> None:
    """A shard that is gone, a config that says nothing, a tokenizer cut short."""
    record = read_record(model)
    with pytest.raises(OutputError, match="contains 139,584 parameters, expected the 7"):
        manifest(model, replace(record, parameters=7))
    config, tokenizer = (model / name for name in ("config.json", "tokenizer.json"))
    shard = model / "model-00002-of-00004.safetensors"
    for path, message in (
        (tokenizer, r"tokenizer\.json cannot be read"),
        (config, r"config\.json"),
        (shard, "model-00002"),
    ):
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(OutputError, match=message) as caught:
            manifest(model, record)
        assert (
            caught.value.hint
            == f"merge again: slack-ties merge {model / 'mergekit_config.yml'} OUT"
        )
        path.write_bytes(content)
    shard.unlink()
    with pytest.raises(OutputError, match="model-00002"):
        manifest(model, record)


def test_weights_that_were_changed(model: Path) -> None:
    """One bit, which no header shows: by the checksum of the merge."""
    shard = model / "model-00001-of-00004.safetensors"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    record = read_record(model)

    with pytest.raises(OutputError, match=r"model-00001-of-00004\.safetensors changed after"):
        check_weights(manifest(model, record), record)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"])
def test_a_file_of_the_merge_that_is_gone(model: Path, name: str) -> None:
    """Without it the model would load otherwise than it was merged, or not at all."""
    (model / name).unlink()

    with pytest.raises(OutputError, match=rf"{name} is missing: the merge made it"):
        manifest(model, read_record(model))


def test_a_recipe_that_was_edited(model: Path) -> None:
    """It would lead others to another model."""
    config = model / "mergekit_config.yml"
    config.write_text(config.read_text("utf-8").replace("density: 0.5", "density: 0.6"), "utf-8")

    with pytest.raises(OutputError, match="these weights were made with another config"):
        manifest(model, read_record(model))


@pytest.mark.parametrize("key", ["vocab_size", "hidden_size", "num_hidden_layers"])
def test_a_config_of_another_size(model: Path, key: str) -> None:
    """Nobody could load the weights by it."""
    config = model / "config.json"
    data = json.loads(config.read_text())
    config.write_text(json.dumps({**data, key: 3}))

    with pytest.raises(OutputError, match=rf"says {key} 3, the weights have {data[key]}"):
        manifest(model, read_record(model))


def test_layers_that_predict_further_tokens(model: Path) -> None:
    """They are stored after the others, and num_hidden_layers does not count them."""
    config = model / "config.json"
    data = json.loads(config.read_text())
    layers = data["num_hidden_layers"]
    changes = {"num_hidden_layers": layers - 1, "num_nextn_predict_layers": 1}

    config.write_text(json.dumps({**data, **changes}))
    assert manifest(model, read_record(model))

    config.write_text(json.dumps({**data, **changes, "num_hidden_layers": layers - 2}))
    with pytest.raises(OutputError, match=f"says num_hidden_layers {layers - 2}, the weights"):
        manifest(model, read_record(model))


def test_a_model_without_weights(model: Path) -> None:
    """As a stream leaves it: what can be done then is said."""
    for path in model.glob("*.safetensors"):
        path.unlink()

    with pytest.raises(OutputError, match="has no weights; if they were streamed") as caught:
        manifest(model, read_record(model))

    assert caught.value.hint == (
        f"hf upload OWNER/NAME {model}/README.md README.md # uploads only the card; or download "
        f"the weights: hf download OWNER/NAME --include '*.safetensors' --local-dir {model}"
    )
    card = write_card(model, repo_id="me/x")
    with pytest.raises(OutputError) as caught:
        manifest(model, read_record(model))
    assert caught.value.hint.startswith(f"hf upload me/x {card} README.md ")

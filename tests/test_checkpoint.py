"""Headers of model folders: every format, and every way in which one can be damaged."""

from __future__ import annotations

import json
import pickle
import shutil
import tracemalloc
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from slack_ties.errors import CheckpointError
from slack_ties.models.header import Header, check_shapes
from slack_ties.models.headers import read_headers, read_headers_of_file
from slack_ties.models.model_config import stored_dtype
from triple import Folders, llama, save_sharded_bin


@pytest.fixture
def model(triple: Folders, tmp_path: Path) -> Path:
    """A sharded safetensors model that may be damaged."""
    return Path(shutil.copytree(triple.base, tmp_path / "model"))


def test_reads_every_format_alike(triple: Folders, tmp_path: Path) -> None:
    """Sharded and single, safetensors and .bin: the same names and shapes."""
    sharded_bin = save_sharded_bin(llama().half(), tmp_path / "sharded")
    folders = [triple.base, triple.ct, triple.sft, sharded_bin]

    headers = [read_headers(folder) for folder in folders]

    shapes = [{name: header.shape for name, header in found.items()} for found in headers]
    assert shapes[0]["model.embed_tokens.weight"] == (512, 64)
    assert shapes[1:] == shapes[:1] * 3
    types = [{header.dtype for header in found.values()} for found in headers]
    assert types == [{"bfloat16"}, {"float16"}, {"bfloat16"}, {"float16"}]


def test_reads_a_type_from_the_config(triple: Folders, tmp_path: Path) -> None:
    """The type of the weights as the config says, or nothing."""
    assert stored_dtype(triple.ct) == "float16"
    assert stored_dtype(tmp_path) == ""
    (tmp_path / "config.json").write_text("[]")
    assert stored_dtype(tmp_path) == ""


def test_a_folder_without_a_model(model: Path, tmp_path: Path) -> None:
    """No config, or no weights."""
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        read_headers(tmp_path)
    for weights in model.glob("model*"):
        weights.unlink()
    with pytest.raises(CheckpointError, match=r"no weights in .*expected model\.safetensors or"):
        read_headers(model)


def test_a_missing_shard(model: Path) -> None:
    """The file that the index names and that is not there is named."""
    (model / "model-00002-of-00003.safetensors").unlink()

    with pytest.raises(CheckpointError, match=r"model-00002-of-00003\.safetensors is missing"):
        read_headers(model, "base")


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_a_truncated_safetensors_file(model: Path, length: int) -> None:
    """Cut anywhere, even by one byte, it is found without reading the weights."""
    shard = model / "model-00002-of-00003.safetensors"
    shard.write_bytes(shard.read_bytes()[:length])

    with pytest.raises(CheckpointError, match=rf"model 'base': {shard.name} cannot be read"):
        read_headers(model, "base")


def test_a_truncated_bin_file(triple: Folders, tmp_path: Path) -> None:
    """A .bin file is a zip file: its directory is at the end."""
    folder = Path(shutil.copytree(triple.ct, tmp_path / "ct"))
    weights = folder / "pytorch_model.bin"
    weights.write_bytes(weights.read_bytes()[:-1000])

    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin cannot be read"):
        read_headers(folder)


class Evil:
    """What a malicious .bin file holds."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("hacked"),))


def test_code_in_a_bin_file_is_not_run(
    triple: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pickle that calls functions is refused."""
    monkeypatch.chdir(tmp_path)
    folder = Path(shutil.copytree(triple.ct, tmp_path / "ct"))
    torch.save({"weight": Evil()}, folder / "pytorch_model.bin", pickle_module=pickle)

    with pytest.raises(CheckpointError, match="contains more than tensors, possibly code: refused"):
        read_headers(folder)

    assert not Path("hacked").exists()


def test_bin_files_from_before_they_were_zip_files(triple: Folders, tmp_path: Path) -> None:
    """PyTorch 1.5 and earlier wrote plain pickles."""
    folder = Path(shutil.copytree(triple.ct, tmp_path / "ct"))
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    torch.save(weights, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)

    assert read_headers(folder) == read_headers(triple.ct)


def test_a_bin_file_of_something_else(triple: Folders, tmp_path: Path) -> None:
    """A list of tensors is no model."""
    folder = Path(shutil.copytree(triple.ct, tmp_path / "ct"))
    torch.save([torch.ones(2)], folder / "pytorch_model.bin")

    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin cannot be read"):
        read_headers(folder)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "config.json cannot be read"),
        ("[]", "names no architectures"),
        ("{}", "names no architectures"),
    ],
)
def test_a_damaged_config(model: Path, config: str, message: str) -> None:
    """Found before mergekit trips over it."""
    (model / "config.json").write_text(config)

    with pytest.raises(CheckpointError, match=message) as caught:
        read_headers(model)
    if "architectures" in message:
        assert repr(str(model / "config.json")) in caught.value.hint


def test_vocabularies_may_differ_if_somebody_aligns_them() -> None:
    """Then only the other dimensions must agree, and only of matrices with a row per token."""
    name = "model.embed_tokens.weight"
    base = {name: Header((512, 64), "float16"), "norm": Header((64,), "float16")}
    longer = {**base, name: Header((514, 64), "float16")}
    wider = {**base, name: Header((514, 65), "float16")}
    other = {**base, "norm": Header((65,), "float16")}

    check_shapes({"base": base, "ct": longer}, vocabulary_may_differ=True)
    for wrong in (wider, other):
        with pytest.raises(CheckpointError, match="shape mismatch"):
            check_shapes({"base": base, "ct": wrong}, vocabulary_may_differ=True)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("{", "is damaged"),
        ("{}", "is damaged"),
        ('{"weight_map": []}', "is damaged"),
        (json.dumps({"weight_map": {"x": "../../etc/passwd"}}), "expected a file beside it"),
    ],
)
def test_a_damaged_index(model: Path, index: str, message: str) -> None:
    """Also one that points out of the folder."""
    (model / "model.safetensors.index.json").write_text(index)

    with pytest.raises(CheckpointError, match=message):
        read_headers(model)


def test_shapes_must_agree(triple: Folders, tmp_path: Path) -> None:
    """The message names the tensor, both models and both shapes."""
    folder = Path(shutil.copytree(triple.sft, tmp_path / "sft"))
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] = tensors["lm_head.weight"][:500].clone()
    save_file(tensors, folder / "model.safetensors")

    with pytest.raises(CheckpointError) as caught:
        check_shapes({"base": read_headers(triple.base), "sft": read_headers(folder)})

    expected = "shape mismatch: lm_head.weight is 500x64 in 'sft', expected 512x64 as in 'base'"
    assert str(caught.value) == expected


def test_a_header_knows_its_size() -> None:
    """Matrices, scalars and empty tensors."""
    assert [Header(s, "float16").size for s in [(3, 4), (), (0, 5)]] == [12, 1, 0]


def test_a_pickle_that_claims_much_memory(tmp_path: Path) -> None:
    """A few bytes that ask for a note of number 268,435,455 take no gigabytes."""
    path = tmp_path / "pytorch_model.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}r\xff\xff\xff\x0f.")

    tracemalloc.start()
    with path.open("rb") as file:
        assert read_headers_of_file(file, path.name, "x") == {}
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("shape", [["a"], [None], [[1]], [1.5]])
def test_a_shape_that_is_none(tmp_path: Path, shape: list[object]) -> None:
    """The file is called damaged."""
    header = json.dumps({"x": {"dtype": "F32", "shape": shape, "data_offsets": [0, 4]}}).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))

    with path.open("rb") as file, pytest.raises(CheckpointError, match="cannot be read"):
        read_headers_of_file(file, path.name, "x")


class Touch:
    """What a pickle can do: touch a file when it is read."""

    def __init__(self, path: Path) -> None:
        """Remember which."""
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        """Touch it."""
        return (Path.touch, (self.path,))


def test_a_pickle_with_code_is_not_run(tmp_path: Path) -> None:
    """Not even looked at with anything that could run it."""
    path = tmp_path / "pytorch_model.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Touch(tmp_path / "ran"), 2))

    with path.open("rb") as file, pytest.raises(CheckpointError, match="it asks for"):
        read_headers_of_file(file, path.name, "x")
    assert not (tmp_path / "ran").exists()


def test_a_config_of_many_brackets(model: Path) -> None:
    """One line, no recursion."""
    (model / "config.json").write_text("[" * 200_000)

    with pytest.raises(CheckpointError, match=r"config\.json cannot be read"):
        read_headers(model)

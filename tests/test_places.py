"""Where tensors lie in weight files, and the tensors made of those bytes."""

from __future__ import annotations

import importlib
import io
import json
import pickle
import struct
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, load_file, save

from slack_ties.errors import CheckpointError
from slack_ties.models.headers import read_headers_of_shard
from slack_ties.models.places import FilePlaces, places_of
from slack_ties.private.torch import REBUILD_TENSOR
from slack_ties.remote.blocks import memory
from slack_ties.remote.tensor import tensor_of
from triple import Folders, llama, save_sharded_bin

SAFE, BIN = "model.safetensors", "pytorch_model.bin"

DTYPES = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.bool),
    *(torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8),
    *(torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2),
)


class Counted(io.BytesIO):
    """A file that counts how often and how much is read."""

    def __init__(self, data: bytes) -> None:
        """Count from zero."""
        super().__init__(data)
        self.reads = self.bytes = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Read and count."""
        data = super().read(size)
        self.reads, self.bytes = self.reads + 1, self.bytes + len(data)
        return data


def places(data: bytes, file: str) -> FilePlaces:
    """Return the places of a file's bytes."""
    return places_of(io.BytesIO(data), file, len(data), "x")


def tensors(data: bytes, file: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a file, each made of nothing but its span, without a warning."""
    found, made = places(data, file), {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, place in found.tensors.items():
            span = found.spans[place.span]
            buffer = memory(span.size, span.first)
            buffer[:] = data[span.first : span.end]
            made[name] = tensor_of(found, name, buffer)
    return made


def saved(state: object, **options: Any) -> bytes:
    """Return what torch.save writes."""
    file = io.BytesIO()
    torch.save(state, file, **options)
    return file.getvalue()


def bits(tensor: torch.Tensor) -> bytes:
    """Return the entries in row-major order, bit by bit: here NaN equals itself."""
    plain = torch.empty(tensor.numel(), dtype=tensor.dtype)
    plain.view(tensor.shape).copy_(tensor.detach())
    return bytes(plain.view(torch.uint8).numpy()) if plain.numel() else b""


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """Compare names, types, shapes, strides and bits."""
    assert one.keys() == other.keys()
    for name, made in one.items():
        expected = other[name]
        assert (made.dtype, made.shape) == (expected.dtype, expected.shape), name
        assert made.numel() == 0 or made.stride() == expected.stride(), name
        assert bits(made) == bits(expected), name


@st.composite
def a_tensor(draw: st.DrawFn) -> torch.Tensor:
    """Draw a tensor of any type and shape, and a view of it: transposed, cut, with steps."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    count = torch.Size(shape).numel() * dtype.itemsize
    data = draw(st.binary(min_size=count, max_size=count))
    if dtype is torch.bool:
        data = bytes(byte % 2 for byte in data)
    plain = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(0)
    tensor = plain.to(torch.uint8).view(dtype).reshape(shape) if shape else plain.view(dtype)[0]
    cuts = st.builds(slice, st.integers(0, 3), st.integers(0, 4), st.integers(1, 3))
    for axis in range(len(shape)):
        tensor = tensor[(slice(None),) * axis + (draw(cuts),)]
    return tensor.permute(draw(st.permutations(range(len(shape)))))


@given(st.dictionaries(st.text(min_size=1, max_size=5), a_tensor(), max_size=4))
def test_tensors_of_safetensors(state: dict[str, torch.Tensor]) -> None:
    """Of any type and shape, they are bit by bit what safetensors reads."""
    state.pop("__metadata__", None)
    data = save({name: tensor.contiguous() for name, tensor in state.items()}, {"format": "pt"})

    made = tensors(data, SAFE)

    assert_same(made, load(data))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@given(
    state=st.dictionaries(st.text(max_size=5), a_tensor(), max_size=4),
    protocol=st.sampled_from([2, 3]),
    wrapped=st.booleans(),
)
def test_tensors_of_bin(state: dict[str, torch.Tensor], protocol: int, *, wrapped: bool) -> None:
    """Views of any type, shape and stride are bit by bit what PyTorch reads."""
    whole = {"state_dict": state, "epoch": 3} if wrapped else state
    data = saved(whole, pickle_protocol=protocol)

    made = tensors(data, BIN)

    loaded = torch.load(io.BytesIO(data), weights_only=True)
    assert_same(made, loaded["state_dict"] if wrapped else loaded)


def test_every_type_of_safetensors(tmp_path: Path) -> None:
    """Also types that safetensors has and torch.save does not, down to 4 bits."""
    names = "BOOL U8 I8 F8_E5M2 F8_E4M3 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ I16 U16 F16 BF16 I32 U32 "
    names += "F32 F64 I64 U64 C64 F4"
    header, place = {}, 0
    for name in names.split():
        size = next(bits for bits in range(1, 65) if _accepts(tmp_path, name, bits))
        header[name] = {"dtype": name, "shape": [2, 4], "data_offsets": [place, place + size]}
        place += size
    data = safetensors(header, bytes(range(2)) * 999, place)
    (tmp_path / SAFE).write_bytes(data)

    assert places(data, SAFE).headers() == read_headers_of_shard(tmp_path / SAFE, "x")
    assert_same(tensors(data, SAFE), load_file(tmp_path / SAFE))


def _accepts(folder: Path, dtype: str, size: int) -> bool:
    header = {"x": {"dtype": dtype, "shape": [2, 4], "data_offsets": [0, size]}}
    (folder / "one.safetensors").write_bytes(safetensors(header, bytes(size)))
    try:
        with safe_open(folder / "one.safetensors", "pt"):
            return True
    except SafetensorError:
        return False


def safetensors(header: object, data: bytes = b"", size: int | None = None) -> bytes:
    """Return a safetensors file with this header, which may be JSON already."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[:size]


def test_a_type_that_torch_lacks() -> None:
    """The error names it."""
    header = {"w": {"dtype": "F6_E2M3", "shape": [4], "data_offsets": [0, 3]}}

    with pytest.raises(CheckpointError, match=r"has no tensors of w's type, F6_E2M3"):
        tensors(safetensors(header, bytes(3)), SAFE)


def test_tied_tensors_share_a_span_and_memory() -> None:
    """Views of one storage lie in one span; nothing is copied, and nothing needs a gradient."""
    both = torch.randn(6, 4)
    state = {"head": both, "embedding": both, "t": both.t(), "row": both[3]}
    state["parameter"] = torch.nn.Parameter(torch.randn(3))
    data = saved(state)
    found = places(data, BIN)

    assert len({found.tensors[name].span for name in ("head", "embedding", "t", "row")}) == 1
    assert len(found.spans) == 2
    span = found.spans[found.tensors["head"].span]
    buffer = memory(span.size, span.first)
    buffer[:] = data[span.first : span.end]
    one, other = (tensor_of(found, name, buffer) for name in ("head", "t"))
    one[0, 1] = 7
    assert other[1, 0] == 7
    assert buffer != data[span.first : span.end]
    assert not tensors(data, BIN)["parameter"].requires_grad


@pytest.mark.parametrize("shift", range(9))
def test_memory_at_any_address(shift: int) -> None:
    """A tensor of bytes that are read-only, or at an odd address, is a copy that is aligned."""
    state = {"a": torch.randn(5), "b": torch.randn(3, dtype=torch.float64)}
    for file, data in ((BIN, saved(state)), (SAFE, save(state))):
        found = places(data, file)
        for name, place in found.tensors.items():
            span = found.spans[place.span]
            raw = bytes(shift) + data[span.first : span.end]
            for one in (raw, bytearray(raw)):
                made = tensor_of(found, name, memoryview(one)[shift:])
                assert torch.equal(made, state[name])
                assert made.data_ptr() % made.dtype.itemsize == 0


@pytest.mark.parametrize("count", [3, 2000])
def test_a_safetensors_header_takes_few_reads(count: int) -> None:
    """One, or two if it is long; and no weights but those beside it."""
    data = save({f"model.layers.{i}.weight": torch.ones(999) for i in range(count)})
    file = Counted(data)

    assert len(places_of(file, SAFE, len(data), "x").tensors) == count

    assert file.reads == (1 if count == 3 else 2)
    assert file.bytes < 500_000


@pytest.mark.parametrize(("count", "reads"), [(3, 1), (300, 2), (5000, 3)])
def test_a_bin_header_takes_few_reads(count: int, reads: int) -> None:
    """The end, the rest of the directory if it is long, and the pickle."""
    data = saved({f"model.layers.{i}.weight": torch.ones(99) for i in range(count)})
    file = Counted(data)

    assert len(places_of(file, BIN, len(data), "x").tensors) == count

    assert file.reads == reads
    assert file.bytes < 1_000_000


def test_headers_are_those_of_the_downloaded_file(triple: Folders, tmp_path: Path) -> None:
    """Of whole and sharded files of either format, and tensors are what each library reads."""
    save_sharded_bin(llama().half(), tmp_path / "sharded")
    folders = (triple.base, triple.ct, triple.sft, tmp_path / "sharded")
    files = [
        p for folder in folders for p in folder.iterdir() if p.suffix in {".safetensors", ".bin"}
    ]
    assert len(files) > 5
    for path in files:
        data = path.read_bytes()
        found = places(data, path.name)
        assert found.headers() == read_headers_of_shard(path, "x")
        assert {header.file for header in found.headers().values()} == {path.name}
        load = (
            load_file if path.suffix == ".safetensors" else partial(torch.load, weights_only=True)
        )
        assert_same(tensors(data, path.name), load(path))
        ends = [span.end for span in found.spans]
        assert all(one <= two.first for one, two in zip(ends, found.spans[1:], strict=False))
        assert ends[-1] <= found.size == len(data)


X = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}

HOSTILE: dict[str, bytes] = {
    "longer": safetensors({"x": X}, bytes(9)),
    "shorter": safetensors({"x": X}, bytes(7)),
    "gap": safetensors({"x": X, "y": {**X, "data_offsets": [12, 20]}}, bytes(20)),
    "gap at the beginning": safetensors({"x": {**X, "data_offsets": [4, 12]}}, bytes(12)),
    "overlap": safetensors({"x": X, "y": {**X, "data_offsets": [4, 12]}}, bytes(12)),
    "same place": safetensors({"x": X, "y": X}, bytes(8)),
    "bytes without tensors": safetensors({}, bytes(3)),
    "negative shape": safetensors({"x": {**X, "shape": [-2]}}, bytes(8)),
    "two negative": safetensors({"x": {**X, "shape": [-2, -1]}}, bytes(8)),
    "backwards": safetensors({"x": {**X, "data_offsets": [8, 0]}}, bytes(8)),
    "negative place": safetensors({"x": {**X, "data_offsets": [-8, 0]}}, bytes(8)),
    "three places": safetensors({"x": {**X, "data_offsets": [0, 8, 8]}}, bytes(8)),
    "float": safetensors({"x": {**X, "shape": [2.0]}}, bytes(8)),
    "bool": safetensors({"x": {**X, "shape": [True], "data_offsets": [0, 4]}}, bytes(4)),
    "text": safetensors({"x": {**X, "shape": ["2"]}}, bytes(8)),
    "text for a shape": safetensors({"x": {**X, "shape": "2"}}, bytes(8)),
    "no shape": safetensors({"x": {**X, "shape": None}}, bytes(8)),
    "float place": safetensors({"x": {**X, "data_offsets": [0, 8.0]}}, bytes(8)),
    "no number": safetensors(b'{"x":{"dtype":"F32","shape":[NaN],"data_offsets":[0,8]}}', bytes(8)),
    "many": safetensors({"x": {**X, "shape": [10**12]}}, bytes(8)),
    "huge": safetensors({"x": {**X, "shape": [2**40, 2**40]}}, bytes(8)),
    "huge and none": safetensors({"x": {**X, "shape": [2**40, 2**40, 0], "data_offsets": [0, 0]}}),
    "digits": safetensors(
        b'{"x":{"dtype":"F32","shape":[%s],"data_offsets":[0,8]}}' % (b"9" * 9999)
    ),
    "unknown type": safetensors({"x": {**X, "dtype": "Q7"}}, bytes(8)),
    "list for a type": safetensors({"x": {**X, "dtype": ["F32"]}}, bytes(8)),
    "half a byte": safetensors(
        {"x": {"dtype": "F4", "shape": [3], "data_offsets": [0, 2]}}, bytes(2)
    ),
    "metadata": safetensors({"__metadata__": {"a": 1}, "x": X}, bytes(8)),
    "list of metadata": safetensors({"__metadata__": ["a"], "x": X}, bytes(8)),
    "list": safetensors([]),
    "text header": safetensors("x"),
    "number header": safetensors(1),
    "tensor is a number": safetensors({"x": 1}),
    "tensor is none": safetensors({"x": None}),
    "trailing": safetensors(json.dumps({"x": X}).encode() + b"\0", bytes(8)),
    "no utf-8": safetensors(json.dumps({"x": X}).encode().replace(b"x", b"\xff"), bytes(8)),
    "utf-16": safetensors(json.dumps({"x": X}).encode("utf-16"), bytes(8)),
    "half a letter": safetensors(json.dumps({"\ud800": X}).encode(), bytes(8)),
    "brackets": safetensors(b"[" * 200_000),
    "nothing": b"",
    "seven bytes": b"1234567",
    "no header": bytes(8),
    "header behind the end": (100).to_bytes(8, "little") + b"{}",
    "long header": (2**63).to_bytes(8, "little") + b"{}",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_header_that_safetensors_refuses(what: str, tmp_path: Path) -> None:
    """It is refused here too, with the file's name, before its weights are read."""
    (tmp_path / SAFE).write_bytes(HOSTILE[what])
    with pytest.raises(SafetensorError), safe_open(tmp_path / SAFE, "pt"):
        pass

    with pytest.raises(CheckpointError, match=rf"^model 'x': {SAFE} cannot be read: .") as caught:
        places(HOSTILE[what], SAFE)
    assert caught.value.hint


ACCEPTED: dict[str, bytes] = {
    "none": safetensors({}),
    "metadata": safetensors({"__metadata__": {"a": "b"}, "x": X}, bytes(8)),
    "null metadata": safetensors({"__metadata__": None, "x": X}, bytes(8)),
    "more keys": safetensors({"x": {**X, "more": 1}}, bytes(8)),
    "twice": safetensors(
        b'{"x":%s,"x":%s}'
        % (b'{"dtype":"F16","shape":[1],"data_offsets":[1,3]}', json.dumps(X).encode()),
        bytes(8),
    ),
    "spaces": safetensors(b"  " + json.dumps({"x": X}).encode() + b" \n", bytes(8)),
    "empty first": safetensors(
        {"y": {**X, "shape": [0], "data_offsets": [0, 0]}, "x": X}, bytes(8)
    ),
    "empty last": safetensors({"x": X, "y": {**X, "shape": [0], "data_offsets": [8, 8]}}, bytes(8)),
    "not sorted": safetensors({"x": {**X, "data_offsets": [8, 16]}, "y": X}, bytes(16)),
}


@pytest.mark.parametrize("what", ACCEPTED)
def test_a_header_that_safetensors_accepts(what: str, tmp_path: Path) -> None:
    """It is accepted here too, with the same content."""
    (tmp_path / SAFE).write_bytes(ACCEPTED[what])

    assert places(ACCEPTED[what], SAFE).headers() == read_headers_of_shard(tmp_path / SAFE, "x")
    assert_same(tensors(ACCEPTED[what], SAFE), load_file(tmp_path / SAFE))


@given(st.data())
def test_a_damaged_header_is_judged_as_by_safetensors(data: st.DataObject) -> None:
    """One changed byte of a header gives the same headers as safetensors finds, or an error."""
    good = bytearray(save({"a": torch.ones(3), "b": torch.ones(2, 2).half()}, {"format": "pt"}))
    good[data.draw(st.integers(0, len(good) - 21))] = data.draw(st.integers(0, 255))

    try:
        found = {name: tensor.tolist() for name, tensor in tensors(bytes(good), SAFE).items()}
    except CheckpointError:
        return
    assert found == {name: tensor.tolist() for name, tensor in load(bytes(good)).items()}


def rezipped(
    data: bytes, change: Callable[[dict[str, bytes]], object] = lambda _: None, **options: Any
) -> bytes:
    """Return an archive with changed files, written by Python."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", **options) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


GOOD = saved({"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4).half()})


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (
            saved({"a": torch.ones(2)}, _use_new_zipfile_serialization=False),
            "it is older than PyTorch",
        ),
        (rezipped(GOOD, compression=zipfile.ZIP_DEFLATED), "it is compressed"),
        (rezipped(GOOD, lambda files: files.update({"archive/byteorder": b"big"})), "big-endian"),
    ],
)
def test_what_cannot_be_read_one_by_one(data: bytes, why: str) -> None:
    """The error says why, and its hint names the file to download."""
    with pytest.raises(CheckpointError, match=f"{why}.* cannot be read one by one") as caught:
        places(data, BIN)
    assert caught.value.hint.startswith(f"hf download ID {BIN} # then run")


class Unseekable(io.BytesIO):
    """A file to which zipfile writes data descriptors."""

    def seekable(self) -> bool:
        """Say no."""
        return False

    def seek(self, *_: int) -> int:
        """Refuse."""
        raise io.UnsupportedOperation

    tell = seek


def test_an_archive_with_data_descriptors() -> None:
    """Then the sizes are behind the data, and the directory has them too."""
    with zipfile.ZipFile(io.BytesIO(GOOD)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    out = Unseekable()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    assert b"PK\x07\x08" in out.getvalue()

    assert_same(tensors(out.getvalue(), BIN), torch.load(io.BytesIO(GOOD)))


class Sparse(io.RawIOBase):
    """A file of some parts, with zeros between them, which takes no memory for the zeros."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.parts: list[tuple[int, bytes]] = []
        self.place = self.size = 0

    def seekable(self) -> bool:
        """Say yes."""
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to a place."""
        self.place = offset + (0, self.place, self.size)[whence]
        return self.place

    def tell(self) -> int:
        """Return the place."""
        return self.place

    def write(self, data: Any, /) -> int:
        """Keep a part."""
        self.parts.append((self.place, bytes(data)))
        self.place += len(data)
        self.size = max(self.size, self.place)
        return len(data)

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the parts, and zeros."""
        assert size is not None
        assert size < 10_000_000
        size = max(min(size, self.size - self.place), 0)
        found = bytearray(size)
        for first, part in self.parts:
            begin, end = max(first, self.place), min(first + len(part), self.place + size)
            if begin < end:
                found[begin - self.place : end - self.place] = part[begin - first : end - first]
        self.place += size
        return bytes(found)


class Storage(NamedTuple):
    """What a pickle says about a storage."""

    key: Any = "0"
    size: Any = 6
    kind: Any = torch.FloatStorage
    more: tuple[Any, ...] = ()


class Tensor:
    """Pickled as a tensor of which nothing is checked."""

    def __init__(self, storage: Any, *where: Any, rest: tuple[Any, ...] = (False, {})) -> None:
        """Store what the pickle says."""
        rebuild = getattr(importlib.import_module(REBUILD_TENSOR[0]), REBUILD_TENSOR[1])
        self.call = (rebuild, (storage, *where, *rest))

    def __reduce__(self) -> Any:
        """Return the call."""
        return self.call


class Call:
    """Pickled as a call of any function."""

    def __init__(self, *call: Any) -> None:
        """Store the function and its arguments."""
        self.call = call

    def __reduce__(self) -> Any:
        """Return the call."""
        return self.call


class _Pickler(pickle._Pickler):  # noqa: SLF001 - the one in Python can be changed
    """Writes storages as torch.save does."""

    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, Storage):
            return ("storage", obj.kind, obj.key, "cpu", obj.size, *obj.more)
        return None

    def save_pers(self, pid: Any) -> None:
        self.save(tuple(pid), save_persistent_id=False)
        self.write(pickle.BINPERSID)


def pickled(state: Any) -> bytes:
    """Return a pickle as torch.save writes it."""
    file = io.BytesIO()
    _Pickler(file, 2).dump(state)
    return file.getvalue()


def zip64(files: dict[str, bytes | int]) -> Sparse:
    """Return an archive whose sizes and places are those of zip64; a number is a hole."""
    out, directory, full = Sparse(), b"", 2**32 - 1
    for name, content in files.items():
        size, place = content if isinstance(content, int) else len(content), out.tell()
        entry = struct.pack("<5H3IH", 45, 0, 0, 0, 0, 0, full, full, len(name))
        out.write(b"PK\3\4" + entry + struct.pack("<H", 20) + name.encode())
        out.write(struct.pack("<2H2Q", 1, 16, size, size))
        directory += b"PK\1\2\x2d\0" + entry + struct.pack("<4H2I", 28, 0, 0, 0, 0, full)
        directory += name.encode() + struct.pack("<2H3Q", 1, 24, size, size, place)
        if isinstance(content, int):
            out.seek(content, 1)
        else:
            out.write(content)
    begin, count = out.tell(), len(files)
    out.write(directory)
    end = struct.pack("<Q2H2I4Q", 44, 45, 45, 0, 0, count, count, len(directory), begin)
    end = b"PK\6\6" + end + b"PK\6\7" + struct.pack("<IQI", 0, out.tell(), 1)
    out.write(end + b"PK\5\6" + b"\0" * 4 + b"\xff" * 12 + b"\0\0")
    return out


def test_an_archive_of_more_than_4_gb() -> None:
    """Places and sizes beyond 32 bits are right."""
    count = 2**31
    state = {
        "big": Tensor(Storage("0", count), 0, (count,), (1,)),
        "small": Tensor(Storage("1", 3), 0, (3,), (1,)),
    }
    small = torch.tensor([1.0, 2.0, 3.0])
    files: dict[str, bytes | int]
    files = {"data.pkl": pickled(state), "data/0": 4 * count, "data/1": small.numpy().tobytes()}
    file = zip64({f"archive/{name}": content for name, content in files.items()})

    found = places_of(cast("IO[bytes]", file), BIN, file.size, "x")

    assert found.headers()["big"].shape == (count,)
    assert found.spans[0].size > 2**33 < found.spans[1].first < found.size
    span = found.spans[1]
    buffer = memory(span.size, span.first)
    file.seek(span.first)
    buffer[:] = file.read(span.size)
    assert torch.equal(tensor_of(found, "small", buffer), small)


def archive(state: Any, storages: dict[str, bytes] | None = None, root: str = "archive") -> bytes:
    """Return a .bin file of any pickle, or of any bytes in the place of one."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as written:
        table = state if isinstance(state, bytes) else pickled(state)
        written.writestr(f"{root}/data.pkl", table)
        for key, content in ({"0": bytes(24)} if storages is None else storages).items():
            written.writestr(f"{root}/data/{key}", content)
    return out.getvalue()


def deep(times: int) -> tuple[Any, ...]:
    """Return few tuples that have 2 to the power of `times` parts."""
    found: tuple[Any, ...] = ()
    for _ in range(times):
        found = (found, found)
    return found


def many(operations: bytes) -> bytes:
    """Return a .bin file with these operations in its pickle."""
    return archive(b"\x80\x02" + operations + b".")


ONE = Storage()

HERE = archive({"x": Tensor(ONE, 0, (6,), (1,))})


def directory(place: int, value: bytes) -> bytes:
    """Return a good file with other bytes in the directory's entry for the storage."""
    at = HERE.rindex(b"PK\1\2") + place
    return HERE[:at] + value + HERE[at + len(value) :]


BAD_BIN: dict[str, bytes] = {
    "offset": archive({"x": Tensor(ONE, 1, (2, 3), (3, 1))}),
    "negative offset": archive({"x": Tensor(ONE, -1, (2,), (1,))}),
    "huge offset": archive({"x": Tensor(ONE, 2**70, (2,), (1,))}),
    "float offset": archive({"x": Tensor(ONE, 0.0, (2,), (1,))}),
    "shape": archive({"x": Tensor(ONE, 0, (7,), (1,))}),
    "huge shape": archive({"x": Tensor(ONE, 0, (2**62, 2**62), (2**62, 1))}),
    "negative shape": archive({"x": Tensor(ONE, 0, (-1,), (1,))}),
    "two negative": archive({"x": Tensor(ONE, 0, (-1, -6), (6, 1))}),
    "bool shape": archive({"x": Tensor(ONE, 0, (True,), (1,))}),
    "text shape": archive({"x": Tensor(ONE, 0, "6", (1,))}),
    "no shape": archive({"x": Tensor(ONE, 0, None, (1,))}),
    "stride": archive({"x": Tensor(ONE, 0, (2, 3), (4, 1))}),
    "negative stride": archive({"x": Tensor(ONE, 5, (6,), (-1,))}),
    "short stride": archive({"x": Tensor(ONE, 0, (2, 3), (1,))}),
    "repeated": archive({"x": Tensor(ONE, 0, (10**12,), (0,))}),
    "repeated often": archive({"x": Tensor(ONE, 0, (2**50,) * 9, (0,) * 9)}),
    "dimensions": archive({"x": Tensor(ONE, 0, (1,) * 65, (1,) * 65)}),
    "small storage": archive({"x": Tensor(ONE, 0, (6,), (1,))}, {"0": bytes(23)}),
    "large storage": archive({"x": Tensor(Storage("0", 2**60), 0, (6,), (1,))}),
    "no storage": archive({"x": Tensor(ONE, 0, (6,), (1,))}, {}),
    "number for a storage": archive({"x": Tensor(7, 0, (6,), (1,))}),
    "negative storage": archive({"x": Tensor(Storage("0", -6), 0, (0,), (1,))}),
    "float storage": archive({"x": Tensor(Storage("0", 6.0), 0, (6,), (1,))}),
    "number for a key": archive({"x": Tensor(Storage(0), 0, (6,), (1,))}),
    "tuples for a key": archive({"x": Tensor(Storage(deep(40)), 0, (6,), (1,))}),
    "another folder": archive({"x": Tensor(Storage("../data.pkl"), 0, (6,), (1,))}),
    "another class": archive({"x": Tensor(Storage(kind=Path), 0, (6,), (1,))}),
    "text for a class": archive({"x": Tensor(Storage(kind="x"), 0, (6,), (1,))}),
    "one name": archive(
        {
            "x": Tensor(ONE, 0, (6,), (1,)),
            "y": Tensor(Storage(kind=torch.HalfStorage), 0, (6,), (1,)),
        }
    ),
    "more facts of a storage": archive({"x": Tensor(Storage(more=(1,)), 0, (6,), (1,))}),
    "metadata": archive({"x": Tensor(ONE, 0, (6,), (1,), rest=(False, {}, {"neg": True}))}),
    "few facts": archive({"x": Tensor(ONE, 0, (6,))}),
    "tuples for a name of another dict": many(
        b"ccollections\nOrderedDict\n])" + 60 * b"q\0h\0\x86" + b"N\x86a\x85R"
    ),
    "tuples for two names": many(b"}()" + 60 * b"q\0h\0\x86" + b"NK\1Nu"),
    "tuples for a name": many(b"})" + 60 * b"q\0h\0\x86" + b"Ns"),
    "a large number for a name": many(b"}\x8a\x08" + b"\x7f" * 8 + b"Ns"),
    "a list of pairs for many dicts": many(
        b"}K\0(]q\0("
        + 2000 * b"K\1N\x86"
        + b"eccollections\nOrderedDict\nq\1"
        + 2000 * b"h\1h\0\x85R"
        + b"ts"
    ),
    "a long key of many storages": many(
        b"}K\0((X\7\0\0\0storagectorch\nFloatStorage\nX\0\0\2\0"
        + bytes(1 << 17)
        + b"X\0\0\0\0K\6tq\0"
        + 1000 * b"h\0Q"
        + b"ts"
    ),
    "a list": archive([Tensor(ONE, 0, (6,), (1,))]),
    "a number": archive(3),
    "a number in a wrapper": archive({"state_dict": 3}),
    "code": archive({"x": Call(Path.touch, (Path("hacked"),))}),
    "code for a size": archive({"x": Tensor(ONE, 0, Call(eval, ("(6,)",)), (1,))}),
    "attributes of our function": many(b"ctorch._utils\n_rebuild_tensor_v2\nN}X\1\0\0\0aK\1s\x86b"),
    "much memory": many(b"\x96" + (2**40).to_bytes(8, "little")),
    "many bytes": many(b"\x8e" + (2**40).to_bytes(8, "little")),
    "a frame": many(b"\x95" + (2**40).to_bytes(8, "little")),
    "an extension": many(b"\x82\1"),
    "a class": many(b"ccollections\nOrderedDict\n)\x81"),
    "text operations": many(b"(dp0\nI1\nI1\ns"),
    "no end": archive(b"\x80\x02}"),
    "no pickle": archive(b""),
    "one byte": archive(b"\x80"),
    "protocol 4": archive(pickle.dumps({}, 4)),
    "protocol 5": archive(b"\x80\x05}."),
    "overlap": directory(42, bytes(4)),
    "entry in the directory": directory(42, (len(HERE) - 60).to_bytes(4, "little")),
    "long entry": directory(20, (2 * len(HERE)).to_bytes(4, "little") * 2),
    "two sizes": directory(24, (25).to_bytes(4, "little")),
    "encrypted": directory(8, b"\1"),
    "no table": rezipped(GOOD, lambda files: files.pop("archive/data.pkl")),
    "a program": rezipped(GOOD, lambda files: files.update({"archive/constants.pkl": b"\x80\2)."})),
    "byte order": rezipped(GOOD, lambda files: files.update({"archive/byteorder": b"middle"})),
    "another root": rezipped(
        GOOD, lambda files: files.update({"a/x": files.pop("archive/data.pkl")})
    ),
    "nothing": b"",
    "text": b"version https://git-lfs.github.com/spec/v1\n",
    "no directory": GOOD[:-22],
    "half": GOOD[: len(GOOD) // 2],
    "no entries": b"PK\5\6" + bytes(18),
}


@pytest.mark.parametrize("what", BAD_BIN)
def test_a_bin_file_that_is_damaged_or_hostile(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the file; nothing runs, and little memory is taken."""
    monkeypatch.chdir(tmp_path)
    tracemalloc.start()

    with pytest.raises(CheckpointError, match=rf"^model 'x': {BIN} cannot be read: .") as caught:
        places(BAD_BIN[what], BIN)

    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()
    assert caught.value.hint
    assert not list(tmp_path.iterdir())


def test_hostile_files_are_otherwise_good() -> None:
    """The same file without its fault is read: the test above tests the faults."""
    assert tensors(archive({"x": Tensor(ONE, 0, (2, 3), (3, 1))}), BIN)["x"].shape == (2, 3)
    assert tensors(archive({"x": Tensor(ONE, 5, (3,), (0,))}), BIN)["x"].tolist() == [0, 0, 0]


@given(st.data())
def test_a_damaged_bin_file_is_read_or_refused(data: st.DataObject) -> None:
    """Three changed bytes anywhere give an error, or tensors inside the file."""
    bad = bytearray(GOOD)
    for _ in range(3):
        bad[data.draw(st.integers(0, len(bad) - 1))] = data.draw(st.integers(0, 255))

    try:
        made = tensors(bytes(bad), BIN)
    except CheckpointError:
        return
    assert all(tensor.numel() * tensor.itemsize <= len(bad) for tensor in made.values())


@pytest.mark.parametrize("what", ["directory", "pickle", "header"])
def test_a_file_that_claims_a_long_header(what: str) -> None:
    """It is refused before it is read: a file on the Hub may have 50 GB."""
    file = zip64({"archive/data.pkl": 2**34 if what == "pickle" else pickled({})})
    file.seek(0)
    if what == "header":
        file.write((2**33).to_bytes(8, "little"))
        file.size = 2**34
    if what == "directory":  # begins at the file's beginning, and has 16 GB
        tail = file.parts.pop()[1]
        file.seek(2**34)
        end = struct.unpack_from("<Q2H2I4Q", tail, 4)
        record = tail[:4] + struct.pack("<Q2H2I4Q", *end[:7], 2**34, 0)
        record += b"PK\6\7" + struct.pack("<IQI", 0, 2**34, 1)
        file.write(record + tail[-22:])
        file.size = file.place

    with pytest.raises(CheckpointError, match="cannot be read: "):
        places_of(cast("IO[bytes]", file), SAFE if what == "header" else BIN, file.size, "x")


def test_a_file_that_ends_early() -> None:
    """A server that sends fewer bytes than it stated."""
    with pytest.raises(CheckpointError, match="it ends after 100 bytes, expected 5000"):
        places_of(io.BytesIO(GOOD[:100]), BIN, 5000, "x")


@pytest.mark.parametrize("cut", [0, 29, 40, -1])
def test_bytes_that_are_not_those_of_a_span(cut: int) -> None:
    """Too few bytes, or others: an error that names the tensor."""
    found = places(GOOD, BIN)
    first, end = found.spans[0]
    short = GOOD[first:end][:cut] if cut >= 0 else bytes(end - first)
    packed = bytearray(GOOD[first:end])
    packed[8] = 8  # deflate

    with pytest.raises(CheckpointError, match=f"{BIN}: a (cannot be read|ends after)"):
        tensor_of(found, "a", memoryview(short))
    with pytest.raises(CheckpointError, match="of a zip entry that is not compressed"):
        tensor_of(found, "a", memoryview(packed))
    with pytest.raises(CheckpointError, match=f"{SAFE}: x ends after 8 bytes"):
        tensor_of(places(ACCEPTED["metadata"], SAFE), "x", memoryview(bytes(7)))


def test_an_archive_without_checksums() -> None:
    """PyTorch can leave the CRCs of the entries out; it does not read them."""
    state = {"a": torch.arange(3.0)}
    torch.serialization.set_crc32_options(False)
    try:
        data = saved(state)
    finally:
        torch.serialization.set_crc32_options(True)

    assert_same(tensors(data, BIN), state)

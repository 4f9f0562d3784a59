"""Files are read by what is in them, not by their names; what is no weight file is told by name."""

import argparse
import bz2
import gzip
import io
import pathlib
import pickle
import tarfile
import zipfile
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from detectron2.config import CfgNode
from torch import Tensor, nn

from avis.weights import load_weights, read_checkpoint
from tests.engine.small_model import build_small_model
from tests.weights.test_loading import as_arrays, assert_same_weights, changed_model

WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.arange(4, dtype=torch.float16)}
FORMATS = ("torch", "legacy", "protocol 4", "safetensors", "pickle", "pickle of tensors", "protocol 5")


def write_as(kind: str, model: nn.Module, path: Path) -> None:
    weights = model.state_dict()
    if kind == "torch":
        torch.save(weights, path)
    elif kind == "legacy":
        torch.save(weights, path, _use_new_zipfile_serialization=False)
    elif kind == "protocol 4":
        torch.save(weights, path, pickle_protocol=4)
    elif kind == "safetensors":
        safetensors.torch.save_file(weights, path)
    elif kind == "pickle of tensors":
        path.write_bytes(pickle.dumps(weights))
    else:
        path.write_bytes(pickle.dumps(as_arrays(model), 5 if kind == "protocol 5" else 2))


@pytest.mark.parametrize("suffix", [".pth", ".pkl", ".safetensors", ""])
@pytest.mark.parametrize("kind", FORMATS)
def test_the_name_of_a_file_does_not_matter(tmp_path: Path, kind: str, suffix: str):
    expected, model = changed_model(), build_small_model()
    write_as(kind, expected, tmp_path / f"w{suffix}")
    assert load_weights(model, str(tmp_path / f"w{suffix}")).complete()
    assert_same_weights(model, expected)


def zipped(name: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(name, b"content")
    return content.getvalue()


def tarred() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("w.pth"))
    return content.getvalue()


OTHERS = {
    "empty": (b"", "it is empty"),
    "page": (b"\n <!DOCTYPE HTML><html><title>Virus scan warning</title>", "a web page.*download it again"),
    "page without doctype": (b"\xef\xbb\xbf<html lang=en>", "a web page.*download it again"),
    "error of a storage service": (b"<?xml version='1.0'?><Error>AccessDenied</Error>", "a web page"),
    "pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
        "Git LFS pointer.*git lfs pull",
    ),
    "gzip": (gzip.compress(b"weights"), "a gzip archive: unpack it"),
    "bzip2": (bz2.compress(b"weights"), "a bzip2 archive: unpack it"),
    "tar": (tarred(), "a tar archive: unpack it"),
    "zip": (zipped("w.pth"), "a zip archive: unpack it"),
    "TorchScript": (zipped("model/constants.pkl"), r"a TorchScript program: save the state_dict\(\)"),
    "HDF5": (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
}


@pytest.mark.parametrize("suffix", [".pth", ".pkl", ".safetensors"])
@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_weight_file_is_called_what_it_is(tmp_path: Path, kind: str, suffix: str):
    content, what = OTHERS[kind]
    path = tmp_path / f"file{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"^{path} cannot be read as a weight file: .*{what}") as caught:
        read_checkpoint(str(path))
    assert "\n" not in str(caught.value)


def test_a_folder_is_called_one(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=f"weight file not found: {tmp_path} is a folder"):
        read_checkpoint(str(tmp_path))


class Marked:
    """Leaves its mark if its class is ever used."""

    made = 0

    def __init__(self) -> None:
        self.content = 1

    def __setstate__(self, state: dict) -> None:
        Marked.made += 1


class MarkedDict(dict):
    def __setitem__(self, key: object, value: object) -> None:
        Marked.made += 1
        super().__setitem__(key, value)


OBJECTS = {
    "arguments": argparse.Namespace(lr=1e-4, layers=[1, 2]),
    "path": pathlib.PurePosixPath("a/b"),
    "config": CfgNode({"MODEL": {"NAME": "x"}}),
    "own": Marked(),
    "own dict": MarkedDict(a=1),
    "names": np.array(["violin", "cello"]),
    "objects": np.array([{"a": 1}, None]),
    "text": np.str_("text"),
    "class": CfgNode,
    "module": nn.Linear(2, 2),
}
PLAIN = {
    "iteration": 7,
    "ap": np.float64(31.5),
    "flag": np.bool_(True),
    "array": np.arange(4),
    "complex": 1 + 2j,
    "set": {1, "a"},
    "frozen": frozenset({(1, 2)}),
    "bytes": b"\x00\xff",
    "bytearray": bytearray(b"ab"),
    "counts": Counter(a=2),
    "ordered": OrderedDict(a=1),
    "default": defaultdict(list, a=[1]),
    "size": torch.Size((2, 3)),
    "dtype": torch.bfloat16,
    "device": torch.device("cuda:0"),
}


def save(content: object, path: Path, kind: str) -> str:
    if kind.startswith("torch"):
        torch.save(content, path, _use_new_zipfile_serialization=kind == "torch")
    else:
        path.write_bytes(pickle.dumps(content, int(kind)))
    return str(path)


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")  # when the old format is written
@pytest.mark.parametrize("kind", ["torch", "torch legacy", "0", "2", "4", "5"])
def test_objects_beside_tensors_do_not_hinder_and_are_not_made(tmp_path: Path, kind: str):
    before = Marked.made
    path = save({**OBJECTS, "model": WEIGHTS, **PLAIN}, tmp_path / "w.pth", kind)
    read = read_checkpoint(path)
    assert Marked.made == before
    torch.testing.assert_close(read.pop("model"), WEIGHTS, atol=0, rtol=0)
    for name in OBJECTS:
        assert type(read[name]).__name__ in ("StandIn", "UnfinishedArray"), name
    np.testing.assert_array_equal(read.pop("array"), PLAIN["array"])
    assert {name: read[name] for name in PLAIN if name != "array"} == {
        name: value for name, value in PLAIN.items() if name != "array"
    }


@pytest.mark.parametrize("kind", ["torch", "torch legacy", "2"])
def test_objects_beside_tensors_without_a_model_key(tmp_path: Path, kind: str):
    path = save({**WEIGHTS, "args": OBJECTS["arguments"], "epoch": 3}, tmp_path / "w.pth", kind)
    read = read_checkpoint(path)
    torch.testing.assert_close(read["model"], WEIGHTS)
    assert read["epoch"] == 3


@pytest.mark.parametrize("value", [OBJECTS["arguments"], np.array(["text"]), 3])
def test_an_object_among_the_weights_is_named(tmp_path: Path, value: object):
    path = save({"model": {**WEIGHTS, "c": value}}, tmp_path / "w.pth", "torch")
    with pytest.raises(
        ValueError, match=r"w\.pth is no weight file: 'c' in it is a (argp.*space|numpy.*|int), "
    ):
        read_checkpoint(path)


@pytest.mark.parametrize("kind", ["torch", "2"])
def test_a_pickled_model_is_told_to_save_its_state(tmp_path: Path, kind: str):
    path = save(nn.Linear(2, 2), tmp_path / "w.pth", kind)
    with pytest.raises(ValueError, match=r"it holds a torch\.nn\.modules\.linear\.Linear; .*state_dict"):
        read_checkpoint(path)


TENSORS = {
    **{
        str(dtype): torch.arange(4).to(dtype)
        for dtype in (torch.bool, torch.int8, torch.bfloat16, torch.float64)
    },
    "uint16": torch.arange(4).to(torch.uint16),
    "float8": torch.arange(4.0).to(torch.float8_e4m3fn),
    "empty": torch.empty(0, 3),
    "scalar": torch.tensor(2.5),
    "transposed": WEIGHTS["a"].T,
    "part": WEIGHTS["a"][1:, ::2],
    "expanded": torch.ones(1).expand(5),
    "parameter": nn.Parameter(torch.ones(2)),
}


@pytest.mark.parametrize("kind", ["torch", "torch legacy", "2", "5"])
def test_tensors_of_every_kind(tmp_path: Path, kind: str):
    read = read_checkpoint(save({"model": TENSORS}, tmp_path / "w.pth", kind))["model"]
    for name, expected in TENSORS.items():
        assert (read[name].dtype, read[name].shape) == (expected.dtype, expected.shape), name
        assert torch.equal(read[name].double(), expected.detach().double()), name


ARRAYS = {
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big endian": np.arange(4, dtype=">f4"),
    "transposed": np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1),
    "empty": np.zeros((0, 2), np.float32),
    "scalar": np.array(3),
    "bool": np.array([True, False]),
}


@pytest.mark.parametrize("protocol", ["0", "2", "4", "5"])
def test_arrays_of_every_layout(tmp_path: Path, protocol: str):
    arrays = {**ARRAYS, "again": ARRAYS["fortran"]}
    read = read_checkpoint(save({"model": arrays}, tmp_path / "w.pkl", protocol))["model"]
    for name, expected in arrays.items():
        np.testing.assert_array_equal(read[name].numpy(), expected, err_msg=name)


def test_arrays_as_python_2_wrote_them(tmp_path: Path):
    state = b"(I1\n(I2\ntcnumpy\ndtype\n(S'f4'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nS'"
    state += rb"\x00\x00\x80?\x00\x00\x00@" + b"'\ntb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR" + state
    (tmp_path / "w.pkl").write_bytes(b"(dS'blobs'\n(dS'a'\n" + array + b"ss.")
    read = read_checkpoint(str(tmp_path / "w.pkl"))["model"]
    torch.testing.assert_close(read["a"], torch.tensor([1.0, 2.0]))


@pytest.mark.parametrize("kind", ["torch", "torch legacy"])
def test_tensors_that_share_memory_still_do(tmp_path: Path, kind: str):
    whole = torch.arange(6.0)
    read = read_checkpoint(save({"a": whole, "b": whole[2:4]}, tmp_path / "w.pth", kind))["model"]
    read["a"][2] = 9
    assert read["b"][0] == 9


def test_a_flipped_bit_is_noticed(tmp_path: Path):
    torch.save(WEIGHTS, tmp_path / "w.pth")
    content = (tmp_path / "w.pth").read_bytes()
    values = WEIGHTS["a"].numpy().tobytes()
    assert values in content
    (tmp_path / "w.pth").write_bytes(content.replace(values, b"\x01" + values[1:]))
    with pytest.raises(ValueError, match=r"w\.pth cannot be read as a weight file: it is damaged"):
        read_checkpoint(str(tmp_path / "w.pth"))


PREFIXES = (
    "module.",
    "_orig_mod.",
    "model.",
    "module._orig_mod.",
    "_orig_mod.module.",
    "model._orig_mod.module.",
)


def prefixed(prefix: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in weights.items()}


@pytest.mark.parametrize("prefix", PREFIXES)
def test_what_wrappers_put_before_names_is_left_out(tmp_path: Path, prefix: str):
    expected, model = changed_model(), build_small_model()
    torch.save({"model": prefixed(prefix, expected.state_dict())}, tmp_path / "w.pth")
    assert load_weights(model, str(tmp_path / "w.pth")).complete()
    assert_same_weights(model, expected)


def test_a_compiled_part_and_an_averaged_model(tmp_path: Path):
    expected, model = changed_model(), build_small_model()
    weights = {
        name.replace("backbone.", "backbone._orig_mod."): v for name, v in expected.state_dict().items()
    }
    torch.save({"n_averaged": torch.tensor(3), **prefixed("module.", weights)}, tmp_path / "w.pth")
    report = load_weights(model, str(tmp_path / "w.pth"))
    assert (report.missing, report.unused) == ([], ["n_averaged"])
    assert_same_weights(model, expected)


@pytest.mark.parametrize("prefix", ["module.", "model."])
def test_a_prefix_that_only_some_have_is_part_of_the_name(tmp_path: Path, prefix: str):
    torch.save({f"{prefix}a": WEIGHTS["a"], "b": WEIGHTS["b"]}, tmp_path / "w.pth")
    assert set(read_checkpoint(str(tmp_path / "w.pth"))["model"]) == {f"{prefix}a", "b"}


@pytest.mark.parametrize("wrapper", ["model", "_orig_mod"])
@pytest.mark.parametrize("prefix", ["", "model.", "_orig_mod."])
def test_a_wrapped_model_takes_wrapped_and_bare_weights(tmp_path: Path, wrapper: str, prefix: str):
    expected, model = changed_model(), build_small_model()
    torch.save(prefixed(prefix, expected.state_dict()), tmp_path / "w.pth")
    wrapped = nn.ModuleDict({wrapper: model})
    report = load_weights(wrapped, str(tmp_path / "w.pth"))
    assert report.complete()
    assert all(name.startswith(f"{wrapper}.") for name in report.loaded)
    assert_same_weights(model, expected)

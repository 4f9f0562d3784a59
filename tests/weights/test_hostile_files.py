"""No file, damaged or made to harm, ends the process or runs code: it is read, or refused in one line.

The files are read in a process of its own, since a crash of it must not be one of the tests.
"""

import io
import pickle
import resource
import shutil
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avis.weights import read_checkpoint
from avis.weights.arrays import DamagedArray, tensor_of

READER = """
import sys
from avis.weights import read_checkpoint
while path := sys.stdin.readline().strip():
    try:
        checkpoint = read_checkpoint(path)
        print("read", sum(float(v.double().sum()) for v in checkpoint["model"].values() if v.numel() < 1e6))
    except (ValueError, FileNotFoundError) as error:
        print("refused", *str(error).splitlines(), sep=" (line) ")
    sys.stdout.flush()
"""


class Reader:
    """Reads files in another process, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", READER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            # A mistake shall end this process, not the machine.
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30)),
        )

    def read(self, content: bytes) -> str:
        """What became of a file; fails if the process ended."""
        (self.folder / "w.pth").write_bytes(content)
        self.process.stdin.write(f"{self.folder / 'w.pth'}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"the process ended with {self.process.wait()}: {content[:200]!r}"
        return answer

    def peak_memory(self) -> int:
        """In bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    reader = Reader(tmp_path_factory.mktemp("hostile"))
    yield reader
    reader.process.stdin.close()
    reader.process.stdout.close()
    assert reader.process.wait(20) == 0


def zipped(pickled: bytes, **records: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, record in {"data.pkl": pickled, **records}.items():
            archive.writestr(f"archive/{name.replace('__', '/')}", record)
    return content.getvalue()


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR"
SCALAR = b"cnumpy.core.multiarray\nscalar\n"


def dtype(code: bytes) -> bytes:
    return b"cnumpy\ndtype\n(X" + struct.pack("<I", len(code)) + code + b"K\x00K\x01tR"


def array(shape: bytes, code: bytes, content: bytes, version: bytes = b"K\x01") -> bytes:
    return ARRAY + b"(" + version + shape + dtype(code) + b"\x89" + content + b"tb"


def storage(size: int, key: str = "0") -> bytes:
    number = pickle.dumps(size, 2)[2:-1]
    return (
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x00"
        + key.encode()
        + b"X\x03\x00\x00\x00cpu"
        + number
        + b"tQ"
    )


def tensor(storage: bytes, offset: int, size: tuple, stride: tuple) -> bytes:
    parts = b"".join(pickle.dumps(part, 2)[2:-1] for part in (offset, size, stride))
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + parts + b"\x89NtR"


def weights(value: bytes) -> bytes:
    return b"\x80\x03}X\x01\x00\x00\x00a" + value + b"s."


EIGHT_BYTES = b"C\x08" + b"\x41" * 8
NESTED = b")" + b"\x85" * 200_000
FIELDS = b"(K\x03X\x01\x00\x00\x00<N(X\x01\x00\x00\x00at}J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
HOSTILE = {
    "dtype with fields": weights(SCALAR + b"(" + dtype(b"f8") + FIELDS + EIGHT_BYTES + b"tR"),
    "array of objects": weights(array(b"(K\x01t", b"O8", EIGHT_BYTES)),
    "array of objects in a list": weights(array(b"(K\x01t", b"O8", b"](K\x01e")),
    "array larger than its bytes": weights(array(b"(J\xff\xff\xff\x7ft", b"f8", EIGHT_BYTES)),
    "array smaller than its bytes": weights(array(b"(K\x00t", b"f8", EIGHT_BYTES)),
    "array of a negative size": weights(array(b"(J\xff\xff\xff\xffJ\xff\xff\xff\xfft", b"f8", EIGHT_BYTES)),
    "array of text": weights(array(b"(K\x01t", b"S8", EIGHT_BYTES)),
    "array of records": weights(array(b"(K\x01t", b"f8,f8", EIGHT_BYTES)),
    "array of bytes that are a number": weights(array(b"(K\x01t", b"f8", b"K\x07")),
    "array without a state": weights(ARRAY),
    "dtype of objects in a scalar": weights(SCALAR + b"(" + dtype(b"O8") + EIGHT_BYTES + b"tR"),
    "scalar smaller than its type": weights(SCALAR + b"(" + dtype(b"f8") + b"C\x01atR"),
    "shape of a tensor": weights(array(array(b"(K\x01t", b"i8", EIGHT_BYTES), b"f8", EIGHT_BYTES)),
    "bytes that are not there": b"\x80\x05\x8e" + struct.pack("<Q", 2**40) + b".",
    "bytearray that is not there": b"\x80\x05\x96" + struct.pack("<Q", 2**32) + b".",
    "bytearray of a number": weights(b"c__builtin__\nbytearray\n(\x8a\x06\x00\x00\x00\x00\x00\x10tR"),
    "nested key": b"\x80\x02}" + NESTED + b"K\x01s.",
    "nested key in a dict": b"\x80\x02(" + NESTED + b"K\x01d.",
    "nested key in a set": b"\x80\x04}X\x01\x00\x00\x00a\x8f(" + NESTED + b"\x90s.",
    "nested key in a frozen set": b"\x80\x04}X\x01\x00\x00\x00a(" + NESTED + b"\x91s.",
    "nested key in a called set": weights(b"c__builtin__\nset\n(](" + NESTED + b"etR"),
    "nested key in an ordered dict": weights(b"ccollections\nOrderedDict\n(](" + NESTED + b"K\x01\x86etR"),
    "nested key in a counter": weights(b"ccollections\nCounter\n(](" + NESTED + b"etR"),
    "nested lists": weights(b"]" * 500_000 + b"a" * 499_999),
    "nested value": weights(NESTED),
    "stack that is empty": b"\x80\x02b0ae.",
    "tensor called": weights(tensor(storage(2), 0, (2,), (1,)) + b")R"),
    "torch nested key": zipped(b"\x80\x02}" + NESTED + b"K\x01s."),
    "tensor beyond its storage": zipped(weights(tensor(storage(2), 0, (3,), (1,))), data__0=b"\0" * 8),
    "tensor before its storage": zipped(weights(tensor(storage(2), -1, (1,), (1,))), data__0=b"\0" * 8),
    "tensor of negative stride": zipped(weights(tensor(storage(2), 1, (2,), (-1,))), data__0=b"\0" * 8),
    "tensor of huge stride": zipped(weights(tensor(storage(2), 0, (2,), (2**62,))), data__0=b"\0" * 8),
    "tensor of wrapping stride": zipped(weights(tensor(storage(2), 0, (5,), (2**62,))), data__0=b"\0" * 8),
    "tensor of huge size": zipped(weights(tensor(storage(2), 0, (2**62, 2**62), (0, 0))), data__0=b"\0" * 8),
    "storage smaller than said": zipped(weights(tensor(storage(999), 0, (999,), (1,))), data__0=b"\0" * 8),
    "storage of a negative size": zipped(weights(tensor(storage(-2), 0, (2,), (1,))), data__0=b"\0" * 8),
    "storage of no whole number": zipped(weights(tensor(storage(2), 0, (1,), (1,))), data__0=b"\0" * 7),
}  # fmt: skip
STRANGE = {
    "array with its state given twice": weights(
        array(b"(K\x01t", b"f8", EIGHT_BYTES) + b"(K\x01(K\x09t" + dtype(b"O8") + b"\x89NtbNb"
    ),
    "memo far away": b"\x80\x02}r\xff\xff\xff\xff.",
    "frame that is not there": b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"}.",
}


@pytest.mark.parametrize("name", STRANGE)
def test_a_strange_file_does_no_harm(reader: Reader, name: str):
    assert reader.read(STRANGE[name]).startswith("read")
    assert reader.peak_memory() < 2 << 30


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_made_to_crash_is_refused(reader: Reader, name: str):
    answer = reader.read(HOSTILE[name])
    assert answer.startswith("refused"), answer
    assert "w.pth" in answer
    assert answer.count("(line)") < 2
    assert len(answer) < 600
    assert reader.peak_memory() < 2 << 30


def test_what_hostile_files_are_made_of_is_right_without_the_harm(reader: Reader):
    value = struct.pack("<d", 7)
    assert reader.read(weights(array(b"(K\x01t", b"f8", b"C\x08" + value))) == "read 7.0\n"
    pickled = weights(tensor(storage(2), 1, (1,), (1,)))
    assert reader.read(zipped(pickled, data__0=struct.pack("<2f", 3, 4))) == "read 4.0\n"


def test_a_tensor_beyond_its_storage_is_told_with_both_sizes():
    with pytest.raises(DamagedArray, match=r"shape \(2, 3\) goes beyond its storage of 5 values"):
        tensor_of(torch.zeros(5), 0, (2, 3), (3, 1))


def test_an_array_of_more_objects_than_there_are(reader: Reader):
    """NumPy's own way to build it reads beyond the list, which ends the process."""
    crash = b"\x80\x02" + ARRAY + b"(K\x01(K\x7ftcnumpy\ndtype\n(X\x01\x00\x00\x00OtR\x89]tb."
    assert reader.read(crash).startswith("refused")


NAMES = (
    *(
        "os.system",
        "posix.system",
        "subprocess.Popen",
        "shutil.rmtree",
        "runpy.run_path",
        "commands.getoutput",
    ),
    *("builtins.eval", "builtins.exec", "builtins.getattr", "__builtin__.open", "importlib.import_module"),
    *("torch.load", "numpy.load"),
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["pickle", "zip"])
def test_functions_that_run_code_are_named(tmp_path: Path, name: str, kind: str):
    module, _, function = name.rpartition(".")
    pickled = weights(f"c{module}\n{function}\n(X\x01\x00\x00\x00atR".encode())
    path = tmp_path / "w.pth"
    path.write_bytes(zipped(pickled) if kind == "zip" else pickled)
    expected = name.replace("__builtin__", "builtins")
    with pytest.raises(
        ValueError, match=rf"w\.pth cannot be read as a weight file: it refers to {expected}, "
    ):
        read_checkpoint(str(path))


class Called:
    """Calls a function of a module of the user's when it is unpickled without restrictions."""

    def __init__(self, *path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return shutil.copyfile, self.path


@pytest.mark.parametrize("kind", ["torch", "legacy", "pickle"])
def test_functions_of_other_modules_are_not_run(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "helpful_plugin.py").write_text("open('imported', 'w'); copyfile = None")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    content = {"model": {"a": torch.ones(2)}, "extra": Called(Path("a"), Path("b"))}
    path = tmp_path / "w.pth"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(content, 2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes().replace(b"cshutil\n", b"chelpful_plugin\n"))
    assert repr(read_checkpoint(str(path))["extra"]) == "<helpful_plugin.copyfile, not read>"
    assert not (tmp_path / "imported").exists()


def valid_files() -> dict[str, bytes]:
    """Small files of every format that is pickled; of the zips, the pickles inside."""
    values = torch.arange(6.0).reshape(2, 3)
    tensors = {
        "model": OrderedDict(a=values, b=values[:, 1:].half()),
        "iteration": 7,
        "names": ["x", ("y", None)],
    }
    arrays = {"blobs": {"w": np.ones((2, 2), np.float32), "b": np.arange(3)}, "lr": np.float64(0.5)}
    legacy, content = io.BytesIO(), io.BytesIO()
    torch.save(tensors, legacy, _use_new_zipfile_serialization=False)
    torch.save(tensors, content)
    with zipfile.ZipFile(content) as archive:
        zipped_pickle = next(archive.read(name) for name in archive.namelist() if name.endswith("data.pkl"))
    return {
        "arrays, protocol 0": pickle.dumps(arrays, 0),
        "arrays, protocol 2": pickle.dumps(arrays, 2),
        "arrays, protocol 5": pickle.dumps(arrays, 5),
        "tensors, protocol 4": pickle.dumps(tensors, 4),
        "legacy": legacy.getvalue(),
        "zip": zipped_pickle,
    }


FILES = valid_files()
OPCODES = b"()*.012BCFGIJKLMNPQRSTUVX]abcdefghijlopqrstu}" + bytes(range(0x80, 0x99))
EDITS = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),  # where
        st.integers(0, 4),  # bytes taken out there
        st.one_of(st.binary(max_size=6), st.lists(st.sampled_from(OPCODES), max_size=4).map(bytes)),
    ),
    min_size=1,
    max_size=6,
)


def edited(content: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    for where, num_removed, inserted in edits:
        start = int(where * len(content))
        content = content[:start] + inserted + content[start + num_removed :]
    return content


@pytest.mark.parametrize("kind", FILES)
def test_damaged_files_are_read_or_refused(reader: Reader, kind: str):
    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(edits=EDITS)
    def check(edits: list[tuple[float, int, bytes]]) -> None:
        content = edited(FILES[kind], edits)
        answer = reader.read(
            zipped(content, data__0=b"\0" * 24, data__1=b"\0" * 12) if kind == "zip" else content
        )
        assert answer.count("(line)") < 2
        assert reader.peak_memory() < 2 << 30

    check()

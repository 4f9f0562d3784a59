import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avis.files import ScratchFile, fit_name, read_source, remove_leftovers, replacing, write_json


def test_new_content_takes_the_place_of_the_old_when_it_is_complete(tmp_path: Path):
    path = tmp_path / "results.json"
    path.write_text("old")
    with replacing(path) as unfinished:
        unfinished.write_text("new")
        assert path.read_text() == "old"
        assert unfinished.suffix == path.suffix
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_error_leaves_the_old_content_and_nothing_else(tmp_path: Path):
    path = tmp_path / "results.json"
    path.write_text("old")
    with pytest.raises(OSError, match="disk full"), replacing(path) as unfinished:
        unfinished.write_text("ne")
        raise OSError("disk full")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_error_before_anything_is_written_is_the_one_that_is_seen(tmp_path: Path):
    with pytest.raises(ValueError, match="no frames"), replacing(tmp_path / "video.mp4"):
        raise ValueError("no frames")
    assert list(tmp_path.iterdir()) == []


def test_names_may_be_as_long_as_the_file_system_takes(tmp_path: Path):
    path = tmp_path / f"{'x' * 251}.npy"
    with replacing(path) as unfinished:
        unfinished.write_text("new")
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_two_writers_of_a_file_do_not_disturb_each_other(tmp_path: Path):
    path = tmp_path / "results.json"
    with replacing(path) as first, replacing(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"


def unfinished_name(process: int, host: str) -> str:
    return f".unfinished~{host}~{process}~0a1b2c3d.npy"


def test_leftovers_of_dead_processes_are_removed_and_nothing_else(tmp_path: Path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    host = socket.gethostname()
    dead = tmp_path / unfinished_name(ended.pid, host)
    kept = [
        tmp_path / unfinished_name(os.getpid(), host),
        tmp_path / unfinished_name(ended.pid, f"{host}-2"),
        tmp_path / unfinished_name(ended.pid, "elsewhere"),
        tmp_path / ".unfinished~notes",
        tmp_path / "clip.npy",
    ]
    for path in (dead, *kept):
        path.touch()
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(kept)
    remove_leftovers(tmp_path / "missing")


def test_what_replacing_leaves_is_known_as_leftover(tmp_path: Path):
    code = (
        "import os, sys; from avis.files import replacing\n"
        "with replacing(sys.argv[1]) as unfinished:\n"
        "    unfinished.touch(); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "clip.npy"])
    assert len(list(tmp_path.iterdir())) == 1
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_writing_sweeps_the_folder(tmp_path: Path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / unfinished_name(ended.pid, socket.gethostname())).touch()
    write_json(tmp_path / "a.json", [1])
    assert list(tmp_path.iterdir()) == [tmp_path / "a.json"]


def test_leftovers_of_an_earlier_process_of_this_number_are_removed(tmp_path: Path):
    """As in a container, where a program always has the same number."""
    leftover = tmp_path / unfinished_name(os.getpid(), socket.gethostname())
    leftover.touch()
    os.utime(leftover, (1, 1))
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["x" * 255, "x." + "y" * 253, "10:30", "é" * 127])
def test_names_of_every_kind_can_be_written(tmp_path: Path, name: str):
    write_json(tmp_path / name, [1])
    assert [path.name for path in tmp_path.iterdir()] == [name]


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=300), st.sampled_from(["", ".mp4", ".json"])
)
def test_names_are_cut_only_where_they_must(name: str, suffix: str):
    fitting = fit_name(name, suffix)
    assert fitting.endswith(suffix) and len(os.fsencode(fitting)) <= 255
    assert (fitting == name + suffix) == (len(os.fsencode(name + suffix)) <= 255)
    assert fit_name(name + "a", suffix) != fitting


def test_a_source_is_a_path_or_what_it_holds(tmp_path: Path):
    write_json(tmp_path / "a.json", [1])
    assert read_source(tmp_path / "a.json", "numbers") == (str(tmp_path / "a.json"), [1])
    assert read_source([1], "numbers") == ("numbers", [1])


def test_a_scratch_file_gives_back_what_was_written_where_it_was_written():
    file = ScratchFile()
    file.write(memoryview(b"later"), 100)
    file.write(memoryview(b"first"), 0)
    buffer = bytearray(5)
    for offset, expected in ((0, b"first"), (100, b"later"), (50, bytes(5))):
        file.read_into(memoryview(buffer), offset)
        assert buffer == expected
    with pytest.raises(EOFError, match="ends before byte 105"):
        file.read_into(memoryview(buffer), 102)
    file.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_full_disk_is_said_with_the_folder_and_what_to_do():
    file = ScratchFile()
    file._file.close()
    file._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115  closed by `close`
    with pytest.raises(OSError, match=rf"{file.folder}: .*No space left.*TMPDIR"):
        file.write(memoryview(b"more"), 0)
    file.close()


def test_leftovers_of_other_hosts_go_where_none_of_them_writes(tmp_path: Path):
    foreign, dead = (
        tmp_path / ".unfinished~other~1~abc.pth",
        tmp_path / f".unfinished~{socket.gethostname()}~999999999~a",
    )
    for path in (foreign, dead):
        path.touch()
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == [foreign]
    remove_leftovers(tmp_path, of_all_hosts=True)
    assert list(tmp_path.iterdir()) == []

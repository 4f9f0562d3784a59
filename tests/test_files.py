import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from avis.files import read_source, remove_leftovers, replacing, write_json


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


def test_a_source_is_a_path_or_what_it_holds(tmp_path: Path):
    write_json(tmp_path / "a.json", [1])
    assert read_source(tmp_path / "a.json", "numbers") == (str(tmp_path / "a.json"), [1])
    assert read_source([1], "numbers") == ("numbers", [1])

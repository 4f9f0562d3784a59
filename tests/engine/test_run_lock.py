import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from avis.engine import run_lock
from avis.engine.run_lock import LOCK, locked

HOLD = """
import sys, time
from pathlib import Path
from avis.engine.run_lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(run_lock, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(run_lock, "WATCH_SECONDS", 0.5)


def rewrite(lock: Path, **facts: object) -> None:
    lock.write_text(json.dumps(json.loads(lock.read_text()) | facts))


def test_folder_is_made_held_and_released(tmp_path: Path):
    folder = tmp_path / "a" / "b"
    with locked(folder):
        assert json.loads((folder / LOCK).read_text())["pid"] == os.getpid()
    assert list(folder.iterdir()) == []


def test_process_that_runs_is_named_and_one_that_was_killed_is_not_waited_for(tmp_path: Path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(FileExistsError, match=rf"is in use by process {holder.pid} on "),
            locked(tmp_path),
        ):
            pass
    finally:
        holder.kill()
        holder.communicate()
    assert (tmp_path / LOCK).exists()
    start = time.monotonic()
    with locked(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    assert time.monotonic() - start < run_lock.WATCH_SECONDS
    assert list(tmp_path.iterdir()) == []


def test_number_of_a_process_that_has_come_again_is_not_the_holder(tmp_path: Path):
    with locked(tmp_path):
        content = (tmp_path / LOCK).read_text()
    (tmp_path / LOCK).write_text(content)
    rewrite(tmp_path / LOCK, started="1")
    with locked(tmp_path):
        assert (tmp_path / LOCK).read_text() == content


@pytest.mark.parametrize("facts", [{"host": "other"}, {"namespace": "pid:[7]"}])
def test_another_hosts_lock_is_held_as_long_as_it_is_renewed(tmp_path: Path, facts: dict):
    with locked(tmp_path):
        rewrite(tmp_path / LOCK, **facts)
        with pytest.raises(FileExistsError, match="is in use by process"), locked(tmp_path):
            pass
    assert (tmp_path / LOCK).exists()  # no more his who made it
    with locked(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_lock_that_was_not_written_whole_is_taken_over(tmp_path: Path, content: str):
    (tmp_path / LOCK).write_text(content)
    with locked(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()


def test_of_many_that_find_a_dead_lock_one_gets_it(tmp_path: Path):
    with locked(tmp_path):
        content = (tmp_path / LOCK).read_text()
    (tmp_path / LOCK).write_text(content)
    rewrite(tmp_path / LOCK, started="1")
    start, outcomes = threading.Barrier(8), []

    def take() -> None:
        start.wait()
        try:
            with locked(tmp_path):
                outcomes.append("held")
                time.sleep(1)
        except FileExistsError:
            outcomes.append("refused")

    takers = [threading.Thread(target=take) for _ in range(8)]
    for taker in takers:
        taker.start()
    for taker in takers:
        taker.join()
    assert sorted(outcomes) == ["held"] + ["refused"] * 7
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").touch()
    for folder, reason in ((tmp_path / "file" / "run", "Not a directory"), (Path("/proc/1"), "")):
        message = rf"OUTPUT_DIR {folder} cannot be written \({reason}.*; choose another OUTPUT_DIR"
        with pytest.raises(OSError, match=message), locked(folder):
            pass

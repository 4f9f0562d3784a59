"""Weights of the zoo are downloaded once and whole, whatever servers, lines and processes do."""

import hashlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from avis.zoo import DownloadError, download, fetch
from tests.zoo.server import Files, serving, write_zoo

ROOT = Path(__file__).parents[2]
CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256, MD5 = hashlib.sha256(CONTENT).hexdigest(), hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def server():
    with serving({"/big.pth": CONTENT, "/moved.pkl": CONTENT}) as files:
        yield files


@pytest.fixture(autouse=True)
def cache(server: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a zoo of the files: with both kinds of digest, without, and a wrong one."""
    files = {
        "big": {"file": "big.pth", "sha256": SHA256[:8]},
        "old": {"file": "moved.pkl?download=1", "md5": MD5[:6]},
        "bare": {"file": "big.pth"},
        "wrong": {"file": "big.pth", "sha256": "0" * 8},
        "gone": {"file": "gone.pth"},
    }
    server.content["/moved.pkl?download=1"] = CONTENT
    monkeypatch.setenv("AVIS_ZOO", str(write_zoo(tmp_path / "zoo.yaml", server.address, **files)))
    monkeypatch.setenv("AVIS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("avis.zoo.download._PAUSES", (0.01,) * 4)
    return tmp_path / "cache"


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(("name", "file"), [("zoo://big", "big.pth"), ("old", "old.pkl")])
def test_a_file_is_fetched_once(server: Files, cache: Path, name: str, file: str):
    assert fetch(name) == fetch(name) == cache / file
    assert (cache / file).read_bytes() == CONTENT and len(server.requests) == 1
    assert names_in(cache) == [f".{file}.lock", file, f"{file}.json"]


def test_a_cut_connection_goes_on_where_it_was(server: Files, cache: Path):
    server.cut_after = [100_000, 50_000]
    assert fetch("big").read_bytes() == CONTENT
    ranges = [request.get("Range") for request in server.requests]
    assert ranges == [None, "bytes=100000-", "bytes=150000-"]
    assert {request.get("If-Range") for request in server.requests[1:]} == {'"one"'}


def test_a_line_that_always_breaks_leaves_what_has_come(server: Files, cache: Path):
    server.cut_after = [100_000, 0, 0, 0, 0]
    with pytest.raises(
        DownloadError, match=r"0\.1 of 0\.3 MB, 5 times in a row; 0\.1 MB have come"
    ) as raised:
        fetch("big")
    assert f"{server.address}/big.pth" in str(raised.value) and str(cache / "big.pth") in str(raised.value)
    assert not (cache / "big.pth").exists() and (cache / "big.pth.part").stat().st_size == 100_000
    assert fetch("big").read_bytes() == CONTENT
    assert server.requests[-1]["Range"] == "bytes=100000-"
    assert not (cache / "big.pth.part").exists()


def test_another_version_on_the_server_is_not_mixed_with_what_has_come(server: Files):
    server.cut_after = [100_000, 0, 0, 0, 0]
    with pytest.raises(DownloadError):
        fetch("bare")
    newer = CONTENT[::-1]
    server.content["/big.pth"], server.tag = newer, '"two"'
    assert fetch("bare").read_bytes() == newer


def test_without_a_mark_of_the_version_all_is_downloaded_anew(server: Files):
    server.tag, server.cut_after = "", [100_000]
    assert fetch("big").read_bytes() == CONTENT
    assert [request.get("Range") for request in server.requests] == [None, None]


@pytest.mark.parametrize("content", [CONTENT, CONTENT + b"more"])
def test_a_whole_part_is_taken_and_one_too_long_is_not(server: Files, cache: Path, content: bytes):
    cache.mkdir()
    (cache / "big.pth.part").write_bytes(content)
    (cache / "big.pth.part.version").write_text(f'["{server.address}/big.pth", "\\"one\\""]')
    assert fetch("big").read_bytes() == CONTENT
    assert len(server.requests) == (1 if content == CONTENT else 2)


def test_a_damaged_part_is_noticed_and_all_is_downloaded_anew(server: Files, cache: Path, caplog):
    cache.mkdir()
    (cache / "big.pth.part").write_bytes(b"\0" * 1000)
    (cache / "big.pth.part.version").write_text(f'["{server.address}/big.pth", "\\"one\\""]')
    assert fetch("big").read_bytes() == CONTENT
    assert "beginning anew" in caplog.text and len(server.requests) == 2


def test_a_busy_server_is_asked_again(server: Files):
    server.failures = [503, 429]
    assert fetch("big").read_bytes() == CONTENT and len(server.requests) == 3


def test_a_wrong_file_is_refused_and_not_kept(cache: Path, server: Files):
    with pytest.raises(ValueError, match="zoo://wrong: the file is not the published one") as raised:
        fetch("wrong")
    assert SHA256 in str(raised.value) and f"{server.address}/big.pth begins with 00000000" in str(
        raised.value
    )
    assert names_in(cache) == [".wrong.pth.lock"]


def test_a_missing_file_is_named_with_the_place_for_it(server: Files, cache: Path):
    with pytest.raises(DownloadError, match="the server says 404 Not Found") as raised:
        fetch("gone")
    assert f"{server.address}/gone.pth" in str(raised.value)
    assert f"save it as {cache / 'gone.pth'}" in str(raised.value) and "\n" not in str(raised.value)
    assert len(server.requests) == 1


def test_a_web_page_is_no_file(server: Files, cache: Path):
    server.content_type = "text/html; charset=utf-8"
    with pytest.raises(DownloadError, match="gives a web page, not a file"):
        fetch("bare")
    assert names_in(cache) == [".bare.pth.lock"]


def test_without_a_network_one_line_says_what_to_do(cache: Path, tmp_path: Path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        nobody = f"http://127.0.0.1:{listening.getsockname()[1]}"
    for address in (nobody, "http://host.invalid"):
        zoo = write_zoo(tmp_path / "zoo.yaml", address, far={"file": "far.pth"})
        monkeypatch.setenv("AVIS_ZOO", str(zoo))
        with pytest.raises(DownloadError, match=f"{address}/far.pth cannot be reached") as raised:
            fetch("far")
        assert f"save it as {cache / 'far.pth'}" in str(raised.value) and "\n" not in str(raised.value)


def test_a_file_for_browsers_is_taken_from_where_the_message_says(cache: Path):
    with pytest.raises(DownloadError, match=r"open https://1drv\.ms/\S+ in a browser") as raised:
        fetch("zoo://avism_R50")
    assert f"save it as {cache / 'avism_R50.pth'}" in str(raised.value)
    (cache / "avism_R50.pth").write_bytes(b"weights")
    assert fetch("zoo://avism_R50") == cache / "avism_R50.pth"


def test_a_file_put_there_by_hand_is_checked(cache: Path, server: Files):
    cache.mkdir()
    (cache / "big.pth").write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"big\.pth: the file is not the published one.*delete it"):
        fetch("big")
    (cache / "big.pth").write_bytes(CONTENT)
    assert fetch("big").read_bytes() == CONTENT and server.requests == []


def test_a_digest_that_is_not_published_is_noted_and_checked_later(cache: Path, caplog):
    caplog.set_level(logging.INFO)
    path = fetch("bare")
    assert f"no digest is published; its SHA-256 is {SHA256}" in caplog.text
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(ValueError, match=f"has changed.*says {SHA256}"):
        fetch("bare")
    (cache / "bare.pth.json").unlink()
    assert fetch("bare") == path


@pytest.mark.parametrize("file", ["moved.pth", "big.pth"])
def test_a_name_that_now_means_another_file_is_not_served_from_the_cache(
    server: Files, cache: Path, tmp_path: Path, file: str
):
    server.content["/moved.pth"] = CONTENT
    path = fetch("bare")
    digest = {"sha256": "0" * 8} if file == "big.pth" else {}
    write_zoo(tmp_path / "zoo.yaml", server.address, bare={"file": file, **digest})
    with pytest.raises(ValueError, match=r"is of http.*delete the file|is not the published one.*delete it"):
        fetch("bare")
    write_zoo(tmp_path / "zoo.yaml", server.address, bare={"file": file, "sha256": SHA256})
    assert fetch("bare") == path and len(server.requests) == 1


def test_no_room_on_the_disk_shows_before_anything_is_written(cache: Path, monkeypatch):
    monkeypatch.setattr("avis.zoo.download._check_room", lambda partial, _: check(partial, 10**18))
    with pytest.raises(DownloadError, match=r"MB free, 1000000000000 MB are needed: AVIS_CACHE"):
        fetch("big")


check = download._check_room


def start(*arguments: str) -> subprocess.Popen:
    command = [sys.executable, ROOT / "tools/zoo.py", *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )


def test_of_several_processes_one_downloads(server: Files, cache: Path):
    server.seconds = 0.02
    processes = [start("fetch", "big") for _ in range(3)]
    done = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], done
    assert {printed for printed, _ in done} == {f"{cache / 'big.pth'}\n"}
    assert len(server.requests) == 1
    assert any("another process fetches it; waiting" in log for _, log in done)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_leaves_what_the_next_one_goes_on_with(
    server: Files, cache: Path, number: signal.Signals
):
    server.seconds = 0.05
    process, part = start("fetch", "big"), cache / "big.pth.part"
    while not part.exists() or part.stat().st_size < 20_000:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    _, log = process.communicate(timeout=30)
    assert process.returncode == (-9 if number == signal.SIGKILL else 143) and "Traceback" not in log
    assert not (cache / "big.pth").exists()
    server.seconds = 0
    assert fetch("big").read_bytes() == CONTENT
    assert int(server.requests[-1]["Range"].removeprefix("bytes=").rstrip("-")) >= 20_000


def test_a_slow_download_says_how_far_it_is(server: Files, monkeypatch, capsys):
    monkeypatch.setattr("avis.zoo.download._SECONDS_BETWEEN_LINES", 0.2)
    server.seconds = 0.02
    fetch("big")
    lines = [line.strip() for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(lines) >= 2 and all(line.startswith("big.pth: ") for line in lines)
    assert "of 300k" in lines[0] and "left" in lines[0]

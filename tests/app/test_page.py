"""The page from end to end: in a headless Chromium, and by requests that mean no good."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.evaluation.chromium import find_chromium, open_browser
from tests.media.recordings import record, tone

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("gradio") is None,
        reason="there is no Gradio (bash tools/setup_env.sh --app)",
    ),
]
# Gradio's own, from its library of components.
HARMLESS = "Method not implemented."
PLAY = """(async () => {
    const video = document.querySelector("#overlay video");
    video.muted = true;
    await video.play();
})()"""
STATE = """(() => {
    const video = document.querySelector("#overlay video");
    return {seconds: video.duration, now: video.currentTime, heard: video.webkitAudioDecodedByteCount};
})()"""


@pytest.fixture(scope="module")
def served(weights, request, tmp_path_factory):
    """The address of the page, and the temporary folder that it works in."""
    folder = tmp_path_factory.mktemp("served")
    root = request.config.rootpath
    command = [
        sys.executable, root / "tools/app.py", "--weights", weights, "--port", "0", "--score-threshold", "0",
        "--max-seconds", "5", "--max-mb", "1",
    ]  # fmt: skip
    environment = os.environ | {"TMPDIR": str(folder)}
    with subprocess.Popen(command, cwd=root, env=environment, stderr=subprocess.PIPE, text=True) as process:
        said = ""
        while not (found := re.search(r"The page is at (http://127\.0\.0\.1:\d+);", said)):
            line = process.stderr.readline()
            assert line, said
            said += line
        yield found[1], folder
        process.send_signal(signal.SIGTERM)
        assert "Traceback" not in process.stderr.read()
    assert process.returncode == 128 + signal.SIGTERM
    assert not list(folder.glob("avis-app-*"))


def status_of(address: str) -> int:
    try:
        with urllib.request.urlopen(address, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def wait_until(happens: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("concert*") if path.suffix != ".crdownload"}


def test_files_elsewhere_are_not_served(served, request):
    address, folder = served
    (work,) = folder.glob("avis-app-*")
    readme = request.config.rootpath / "README.md"
    for path in (
        "/etc/passwd", "README.md", readme, work, f"{work}/../../../../etc/passwd",
        f"{work}/%2e%2e/%2e%2e/%2e%2e/etc/passwd", "https://example.com/", "http://127.0.0.1/",
    ):  # fmt: skip
        assert status_of(f"{address}/gradio_api/file={path}") in (403, 404), path
    served_file = work / "digest" / "note.txt"
    served_file.parent.mkdir()
    served_file.write_text("x")
    assert (
        status_of(f"{address}/gradio_api/file={served_file}") == 200
    )  # so the others were refused for a reason


@pytest.mark.skipif(find_chromium() is None, reason="there is no Chromium (apt-get install chromium)")
def test_a_video_goes_all_the_way(served, tmp_path):
    address, folder = served
    video = record(tmp_path / "concert.mp4", 2, sounds=(tone(2),), size=(96, 128))
    with open_browser(tmp_path / "profile") as browser:
        browser.open(address, width=1280)
        browser.wait_for("!!document.querySelector('#video input[type=file]')")
        browser.choose_file("#video input[type=file]", video)
        browser.wait_for(
            "document.querySelector('#status').innerText.includes('2.0 s, 128 × 96, with sound')"
        )
        browser.evaluate("document.querySelector('#start').click()")
        browser.wait_for("/Decoding|model|Drawing/.test(document.querySelector('#status').innerText)")
        browser.wait_for("document.querySelector('#status').innerText.includes('3 tracks')")
        first = browser.wait_for("document.querySelector('#overlay video')?.src")
        browser.evaluate(PLAY)
        browser.wait_for("document.querySelector('#overlay video').currentTime > 0.5")
        state = browser.evaluate(STATE)
        assert state["seconds"] == pytest.approx(2, abs=0.1) and state["heard"] > 0
        table = browser.evaluate("document.querySelector('#tracks').innerText")
        assert "category" in table and "0–2" in table
        browser.evaluate("document.querySelectorAll('#solo label')[2].click()")
        browser.wait_for(f"document.querySelector('#overlay video')?.src != {first!r}")
        browser.save_downloads(tmp_path / "downloads")
        browser.evaluate("document.querySelectorAll('[id^=get-]').forEach(button => button.click())")
        wanted = {"concert.json", "concert.csv", "concert_masks.zip"}
        wait_until(
            lambda: wanted < names_in(tmp_path / "downloads") and len(names_in(tmp_path / "downloads")) == 4
        )
        assert any(name.startswith("concert_2_") for name in names_in(tmp_path / "downloads"))
        overflow = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        assert not browser.evaluate(overflow)
        assert all(request.startswith((address, "blob:", "data:")) for request in browser.requests)
        said = [str(message) for message in browser.messages]
        assert [message for message in said if HARMLESS not in message] == []
        assert [path for path in folder.glob("avis-app-*/session-*") if any(path.iterdir())]
    (work,) = folder.glob("avis-app-*")
    wait_until(lambda: not list(work.glob("session-*")))  # the tab is closed


@pytest.mark.skipif(find_chromium() is None, reason="there is no Chromium (apt-get install chromium)")
def test_refusals_are_sentences_on_a_phone_too(served, tmp_path):
    address, _ = served
    with open_browser(tmp_path / "profile") as browser:
        browser.open(address, width=390)
        browser.wait_for("!!document.querySelector('#video input[type=file]')")
        browser.choose_file("#video input[type=file]", record(tmp_path / "long.mp4", 6))
        said = browser.wait_for("document.querySelector('.toast-body')?.innerText")
        assert "The video lasts 6.0 s. This page takes at most 5 s and 1 MB." in said
        assert "Traceback" not in said
        assert browser.evaluate("document.documentElement.scrollWidth") == 390

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

import pytest

from tests.evaluation.chromium import needs_chromium, open_browser
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
PLAY = "video => { video.muted = true; return video.play(); }"


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


@needs_chromium
def test_a_video_goes_all_the_way(served, tmp_path):
    address, folder = served
    video = record(tmp_path / "concert.mp4", 2, sounds=(tone(2),), size=(96, 128))
    with open_browser(width=1280) as (page, messages, requests):
        page.goto(address)
        page.locator("#video input[type=file]").set_input_files(video)
        status = page.locator("#status")
        status.get_by_text("2.0 s, 128 × 96, with sound").wait_for()
        page.locator("#start").click()
        status.get_by_text(re.compile("Decoding|model|Drawing")).first.wait_for()
        status.get_by_text("3 tracks").wait_for()
        overlay = page.locator("#overlay video")
        first = overlay.get_attribute("src")
        overlay.evaluate(PLAY)
        page.wait_for_function("document.querySelector('#overlay video').currentTime > 0.5")
        assert overlay.evaluate("video => video.duration") == pytest.approx(2, abs=0.1)
        assert overlay.evaluate("video => video.webkitAudioDecodedByteCount") > 0
        table = page.locator("#tracks").inner_text()
        assert "category" in table and "0–2" in table
        page.locator("#solo label").nth(2).click()
        page.locator(f"#overlay video:not([src='{first}'])").wait_for()
        names = set()
        for button in page.locator("[id^=get-]").all():
            with page.expect_download() as download:
                button.click()
            assert download.value.path().stat().st_size > 0
            names.add(download.value.suggested_filename)
        assert {"concert.json", "concert.csv", "concert_masks.zip"} < names and len(names) == 4
        assert any(name.startswith("concert_2_") for name in names)
        overflow = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        assert not page.evaluate(overflow)
        assert all(url.startswith((address, "blob:", "data:")) for url in requests)
        assert set(messages) <= {HARMLESS}
        assert [path for path in folder.glob("avis-app-*/session-*") if any(path.iterdir())]
    (work,) = folder.glob("avis-app-*")
    deadline = time.monotonic() + 60
    while list(work.glob("session-*")):  # until the tab's end is noticed
        assert time.monotonic() < deadline
        time.sleep(0.1)


@needs_chromium
def test_refusals_are_sentences_on_a_phone_too(served, tmp_path):
    address, _ = served
    with open_browser(width=390) as (page, _, _):
        page.goto(address)
        page.locator("#video input[type=file]").set_input_files(record(tmp_path / "long.mp4", 6))
        said = page.locator(".toast-body").inner_text()
        assert "The video lasts 6.0 s. This page takes at most 5 s and 1 MB." in said
        assert "Traceback" not in said
        assert page.evaluate("document.documentElement.scrollWidth") == 390

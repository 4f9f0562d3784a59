"""An overlay plays in a browser, picture and sound."""

import av
import numpy as np
import pytest

from avis.media.shown import at_rate
from avis.media.video import write_shown
from avis.structures import VideoPrediction
from avis.visualization import draw_video
from tests.evaluation.chromium import needs_chromium, open_browser
from tests.small_dataset import tones, write_wav

PAGE = '<video src="overlay.mp4" muted autoplay></video>'
# What the browser says of the video.
STATE = """(() => {
    const video = document.querySelector("video");
    return {error: video.error && video.error.message, ended: video.ended, seconds: video.duration,
            size: [video.videoWidth, video.videoHeight], heard: video.webkitAudioDecodedByteCount};
})()"""


@pytest.fixture
def overlay(tmp_path):
    write_wav(tmp_path / "sound.wav", tones(1, 2))
    pictures = [np.full((49, 63, 3), 20 * index, np.uint8) for index in range(12)]
    drawn = draw_video(at_rate(pictures, 12), VideoPrediction("clip", 49, 63, 1, []), [], fps=1)
    write_shown(tmp_path / "overlay.mp4", drawn, tmp_path / "sound.wav")
    return tmp_path / "overlay.mp4"


def test_it_is_made_for_browsers(overlay):
    with av.open(str(overlay)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, video.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert video.width % 2 == video.height % 2 == 0
        assert audio.codec_context.name == "aac"
    content = overlay.read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")


@needs_chromium
def test_it_plays_in_chromium(overlay):
    overlay.with_name("page.html").write_text(PAGE)
    with open_browser(width=900) as (page, _, _):
        page.goto(overlay.with_name("page.html").as_uri())
        page.wait_for_function("(video => video.ended || video.error)(document.querySelector('video'))")
        state = page.evaluate(STATE)
        assert state["error"] is None and state["ended"]
        assert state["seconds"] == pytest.approx(1, abs=0.05)
        assert state["heard"] > 0
        assert state["size"][0] == 618 and state["size"][1] > 480

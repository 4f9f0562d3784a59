"""What the page takes and refuses."""

import wave

import av
import numpy as np
import pytest

from avis.app import Limits, Refused
from tests.media.recordings import HEIGHT, WIDTH, record, tone

LIMITS = Limits(max_seconds=5, max_megabytes=1)


def test_a_video_is_described(tmp_path):
    facts = LIMITS.check(record(tmp_path / "concert.mp4", 2, sounds=(tone(2),)))
    assert (facts.width, facts.height, facts.has_sound) == (WIDTH, HEIGHT, True)
    assert facts.seconds == pytest.approx(2, abs=0.01)
    assert str(facts) == "concert.mp4: 2.0 s, 48 × 32, with sound."
    assert "without sound" in str(LIMITS.check(record(tmp_path / "quiet.mp4", 1)))


def test_a_recording_without_length_in_its_header_is_measured(tmp_path):
    """As browsers record them: a stream, whose header is written first."""
    with (
        av.open(str(record(tmp_path / "film.mp4", 6))) as source,
        av.open(str(tmp_path / "live.mkv"), "w", format="matroska", options={"live": "1"}) as output,
    ):
        stream = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                output.mux(packet)
    with av.open(str(tmp_path / "live.mkv")) as container:
        assert not container.duration
    with pytest.raises(Refused, match=r"lasts 6\.0 s. This page takes at most 5 s and 1 MB"):
        LIMITS.check(tmp_path / "live.mkv")


def test_what_is_too_large_or_too_long_is_refused(tmp_path):
    (tmp_path / "large.mp4").write_bytes(bytes(1_500_000))
    with pytest.raises(Refused, match=r"^The file has 1\.5 MB"):
        LIMITS.check(tmp_path / "large.mp4")
    with pytest.raises(Refused, match=r"^The video lasts 6\.0 s"):
        LIMITS.check(record(tmp_path / "long.mp4", 6))
    with pytest.raises(Refused, match="have 4112 × 2304 pixels"):
        LIMITS.check(record(tmp_path / "huge.mp4", 1, size=(2304, 4112)))


@pytest.mark.parametrize(
    ("name", "content"), [("notes.mp4", b"not a video"), ("empty.mp4", b""), ("page.mp4", b"<html></html>")]
)
def test_what_is_no_video_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Refused, match=f"^{name} is no video") as refused:
        LIMITS.check(tmp_path / name)
    assert str(tmp_path) not in str(refused.value)


def test_sound_alone_is_refused(tmp_path):
    with wave.open(str(tmp_path / "song.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(np.zeros(8000, "<i2").tobytes())
    with pytest.raises(Refused):
        LIMITS.check(tmp_path / "song.wav")


def test_a_playlist_does_not_open_other_files(tmp_path):
    """FFmpeg tells formats by content: an upload may name files of this machine as its parts."""
    record(tmp_path / "private.ts", 1)
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nprivate.ts\n#EXT-X-ENDLIST\n"
    (tmp_path / "innocent.m3u8").write_text(playlist)
    with av.open(str(tmp_path / "innocent.m3u8")) as container:
        assert container.streams.video  # it would work
    with pytest.raises(Refused, match="is no video"):
        LIMITS.check(tmp_path / "innocent.m3u8")

"""Parts of videos: what lies before is decoded as far as it is needed, and the pictures are the same."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avis.media.demuxing import decoded_frames, open_media, video_streams
from avis.media.video import decode_video, shown_pictures

FPS, SECONDS = 20, 8
KINDS = {
    "closed groups": ("a.mp4", "libx264", {"g": "20", "bf": "2"}),
    "open groups": ("b.mkv", "libx264", {"g": "20", "bf": "3", "x264-params": "open-gop=1"}),
    "transport stream": ("c.ts", "libx264", {"g": "20", "bf": "2"}),
    "no second keyframe": ("d.mp4", "libx264", {"g": "999", "x264-params": "intra-refresh=1"}),
    "MPEG-4 without times": ("e.avi", "mpeg4", {"g": "12", "bf": "2"}),
    "VP9": ("f.webm", "libvpx-vp9", {"g": "20", "auto-alt-ref": "1", "lag-in-frames": "10"}),
}


def write(path: Path, codec: str, options: dict[str, str], holes: bool = False) -> Path:
    """A video of moving noise, which no frame can guess of another."""
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 255, (64, 400, 3), np.uint8)
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for index in range(FPS * SECONDS):
            if holes and index % 7 in (2, 3):
                continue
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(noise[:, index : index + 64]), "rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("videos")
    made = {kind: write(folder / name, *how) for kind, (name, *how) in KINDS.items()}
    return made | {"holes": write(folder / "g.mp4", *KINDS["closed groups"][1:], holes=True)}


@pytest.mark.parametrize("kind", [*KINDS, "holes"])
@settings(max_examples=8, deadline=None)
@given(start=st.floats(0, SECONDS - 0.5), fps=st.sampled_from([1, 3, FPS, 50]))
def test_pictures_are_those_of_the_whole_video(videos: dict, kind: str, start: float, fps: int):
    path, start = videos[kind], round(start, 3)
    shown = list(shown_pictures(path))
    wanted = [start + index / fps for index in range(3) if start + index / fps < float(shown[-1].end)]
    expected = [next(s.content for s in shown if time < s.end - Fraction(1, 10**6)) for time in wanted]
    found = [picture for picture, _ in zip(decode_video(path, fps, start), wanted, strict=False)]
    np.testing.assert_array_equal(found, expected[: len(found)])
    assert len(found) >= len(wanted) - 1


@pytest.mark.parametrize("kind", ["closed groups", "open groups", "VP9", "holes"])
def test_pictures_before_are_not_decoded(videos: dict, kind: str):
    with open_media(videos[kind]) as container:
        (stream,) = video_streams(container)
        frames = list(decoded_frames(container, stream, videos[kind], start=6.0))
    times = [float(frame.pts * frame.time_base) for frame in frames]
    first, *others = [time - times[0] for time in times]
    assert first == 0 and 3 < min(others) <= 5
    assert max(others) == pytest.approx(SECONDS - 1 / FPS, abs=0.11)

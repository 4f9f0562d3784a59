"""Real recordings: broken clocks, joined and cut files, odd pixels, several tracks, unknown sound."""

import io
import logging
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from avis.media.errors import MediaError
from avis.media.video import decode_video, find_track, has_audio_stream, read_waveform, write_video
from tests.media.recordings import (
    HEIGHT,
    RATE,
    WIDTH,
    onset,
    record,
    remux,
    shown_seconds,
    tone,
)


@pytest.fixture
def warnings(caplog):
    caplog.set_level(logging.WARNING, logger="avis")
    return lambda: [line.message for line in caplog.records]


@pytest.mark.parametrize("sounds", [(), (tone(2, begin=1),)])
def test_joined_recordings_go_on_where_the_clock_restarts(tmp_path, warnings, sounds):
    parts = [record(tmp_path / f"{n}.ts", 2, first=2 * n, sounds=sounds) for n in range(3)]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert shown_seconds(decode_video(joined, 2)) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert len(list(decode_video(joined, 1))) == 6
    (warning,) = warnings()
    assert "joined.ts: the clock of the recording restarts or jumps at 2.0 s" in warning
    if sounds:
        waveform, rate = read_waveform(joined)
        for second in range(6):
            middle = waveform[round((second + 0.3) * rate) : round((second + 0.7) * rate)]
            assert (np.abs(middle).max() > 0.3) == second % 2, second


@pytest.mark.parametrize("suffix", ["ts", "mkv", "mp4"])
@pytest.mark.parametrize("sounds", [(), (tone(4, begin=2),)])
def test_a_jump_of_the_clock_is_no_time(tmp_path, warnings, suffix, sounds):
    path = record(tmp_path / f"jump.{suffix}", 4, sounds=sounds, times={2: 1000.0})
    assert shown_seconds(decode_video(path)) == [0, 1, 2, 3]
    assert ["jumps at 2.0 s" in warning for warning in warnings()] == [True]
    if sounds:
        assert onset(*read_waveform(path)) == pytest.approx(2, abs=0.1)
        write_video(tmp_path / "out.mp4", decode_video(path), 1, audio_from=path)
        assert onset(*read_waveform(tmp_path / "out.mp4")) == pytest.approx(2, abs=0.1)


def test_a_picture_held_while_the_sound_goes_on_is_held(tmp_path, warnings):
    """A recorded screen on which nothing moves."""
    source = record(tmp_path / "a.mkv", 2, sounds=(tone(20, begin=19),))
    remux(
        source,
        tmp_path / "screen.mkv",
        lambda packet: 17 if packet.stream.type == "video" and packet.pts >= 1000 else 0,
    )
    frames = shown_seconds(decode_video(tmp_path / "screen.mkv"))
    assert frames == [0] * 18 + [1]
    assert onset(*read_waveform(tmp_path / "screen.mkv")) == pytest.approx(19, abs=0.1)
    assert warnings() == []


def test_a_hole_in_the_sound_is_silence(tmp_path):
    source = record(tmp_path / "whole.mkv", 4, sounds=(tone(4, begin=3),))
    remux(
        source,
        tmp_path / "hole.mkv",
        lambda packet: None if packet.stream.type == "audio" and 1000 < packet.pts < 2500 else 0,
    )
    assert onset(*read_waveform(tmp_path / "hole.mkv")) == pytest.approx(3, abs=0.1)
    write_video(tmp_path / "out.mp4", decode_video(tmp_path / "hole.mkv"), 1, tmp_path / "hole.mkv")
    assert onset(*read_waveform(tmp_path / "out.mp4")) == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize("suffix", ["ts", "h264"])
def test_frames_that_change_their_size_are_fitted_into_the_first(tmp_path, warnings, suffix):
    parts = [
        record(tmp_path / f"{n}.{suffix}", 2, first=2 * n, size=size)
        for n, size in enumerate([(HEIGHT, WIDTH), (WIDTH, HEIGHT)])
    ]
    joined = tmp_path / f"call.{suffix}"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames = list(decode_video(joined, 5))
    assert {frame.shape for frame in frames} == {(HEIGHT, WIDTH, 3)}
    turned = frames[-1].mean(axis=2)
    assert turned[:, WIDTH // 2].min() > 100 and turned[:, [0, -1]].max() < 10  # bars left and right
    (warning,) = [line for line in warnings() if "change their size" in line]
    assert f"call.{suffix}: the frames change their size from 32×48 to 48×32 at " in warning


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize(("aspect", "width"), [(Fraction(4, 3), 64), (Fraction(1, 2), 24), (None, 48)])
def test_pixels_are_made_square(tmp_path, suffix, aspect, width):
    path = record(tmp_path / f"wide.{suffix}", 1, pixel_aspect=aspect)
    assert next(decode_video(path)).shape == (HEIGHT, width, 3)


def cut(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: round(share * len(content))])
    return path


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "flv"])
def test_of_a_cut_video_is_said_how_much_is_missing(tmp_path, warnings, suffix):
    rng = np.random.default_rng(0)
    whole = record(tmp_path / f"whole.{suffix}", 6, sounds=(rng.uniform(-0.5, 0.5, 6 * RATE),))
    if suffix == "mp4":  # with its index ahead of the frames
        whole = remux(whole, tmp_path / "early_whole.mp4", options={"movflags": "faststart"})
    assert len(list(decode_video(whole))) == 6 and warnings() == []
    frames = len(list(decode_video(cut(whole, 0.5))))
    assert 2 <= frames <= 4
    (warning,) = [line for line in warnings() if "cut off" in line]
    assert f"whole.{suffix}: cut off: " in warning and " of 6." in warning
    assert 2.0 <= float(warning.split("cut off: ")[1].split(" of")[0]) <= 4.0
    assert read_waveform(whole)[0].size <= 4 * RATE


def test_a_sound_longer_than_the_picture_is_no_cut(tmp_path, warnings):
    path = record(tmp_path / "long.mkv", 2, sounds=(tone(5),))
    assert len(list(decode_video(path))) == 2
    assert warnings() == []


def test_a_damaged_part_is_left_out(tmp_path, warnings):
    path = record(tmp_path / "a.mkv", 6, sounds=(tone(6, begin=5),))
    with av.open(str(path)) as container:
        hit = [packet for packet in container.demux(video=0) if packet.pts in (2100, 2200, 2300)]
    content = bytearray(path.read_bytes())
    for packet in hit:
        where = content.index(bytes(packet))
        content[where : where + packet.size] = b"\xff" * packet.size
    path.write_bytes(content)
    assert shown_seconds(decode_video(path)) == [0, 1, 2, 3, 4, 5]
    assert ["damaged" in line for line in warnings()] == [True]


def add_cover(path, video_codec=None):
    """A sound file with a cover picture, as music shops sell them."""
    picture = io.BytesIO()
    Image.new("RGB", (60, 60), (255, 0, 0)).save(picture, "JPEG")
    with av.open(str(path), "w", format="mp3" if path.suffix == ".mp3" else "mp4") as output:
        cover = output.add_stream("mjpeg", rate=1)
        cover.width = cover.height = 60
        cover.pix_fmt = "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        video = output.add_stream(video_codec, rate=10) if video_codec else None
        if video:
            video.height, video.width, video.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        audio = output.add_stream("libmp3lame" if path.suffix == ".mp3" else "aac", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone()[None].astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
        packet = av.Packet(picture.getvalue())
        packet.stream, packet.pts, packet.dts, packet.time_base = cover, 0, 0, Fraction(1, 1)
        output.mux(packet)
        for _ in range(20 if video else 0):
            output.mux(video.encode(av.VideoFrame.from_ndarray(np.full((HEIGHT, WIDTH, 3), 110, np.uint8))))
        output.mux(video.encode(None) if video else [])
        blocks = av.AudioResampler(format=audio.format, frame_size=audio.frame_size)
        for block in [*blocks.resample(frame), *blocks.resample(None)]:
            output.mux(audio.encode(block))
        output.mux(audio.encode(None))
    return path


@pytest.mark.parametrize("name", ["song.mp3", "song.m4a"])
def test_cover_art_is_no_video(tmp_path, name):
    path = add_cover(tmp_path / name)
    with av.open(str(path)) as container:
        assert container.streams.video  # FFmpeg calls it one
    with pytest.raises(MediaError, match=rf"{name}: the file has no video stream, only cover art"):
        next(decode_video(path))
    assert onset(*read_waveform(path)) < 0.1


def test_cover_art_before_the_video_is_passed(tmp_path):
    path = add_cover(tmp_path / "film.mp4", "libx264")
    frames = list(decode_video(path, 5))
    assert len(frames) == 10 and frames[0].shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_allclose(np.mean(frames), 110, atol=3)


def lose_decoder(path):
    """Rename the sound's codec to one that nobody has."""
    path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_XYZ"))
    return path


def test_sound_without_a_decoder_is_none_with_a_warning(tmp_path, warnings):
    path = lose_decoder(record(tmp_path / "a.mkv", 2, sounds=(tone(),)))
    assert not has_audio_stream(path)
    assert shown_seconds(decode_video(path)) == [0, 1]
    write_video(tmp_path / "out.mp4", decode_video(path), 1, audio_from=path)
    assert not has_audio_stream(tmp_path / "out.mp4")
    with pytest.raises(MediaError, match=r"a\.mkv: there is no decoder for its sound"):
        read_waveform(path)
    assert ["no decoder for its sound" in line for line in warnings()] == [True]


def test_sound_that_no_packet_of_decodes_is_none(tmp_path, warnings):
    path = record(tmp_path / "a.mkv", 2, sounds=(tone(),))
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(audio=0) if packet.size]
    for packet in packets:
        where = content.index(packet)
        content[where : where + len(packet)] = b"\xff" * len(packet)
    path.write_bytes(content)
    assert not has_audio_stream(path)
    assert ["no decoder for its sound" in line for line in warnings()] == [True]


QUIET = tone(2, amplitude=0)


@pytest.mark.parametrize(
    ("sounds", "heard"),
    [
        ((QUIET, tone()), 1),
        ((tone(), QUIET), 0),
        ((QUIET, QUIET, tone(2, begin=1.8)), 2),
        ((QUIET, QUIET), 0),
    ],
)
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_the_first_track_that_is_not_silent_is_heard(tmp_path, warnings, suffix, sounds, heard):
    path = record(tmp_path / f"tracks.{suffix}", 2, sounds=sounds)
    assert find_track(path) == heard
    assert (np.abs(read_waveform(path)[0]).max() > 0.3) == sounds[heard].any()
    (warning,) = warnings()
    assert f"track {heard} is heard" in warning
    write_video(tmp_path / "out.mp4", decode_video(path), 1, audio_from=path)
    assert (np.abs(read_waveform(tmp_path / "out.mp4")[0]).max() > 0.3) == sounds[heard].any()


def test_a_track_can_be_chosen(tmp_path):
    path = record(tmp_path / "tracks.mkv", 2, sounds=(tone(2, begin=0), tone(2, begin=1)))
    assert onset(*read_waveform(path, track=1)) == pytest.approx(1, abs=0.1)
    write_video(tmp_path / "out.mp4", decode_video(path), 1, audio_from=path, audio_track=1)
    assert onset(*read_waveform(tmp_path / "out.mp4")) == pytest.approx(1, abs=0.1)
    with pytest.raises(MediaError, match=r"tracks\.mkv: there is no audio track 2, the file has 2"):
        read_waveform(path, track=2)


def test_a_silent_track_without_decoder_is_passed(tmp_path):
    path = record(tmp_path / "tracks.mkv", 2, sounds=(tone(), tone(2, begin=1)))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"A_AAC", b"A_XYZ", 1))
    assert find_track(path) == 1
    with pytest.raises(MediaError, match="no decoder for audio track 0"):
        find_track(path, 0)


def test_sound_whose_rate_changes_midway_keeps_its_pace(tmp_path):
    parts = []
    for number, rate in enumerate((44100, 22050)):
        with av.open(str(tmp_path / f"{number}.ts"), "w") as output:
            stream = output.add_stream("aac", rate=rate, layout="mono")
            sound = tone(4, begin=1)[:: 44100 // rate][: 2 * rate]
            frame = av.AudioFrame.from_ndarray(sound[None].astype(np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
            blocks = av.AudioResampler(format=stream.format, frame_size=stream.frame_size)
            for block in [*blocks.resample(frame), *blocks.resample(None)]:
                output.mux(stream.encode(block))
            output.mux(stream.encode(None))
        parts.append((tmp_path / f"{number}.ts").read_bytes())
    (tmp_path / "joined.ts").write_bytes(b"".join(parts))
    waveform, rate = read_waveform(tmp_path / "joined.ts")
    assert len(waveform) / rate == pytest.approx(4, abs=0.2)
    assert np.abs(waveform[: round(0.8 * rate)]).max() < 0.1
    assert onset(waveform[round(2.3 * rate) :], rate) == pytest.approx(0.7, abs=0.15)


def test_an_overlays_colours_are_tagged_and_come_back(tmp_path):
    colors = np.array([[200, 40, 40], [40, 180, 60], [50, 60, 210], [230, 220, 40], [128, 128, 128]])
    picture = np.repeat(np.repeat(colors, 256, axis=0)[None], 720, axis=0).astype(np.uint8)
    write_video(tmp_path / "out.mp4", [picture] * 2, 1)
    with av.open(str(tmp_path / "out.mp4")) as container:
        context = container.streams.video[0].codec_context
        tags = context.colorspace, context.color_primaries, context.color_trc, context.color_range
        frame = next(container.decode(video=0))
    assert tags == (1, 1, 1, 1)
    shown = next(decode_video(tmp_path / "out.mp4"))
    np.testing.assert_allclose(shown[360, 128::256], colors, atol=3)
    luma, _, _ = frame.reformat(format="yuv444p").to_ndarray()
    expected = 16 + 219 / 255 * (colors @ [0.2126, 0.7152, 0.0722])  # ITU-R BT.709
    np.testing.assert_allclose(luma[360, 128::256], expected, atol=2)

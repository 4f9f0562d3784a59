import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from avis.media.errors import MediaError
from avis.media.shown import Shown
from avis.media.video import (
    decode_video,
    has_audio_stream,
    read_comment,
    read_peaks,
    read_waveform,
    write_shown,
    write_video,
)
from tests.small_dataset import write_wav

FPS, SECONDS, AAC_RATE = 10, 3, 44100
HEIGHT, WIDTH = 32, 48


def grey(index):
    return 20 + 6 * index


def stereo_sound(seconds=SECONDS):
    """A click at 1.5 s, left only, over silence: (2, N)."""
    sound = np.zeros((2, seconds * AAC_RATE), np.float32)
    sound[0, 3 * AAC_RATE // 2 :][:300] = 0.8
    return sound


def mux(path, num_frames=SECONDS * FPS, codec=None, sound=None):
    """A video whose frame i is a plane of grey(i), at FPS, with stereo sound at 44.1 kHz where given."""
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=FPS, options={"crf": "1"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = output.add_stream(codec, rate=AAC_RATE, layout="stereo") if codec else None
        for index in range(num_frames):
            picture = np.full((HEIGHT, WIDTH, 3), grey(index), np.uint8)
            picture[: HEIGHT // 4, : WIDTH // 4] = 255  # tells the corners apart
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        if audio:
            frame = av.AudioFrame.from_ndarray(sound, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = AAC_RATE, 0, Fraction(1, AAC_RATE)
            blocks = av.AudioResampler(format=audio.format, frame_size=audio.frame_size)
            for block in [*blocks.resample(frame), *blocks.resample(None)]:
                output.mux(audio.encode(block))
            output.mux(audio.encode(None))
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return mux(tmp_path_factory.mktemp("media") / "clip.mp4", codec="aac", sound=stereo_sound())


def levels(frames):
    """The grey of each frame's middle; H.264 keeps it within 2."""
    return [int(frame[HEIGHT // 2, WIDTH // 2].mean()) for frame in frames]


@pytest.mark.parametrize(
    ("fps", "shown"),
    [(1, [0, 10, 20]), (2.5, [0, 4, 8, 12, 16, 20, 24, 28]), (3, [0, 3, 6, 10, 13, 16, 20, 23, 26])],
)
def test_frames_are_those_on_screen_at_their_times(clip, fps, shown):
    frames = list(decode_video(clip, fps))
    assert frames[0].shape == (HEIGHT, WIDTH, 3) and frames[0].dtype == np.uint8
    np.testing.assert_allclose(levels(frames), [grey(index) for index in shown], atol=2)


def test_more_frames_than_the_video_has_repeat(clip):
    frames = list(decode_video(clip, 20))
    np.testing.assert_allclose(levels(frames), [grey(index // 2) for index in range(60)], atol=2)


def test_pictures_are_turned_as_the_file_says(clip, tmp_path):
    content = bytearray(clip.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40  # ISO 14496-12: the matrix of a version 0 track header
    one, minus_one = (1 << 16).to_bytes(4, "big"), (-(1 << 16)).to_bytes(4, "big", signed=True)
    zero = bytes(4)
    content[matrix : matrix + 36] = b"".join(
        [zero, one, zero, minus_one, zero, zero, zero, zero, (1 << 30).to_bytes(4, "big")]
    )
    turned = tmp_path / "turned.mp4"
    turned.write_bytes(content)
    frame = next(decode_video(turned))
    assert frame.shape == (WIDTH, HEIGHT, 3)
    assert frame[:8, -5:].min() > 200 and frame[:8, :5].max() < 100  # a quarter turn clockwise


def test_sound_is_the_mean_of_the_channels_at_its_time(clip):
    waveform, rate = read_waveform(clip)
    assert rate == AAC_RATE and waveform.dtype == np.float32
    # AAC fills its last block: less than 1024 samples more.
    assert 0 <= len(waveform) - SECONDS * AAC_RATE < 1024
    loud = np.flatnonzero(np.abs(waveform) > 0.2)
    assert abs(loud[0] - 1.5 * AAC_RATE) < 20 and abs(loud[-1] - 1.5 * AAC_RATE - 300) < 20
    assert np.abs(waveform).max() == pytest.approx(0.4, abs=0.1)


def test_a_part_of_a_wav_is_the_part_of_the_whole(tmp_path):
    write_wav(tmp_path / "a.wav", np.random.default_rng(0).uniform(-1, 1, (48000, 2)))
    whole, _ = read_waveform(tmp_path / "a.wav")
    assert len(whole) == 48000
    part, _ = read_waveform(tmp_path / "a.wav", 1.7, 0.5)
    np.testing.assert_array_equal(part, whole[27200 : 27200 + 8000])
    before, _ = read_waveform(tmp_path / "a.wav", -0.1, 0.5)
    np.testing.assert_array_equal(before, np.concatenate([np.zeros(1600), whole[:6400]]))
    end, _ = read_waveform(tmp_path / "a.wav", 2.9, 0.5)
    np.testing.assert_array_equal(end, whole[46400:])
    assert len(read_waveform(tmp_path / "a.wav", 7.0, 0.5)[0]) == 0


def write_with_ffmpeg(path, codec, channels, num_samples=5000, rate=22050):
    """Noise in a WAV of FFmpeg's making; returns what FFmpeg reads from it, (channels, N) within [-1, 1]."""
    noise = np.random.default_rng(0).uniform(-1, 1, (channels, num_samples)).astype(np.float32)
    layout = {1: "mono", 2: "stereo", 3: "2.1"}[channels]
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(noise, format="fltp", layout=layout)
        frame.sample_rate = rate
        for block in av.AudioResampler(format=stream.format).resample(frame):
            output.mux(stream.encode(block))
        output.mux(stream.encode(None))
    to_float = av.AudioResampler(format="fltp")
    with av.open(str(path)) as file:
        blocks = [block.to_ndarray() for frame in file.decode(audio=0) for block in to_float.resample(frame)]
    return np.concatenate(blocks, axis=1)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize(
    "codec", [f"pcm_{kind}" for kind in ("u8", "s16le", "s24le", "s32le", "f32le", "f64le")]
)
def test_wavs_of_all_kinds_are_read_as_ffmpeg_reads_them(tmp_path, codec, channels):
    expected = write_with_ffmpeg(tmp_path / "a.wav", codec, channels).mean(axis=0)
    waveform, rate = read_waveform(tmp_path / "a.wav")
    assert rate == 22050 and len(waveform) == 5000
    # FFmpeg rounds 32-bit integers to float32 in another order than the mean.
    np.testing.assert_allclose(waveform, expected, atol=1e-6)
    part, _ = read_waveform(tmp_path / "a.wav", 0.1, 0.05)
    np.testing.assert_array_equal(part, waveform[2205 : 2205 + 1102])


def test_a_compressed_wav_is_read(tmp_path):
    expected = write_with_ffmpeg(tmp_path / "a.wav", "pcm_mulaw", 1)[0]
    np.testing.assert_array_equal(read_waveform(tmp_path / "a.wav")[0], expected)


def test_a_video_without_sound_says_so(tmp_path):
    silent = mux(tmp_path / "silent.mp4", num_frames=3)
    assert not has_audio_stream(silent)
    with pytest.raises(MediaError, match=r"silent\.mp4: the file has no audio stream"):
        read_waveform(silent)


def test_a_sound_file_has_no_frames(tmp_path):
    write_wav(tmp_path / "a.wav", np.zeros(100))
    with pytest.raises(MediaError, match=r"a\.wav: the file has no video stream"):
        next(decode_video(tmp_path / "a.wav"))


@pytest.mark.parametrize("read", [lambda path: next(decode_video(path)), read_waveform, has_audio_stream])
def test_missing_and_unreadable_files_are_named(read, tmp_path):
    with pytest.raises(MediaError, match=r"none\.mp4: no such file"):
        read(tmp_path / "none.mp4")
    (tmp_path / "text.mp4").write_text("no video " * 100)
    with pytest.raises(MediaError, match=r"text\.mp4: cannot be decoded"):
        read(tmp_path / "text.mp4")


def test_a_written_video_has_the_frames_and_the_original_packets_of_sound(clip, tmp_path):
    frames = list(decode_video(clip, 1))
    write_video(tmp_path / "out.mp4", iter(frames), 1, audio_from=clip)
    np.testing.assert_allclose(levels(decode_video(tmp_path / "out.mp4", 1)), levels(frames), atol=4)
    np.testing.assert_array_equal(read_waveform(tmp_path / "out.mp4")[0], read_waveform(clip)[0])
    assert os.listdir(tmp_path) == ["out.mp4"]


@pytest.mark.parametrize("sample_rate", [16000, 44100])
def test_other_sound_is_encoded_and_ends_with_the_video(tmp_path, sample_rate):
    time = np.arange(5 * sample_rate) / sample_rate
    write_wav(tmp_path / "long.wav", 0.5 * np.sin(2 * np.pi * 440 * time) * (time > 1), sample_rate)
    frames = [np.zeros((33, 47, 3), np.uint8)] * 3
    write_video(tmp_path / "out.mp4", frames, 1, audio_from=tmp_path / "long.wav")
    assert next(decode_video(tmp_path / "out.mp4")).shape == (34, 48, 3)
    waveform, rate = read_waveform(tmp_path / "out.mp4")
    assert len(waveform) == pytest.approx(3 * rate, abs=2048)
    onset = np.flatnonzero(np.abs(waveform) > 0.1)[0]
    assert onset == pytest.approx(rate, abs=0.03 * rate)  # AAC smears an onset over a block
    assert waveform[2 * rate :].std() == pytest.approx(0.5 / np.sqrt(2), rel=0.02)


def test_a_silent_source_gives_a_silent_video(tmp_path):
    silent = mux(tmp_path / "silent.mp4", num_frames=3)
    write_video(tmp_path / "out.mp4", decode_video(silent, FPS), FPS, audio_from=silent)
    assert not has_audio_stream(tmp_path / "out.mp4")
    assert len(list(decode_video(tmp_path / "out.mp4", FPS))) == 3


@pytest.mark.parametrize(
    ("sizes", "message"), [([], "no frames"), ([(8, 8), (8, 9)], r"/out.mp4: frame 1 is \(8, 9, 3\)")]
)
def test_a_video_that_cannot_be_written_leaves_nothing(tmp_path, sizes, message):
    with pytest.raises(MediaError, match=message):
        write_video(tmp_path / "out.mp4", (np.zeros((*size, 3), np.uint8) for size in sizes), 1)
    assert os.listdir(tmp_path) == []


def test_unknown_containers_are_refused(tmp_path):
    with pytest.raises(MediaError, match=r"out\.webm: the name of a video ends in"):
        write_video(tmp_path / "out.webm", [np.zeros((8, 8, 3), np.uint8)], 1)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(MediaError, match=r"none/out\.mp4: there is no folder"):
        write_video(tmp_path / "none" / "out.mp4", [np.zeros((8, 8, 3), np.uint8)], 1)


def test_a_file_lasts_as_long_as_its_pictures_are_shown(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 88, 3), np.uint8)
    moving = [np.ascontiguousarray(noise[:, 2 * index :][:, :64]) for index in range(12)]
    ends = np.cumsum([0.1, 0.4, 0.1, 0.1, 0.7, 0.1, 0.1, 0.2, 0.1, 0.1, 0.1, 1.0]).round(1)
    times = [Fraction(str(end)) for end in (0.0, *ends)]
    write_shown(tmp_path / "a.mp4", [Shown(*each) for each in zip(moving, times, times[1:], strict=False)])
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.duration / av.time_base == pytest.approx(3.1, abs=0.01)
        shown = [frame.time for frame in container.decode(video=0)]
    np.testing.assert_allclose(shown, list(map(float, times[:-1])), atol=1e-4)


def test_aac_is_copied_with_what_its_encoder_has_put_ahead(tmp_path, clip):
    write_video(tmp_path / "a.mp4", [np.zeros((16, 16, 3), np.uint8)] * SECONDS, 1.0, audio_from=clip)
    packets = []
    for path in (clip, tmp_path / "a.mp4"):
        with av.open(str(path)) as container:
            packets.append([(p.pts, bytes(p)) for p in container.demux(audio=0) if p.pts is not None])
    assert packets[0][0][0] < 0
    assert packets[1] == packets[0][: len(packets[1])] and len(packets[1]) >= len(packets[0]) - 2


def test_sound_that_starts_later_is_cut_to_the_frames(tmp_path):
    time = np.arange(4 * 16000) / 16000
    write_wav(tmp_path / "sound.wav", np.where(time < 2, 0, 0.5 * np.sin(2 * np.pi * 440 * time)))
    write_video(
        tmp_path / "out.mp4", [np.zeros((8, 8, 3), np.uint8)] * 3, 1, tmp_path / "sound.wav", audio_start=1.5
    )
    sound, rate = read_waveform(tmp_path / "out.mp4")
    begin = np.flatnonzero(np.abs(sound) > 0.1)[0] / rate
    assert begin == pytest.approx(0.5, abs=0.03)  # a block of AAC has 0.023 s


@pytest.mark.parametrize("name", ["10:30.mp4", "10:30/clip.mp4", "-x.mp4", "%03d.mp4", "x" * 251 + ".mp4"])
def test_names_that_mean_something_to_ffmpeg_are_names(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path(name).parent.mkdir(exist_ok=True)
    picture = np.zeros((16, 16, 3), np.uint8)
    write_video(name, [picture] * 2, 1.0)
    write_video(name, [picture] * 3, 1.0, audio_from=name)
    assert len(list(decode_video(name))) == 3
    assert list(Path(name).parent.iterdir()) == [Path(name)]


def test_comment_is_kept_in_the_file(tmp_path):
    write_video(tmp_path / "a.mp4", [np.zeros((16, 16, 3), np.uint8)], 1.0, comment="drawn by é")
    assert read_comment(tmp_path / "a.mp4") == "drawn by é"


@pytest.mark.parametrize("suffix", [".wav", ".mkv"])
def test_peaks_are_the_largest_samples_of_equal_parts(tmp_path, suffix):
    sound = np.zeros(3 * 16000)
    sound[::2] = np.repeat([0.25, 0.5, 0.75], 8000)  # of each second
    write_wav(tmp_path / "sound.wav", sound)
    path = tmp_path / f"sound{suffix}"
    if suffix == ".mkv":
        with av.open(str(path), "w") as output:
            track = output.add_stream("pcm_s16le", rate=16000, layout="mono")
            frame = av.AudioFrame.from_ndarray(
                (sound * 32767).round().astype("<i2")[None], format="s16", layout="mono"
            )
            frame.sample_rate, frame.pts = 16000, 0
            output.mux(track.encode(frame))
            output.mux(track.encode(None))
    np.testing.assert_allclose(read_peaks(path, 8, 0, 4), np.repeat([0.25, 0.5, 0.75, 0], 2), atol=1e-4)
    np.testing.assert_allclose(read_peaks(path, 4, 1, 2), np.repeat([0.5, 0.75], 2), atol=1e-4)
    np.testing.assert_allclose(read_peaks(path, 2, -1, 2), [0, 0.25], atol=1e-4)
    assert read_peaks(path, 5, 9, 1).tolist() == [0] * 5

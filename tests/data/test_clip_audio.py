import logging

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avis.audio import SILENCE, log_mel_examples
from avis.data import load_aviseg_json, with_sound
from avis.data.clip_audio import VideoSound, load_examples, load_features
from avis.media.video import read_waveform
from tests.small_dataset import LENGTH, tone_hz, tones, write_wav


@pytest.fixture
def records(train_json):
    return load_aviseg_json(train_json)


def loudest_hz(example):
    """Centre of the strongest mel band of an example (96, 64)."""
    mel = 1127 * np.log1p(np.array([125.0, 7500.0]) / 700)
    centres = np.linspace(*mel, 66)[1:-1]
    return 700 * np.expm1(centres[example.mean(dim=0).argmax()] / 1127)


@pytest.mark.parametrize("frames", [[0], [5], [2, 5], [1, 4], range(LENGTH), [3, 1, 2]])
def test_row_t_hears_second_t(records, frames):
    examples = load_examples(VideoSound.of(records[1]), list(frames), fps=1)
    assert examples.shape == (len(frames), 96, 64) and examples.dtype == torch.float32
    for row, frame in zip(examples, frames, strict=True):
        assert loudest_hz(row) == pytest.approx(tone_hz(2, frame), rel=0.06)  # bands lie up to 12 % apart


@pytest.mark.parametrize(
    ("sample_rate", "tolerance"), [(16000, 0), (44100, 1e-3), (22050, 1e-3), (8000, 1e-3)]
)
def test_single_examples_equal_those_of_the_whole_sound(records, sample_rate, tolerance):
    """Resampled samples differ by float32 rounding, which the logarithm magnifies 100-fold near silence."""
    rng = np.random.default_rng(0)
    noise = rng.uniform(-0.5, 0.5, LENGTH * sample_rate)
    write_wav(records[0]["audio_file"], noise, sample_rate)
    whole = load_examples(VideoSound.of(records[0]), range(LENGTH), fps=1)
    for frame in range(LENGTH):
        single = load_examples(VideoSound.of(records[0]), [frame], fps=1)
        torch.testing.assert_close(single[0], whole[frame], rtol=0, atol=tolerance)


def test_other_frame_rates_hear_their_own_times(records):
    whole = log_mel_examples(*read_waveform(records[0]["audio_file"]), 20, fps=4)
    examples = load_examples(VideoSound.of({**records[0], "length": 20}), [1, 17], fps=4)
    torch.testing.assert_close(examples, whole[[1, 17]], rtol=0, atol=0)


def test_a_video_without_a_file_is_silent(records):
    record = {**records[0], "audio_file": None}
    examples = load_examples(VideoSound.of(record), [0, 3], fps=1)
    assert examples.shape == (2, 96, 64) and (examples == torch.tensor(SILENCE)).all()


@pytest.mark.parametrize("frames", [range(LENGTH), [0, 5]])
def test_sound_that_ends_early_goes_on_as_silence_with_one_warning(records, frames, caplog):
    write_wav(records[0]["audio_file"], tones(1, 2))
    with caplog.at_level(logging.WARNING):
        examples = load_examples(VideoSound.of(records[0]), list(frames), fps=1)
        load_examples(VideoSound.of(records[0]), list(frames), fps=1)
    assert loudest_hz(examples[0]) == pytest.approx(tone_hz(1, 0), rel=0.06)
    assert (examples[-1] == torch.tensor(SILENCE)).all()
    assert len(caplog.records) == 1 and "ends before frame 5 at 5 s" in caplog.text
    assert records[0]["audio_file"] in caplog.text


def test_broken_sound_names_video_and_file(records):
    path = records[0]["audio_file"]
    with open(path, "rb") as file:
        content = file.read()
    with open(path, "wb") as file:
        file.write(content[:30])
    for frames in ([0, 5], range(LENGTH)):
        with pytest.raises(ValueError, match=rf"video 1: {path}: a WAV without samples"):
            load_examples(VideoSound.of(records[0]), frames, fps=1)


def write_float_wav(path, samples):
    data = samples.astype("<f4").tobytes()
    header = b"RIFF" + (36 + len(data)).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    numbers = (
        (3, 2),
        (1, 2),
        (16000, 4),
        (64000, 4),
        (4, 2),
        (32, 2),
    )  # float, mono, rate, bytes/s, align, bits
    format_chunk = b"".join(number.to_bytes(size, "little") for number, size in numbers)
    path.write_bytes(header + format_chunk + b"data" + len(data).to_bytes(4, "little") + data)


def test_nan_in_sound_names_video_and_file(records, tmp_path):
    samples = np.zeros(LENGTH * 16000)
    samples[40000] = np.nan
    write_float_wav(tmp_path / "nan.wav", samples)
    record = {**records[0], "audio_file": str(tmp_path / "nan.wav")}
    with pytest.raises(ValueError, match=r"video 1: .*nan\.wav: .*NaN"):
        load_examples(VideoSound.of(record), range(LENGTH), fps=1)


@pytest.fixture
def featured(records, tmp_path):
    """The first record with features whose row t is t."""
    path = tmp_path / "features.npy"
    np.save(path, np.repeat(np.arange(LENGTH, dtype=np.float64)[:, None], 128, axis=1))
    return {**records[0], "audio_features_file": str(path)}


def test_row_t_of_features_belongs_to_frame_t(featured):
    features = load_features(VideoSound.of(featured), [4, 1], 128)
    assert features.shape == (2, 128) and features.dtype == torch.float32
    assert features[:, 7].tolist() == [4, 1]


def test_features_of_separated_sources_keep_their_axis(featured):
    sources = np.arange(LENGTH * 3 * 128, dtype=np.float32).reshape(LENGTH, 3, 128)
    np.save(featured["audio_features_file"], sources)
    features = load_features(VideoSound.of(featured), [4, 1], 128)
    np.testing.assert_array_equal(features, sources[[4, 1]])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((LENGTH + 1, 128)), r"shape \(7, 128\), not \(6, 128\)"),
        (np.zeros((LENGTH, 64)), r"shape \(6, 64\), not \(6, 128\)"),
        (np.zeros((LENGTH, 0, 128)), r"shape \(6, 0, 128\), not \(6, 128\)"),
        (np.zeros((LENGTH, 3, 64)), r"shape \(6, 3, 64\), not \(6, 128\)"),
        (np.zeros((LENGTH, 2, 3, 128)), r"shape \(6, 2, 3, 128\), not \(6, 128\)"),
        (np.full((LENGTH, 128), np.nan), r"NaN or infinity"),
        (np.array([{"row": 1}]), "no array can be read"),
        (np.zeros((LENGTH, 128), complex), "complex128 in it, not numbers"),
    ],
)
def test_broken_features_name_video_and_file(featured, array, message):
    np.save(featured["audio_features_file"], array)
    with pytest.raises(ValueError, match=rf"video 1: .*features\.npy: {message}"):
        load_features(VideoSound.of(featured), [0, 2], 128)


def test_features_cut_off_are_named(featured):
    with open(featured["audio_features_file"], "r+b") as file:
        file.truncate(1000)
    with pytest.raises(ValueError, match=r"video 1: .*features\.npy: no array can be read"):
        load_features(VideoSound.of(featured), [0, 2], 128)


def test_an_archive_is_no_array(featured):
    with open(featured["audio_features_file"], "wb") as file:
        np.savez(file, np.zeros((LENGTH, 128)))
    with pytest.raises(ValueError, match=r"video 1: .*features\.npy: no array can be read"):
        load_features(VideoSound.of(featured), [0, 2], 128)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 127), byte=st.integers(0, 255))
def test_features_with_a_damaged_header_are_named_unless_they_can_be_read(featured, position, byte):
    with open(featured["audio_features_file"], "r+b") as file:
        header = file.read(128)
        file.seek(position)
        file.write(bytes([byte]))
    try:
        features = load_features(VideoSound.of(featured), [4], 128)
        assert features.shape == (1, 128)
    except ValueError as error:
        assert featured["audio_features_file"] in str(error)
    finally:
        with open(featured["audio_features_file"], "r+b") as file:
            file.write(header)


def test_own_sound_changes_nothing(records):
    assert with_sound(records, "own") is records


def test_silence_takes_all_sound_away(records):
    silent = with_sound(records, "silent")
    assert all(record["audio_file"] is None for record in silent)
    assert records[0]["audio_file"] is not None


def test_shuffled_sound_is_the_next_videos(records):
    shuffled = with_sound(records, "shuffled")
    assert [record["audio_file"] for record in shuffled] == [
        records[index]["audio_file"] for index in (1, 2, 0)
    ]
    assert [record["video_id"] for record in shuffled] == [1, 2, 3]


def test_shuffled_sound_starts_again_where_the_other_video_is_shorter(records):
    shuffled = with_sound([records[0], {**records[1], "length": 4}], "shuffled")[0]
    examples = load_examples(VideoSound.of(shuffled), range(LENGTH), fps=1)
    own = load_examples(VideoSound.of(records[1]), range(4), fps=1)
    torch.testing.assert_close(examples, own[[0, 1, 2, 3, 0, 1]])


def test_one_video_cannot_be_shuffled(records):
    with pytest.raises(ValueError, match="at least two videos"):
        with_sound(records[:1], "shuffled")
    with pytest.raises(ValueError, match="AT_TEST is 'loud'"):
        with_sound(records, "loud")


@pytest.mark.parametrize(("sample_rate", "tolerance"), [(16000, 0), (44100, 1e-3)])
@pytest.mark.parametrize("frames", [range(3), [2], [2, 0]])
def test_a_video_hears_its_sound_from_its_start_on(records, frames, sample_rate, tolerance):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, LENGTH * sample_rate)
    write_wav(records[0]["audio_file"], noise, sample_rate)
    whole = load_examples(VideoSound.of(records[0]), range(LENGTH), fps=1)
    later = {**records[0], "length": 3, "sound_start": 2.0}
    examples = load_examples(VideoSound.of(later), list(frames), fps=1)
    torch.testing.assert_close(examples, whole[2:][list(frames)], rtol=0, atol=tolerance)


def test_shuffled_sound_keeps_its_start(records):
    records[1]["sound_start"] = 2.0
    heard = with_sound(records, "shuffled")
    assert VideoSound.of(heard[0]).start == 2.0 and VideoSound.of(heard[1]).start == 0.0


def test_shared_sound_that_is_too_short_is_named_by_its_own_time(records, caplog):
    load_examples(VideoSound.of({**records[0], "sound_start": 4.0}), [3], fps=1)
    assert "the sound ends before frame 3 at 7 s" in caplog.text

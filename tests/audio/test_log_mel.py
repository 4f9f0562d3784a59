"""Log-mel examples: recorded numbers, the frame each belongs to, silence, and refused input."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avis.audio import EXAMPLE_SECONDS, SAMPLE_RATE, SILENCE, log_mel_examples
from avis.audio.log_mel import EXAMPLE_LENGTH, mel_filters
from tests.audio.recipes import GOLDEN, to_int16, tone


@pytest.fixture(scope="module")
def golden():
    return np.load(GOLDEN / "log_mel.npz")


def test_mel_filters_equal_the_recorded_ones(golden):
    np.testing.assert_allclose(mel_filters(), golden["mel_filters"], atol=1e-12)


def test_frames_of_960_ms_equal_the_continuous_grid_of_the_standard_front_end(golden):
    waveform = tone(52800, 16000, 1, seed=801)[0].astype(np.float32)
    examples = log_mel_examples(waveform, 16000, 3, fps=1 / EXAMPLE_SECONDS)
    # 1e-4: the reference computes in float64; measured 3e-5.
    np.testing.assert_allclose(examples, golden["continuous_16k"], atol=1e-4)


def test_stereo_pcm_at_one_frame_per_second_equals_the_data_sets_own_features(golden):
    examples = log_mel_examples(to_int16(tone(47520, 16000, 2, seed=803)), 16000, 3)
    np.testing.assert_allclose(examples[:2], golden["per_second_16k"], atol=1e-4)


def test_resampled_sound_is_close_to_the_data_sets_own_features(golden):
    examples = log_mel_examples(to_int16(tone(101430, 44100, 2, seed=802)), 44100, 2)
    error = np.abs(examples.numpy() - golden["per_second_44k1"])
    # Two resamplers of the same filter differ near 7.5 kHz: measured 0.022 at most, 4e-4 in the mean.
    assert error.max() < 0.03
    assert error.mean() < 1e-3


@settings(max_examples=15, deadline=None)
@given(
    fps=st.sampled_from([0.5, 1.0, 3.0, 24.0, 29.97]),
    num_frames=st.integers(1, 70),
    num_samples=st.integers(0, 40000),
    seed=st.integers(0, 99),
)
def test_row_t_is_the_sound_that_starts_with_frame_t(fps, num_frames, num_samples, seed):
    generator = np.random.default_rng(seed)
    waveform = generator.standard_normal(num_samples).astype(np.float32) / 4
    frame = int(generator.integers(num_frames))
    start = round(frame / fps * SAMPLE_RATE)
    examples = log_mel_examples(waveform, SAMPLE_RATE, num_frames, fps)
    alone = log_mel_examples(waveform[start : start + EXAMPLE_LENGTH], SAMPLE_RATE, 1)
    assert examples.shape == (num_frames, 96, 64)
    assert examples.dtype == torch.float32
    torch.testing.assert_close(examples[frame], alone[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("num_samples", [0, 1, 239, 400, 15999, 16000])
def test_frames_beyond_the_end_hear_silence(num_samples):
    examples = log_mel_examples(np.ones(num_samples, np.float32) / 2, SAMPLE_RATE, 3)
    torch.testing.assert_close(examples[1:], torch.full((2, 96, 64), SILENCE))


def test_no_frames_give_no_examples():
    assert log_mel_examples(np.zeros(100, np.float32), 44100, 0).shape == (0, 96, 64)


def test_channels_are_averaged():
    left, right = tone(16000, 16000, 2, seed=1)
    stereo = log_mel_examples(np.stack([left, right]), 16000, 1)
    torch.testing.assert_close(stereo, log_mel_examples((left + right) / 2, 16000, 1), atol=1e-4, rtol=0)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32])
def test_integers_are_scaled_by_their_type(dtype):
    waveform = tone(16000, 16000, 1, seed=2)[0]
    info = np.iinfo(dtype)
    middle = (int(info.max) + int(info.min) + 1) / 2
    pcm = np.round(waveform * (info.max - middle) + middle).astype(dtype)
    # 8 bits are coarse: their rounding noise alone reaches quiet bands.
    tolerance = 0.8 if dtype == np.uint8 else 5e-3
    torch.testing.assert_close(
        log_mel_examples(pcm, 16000, 1), log_mel_examples(waveform, 16000, 1), atol=tolerance, rtol=0
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_are_refused_with_their_position(value):
    waveform = np.zeros(16000, np.float32)
    waveform[123] = value
    with pytest.raises(ValueError, match=r"NaN or infinity.*123"):
        log_mel_examples(waveform, 16000, 1)


@pytest.mark.parametrize(
    ("waveform", "sample_rate", "fps", "message"),
    [
        (np.zeros((16000, 2), np.float32), 16000, 1, r"\(channels, N\).*16000, 2"),
        (np.zeros((1, 2, 160), np.float32), 16000, 1, r"1, 2, 160"),
        (np.zeros(160, np.complex64), 16000, 1, "complex"),
        (np.zeros(160, np.float32), 0, 1, "positive"),
        (np.zeros(160, np.float32), 16000, 0, "positive"),
    ],
)
def test_bad_input_is_refused(waveform, sample_rate, fps, message):
    with pytest.raises(ValueError, match=message):
        log_mel_examples(waveform, sample_rate, 1, fps)

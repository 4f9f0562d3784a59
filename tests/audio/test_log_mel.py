"""Log-mel examples: recorded numbers, the frame each belongs to, silence, and refused input."""

import math

import numpy as np
import pytest
import torch
import torchaudio
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


@pytest.mark.parametrize("fps", [0.5, 1.0, 1 / EXAMPLE_SECONDS, 2.0, 4.0, 25.0])
def test_frames_of_any_rate_equal_the_standard_front_end(golden, fps):
    """3.3 s of sound: its recorded windows lie 10 ms apart; the last frames reach beyond, into silence."""
    waveform = tone(52800, 16000, 1, seed=801)[0].astype(np.float32)
    num_frames = math.ceil(3.3 * fps)
    examples = log_mel_examples(waveform, 16000, num_frames, fps).numpy()
    for frame in range(num_frames):
        recorded = golden["log_mel_16k"][round(100 * frame / fps) :][:96]
        # 1e-4: the reference computes in float64; measured 3e-5.
        np.testing.assert_allclose(examples[frame, : len(recorded)], recorded, atol=1e-4)
        # Two more windows hear the last samples, and padding.
        np.testing.assert_array_equal(examples[frame, len(recorded) + 2 :], np.float32(SILENCE))


def test_stereo_pcm_at_one_frame_per_second_equals_the_data_sets_own_features(golden):
    examples = log_mel_examples(to_int16(tone(47520, 16000, 2, seed=803)), 16000, 3)
    # Measured 2e-5.
    np.testing.assert_allclose(examples[:2], golden["per_second_16k"], atol=1e-4)


def test_a_last_second_too_short_for_the_data_sets_extractor_is_heard_all_the_same():
    """Below 975 ms that one gives zeros, which is no silence: -4.6 is."""
    waveform = to_int16(tone(47520, 16000, 2, seed=803))
    last = log_mel_examples(waveform, 16000, 3)[2]
    cut_off = log_mel_examples(waveform[:, 32000:], 16000, 1)[0]
    torch.testing.assert_close(last, cut_off, atol=1e-4, rtol=0)
    assert (last[:95] > SILENCE).any(dim=1).all()


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("sample_rate", [16000, 44100])
def test_what_the_data_sets_extractor_fails_on_is_heard(channels, sample_rate):
    """Mono sound, a last piece of 50 samples, seconds that are missing, samples that are floats."""
    sound = tone(2 * sample_rate + 50, sample_rate, channels, seed=4)
    examples = log_mel_examples(to_int16(sound), sample_rate, 4)
    assert (examples[:2].mean(dim=(1, 2)) > SILENCE + 1).all()
    torch.testing.assert_close(examples[3], torch.full((96, 64), SILENCE))
    # Rounding to 16 bits reaches the quietest bands.
    torch.testing.assert_close(log_mel_examples(sound, sample_rate, 4), examples, atol=0.01, rtol=0)


@pytest.mark.parametrize("sample_rate", [8000, 22050, 44100, 48000])
def test_resampling_with_a_kept_filter_gives_the_same_bits_every_time(sample_rate):
    samples = torch.from_numpy(tone(sample_rate, sample_rate, 1, seed=5)[0]).float()
    anew = torchaudio.functional.resample(
        samples,
        sample_rate,
        SAMPLE_RATE,
        lowpass_filter_width=50,
        rolloff=0.9173473712608761,
        resampling_method="sinc_interp_kaiser",
        beta=12.9846,
    )
    first, second = (log_mel_examples(samples, sample_rate, 1) for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    torch.testing.assert_close(first, log_mel_examples(anew, SAMPLE_RATE, 1), rtol=0, atol=0)


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


@pytest.mark.parametrize("sample_rate", [8000, 44100])
def test_an_empty_sound_of_any_rate_is_silence(sample_rate):
    examples = log_mel_examples(np.zeros(0, np.float32), sample_rate, 3)
    torch.testing.assert_close(examples, torch.full((3, 96, 64), SILENCE))


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

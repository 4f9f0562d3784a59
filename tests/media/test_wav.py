"""WAV files whose sizes are wrong, and samples as floats."""

import logging
import struct
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avis.media.errors import MediaError
from avis.media.video import read_waveform
from avis.media.wav import WavSamples, to_float
from tests.small_dataset import write_wav

SIZE = 32000  # bytes of the 16000 samples below


@pytest.fixture
def wav(tmp_path):
    write_wav(tmp_path / "a.wav", np.random.default_rng(0).uniform(-1, 1, SIZE // 2))
    return tmp_path / "a.wav"


def with_sizes(content: bytes, riff: int, data: int) -> bytes:
    return content[:4] + struct.pack("<I", riff) + content[8:40] + struct.pack("<I", data) + content[44:]


@pytest.mark.parametrize("size", [SIZE + 2, SIZE + 16, 2**31 - 1, 2**31, 2**32 - 1])
@pytest.mark.parametrize("field", ["riff", "data", "both"])
def test_a_size_larger_than_the_file_is_its_end(wav, caplog, size, field):
    whole, _ = read_waveform(wav)
    assert caplog.records == []
    sizes = {"riff": SIZE + 36, "data": SIZE} | (
        {field: min(size + 36, 2**32 - 1)} if field != "both" else {"riff": size, "data": size}
    )
    wav.write_bytes(with_sizes(wav.read_bytes(), **sizes))
    with caplog.at_level(logging.WARNING, logger="avis"):
        for _ in range(2):
            np.testing.assert_array_equal(read_waveform(wav)[0], whole)
        np.testing.assert_array_equal(read_waveform(wav, 0.5)[0], whole[8000:])
    (warning,) = [record.message for record in caplog.records]  # once, however often it is read
    assert "a.wav: it announces" in warning and f"holds {SIZE}: it is read to its end" in warning


@given(length=st.integers(44, 44 + SIZE - 1))
def test_a_wav_that_was_cut_off_is_read_to_its_end(tmp_path_factory, length):
    path = tmp_path_factory.mktemp("cut") / "a.wav"
    write_wav(path, np.random.default_rng(0).uniform(-1, 1, SIZE // 2))
    whole, _ = read_waveform(path)
    path.write_bytes(path.read_bytes()[:length])
    np.testing.assert_array_equal(read_waveform(path)[0], whole[: (length - 44) // 2])


def test_a_size_of_zero_is_unknown(wav):
    whole, _ = read_waveform(wav)
    wav.write_bytes(with_sizes(wav.read_bytes(), 0, 0))
    np.testing.assert_array_equal(read_waveform(wav)[0], whole)


@pytest.mark.parametrize("size", [4, 2000, 2**32 - 1])
def test_a_note_that_announces_too_much_does_not_hide_the_sound(wav, size):
    whole, _ = read_waveform(wav)
    content = wav.read_bytes()
    note = b"LIST" + struct.pack("<I", size if size > 4 else 4) + b"INFO"
    wav.write_bytes(content[:36] + note + bytes(size - 4 if size == 2000 else 0) + content[36:])
    np.testing.assert_array_equal(read_waveform(wav)[0], whole)


def test_a_wav_without_samples_is_named(wav):
    wav.write_bytes(wav.read_bytes()[:36])
    with pytest.raises(MediaError, match=r"a\.wav: a WAV without samples"):
        read_waveform(wav)


@given(
    block=st.integers(1, 12),
    first=st.integers(-9, 12),
    count=st.none() | st.integers(0, 25),
    channels=st.integers(1, 3),
)
def test_blocks_of_any_length_give_the_samples(tmp_path_factory, block, first, count, channels):
    samples = np.random.default_rng(0).integers(-(2**15), 2**15, (11, channels), "i2")
    path = tmp_path_factory.mktemp("blocks") / "a.wav"
    path.write_bytes(samples.tobytes())
    expected = np.concatenate([np.zeros(9, np.float32), to_float(samples).mean(axis=1)])[9 + first :][:count]
    with mock.patch("avis.media.wav._BLOCK", block):
        read = WavSamples(path, 0, len(samples), channels, 16000, samples.dtype).read(first, count)
    np.testing.assert_array_equal(read, expected)


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "i4"])
def test_integers_are_divided_by_their_full_scale(dtype: str):
    info = np.iinfo(dtype)
    samples = np.random.default_rng(0).integers(info.min, info.max, 10_000, dtype, endpoint=True)
    samples[:2] = info.min, info.max
    full_scale = 2.0 ** (info.bits - 1)
    exact = (samples.astype(np.float64) - (full_scale if dtype == "u1" else 0)) / full_scale
    floats = to_float(samples)
    assert floats.dtype == np.float32 and floats[0] == -1
    np.testing.assert_array_equal(floats, exact.astype(np.float32))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_floats_stay_as_they_are(dtype: str):
    samples = np.array([[-2.5, 0.1], [1.0, 3.0]], dtype)
    np.testing.assert_array_equal(to_float(samples), samples.astype(np.float32))

"""Samples as floats."""

import numpy as np
import pytest

from avis.media.wav import to_float


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

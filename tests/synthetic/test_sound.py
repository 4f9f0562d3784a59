"""Every class has its own timbre, and sounds when it is said to and only then."""

from itertools import combinations

import numpy as np
import pytest

from avis.audio import log_mel_examples
from avis.formats.categories import AVISEG_CATEGORIES
from avis.synthetic import SynthOptions
from avis.synthetic.scene import HeardClass
from avis.synthetic.sound import make_track

NOISELESS = SynthOptions(sound_noise=0.0)


def play(category: str, level: list[float], options: SynthOptions = NOISELESS, seed: int = 0) -> np.ndarray:
    sound = HeardClass(category, np.array(level, float))
    return make_track((sound,), len(level), options, np.random.default_rng(seed))[0]


def spectrum(category: str, seed: int) -> np.ndarray:
    """Mean log-mel spectrum (64,) of a second."""
    options = SynthOptions(sound_noise=0.1)
    return log_mel_examples(play(category, [1.0], options, seed), 16000, 1).numpy().mean(axis=(0, 1))


def test_timbres_are_pairwise_distinct_and_each_is_like_itself() -> None:
    drawn = {category: [spectrum(category, seed) for seed in range(3)] for category in AVISEG_CATEGORIES}

    def distance(one: np.ndarray, other: np.ndarray) -> float:
        return float(np.sqrt(np.mean((one - other) ** 2)))

    within = max(distance(*pair) for spectra in drawn.values() for pair in combinations(spectra, 2))
    means = {category: np.mean(spectra, axis=0) for category, spectra in drawn.items()}
    between = {pair: distance(means[pair[0]], means[pair[1]]) for pair in combinations(means, 2)}
    # In units of the natural logarithm, over 64 bands: measured 0.60 and 0.82.
    assert within < 0.7
    assert min(between.values()) > 0.75, min(between, key=between.get)


@pytest.mark.parametrize("category", AVISEG_CATEGORIES)
def test_a_class_is_heard_in_its_frames_and_not_beyond(category: str) -> None:
    track = play(category, [0, 1, 1, 0, 0.8]).reshape(5, 16000) / 32768
    loudness = np.sqrt(np.mean(track**2, axis=1))
    assert loudness[0] == loudness[3] == 0
    # Slow swells and fades move the loudness of one second about its nominal value.
    np.testing.assert_allclose(loudness[[1, 2, 4]], [0.08, 0.08, 0.064], rtol=0.25)


def test_background_noise_alone_has_the_loudness_asked_for() -> None:
    track, _ = make_track((), 10, SynthOptions(sound_noise=0.5), np.random.default_rng(0))
    assert np.sqrt(np.mean((track / 32768) ** 2)) == pytest.approx(0.04, rel=0.01)


@pytest.mark.parametrize("fps", [0.5, 1.0, 3.0, 30.0])
def test_a_track_is_as_long_as_its_frames(fps: float) -> None:
    track, _ = make_track((), 7, SynthOptions(fps=fps), np.random.default_rng(0))
    assert len(track) == round(7 / fps * 16000)


def test_four_loud_sounds_are_hardly_clipped() -> None:
    sounds = tuple(HeardClass(category, np.ones(5)) for category in ("tuba", "car", "cat", "piano"))
    track, _ = make_track(sounds, 5, SynthOptions(), np.random.default_rng(0))
    assert np.mean(np.abs(track) == 32767) < 1e-3

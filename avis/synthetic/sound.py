"""What the classes sound like, and how their sounds are mixed to one track.

A timbre is a carrier, either a stack of harmonics or noise, under a spectral envelope of two humps. It swells
at its own rate. Humps, pitch and rate differ from class to class, within VGGish's 125–7500 Hz.
Dimensions: N samples, T frames.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import fft

from avis.synthetic.options import SynthOptions
from avis.synthetic.scene import HeardClass

SAMPLE_RATE = 16000
# Root mean square of one object's sound at level 1, where full scale is 1.
LOUDNESS = 0.08
# Sounds start and stop gently, within this time.
FADE_SECONDS = 0.02
# Samples of one period in the table that harmonics are read from.
PERIOD_LENGTH = 4096
# Width of a hump, as a standard deviation.
HUMP_MEL = 75.0


@dataclass(frozen=True)
class Timbre:
    """How a class sounds.

    `places` of the humps of its spectrum in `_PLACES_MEL`; `pitch` in Hz, 0 for noise; `rate` in Hz and
    `depth` in [0, 1] of its swelling; `bend` of the pitch in semitones, up and down at `bend_rate` Hz.
    """

    places: tuple[int, int]
    pitch: float = 0.0
    rate: float = 0.0
    depth: float = 0.0
    bend: float = 0.0
    bend_rate: float = 0.0


# Thirteen places, evenly spread on the mel scale; two classes have at most one of their two humps in common.
_PLACES_MEL = range(280, 280 + 13 * 190, 190)  # 200 Hz to 6.1 kHz

TIMBRES: dict[str, Timbre] = {
    "person": Timbre((2, 5), pitch=140, rate=4, depth=0.8),
    "violin": Timbre((7, 10), pitch=440, bend=0.4, bend_rate=6),
    "guitar": Timbre((3, 6), pitch=196, rate=2.5, depth=0.9),
    "cello": Timbre((1, 6), pitch=180, bend=0.4, bend_rate=5),
    "flute": Timbre((9, 12), pitch=1130, bend=0.3, bend_rate=5),
    "piano": Timbre((0, 8), pitch=200, rate=1.5, depth=0.9),
    "ukulele": Timbre((4, 9), pitch=530, rate=5, depth=0.9),
    "accordion": Timbre((1, 9), pitch=120, rate=6, depth=0.35),
    "guzheng": Timbre((8, 11), pitch=690, rate=3, depth=0.9),
    "clarinet": Timbre((4, 7), pitch=265),
    "cat": Timbre((6, 9), pitch=440, bend=4, bend_rate=1.2),
    "car": Timbre((4, 12), rate=11, depth=0.6),
    "saxophone": Timbre((5, 8), pitch=230, bend=0.6, bend_rate=4),
    "dog": Timbre((3, 8), rate=3, depth=1.0),
    "lawn_mover": Timbre((0, 10), rate=14, depth=0.7),
    "tuba": Timbre((0, 3), pitch=100),
    "banjo": Timbre((2, 10), pitch=280, rate=8, depth=0.9),
    "pipa": Timbre((7, 12), pitch=740, rate=10, depth=0.9),
    "bassoon": Timbre((1, 4), pitch=120),
    "airplane": Timbre((1, 11)),
    "tree_harvester": Timbre((3, 11), rate=7, depth=0.9),
    "trumpet": Timbre((5, 10), pitch=460),
    "lion": Timbre((2, 7), rate=1, depth=0.9),
    "bass": Timbre((0, 5), pitch=100, rate=2, depth=0.9),
    "erhu": Timbre((6, 11), pitch=590, bend=1, bend_rate=5),
    "horse": Timbre((2, 12), rate=12, depth=0.9),
}


def make_track(
    sounds: tuple[HeardClass, ...], num_frames: int, options: SynthOptions, rng: Generator
) -> tuple[NDArray[np.int16], list[NDArray[np.int16]]]:
    """Mix the sounds of a video with background noise.

    Returns:
        16-bit mono (N,) at `SAMPLE_RATE`, T / fps seconds long; and the same of each of `sounds` by itself.
    """
    boundaries = np.round(np.arange(num_frames + 1) / options.fps * SAMPLE_RATE).astype(int)
    track = options.sound_noise * LOUDNESS * _coloured_noise(int(boundaries[-1]), _background_spectrum, rng)
    sources = []
    for sound in sounds:
        source = LOUDNESS * _play(TIMBRES[sound.category], _gain(sound.level, boundaries), rng)
        track += source
        sources.append(_to_pcm(source))
    return _to_pcm(track), sources


def _to_pcm(waveform: NDArray[np.floating]) -> NDArray[np.int16]:
    return np.round(np.clip(waveform, -1, 1) * 32767).astype(np.int16)


def _play(timbre: Timbre, gain: NDArray[np.float64], rng: Generator) -> NDArray[np.float64]:
    """The sound (N,) of a timbre under a loudness contour."""
    time = np.arange(len(gain)) / SAMPLE_RATE
    if timbre.pitch:
        carrier = _harmonics(timbre, time, rng)
    else:
        carrier = _coloured_noise(len(gain), partial(_spectrum, timbre.places), rng)
    swing = np.sin(2 * np.pi * timbre.rate * time + rng.uniform(0, 2 * np.pi))
    swell = 1 - timbre.depth * (0.5 + 0.5 * swing)
    swell /= np.sqrt((1 - timbre.depth / 2) ** 2 + timbre.depth**2 / 8)  # to a root mean square of 1
    return carrier * swell * gain


def _harmonics(timbre: Timbre, time: NDArray[np.float64], rng: Generator) -> NDArray[np.float64]:
    """A stack of harmonics of root mean square 1, slightly out of tune, its pitch bending up and down."""
    bend = timbre.bend * np.sin(2 * np.pi * timbre.bend_rate * time + rng.uniform(0, 2 * np.pi))
    frequency = timbre.pitch * 2 ** ((bend + rng.uniform(-0.2, 0.2)) / 12)
    phase = np.cumsum(frequency) / SAMPLE_RATE + rng.uniform()
    return _period(timbre)[(phase * PERIOD_LENGTH).astype(int) % PERIOD_LENGTH]


@cache
def _period(timbre: Timbre) -> NDArray[np.float64]:
    """One period of a stack of harmonics (PERIOD_LENGTH,)."""
    highest = int(0.45 * SAMPLE_RATE / (timbre.pitch * 2 ** (timbre.bend / 12)))
    harmonic = np.arange(1, highest + 1)
    spectrum = np.zeros(PERIOD_LENGTH // 2 + 1, complex)
    # Phases that grow with the square of the harmonic's number keep the peaks low (Schroeder, 1970).
    phase = np.exp(1j * np.pi * harmonic**2 / highest)
    spectrum[1 : highest + 1] = _spectrum(timbre.places, harmonic * timbre.pitch) * phase
    return _unit(fft.irfft(spectrum))


def _coloured_noise(
    num_samples: int, spectrum: Callable[[NDArray], NDArray], rng: Generator
) -> NDArray[np.float32]:
    """Gaussian noise (N,) of root mean square 1 with a given amplitude at each frequency in Hz."""
    frequencies = np.maximum(fft.rfftfreq(num_samples, 1 / SAMPLE_RATE), 1).astype(np.float32)
    white = fft.rfft(rng.standard_normal(num_samples, dtype=np.float32))
    return _unit(fft.irfft(white * spectrum(frequencies), num_samples))


def _spectrum(places: tuple[int, int], frequencies: NDArray) -> NDArray:
    """Amplitude at frequencies in Hz: bell curves around two places."""
    mel = 1127 * np.log1p(frequencies / 700)  # the scale as HTK defines it
    return sum(np.exp(-0.5 * ((mel - _PLACES_MEL[place]) / HUMP_MEL) ** 2) for place in places)


def _background_spectrum(frequencies: NDArray) -> NDArray:
    """Falling with the frequency, as that of wind and traffic does."""
    return 1 / np.sqrt(np.maximum(frequencies, 50))


def _unit(waveform: NDArray[np.float64]) -> NDArray[np.float64]:
    return waveform / np.sqrt(np.mean(waveform**2))


def _gain(level: NDArray[np.float64], boundaries: NDArray[np.int_]) -> NDArray[np.float64]:
    """Loudness (N,) from that of each frame (T,): smooth within a run of sounding frames, 0 outside."""
    centres = (boundaries[:-1] + boundaries[1:]) / 2
    gain = np.zeros(boundaries[-1])
    edges = np.flatnonzero(np.diff(np.concatenate([[0], level > 0, [0]])))
    for first, last in edges.reshape(-1, 2):
        start, stop = boundaries[first], boundaries[last]
        samples = np.arange(start, stop)
        fade = np.minimum(samples - start, stop - 1 - samples) / (FADE_SECONDS * SAMPLE_RATE)
        gain[start:stop] = np.interp(samples, centres[first:last], level[first:last]) * np.minimum(fade, 1)
    return gain

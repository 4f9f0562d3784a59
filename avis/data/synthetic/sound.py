"""What the classes sound like, and how their sounds are mixed to one track.

A timbre is a carrier, either a stack of harmonics or noise, under a spectral envelope of one or two humps,
swelling at its own rate. Humps, pitch and rate differ from class to class, within VGGish's band of 125–7500 Hz.
Dimensions: N samples, T frames.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from avis.data.synthetic.options import SynthOptions
from avis.data.synthetic.scene import Sound

SAMPLE_RATE = 16000
# Root mean square of one object's sound at level 1, where full scale is 1.
LOUDNESS = 0.08
# Sounds start and stop within this.
FADE_SECONDS = 0.02
WAVETABLE_LENGTH = 4096


@dataclass(frozen=True)
class Timbre:
    """How a class sounds.

    `pitch` in Hz, 0 for noise; `humps` as pairs of centre in Hz and width in octaves; `rate` in Hz and
    `depth` in [0, 1] of its swelling; `bend` in semitones, up and down at `bend_rate` Hz.
    """

    pitch: float
    humps: tuple[tuple[float, float], ...]
    rate: float = 0.0
    depth: float = 0.0
    bend: float = 0.0
    bend_rate: float = 0.0


TIMBRES: dict[str, Timbre] = {
    "person": Timbre(150, ((600, 0.4), (2400, 0.25)), rate=4, depth=0.8),
    "violin": Timbre(440, ((2600, 0.6),), bend=0.6, bend_rate=6),
    "guitar": Timbre(196, ((900, 0.7),), rate=2.5, depth=0.9),
    "cello": Timbre(147, ((350, 0.5), (1100, 0.3)), bend=0.5, bend_rate=5),
    "flute": Timbre(1050, ((1050, 0.3),), bend=0.3, bend_rate=5),
    "piano": Timbre(330, ((500, 0.6), (1400, 0.4)), rate=1.5, depth=0.95),
    "ukulele": Timbre(520, ((1600, 0.4),), rate=5, depth=0.9),
    "accordion": Timbre(294, ((1200, 0.9), (3800, 0.4)), rate=6, depth=0.35),
    "guzheng": Timbre(620, ((3200, 0.5),), rate=3, depth=0.9, bend=2, bend_rate=3),
    "clarinet": Timbre(233, ((700, 0.3), (3000, 0.2))),
    "cat": Timbre(700, ((1500, 0.6),), bend=7, bend_rate=1.2),
    "car": Timbre(0, ((220, 0.5),), rate=11, depth=0.6),
    "saxophone": Timbre(260, ((1500, 0.3), (2800, 0.25)), bend=0.8, bend_rate=4),
    "dog": Timbre(0, ((900, 0.5),), rate=3, depth=1.0),
    "lawn_mover": Timbre(90, ((1500, 1.5),), rate=14, depth=0.7),
    "tuba": Timbre(110, ((220, 0.5),)),
    "banjo": Timbre(390, ((4500, 0.4), (1000, 0.25)), rate=8, depth=0.95),
    "pipa": Timbre(830, ((5200, 0.4), (1700, 0.2)), rate=10, depth=0.9),
    "bassoon": Timbre(125, ((480, 0.25),)),
    "airplane": Timbre(0, ((5000, 0.5),)),
    "tree_harvester": Timbre(0, ((2500, 0.5), (300, 0.3)), rate=7, depth=0.9),
    "trumpet": Timbre(466, ((1900, 0.5), (4200, 0.3))),
    "lion": Timbre(0, ((400, 0.3), (1300, 0.3)), rate=1, depth=0.9),
    "bass": Timbre(125, ((150, 0.4),), rate=2, depth=0.9),
    "erhu": Timbre(590, ((1200, 0.3), (6000, 0.3)), bend=1.2, bend_rate=5),
    "horse": Timbre(0, ((3300, 0.25),), rate=12, depth=0.95),
}


def make_track(
    sounds: tuple[Sound, ...], num_frames: int, options: SynthOptions, rng: Generator
) -> NDArray[np.int16]:
    """Mix the sounds of a video with background noise.

    Returns:
        16-bit mono (N,) at `SAMPLE_RATE`, T / fps seconds long.
    """
    boundaries = np.round(np.arange(num_frames + 1) / options.fps * SAMPLE_RATE).astype(int)
    track = options.sound_noise * LOUDNESS * _shaped_noise(int(boundaries[-1]), ((400.0, 2.0),), rng)
    for sound in sounds:
        track += LOUDNESS * _play(TIMBRES[sound.category], _gain(sound.level, boundaries), rng)
    return np.round(np.clip(track, -1, 1) * 32767).astype(np.int16)


def _play(timbre: Timbre, gain: NDArray[np.float64], rng: Generator) -> NDArray[np.float64]:
    """The sound (N,) of a timbre under a loudness contour."""
    time = np.arange(len(gain)) / SAMPLE_RATE
    carrier = _harmonics(timbre, time, rng) if timbre.pitch else _shaped_noise(len(gain), timbre.humps, rng)
    swell = 1 - timbre.depth * (
        0.5 + 0.5 * np.sin(2 * np.pi * timbre.rate * time + rng.uniform(0, 2 * np.pi))
    )
    swell /= np.sqrt((1 - timbre.depth / 2) ** 2 + timbre.depth**2 / 8)  # to a root mean square of 1
    return carrier * swell * gain


def _harmonics(timbre: Timbre, time: NDArray[np.float64], rng: Generator) -> NDArray[np.float64]:
    """A stack of harmonics of root mean square 1, slightly out of tune, its pitch bending up and down."""
    bend = timbre.bend * np.sin(2 * np.pi * timbre.bend_rate * time + rng.uniform(0, 2 * np.pi))
    frequency = timbre.pitch * 2 ** ((bend + rng.uniform(-0.3, 0.3)) / 12)
    phase = np.cumsum(frequency) / SAMPLE_RATE + rng.uniform()
    return _wavetable(timbre)[(phase * WAVETABLE_LENGTH).astype(int) % WAVETABLE_LENGTH]


@cache
def _wavetable(timbre: Timbre) -> NDArray[np.float64]:
    """One period of a timbre (WAVETABLE_LENGTH,)."""
    highest = int(0.45 * SAMPLE_RATE / (timbre.pitch * 2 ** (timbre.bend / 12)))
    harmonic = np.arange(1, highest + 1)
    spectrum = np.zeros(WAVETABLE_LENGTH // 2 + 1, complex)
    # Phases that grow with the square of the harmonic keep the peaks low (Schroeder, 1970).
    spectrum[1 : highest + 1] = _envelope(harmonic * timbre.pitch, timbre.humps) * np.exp(
        1j * np.pi * harmonic**2 / highest
    )
    return _unit(np.fft.irfft(spectrum))


def _shaped_noise(
    num_samples: int, humps: tuple[tuple[float, float], ...], rng: Generator
) -> NDArray[np.float64]:
    """Gaussian noise (N,) of root mean square 1 under a spectral envelope."""
    frequencies = np.fft.rfftfreq(num_samples, 1 / SAMPLE_RATE)
    frequencies[0] = frequencies[1]
    spectrum = np.fft.rfft(rng.standard_normal(num_samples))
    return _unit(np.fft.irfft(spectrum * _envelope(frequencies, humps), num_samples))


def _envelope(frequencies: NDArray, humps: tuple[tuple[float, float], ...]) -> NDArray[np.float64]:
    """Amplitude at each frequency: bell curves over the octaves, the second at half the height of the first."""
    heights = [1.0] + [0.5] * (len(humps) - 1)
    return sum(
        height * np.exp(-0.5 * (np.log2(frequencies / centre) / width) ** 2)
        for height, (centre, width) in zip(heights, humps, strict=True)
    )


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

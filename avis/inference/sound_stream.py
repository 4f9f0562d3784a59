"""The sound of a stream: chunks of samples in, the log-mel example of each frame out, once it is all there.

Frame t hears [t / fps, t / fps + 0.96 s), as everywhere. So what a frame hears is there about a second after
it. Only the samples that the next frames need are kept.

Dimensions: N samples of a chunk, n frames.
"""

import math

import numpy as np
import torch
from torch import Tensor

from avis.audio import EXAMPLE_SECONDS, SAMPLE_RATE, log_mel_examples
from avis.media.wav import to_float

# Sound before a frame, for the filter that resamples it, at 16 kHz.
_SAMPLES_BEFORE = 1600
# Sound after an example: its last window is 15 ms longer than its hop, and the filter looks ahead.
_AFTER_SECONDS = 0.025


def as_sound(waveform: np.ndarray | Tensor) -> np.ndarray:
    """The samples of a sound as an array, on the CPU.

    Raises:
        ValueError: they are neither (N,) nor (channels, N), or no numbers.
    """
    samples = waveform.detach().cpu().numpy() if isinstance(waveform, Tensor) else np.asarray(waveform)
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and samples.shape[0] > samples.shape[1] > 0):
        raise ValueError(f"a chunk of sound is (N,) or (channels, N), not {samples.shape}")
    if samples.dtype.kind not in "fiu":
        raise ValueError(f"a chunk of sound is of floats or integers, not {samples.dtype}")
    return samples


class SoundStream:
    """Collects sound until frames can be heard."""

    def __init__(self, fps: float, sample_rate: int) -> None:
        """Begin at second 0, where frame 0 is.

        Args:
            fps: frames per second.
            sample_rate: of the sound, in Hz.
        """
        if not 0 < fps < math.inf or not 0 < sample_rate < math.inf:
            raise ValueError(f"fps and sample_rate must be positive, got {fps} FPS and {sample_rate} Hz")
        if sample_rate != int(sample_rate):
            raise ValueError(f"sample_rate must be a whole number, got {sample_rate} Hz")
        self.fps, self.sample_rate = fps, int(sample_rate)
        common = math.gcd(self.sample_rate, SAMPLE_RATE)
        # The shortest stretch of whole samples at both rates. Sound that is cut at its multiples is resampled
        # as if it were not cut.
        self._unit, self._unit_at_16_khz = self.sample_rate // common, SAMPLE_RATE // common
        self._next_frame = 0
        # Before the start is silence.
        self._first = self._piece(0)[0]
        self._samples = np.zeros(-self._first, np.float32)

    @property
    def seconds(self) -> float:
        """How much sound has come."""
        return (self._first + len(self._samples)) / self.sample_rate

    def append(self, waveform: np.ndarray | Tensor) -> None:
        """Take in the next chunk.

        Args:
            waveform: (N,) or (channels, N), floats within [-1, 1], or integers of their full scale.

        Raises:
            ValueError: it has another shape or type, or NaN.
        """
        samples = to_float(as_sound(waveform))
        samples = samples.mean(axis=0) if samples.ndim == 2 else samples
        if not np.isfinite(samples).all():
            raise ValueError(f"a chunk of {len(samples)} samples of sound holds NaN or infinity")
        self._samples = np.concatenate([self._samples, samples])

    def append_silence(self, seconds: float) -> None:
        """Take in silence."""
        self.append(np.zeros(round(seconds * self.sample_rate), np.float32))

    def take(self, limit: int, ended: bool) -> Tensor:
        """The examples of the next frames, (n, 96, 64).

        Args:
            limit: frames that have come; no example is taken for later ones.
            ended: no more sound comes, so that what a frame lacks is silence.
        """
        begin, last = self._next_frame, limit if ended else min(limit, self._num_heard())
        self._next_frame = max(begin, last)
        examples = [self._example(frame) for frame in range(begin, self._next_frame)]
        self._forget()
        return torch.cat(examples) if examples else torch.zeros(0, 96, 64)

    def _num_heard(self) -> int:
        """Frames from the start on whose sound is all there."""
        seconds = self.seconds - EXAMPLE_SECONDS - _AFTER_SECONDS
        # Times are whole samples: a frame is not to wait for a rounding error.
        return math.floor(seconds * self.fps + 1e-6) + 1 if seconds >= 0 else 0

    def _example(self, frame: int) -> Tensor:
        """(1, 96, 64)"""
        first, offset = self._piece(frame)
        seconds = offset / SAMPLE_RATE + EXAMPLE_SECONDS + _AFTER_SECONDS
        begin = first - self._first
        samples = self._samples[begin : begin + math.ceil(seconds * self.sample_rate)]
        # As of the second of two frames that far apart.
        return log_mel_examples(samples, self.sample_rate, 2, SAMPLE_RATE / offset)[1:]

    def _piece(self, frame: int) -> tuple[int, int]:
        """The first sample of the sound for a frame, and how far on the frame is, in samples at 16 kHz."""
        start = round(frame / self.fps * SAMPLE_RATE)
        units = (start - _SAMPLES_BEFORE) // self._unit_at_16_khz
        return units * self._unit, start - units * self._unit_at_16_khz

    def _forget(self) -> None:
        unused = self._piece(self._next_frame)[0] - self._first
        # What has not come yet cannot be forgotten.
        unused = min(unused, len(self._samples))
        self._samples = self._samples[unused:].copy()
        self._first += unused

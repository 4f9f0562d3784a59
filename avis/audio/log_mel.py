"""Waveform → log-mel examples, one per video frame: the input of VGGish.

Follows the front end of Hershey et al., "CNN Architectures for Large-Scale Audio Classification",
ICASSP 2017, as the AudioSet release computes it: 16 kHz, periodic Hann window of 25 ms every 10 ms, 512-point
FFT, magnitude, 64 HTK mel bands from 125 to 7500 Hz, log(mel + 0.01). As in AVISeg's features, the analysis
starts anew at every frame, so an example depends on its own second of sound alone.

Dimensions: N samples, T frames of the video; an example is 96 windows × 64 bands.
"""

import math
from functools import cache, lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchaudio.transforms import Resample

from avis.media.wav import to_float

SAMPLE_RATE = 16000
WINDOW_LENGTH = 400
HOP_LENGTH = 160
FFT_LENGTH = 512
NUM_WINDOWS = 96
NUM_BANDS = 64
MIN_HZ, MAX_HZ = 125.0, 7500.0
LOG_OFFSET = 0.01

EXAMPLE_SECONDS = NUM_WINDOWS * HOP_LENGTH / SAMPLE_RATE
# The last of the 96 windows reaches 15 ms beyond the 0.96 s that its hop stands for.
EXAMPLE_LENGTH = (NUM_WINDOWS - 1) * HOP_LENGTH + WINDOW_LENGTH
# The value of every band in true silence.
SILENCE = math.log(LOG_OFFSET)

# To be counted up when the same sound gets other values: features that were made before then do not count.
FRONT_END_VERSION = 1

MAX_CHANNELS = 64
# Examples analysed at once: bounds the memory of the spectra to about 25 MB.
CHUNK = 64


def log_mel_examples(
    waveform: Tensor | np.ndarray, sample_rate: int, num_frames: int, fps: float = 1.0
) -> Tensor:
    """Compute the log-mel example of each frame of a video.

    Frame t hears [t / fps, t / fps + 0.96 s). What lies beyond the end of the waveform is silence: the
    frames of a missing tail hold `SILENCE`, and an empty waveform gives silence throughout.

    Args:
        waveform: (N,) or (channels, N); channels are averaged. Floats are taken as they are (nominally within
            [-1, 1]), integers are divided by their type's full scale.
        sample_rate: of the waveform, in Hz.
        num_frames: T, frames of the video.
        fps: frames per second of the video.

    Returns:
        float32 (T, 96, 64), on the waveform's device.

    Raises:
        ValueError: the waveform has a wrong shape or type, or holds NaN or infinity; a rate is not positive.
    """
    if sample_rate <= 0 or fps <= 0:
        raise ValueError(f"sample_rate and fps must be positive, got {sample_rate} Hz and {fps} FPS")
    samples = _to_mono(torch.as_tensor(waveform))
    if len(samples):  # torchaudio's resampler takes no empty sound
        samples = _resampler(int(sample_rate), samples.device)(samples)
    starts = torch.round(torch.arange(num_frames, dtype=torch.float64) / fps * SAMPLE_RATE).long()
    if num_frames == 0:
        return samples.new_zeros(0, NUM_WINDOWS, NUM_BANDS)
    examples = samples.new_empty(num_frames, NUM_WINDOWS, NUM_BANDS)
    for chunk in torch.arange(num_frames).split(CHUNK):
        examples[chunk] = _log_mel(_pieces(samples, starts[chunk]))
    return examples


def _pieces(samples: Tensor, starts: Tensor) -> Tensor:
    """(n, EXAMPLE_LENGTH) samples from n ascending starts on; behind the end (N,) is silence."""
    first, end = int(starts[0]), int(starts[-1]) + EXAMPLE_LENGTH
    piece = F.pad(samples[first:end], (0, end - max(min(len(samples), end), first)))
    return piece.unfold(0, EXAMPLE_LENGTH, 1)[(starts - first).to(samples.device)]


def _to_mono(waveform: Tensor) -> Tensor:
    """(N,) or (channels, N) of any real type → float32 (N,)."""
    if waveform.ndim not in (1, 2) or (waveform.ndim == 2 and not 1 <= len(waveform) <= MAX_CHANNELS):
        raise ValueError(f"waveform must be (N,) or (channels, N), got shape {tuple(waveform.shape)}")
    if waveform.is_complex() or waveform.dtype == torch.bool:
        raise ValueError(f"waveform must be of floats or integers, got {waveform.dtype}")
    integers = not waveform.is_floating_point()
    mono = torch.from_numpy(to_float(waveform.cpu().numpy())) if integers else waveform.float()
    mono = mono.to(waveform.device)
    if mono.ndim == 2:
        mono = mono.mean(dim=0)
    broken = (~torch.isfinite(mono)).nonzero()
    if len(broken):
        raise ValueError(f"waveform holds NaN or infinity: {len(broken)} samples, first {int(broken[0])}")
    return mono


@lru_cache(maxsize=8)
def _resampler(sample_rate: int, device: torch.device) -> Resample:
    """To 16 kHz by the windowed sinc of resampy 0.4's `kaiser_best`, which takes long to make."""
    return Resample(
        sample_rate,
        SAMPLE_RATE,
        lowpass_filter_width=50,
        rolloff=0.9173473712608761,
        resampling_method="sinc_interp_kaiser",
        beta=12.9846,
        dtype=torch.float32,
    ).to(device)


def _log_mel(examples: Tensor) -> Tensor:
    """(n, EXAMPLE_LENGTH) samples → (n, 96, 64)."""
    windows = examples.unfold(1, WINDOW_LENGTH, HOP_LENGTH)
    window = torch.hann_window(WINDOW_LENGTH, periodic=True, device=examples.device)
    magnitude = torch.fft.rfft(windows * window, n=FFT_LENGTH).abs()
    return torch.log(magnitude @ mel_filters().to(magnitude) + LOG_OFFSET)


@cache
def mel_filters() -> Tensor:
    """The (257, 64) matrix, float64, from FFT bins to triangular mel bands; the DC bin belongs to none."""
    bin_hz = torch.linspace(0, SAMPLE_RATE / 2, FFT_LENGTH // 2 + 1, dtype=torch.float64)
    bin_mel = _hz_to_mel(bin_hz)[:, None]
    low, high = _hz_to_mel(torch.tensor([MIN_HZ, MAX_HZ], dtype=torch.float64)).tolist()
    edges = torch.linspace(low, high, NUM_BANDS + 2, dtype=torch.float64)
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    rising = (bin_mel - lower) / (centre - lower)
    falling = (upper - bin_mel) / (upper - centre)
    filters = torch.minimum(rising, falling).clamp(min=0)
    filters[0] = 0
    return filters


def _hz_to_mel(hz: Tensor) -> Tensor:
    return 1127.0 * torch.log1p(hz / 700.0)

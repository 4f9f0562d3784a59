"""The recipes of the recorded inputs: see tests/recorded/audio/README.md."""

import zlib
from pathlib import Path

import numpy as np
import torch

GOLDEN = Path(__file__).parents[1] / "recorded" / "audio"


def tone(num_samples: int, sample_rate: int, num_channels: int, seed: int) -> np.ndarray:
    """Three sines, the highest in the first half of each second only, and noise: (channels, N) float64."""
    time = np.arange(num_samples) / sample_rate
    generator = np.random.default_rng(seed)
    return np.stack(
        [
            0.4 * np.sin(2 * np.pi * (440 + 7 * channel) * time)
            + 0.2 * np.sin(2 * np.pi * 1234.5 * time + 0.3 * channel)
            + 0.1 * np.sin(2 * np.pi * 5000 * time) * (time % 1 < 0.5)
            + 0.05 * generator.standard_normal(num_samples)
            for channel in range(num_channels)
        ]
    )


def to_int16(waveform: np.ndarray) -> np.ndarray:
    """Floats in [-1, 1] as 16-bit PCM."""
    return np.round(waveform * 32767).astype(np.int16)


def fill_parameters(module: torch.nn.Module) -> None:
    """Give every parameter the values drawn from a generator that its name seeds."""
    for key, value in module.state_dict().items():
        generator = np.random.default_rng(zlib.crc32(key.encode()))
        drawn = generator.standard_normal(tuple(value.shape), dtype=np.float32) * np.float32(0.05)
        value.copy_(torch.from_numpy(drawn))

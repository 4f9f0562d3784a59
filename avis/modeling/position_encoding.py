"""Sine position embeddings of images and of videos.

Follow Carion et al., "End-to-End Object Detection with Transformers", ECCV 2020 (2-D), and Cheng et al.,
"Mask2Former for Video Instance Segmentation", 2021 (3-D), at scale 2π and temperature 10,000.

Dimensions: C channels, T frames, t of them, h×w feature map.
"""

import math

import torch
from torch import Tensor

_TEMPERATURE = 10000.0
_EPSILON = 1e-6


def sine_embedding_2d(channels: int, height: int, width: int, device: torch.device) -> Tensor:
    """(C, h, w): the first C/2 channels tell the row, the others the column."""
    half = channels // 2
    rows = _embed_axis(height, half, half, device)
    columns = _embed_axis(width, half, half, device)
    return torch.cat([rows.T[:, :, None].expand(-1, -1, width), columns.T[:, None, :].expand(-1, height, -1)])


def sine_embedding_3d(
    channels: int, length: int, height: int, width: int, device: torch.device, frames: slice = slice(None)
) -> Tensor:
    """(t, C, h, w): the 2-D embedding of each position plus an embedding of the frame's place in the clip.

    `length` is T; of the T frames, `frames` are wanted.
    """
    places = _embed_axis(length, channels, channels, device)[frames]
    return sine_embedding_2d(channels, height, width, device) + places[:, :, None, None]


def _embed_axis(length: int, channels: int, base: int, device: torch.device) -> Tensor:
    """(length, channels): sines and cosines, interleaved, of positions 1 … length scaled to (0, 2π]."""
    positions = torch.arange(1, length + 1, dtype=torch.float32, device=device)
    positions = positions / (length + _EPSILON) * (2 * math.pi)
    exponents = torch.arange(0, channels, 2, dtype=torch.float32, device=device) / base
    angles = positions[:, None] / _TEMPERATURE**exponents
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)

"""Parts of the model that are computed otherwise than they are defined, beside their definitions.

Dimensions: B clips, T frames, C channels, A audio channels, N queries, h×w and H×W feature maps; for
deformable attention as in `avis.modeling.ms_deform_attn`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from avis.benchmark.definitions import (
    all_rounds_kmeans,
    attended_sound,
    copied_sounds,
    gathered_attention,
    plain_ms_deform_attn,
    plain_residual_masks,
    quadratic_tpavi,
    resized_masks,
    stepwise_scan,
)
from avis.modeling import TPAVI, ClusteredAttention, DotMaskHead, ResidualMaskHead, ms_deform_attn
from avis.modeling.audio_query import CentricAudioQuery
from avis.modeling.kmeans import farthest_points, kmeans
from avis.modeling.selective_scan import selective_scan
from avis.modeling.temporal_fusion import WindowAttention

NUM_QUERIES, NUM_HEADS, NUM_POINTS = 100, 8, 4
NUM_SCANS, NUM_STATES = 4, 16
NUM_OBJECTS = 12


@dataclass(frozen=True)
class Part:
    """A part of the model and what it takes.

    Attributes:
        name: of the part.
        ours: as the model computes it.
        plain: as it is defined.
        inputs: of both.
    """

    name: str
    ours: Callable[..., Tensor]
    plain: Callable[..., Tensor]
    inputs: tuple[Tensor, ...]

    def difference(self) -> float:
        """The largest difference of the two outputs."""
        with torch.no_grad():
            return (self.ours(*self.inputs) - self.plain(*self.inputs)).abs().max().item()


def make_parts(frames: int, size: tuple[int, int], channels: int, device: str) -> list[Part]:
    """The parts, for one clip of random features.

    Args:
        frames: T.
        size: h, w of the finest level of the deformable encoder; masks have twice that, coarser levels a half
            and a quarter.
        channels: C.
        device: where to compute.
    """
    return [
        *_baseline_parts(frames, size, channels, device),
        *_clustering_parts(frames, size, channels, device),
        _scan_part(frames, channels, device),
        *_frame_and_clip_parts(frames, size, channels, device),
    ]


def _baseline_parts(frames: int, size: tuple[int, int], channels: int, device: str) -> list[Part]:
    random = partial(_random, device)
    height, width = size
    fusion = TPAVI(channels).to(device)
    nn.init.normal_(fusion.W_z[1].weight)  # it starts at 0, and so would hide the attention
    head = ResidualMaskHead(channels, channels, NUM_QUERIES).to(device)
    sizes = [(-(-height // step), -(-width // step)) for step in (4, 2, 1)]
    num_tokens = sum(h * w for h, w in sizes)
    sampled = (frames, num_tokens, NUM_HEADS, len(sizes), NUM_POINTS)
    locations = torch.rand(*sampled, 2, device=device, requires_grad=True)
    value = random(frames, num_tokens, NUM_HEADS, channels // NUM_HEADS)
    return [
        Part(
            "TPAVI",
            fusion,
            partial(quadratic_tpavi, fusion),
            (random(1, channels, frames, *size), random(1, frames, 128)),
        ),
        Part(
            "deformable attention",
            lambda value, *sampling: ms_deform_attn(value, sizes, *sampling),
            lambda value, *sampling: plain_ms_deform_attn(value, sizes, *sampling),
            (value, locations, random(*sampled)),
        ),
        Part(
            "mask head of Eq. (1)",
            head,
            partial(plain_residual_masks, head),
            (random(1, NUM_QUERIES, channels), random(1, frames, channels, 2 * height, 2 * width)),
        ),
    ]


def _clustering_parts(frames: int, size: tuple[int, int], channels: int, device: str) -> list[Part]:
    """Clustered attention to the middle level of the encoder, and clusters of as many points."""
    num_pixels = (-(-size[0] // 2)) * (-(-size[1] // 2))
    attention = ClusteredAttention(channels, NUM_HEADS, top_p=0.8).to(device)
    points = _points_around(NUM_OBJECTS, device, frames * NUM_HEADS, num_pixels, channels // NUM_HEADS)
    starts = farthest_points(points, min(attention.num_clusters, num_pixels))
    pixels = _random(device, frames, num_pixels, channels)
    return [
        Part(
            "clustered attention",
            attention,
            partial(gathered_attention, attention),
            (_random(device, frames, NUM_QUERIES, channels), pixels, pixels),
        ),
        Part(
            "k-means",
            lambda points: kmeans(points, starts, attention.iterations).centres,
            lambda points: all_rounds_kmeans(points, starts, attention.iterations),
            (points,),
        ),
    ]


def _scan_part(frames: int, channels: int, device: str) -> Part:
    length, inner = frames * NUM_QUERIES, 2 * channels
    step = torch.rand(length, 1, NUM_SCANS, inner, device=device, requires_grad=True)
    rate = -torch.arange(1.0, NUM_STATES + 1, device=device).repeat(NUM_SCANS, inner, 1)
    x, drive, readout = (
        _random(device, length, 1, NUM_SCANS, last) for last in (inner, NUM_STATES, NUM_STATES)
    )
    inputs = (x, step, rate.requires_grad_(), drive, readout)
    return Part("selective scan", selective_scan, stepwise_scan, inputs)


def _frame_and_clip_parts(frames: int, size: tuple[int, int], channels: int, device: str) -> list[Part]:
    """What AVISM and ACVIS do with the queries of frames."""
    random = partial(_random, device)
    fusion = WindowAttention(
        128, channels, num_heads=NUM_HEADS, dim_feedforward=8 * channels, num_layers=6, window=6
    ).to(device)
    query = CentricAudioQuery(128, channels, num_heads=NUM_HEADS, num_layers=3).to(device)
    embed = torch.zeros(NUM_QUERIES, channels, device=device)
    head = DotMaskHead(channels, channels).to(device)
    height, width = size
    queries = random(frames, NUM_QUERIES, channels)
    return [
        Part(
            "audio encoder of AVISM",
            fusion,
            partial(copied_sounds, fusion),
            (random(1, frames, NUM_QUERIES, channels), random(1, frames, 1, 128)),
        ),
        Part(
            "audio query of ACVIS",
            lambda queries, audio: query(queries, embed, [], audio)[0],
            partial(attended_sound, query),
            (queries, random(frames, 1, 128)),
        ),
        Part(
            "masks for attention",
            lambda queries, mask_features: head.resized(queries, mask_features, size),
            partial(resized_masks, head, size),
            (queries, random(frames, 1, channels, 2 * height, 2 * width)),
        ),
    ]


def _points_around(num_places: int, device: str, *shape: int) -> Tensor:
    """Random points (R, P, D), normally distributed around random places, as pixels look like objects."""
    rows, num_points, _ = shape
    places = 2 * torch.randn(rows, num_places, shape[-1], device=device)
    of_points = torch.randint(num_places, (rows, num_points, 1), device=device)
    return (places.take_along_dim(of_points, dim=1) + torch.randn(shape, device=device)).requires_grad_()


def _random(device: str, *shape: int) -> Tensor:
    return torch.randn(shape, device=device, requires_grad=True)

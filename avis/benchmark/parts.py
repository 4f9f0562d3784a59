"""Parts of the model that are computed otherwise than they are defined, beside their definitions.

Dimensions: B clips, T frames, C channels, A audio channels, N queries, h×w and H×W feature maps; for
deformable attention as in `avis.modeling.ms_deform_attn`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
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
from avis.benchmark.tables import Columns, number, spread
from avis.benchmark.timing import allocated_memory, measure_times
from avis.modeling import TPAVI, ClusteredAttention, DotMaskHead, ResidualMaskHead, ms_deform_attn
from avis.modeling.audio_query import CentricAudioQuery
from avis.modeling.kmeans import farthest_points, kmeans
from avis.modeling.ms_deform_attn import MSDeformAttn
from avis.modeling.pixel_decoder import pixel_centres
from avis.modeling.selective_scan import selective_scan
from avis.modeling.temporal_fusion import WindowAttention

NUM_QUERIES, NUM_HEADS, NUM_POINTS = 100, 8, 4
NUM_SCANS, NUM_STATES = 4, 16
NUM_OBJECTS = 12
# Predictions of a decoder in training, and the queries of each that are matched.
NUM_PREDICTIONS, NUM_MATCHED = 10, 3
# By how many pixels sampling points are off where they start.
OFFSET_NOISE = 0.2

COLUMNS: Columns = {
    "forward and backward": lambda row: row["part"],
    "frames": lambda row: str(row["frames"]),
    "ours, s": lambda row: spread(row["ours"]),
    "plain, s": lambda row: spread(row["plain"]),
    "ratio": lambda row: number(row["plain"]["median"] / row["ours"]["median"]),
    "ours keeps, MiB": lambda row: number(row["kept"]),
    "plain keeps, MiB": lambda row: number(row["plain_kept"]),
    "difference": lambda row: f"{row['difference']:.0e}",
}
NOTES = (
    "“Keeps” is what the forward pass leaves for the backward pass. Deformable attention reads points around "
    "each query's place. The mask head makes ten predictions, with gradients of three matched queries each.",
)


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


def compare_parts(
    frames: int, size: tuple[int, int], channels: int, device: str, repeats: int
) -> Iterator[dict]:
    """Measure every part and its definition; arguments as those of `make_parts`.

    Yields:
        A row for `COLUMNS`.
    """
    for part in make_parts(frames, size, channels, device):
        ours, plain = (
            measure_times(partial(_differentiate, function, part.inputs), repeats)
            for function in (part.ours, part.plain)
        )
        yield {
            "part": part.name,
            "frames": frames,
            "ours": asdict(ours),
            "plain": asdict(plain),
            "kept": _kept(part.ours, part.inputs),
            "plain_kept": _kept(part.plain, part.inputs),
            "difference": part.difference(),
        }


def _differentiate(function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> None:
    output = function(*inputs)
    output.backward(output.detach())


def _kept(function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> float | None:
    """MiB that are in use after a forward pass and were not before, the output among them."""
    before = allocated_memory()
    output = function(*inputs)
    after = allocated_memory()
    del output
    return None if before is None else 1024 * (after - before)


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
    matched = torch.stack([torch.randperm(NUM_QUERIES)[:NUM_MATCHED] for _ in range(NUM_PREDICTIONS)])
    sizes = [(-(-height // step), -(-width // step)) for step in (4, 2, 1)]
    locations = local_points(frames, sizes, channels, device)
    value = random(frames, locations.shape[1], NUM_HEADS, channels // NUM_HEADS)
    weights = random(*locations.shape[:3], len(sizes) * NUM_POINTS).detach().softmax(-1)
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
            (value, locations, weights.view(locations.shape[:-1]).requires_grad_()),
        ),
        Part(
            "mask head of Eq. (1)",
            partial(_matched_masks, head.on, matched),
            partial(_matched_masks, partial(_plain_masks_on, head), matched),
            (
                random(NUM_PREDICTIONS, 1, NUM_QUERIES, channels),
                random(1, frames, channels, 2 * height, 2 * width),
            ),
        ),
    ]


def local_points(frames: int, sizes: Sequence[tuple[int, int]], channels: int, device: str) -> Tensor:
    """Where queries look in an encoder that starts to learn: (T, Q, M, L, P, 2), around their own places.

    At the very start points lie on the borders between pixels, where gradients are not defined.
    """
    start = MSDeformAttn(channels, len(sizes), NUM_HEADS, NUM_POINTS).sampling_offsets.bias.detach()
    places = torch.cat([pixel_centres(*size, torch.device("cpu")) for size in sizes])
    offsets = start.view(NUM_HEADS, len(sizes), NUM_POINTS, 2)
    offsets = offsets + OFFSET_NOISE * torch.randn(frames, len(places), *offsets.shape)
    extents = torch.tensor([(width, height) for height, width in sizes])
    return (places[:, None, None, None] + offsets / extents[:, None]).to(device).requires_grad_()


def _matched_masks(
    masks_on: Callable[[Tensor], Callable[[Tensor], Tensor]],
    matched: Tensor,
    queries: Tensor,
    mask_features: Tensor,
) -> Tensor:
    """The masks that losses read: of some queries of each prediction.

    Args:
        masks_on: as `MaskHead.on`.
        matched: (D, S) of D predictions.
        queries: (D, B, N, C).
        mask_features: (B, T, C, H, W).

    Returns:
        (B, D·S, T, H, W).
    """
    masks = masks_on(mask_features)
    return torch.cat([masks(each)[:, rows] for each, rows in zip(queries, matched, strict=True)], dim=1)


def _plain_masks_on(head: ResidualMaskHead, mask_features: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda queries: plain_residual_masks(head, queries, mask_features)


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

"""Parts of the model that are computed otherwise than they are defined, beside their definitions.

Dimensions: B clips, T frames, C channels, A audio channels, N queries, h×w and H×W feature maps; for
deformable attention as in `avis.modeling.ms_deform_attn`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avis.modeling import TPAVI, ResidualMaskHead, ms_deform_attn

NUM_QUERIES, NUM_HEADS, NUM_POINTS = 100, 8, 4


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

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, device=device, requires_grad=True)

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


def quadratic_tpavi(fusion: TPAVI, visual: Tensor, audio: Tensor) -> Tensor:
    """TPAVI by its definition: a matrix of every pixel's attention to every pixel of every frame.

    (B, C, T, h, w) and (B, T, A) to (B, C, T, h, w).
    """
    repeated = fusion.align_channel(audio).transpose(1, 2)[..., None, None].expand_as(visual)
    theta, phi, g = (
        layer(x).flatten(2).transpose(1, 2)
        for layer, x in ((fusion.theta, visual), (fusion.phi, repeated), (fusion.g, visual))
    )
    attention = theta @ phi.transpose(1, 2) / theta.shape[1]
    attended = (attention @ g).transpose(1, 2).unflatten(2, visual.shape[2:])
    fused = fusion.W_z(attended) + visual
    return fusion.norm_layer(fused.permute(0, 2, 3, 4, 1)).permute(0, 4, 1, 2, 3)


def plain_ms_deform_attn(
    value: Tensor, sizes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor
) -> Tensor:
    """Deformable attention with the samples of all levels side by side; arguments as `ms_deform_attn`'s."""
    batch, _, heads, head_dim = value.shape
    grids = (2 * locations - 1).transpose(1, 2).flatten(0, 1)
    maps = value.permute(0, 2, 3, 1).flatten(0, 1).split([h * w for h, w in sizes], dim=2)
    samples = [
        F.grid_sample(level.unflatten(2, size), grids[:, :, index], align_corners=False)
        for index, (level, size) in enumerate(zip(maps, sizes, strict=True))
    ]
    weights = weights.transpose(1, 2).flatten(0, 1).flatten(2).unsqueeze(1)
    summed = (torch.cat(samples, dim=-1) * weights).sum(-1)
    return summed.view(batch, heads * head_dim, -1).transpose(1, 2)


def plain_residual_masks(head: ResidualMaskHead, queries: Tensor, mask_features: Tensor) -> Tensor:
    """Eq. (1) layer by layer: (B, N, C) and (B, T, C, H, W) to (B, N, T, H, W)."""
    pixels = mask_features.movedim(2, -1)
    responses = torch.einsum("bthwc,bnc->bthwn", pixels, queries)
    return head.linear(pixels + head.mlp(responses)).movedim(-1, 1)

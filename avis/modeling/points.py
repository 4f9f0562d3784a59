"""Sampling masks at points, uniformly or where a prediction is least certain.

Follows Kirillov et al., "PointRend", CVPR 2020, as Mask2Former uses it.

Dimensions: M masks, P points, h×w masks.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

# Draws uniform numbers in [0, 1) of the given shape: torch.rand, or recorded numbers in tests.
Rand = Callable[..., Tensor]


def seeded_rand(seed: int, device: torch.device) -> Rand:
    """A source of uniform numbers on a device that a seed alone decides."""
    return partial(torch.rand, generator=torch.Generator(device).manual_seed(seed))


def sample_points(masks: Tensor, points: Tensor) -> Tensor:
    """Bilinear samples of `masks` (M, A, h, w) at `points` (M, P, 2), (x, y) in 0 … 1: (M, A, P)."""
    grid = 2 * points.unsqueeze(2) - 1
    return F.grid_sample(masks, grid, align_corners=False).squeeze(3)


class PointDraws(NamedTuple):
    """Random points of M masks, drawn before it is known which masks these are.

    Attributes:
        candidates: (M, ·, 2) of which the least certain are taken.
        uniform: (M, ·, 2) that are taken as they are.
    """

    candidates: Tensor
    uniform: Tensor

    @classmethod
    def of(
        cls,
        num_masks: int,
        num_points: int,
        oversample_ratio: float,
        importance_sample_ratio: float,
        rand: Rand,
        device: torch.device,
    ) -> "PointDraws":
        """Draw for P points a mask.

        Args:
            num_masks: M.
            num_points: P.
            oversample_ratio: candidates drawn for each point.
            importance_sample_ratio: share of the P points that is chosen among the candidates.
            rand: source of uniform numbers, called as `torch.rand`.
            device: of the points.
        """
        candidates = rand(num_masks, int(num_points * oversample_ratio), 2, device=device)
        num_uniform = num_points - int(importance_sample_ratio * num_points)
        if num_uniform == 0:
            return cls(candidates, candidates[:, :0])
        return cls(candidates, rand(num_masks, num_uniform, 2, device=device))

    @classmethod
    def join(cls, draws: Sequence["PointDraws"]) -> "PointDraws":
        """The draws for the masks of several sources, one after the other."""
        return draws[0] if len(draws) == 1 else cls(*map(torch.cat, zip(*draws, strict=True)))


def uncertain_points(logits: Tensor, draws: PointDraws, num_points: int) -> Tensor:
    """Points at which to compute a mask's losses: a share where the logit is nearest 0, the rest uniform.

    Args:
        logits: (M, 1, h, w).
        draws: for as many masks and points.
        num_points: P.

    Returns:
        (M, P, 2) as (x, y) in 0 … 1.
    """
    candidates, uniform = draws
    certainty = sample_points(logits, candidates).squeeze(1).abs()
    chosen = certainty.topk(num_points - uniform.shape[1], dim=1, largest=False).indices
    points = candidates.gather(1, chosen.unsqueeze(-1).expand(-1, -1, 2))
    return torch.cat([points, uniform], dim=1)

"""Sampling masks at points, uniformly or where a prediction is least certain.

Follows Kirillov et al., "PointRend", CVPR 2020, as Mask2Former uses it.

Dimensions: M masks, P points, h×w masks.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

# Draws uniform numbers in [0, 1) of the given shape: torch.rand, or recorded numbers in tests.
Rand = Callable[..., Tensor]


def sample_points(masks: Tensor, points: Tensor) -> Tensor:
    """Bilinear samples of `masks` (M, A, h, w) at `points` (M, P, 2), (x, y) in 0 … 1: (M, A, P)."""
    grid = 2 * points.unsqueeze(2) - 1
    return F.grid_sample(masks, grid, align_corners=False).squeeze(3)


def uncertain_points(
    logits: Tensor, num_points: int, oversample_ratio: float, importance_sample_ratio: float, rand: Rand
) -> Tensor:
    """Points at which to compute a mask's losses: a share where the logit is nearest 0, the rest uniform.

    Args:
        logits: (M, 1, h, w).
        num_points: P.
        oversample_ratio: candidates drawn for each point.
        importance_sample_ratio: share of the P points that is chosen among the candidates.
        rand: source of uniform numbers, called as `torch.rand`.

    Returns:
        (M, P, 2) as (x, y) in 0 … 1.
    """
    num_masks, device = logits.shape[0], logits.device
    candidates = rand(num_masks, int(num_points * oversample_ratio), 2, device=device)
    certainty = sample_points(logits, candidates).squeeze(1).abs()
    num_chosen = int(importance_sample_ratio * num_points)
    chosen = certainty.topk(num_chosen, dim=1, largest=False).indices
    points = candidates.gather(1, chosen.unsqueeze(-1).expand(-1, -1, 2))
    if num_chosen == num_points:
        return points
    uniform = rand(num_masks, num_points - num_chosen, 2, device=device)
    return torch.cat([points, uniform], dim=1)

"""Hungarian matching of a clip's queries to its ground-truth tracks.

Follows Cheng et al., "Mask2Former for Video Instance Segmentation", 2021: costs of class, mask and dice at
random points shared by all queries, tracks and frames.

Dimensions: N queries, M tracks, T frames, K classes, P points, h×w predicted masks, H×W ground truth.
"""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional as F

from avis.modeling.points import Rand, sample_points


class VideoHungarianMatcher(nn.Module):
    """The one-to-one assignment of least total cost."""

    def __init__(self, class_weight: float, mask_weight: float, dice_weight: float, num_points: int) -> None:
        """Keep the weights of the three costs and the number of points, P."""
        super().__init__()
        self.class_weight, self.mask_weight, self.dice_weight = class_weight, mask_weight, dice_weight
        self.num_points = num_points

    @torch.no_grad()
    def forward(
        self,
        class_logits: Tensor,
        mask_logits: Tensor,
        classes: Tensor,
        masks: Tensor,
        rand: Rand = torch.rand,
    ) -> tuple[Tensor, Tensor]:
        """Match the queries of one clip.

        Args:
            class_logits: (N, K+1).
            mask_logits: (N, T, h, w).
            classes: (M,) class of each track.
            masks: (M, T, H, W) float, zero where a track is silent or out of view.
            rand: source of uniform numbers, called as `torch.rand`.

        Returns:
            Indices of the matched queries, ascending, and of their tracks: min(N, M) each.

        Raises:
            FloatingPointError: a cost is not finite.
        """
        return assign(self.cost(class_logits, mask_logits, classes, masks, rand).cpu())

    @torch.no_grad()
    def cost(
        self, class_logits: Tensor, mask_logits: Tensor, classes: Tensor, masks: Tensor, rand: Rand
    ) -> Tensor:
        """(N, M) weighted costs, in float32 also under autocast; arguments as in `forward`."""
        with torch.autocast(mask_logits.device.type, enabled=False):
            points = rand(1, self.num_points, 2, device=mask_logits.device)
            predicted = _sample_shared(mask_logits.float(), points)
            target = _sample_shared(masks.float(), points)
            class_cost = -class_logits.float().softmax(-1)[:, classes]
            return (
                self.class_weight * class_cost
                + self.mask_weight * _cross_entropy_cost(predicted, target)
                + self.dice_weight * _dice_cost(predicted.sigmoid(), target)
            )


def assign(cost: Tensor) -> tuple[Tensor, Tensor]:
    """The assignment of least total cost (N, M); returns and errors as those of the matcher."""
    if not cost.isfinite().all():
        raise FloatingPointError(
            "the matching cost is not finite: the predictions hold NaN or infinite values "
            "(lower SOLVER.BASE_LR, or use bfloat16 instead of float16)"
        )
    queries, tracks = linear_sum_assignment(cost)
    return torch.as_tensor(queries), torch.as_tensor(tracks)


def _sample_shared(masks: Tensor, points: Tensor) -> Tensor:
    """(A, T, h, w) masks at the same (1, P, 2) points of every frame: (A, T·P)."""
    return sample_points(masks.flatten(0, 1)[None], points)[0].unflatten(0, masks.shape[:2]).flatten(1)


def _cross_entropy_cost(logits: Tensor, target: Tensor) -> Tensor:
    """(N, M) mean binary cross-entropy: softplus(x) - x·y at each point."""
    summed = F.softplus(logits).sum(-1, keepdim=True) - logits @ target.T
    return summed / logits.shape[1]


def _dice_cost(probabilities: Tensor, target: Tensor) -> Tensor:
    """(N, M) one minus the soft dice coefficient, smoothed by 1."""
    intersection = probabilities @ target.T
    total = probabilities.sum(-1, keepdim=True) + target.sum(-1)
    return 1 - (2 * intersection + 1) / (total + 1)

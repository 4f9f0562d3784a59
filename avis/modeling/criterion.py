"""Losses of the decoded queries against a clip's ground-truth tracks.

Follows Cheng et al., "Mask2Former for Video Instance Segmentation", 2021: cross-entropy of the classes, and
binary cross-entropy and dice of the matched masks at points, after every decoder layer.

Dimensions: B clips, N queries, M tracks matched in all clips, T frames, K classes, P points, h×w masks.
"""

from dataclasses import dataclass

import torch
from detectron2.utils import comm
from torch import Tensor, nn
from torch.nn import functional as F

from avis.modeling.matcher import VideoHungarianMatcher
from avis.modeling.points import Rand, sample_points, uncertain_points


@dataclass
class ClipTargets:
    """The ground-truth tracks of one clip.

    Attributes:
        classes: (M,) contiguous class of each track.
        masks: (M, T, H, W) float, padded as the images; zero where a track is silent or out of view.
    """

    classes: Tensor
    masks: Tensor


class VideoSetCriterion(nn.Module):
    """Set prediction loss over clips, one set of terms per prediction."""

    def __init__(
        self,
        num_classes: int,
        matcher: VideoHungarianMatcher,
        *,
        no_object_weight: float,
        weights: dict[str, float],
        num_points: int,
        oversample_ratio: float,
        importance_sample_ratio: float,
    ) -> None:
        """Keep what the losses need.

        Args:
            num_classes: K.
            matcher: assigns queries to tracks.
            no_object_weight: weight of the class no-object.
            weights: of "loss_ce", "loss_mask" and "loss_dice".
            num_points: P, points per mask and frame.
            oversample_ratio: candidates drawn for each point.
            importance_sample_ratio: share of the points that is chosen by uncertainty.
        """
        super().__init__()
        self.matcher, self.weights, self.num_points = matcher, weights, num_points
        self.oversample_ratio = oversample_ratio
        self.importance_sample_ratio = importance_sample_ratio
        class_weights = torch.ones(num_classes + 1)
        class_weights[-1] = no_object_weight
        # Persistent, as in Mask2Former, whose checkpoints hold it.
        self.register_buffer("empty_weight", class_weights)

    def forward(
        self,
        predictions: list[tuple[Tensor, Tensor]],
        targets: list[ClipTargets],
        rand: Rand = torch.rand,
    ) -> dict[str, Tensor]:
        """Weighted losses of every prediction.

        Args:
            predictions: class logits (B, N, K+1) and mask logits (B, N, T, h, w), the final ones first; the
                losses of the i-th further ones have the suffix "_i".
            targets: of each of the B clips.
            rand: source of uniform numbers, called as `torch.rand`.

        Returns:
            "loss_ce", "loss_mask", "loss_dice", and the same with suffix; all connected to the predictions,
            also where no clip has a track.
        """
        num_tracks = _mean_over_processes(
            sum(len(target.classes) for target in targets), predictions[0][0].device
        )
        losses = {}
        for index, (class_logits, mask_logits) in enumerate(predictions):
            suffix = f"_{index - 1}" if index else ""
            terms = self._losses(class_logits, mask_logits, targets, num_tracks, rand)
            losses |= {name + suffix: value * self.weights[name] for name, value in terms.items()}
        return losses

    def _losses(
        self,
        class_logits: Tensor,
        mask_logits: Tensor,
        targets: list[ClipTargets],
        num_tracks: float,
        rand: Rand,
    ) -> dict[str, Tensor]:
        matches = [
            self.matcher(logits, masks, target.classes, target.masks, rand)
            for logits, masks, target in zip(class_logits, mask_logits, targets, strict=True)
        ]
        loss_ce = self._class_loss(class_logits, targets, matches)
        loss_mask, loss_dice = self._mask_losses(mask_logits, targets, matches, num_tracks, rand)
        return {"loss_ce": loss_ce, "loss_mask": loss_mask, "loss_dice": loss_dice}

    def _class_loss(
        self, class_logits: Tensor, targets: list[ClipTargets], matches: list[tuple[Tensor, Tensor]]
    ) -> Tensor:
        no_object = class_logits.shape[-1] - 1
        labels = torch.full(class_logits.shape[:2], no_object, device=class_logits.device)
        for clip, (target, (queries, tracks)) in enumerate(zip(targets, matches, strict=True)):
            labels[clip, queries] = target.classes[tracks]
        return F.cross_entropy(class_logits.float().flatten(0, 1), labels.flatten(), self.empty_weight)

    def _mask_losses(
        self,
        mask_logits: Tensor,
        targets: list[ClipTargets],
        matches: list[tuple[Tensor, Tensor]],
        num_tracks: float,
        rand: Rand,
    ) -> tuple[Tensor, Tensor]:
        """Binary cross-entropy and dice of single-frame masks, summed and divided by the number of tracks."""
        pairs = list(zip(mask_logits, targets, matches, strict=True))
        logits = torch.cat([masks[queries] for masks, _, (queries, _) in pairs]).float()
        truth = torch.cat([target.masks[tracks] for _, target, (_, tracks) in pairs])
        logits, truth = logits.flatten(0, 1).unsqueeze(1), truth.flatten(0, 1).unsqueeze(1)
        if len(logits) == 0:
            # Connected to the graph, so that all processes reduce the same gradients.
            zero = mask_logits.sum() * 0.0
            return zero, zero
        with torch.no_grad():
            points = uncertain_points(
                logits, self.num_points, self.oversample_ratio, self.importance_sample_ratio, rand
            )
            labels = sample_points(truth.float(), points).squeeze(1)
        sampled = sample_points(logits, points).squeeze(1)
        loss_mask = F.binary_cross_entropy_with_logits(sampled, labels, reduction="none").mean(1).sum()
        return loss_mask / num_tracks, _dice_loss(sampled, labels).sum() / num_tracks


def _dice_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """(A,) one minus the soft dice coefficient of (A, P) points, smoothed by 1."""
    probabilities = logits.sigmoid()
    intersection = (probabilities * labels).sum(-1)
    return 1 - (2 * intersection + 1) / (probabilities.sum(-1) + labels.sum(-1) + 1)


def _mean_over_processes(count: int, device: torch.device) -> float:
    """The processes' mean of `count`, at least 1."""
    mean = torch.tensor(float(count), device=device)
    if comm.get_world_size() > 1:
        torch.distributed.all_reduce(mean)
        mean /= comm.get_world_size()
    return max(mean.item(), 1.0)

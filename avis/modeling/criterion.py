"""Set prediction losses of decoded queries against a clip's ground-truth tracks.

Follows Cheng et al., "Mask2Former for Video Instance Segmentation", 2021: cross-entropy of the classes, and
binary cross-entropy and dice of the matched masks at points, after every decoder layer.

Dimensions: B clips, N queries, M tracks matched in all clips, T frames, K classes, P points, h×w masks.
"""

import torch
from detectron2.config import CfgNode, configurable
from detectron2.utils import comm
from torch import Tensor, nn
from torch.nn import functional as F

from avis.modeling.clip_targets import ClipTargets, to_device
from avis.modeling.decoder import DecoderOutput
from avis.modeling.matcher import VideoHungarianMatcher, assign
from avis.modeling.points import PointDraws, Rand, sample_points, uncertain_points
from avis.modeling.whole_batch import TrackCounts

# Logits below this cannot overflow the sums over points of costs and losses.
_LARGEST_LOGIT = 1e30

# Of one clip: indices of the matched queries, ascending, and of their tracks.
Match = tuple[Tensor, Tensor]


class VideoSetCriterion(nn.Module):
    """Set prediction loss over clips, one set of terms per prediction.

    Attributes:
        rand: source of uniform numbers, called as `torch.rand`, for all clips together; None: each
            clip's own.
    """

    @configurable
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
        joint_frames: bool = False,
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
            joint_frames: a track's masks of all frames are one mask of T·P points, with one dice (Heo et al.,
                "VITA", NeurIPS 2022); otherwise the terms of single frames are summed.
        """
        super().__init__()
        self.matcher, self.weights, self.num_points = matcher, weights, num_points
        self.oversample_ratio = oversample_ratio
        self.importance_sample_ratio = importance_sample_ratio
        self.joint_frames = joint_frames
        self.rand: Rand | None = None
        self.no_object_weight = no_object_weight
        self.register_buffer("class_weights", class_weights(num_classes, no_object_weight), persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode, joint_frames: bool = False) -> dict:
        """Arguments of the class from a config."""
        options = cfg.MODEL.MASK_FORMER
        weights = (options.CLASS_WEIGHT, options.MASK_WEIGHT, options.DICE_WEIGHT)
        return {
            "num_classes": cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
            "matcher": VideoHungarianMatcher(*weights, options.TRAIN_NUM_POINTS),
            "no_object_weight": options.NO_OBJECT_WEIGHT,
            "weights": dict(zip(("loss_ce", "loss_mask", "loss_dice"), weights, strict=True)),
            "num_points": options.TRAIN_NUM_POINTS,
            "oversample_ratio": options.OVERSAMPLE_RATIO,
            "importance_sample_ratio": options.IMPORTANCE_SAMPLE_RATIO,
            "joint_frames": joint_frames,
        }

    def forward(
        self,
        predictions: list[DecoderOutput],
        targets: list[ClipTargets],
        counts: TrackCounts | None = None,
    ) -> tuple[dict[str, Tensor], list[list[Match]]]:
        """Match every prediction and weigh its losses.

        Args:
            predictions: the final one first; the losses of the i-th further ones have the suffix "_i".
            targets: of each of the B clips.
            counts: the tracks of each clip of the whole batch, of which these are a part; None: these are
                all.

        Returns:
            "loss_ce", "loss_mask", "loss_dice", and the same with suffix; connected to the predictions also
            where no clip has a track. And for each prediction the match of each clip.

        Raises:
            FloatingPointError: in every process, if the predictions of any are not finite.
        """
        # The random numbers come in the order of the predictions, before anything comes to the host.
        costs, draws = [], []
        for prediction in predictions:
            costs += self._costs(prediction, targets)
            draws.append(self._draw(prediction, targets))
        costs = _to_host(_share_failed(predictions), costs)
        counts = counts or TrackCounts(tuple(len(target.classes) for target in targets))
        divisors = self._divisors(predictions[0].class_logits.shape[1], counts)
        matches = _matches(costs, len(targets), predictions[0].class_logits.device)
        losses = {}
        for index, (prediction, match, drawn) in enumerate(zip(predictions, matches, draws, strict=True)):
            suffix = f"_{index - 1}" if index else ""
            terms = self._losses(prediction, targets, match, drawn)
            losses |= {
                name + suffix: value * self.weights[name] / divisors[name] for name, value in terms.items()
            }
        return losses, matches

    def _divisors(self, num_queries: int, counts: TrackCounts) -> dict[str, float]:
        """What makes means over the whole batch of a part's sums.

        Those of masks are divided by the tracks, at least 1, that of classes by the weights of all queries.
        """
        num_tracks = max(sum(counts.numbers), 1) / counts.num_parts
        matched = sum(min(num_queries, number) for number in counts.numbers)
        unmatched = num_queries * len(counts.numbers) - matched
        weight = (matched + self.no_object_weight * unmatched) / counts.num_parts
        return {"loss_ce": weight or 1.0, "loss_mask": num_tracks, "loss_dice": num_tracks}

    def _costs(self, prediction: DecoderOutput, targets: list[ClipTargets]) -> list[Tensor]:
        """(N, M) of each clip."""
        return [
            self.matcher.cost(logits, masks, target.classes, target.masks, self.rand or target.rand)
            for logits, masks, target in zip(
                prediction.class_logits, prediction.mask_logits, targets, strict=True
            )
        ]

    def _draw(self, prediction: DecoderOutput, targets: list[ClipTargets]) -> PointDraws | None:
        """Points for as many masks as will be matched; None for none."""
        num_queries, num_frames = prediction.mask_logits.shape[1:3]
        num_masks = [num_frames * min(num_queries, len(target.classes)) for target in targets]
        sources = [(target.rand, number) for target, number in zip(targets, num_masks, strict=True)]
        if self.rand:
            sources = [(self.rand, sum(num_masks))]
        ratios, device = (self.oversample_ratio, self.importance_sample_ratio), prediction.mask_logits.device
        draws = [
            PointDraws.of(number, self.num_points, *ratios, rand, device)
            for rand, number in sources
            if number
        ]
        return PointDraws.join(draws) if draws else None

    def _losses(
        self,
        prediction: DecoderOutput,
        targets: list[ClipTargets],
        matches: list[Match],
        draws: PointDraws | None,
    ) -> dict[str, Tensor]:
        """The terms, summed."""
        loss_ce = self._class_loss(prediction.class_logits, targets, matches)
        if draws is None:
            # Connected to the graph, so that all processes reduce the same gradients.
            loss_mask = loss_dice = prediction.mask_logits.sum() * 0.0
        else:
            loss_mask, loss_dice = self._mask_losses(prediction.mask_logits, targets, matches, draws)
        return {"loss_ce": loss_ce, "loss_mask": loss_mask, "loss_dice": loss_dice}

    def _class_loss(self, class_logits: Tensor, targets: list[ClipTargets], matches: list[Match]) -> Tensor:
        no_object = class_logits.shape[-1] - 1
        labels = torch.full(class_logits.shape[:2], no_object, device=class_logits.device)
        for clip, (target, (queries, tracks)) in enumerate(zip(targets, matches, strict=True)):
            labels[clip, queries] = target.classes[tracks]
        logits = class_logits.float().flatten(0, 1)
        return F.cross_entropy(logits, labels.flatten(), self.class_weights, reduction="sum")

    def _mask_losses(
        self, mask_logits: Tensor, targets: list[ClipTargets], matches: list[Match], draws: PointDraws
    ) -> tuple[Tensor, Tensor]:
        """Binary cross-entropy and dice of the matched masks, summed."""
        pairs = list(zip(mask_logits, targets, matches, strict=True))
        logits = torch.cat([masks[queries] for masks, _, (queries, _) in pairs]).float()
        truth = torch.cat([target.masks[tracks] for _, target, (_, tracks) in pairs])
        sampled, labels = self._sample(logits, truth, draws)
        loss_mask = F.binary_cross_entropy_with_logits(sampled, labels, reduction="none").mean(1).sum()
        return loss_mask, _dice_loss(sampled, labels).sum()

    def _sample(self, logits: Tensor, truth: Tensor, draws: PointDraws) -> tuple[Tensor, Tensor]:
        """Logits and labels of M tracks (M, T, h, w) at points: (M·T, P), or (M, T·P) of joint frames."""
        num_tracks = len(logits)
        logits, truth = logits.flatten(0, 1).unsqueeze(1), truth.flatten(0, 1).unsqueeze(1)
        with torch.no_grad():
            points = uncertain_points(logits, draws, self.num_points)
            labels = sample_points(truth.float(), points).squeeze(1)
        sampled = sample_points(logits, points).squeeze(1)
        if self.joint_frames:
            return sampled.view(num_tracks, -1), labels.view(num_tracks, -1)
        return sampled, labels


def class_weights(num_classes: int, no_object_weight: float) -> Tensor:
    """(K + 1,) weights of the classes and of no-object, the last one, in the class loss."""
    return torch.tensor([1.0] * num_classes + [no_object_weight])


def _dice_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """(A,) one minus the soft dice coefficient of (A, P) points, smoothed by 1."""
    probabilities = logits.sigmoid()
    intersection = (probabilities * labels).sum(-1)
    return 1 - (2 * intersection + 1) / (probabilities.sum(-1) + labels.sum(-1) + 1)


def _share_failed(predictions: list[DecoderOutput]) -> Tensor:
    """(1,): the share of the processes whose predictions are not finite."""
    logits = [x for prediction in predictions for x in (prediction.class_logits, prediction.mask_logits)]
    failed = ~torch.stack([_is_finite(x) for x in logits]).all()
    shared = failed.float().view(1)
    if comm.get_world_size() > 1:
        torch.distributed.all_reduce(shared)
        shared /= comm.get_world_size()
    return shared


def _to_host(share_failed: Tensor, costs: list[Tensor]) -> list[Tensor]:
    """The costs, with what else the host needs of a step in one transfer.

    Raises:
        FloatingPointError: in every process, if the predictions of any are not finite. One alone that failed
            would leave the others waiting for its gradients.
    """
    joined = torch.cat([share_failed, *(cost.flatten() for cost in costs)]).cpu()
    failed, *parts = joined.split([1, *(cost.numel() for cost in costs)])
    if failed:
        raise FloatingPointError(
            "the predictions are not finite: they hold NaN or infinite values "
            "(lower SOLVER.BASE_LR, or use bfloat16 instead of float16)"
        )
    return [part.view(cost.shape) for part, cost in zip(parts, costs, strict=True)]


def _matches(costs: list[Tensor], num_clips: int, device: torch.device) -> list[list[Match]]:
    """Of each prediction the match of each clip, from costs on the host; to the device in one transfer."""
    vectors = to_device([indices for cost in costs for indices in assign(cost)], device)
    pairs = list(zip(vectors[::2], vectors[1::2], strict=True))
    return [pairs[start : start + num_clips] for start in range(0, len(pairs), num_clips)]


def _is_finite(logits: Tensor) -> Tensor:
    """Whether no value is NaN, infinite or close to it, as one bool tensor."""
    low, high = (x.float() for x in logits.detach().aminmax())
    return (low > -_LARGEST_LOGIT) & (high < _LARGEST_LOGIT)

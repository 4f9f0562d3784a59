"""The loss terms that MODEL.LOSSES.NAMES lists.

A term gets what the decoder has decoded, the clips' targets, and what earlier terms have matched.
"prediction" is the set prediction loss of Mask2Former on every supervised layer. "frame_prediction" and
"clip_prediction" are those of a decoder that decodes frames and then joins them, as VITA and AVISM do.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from avis.modeling.clip_targets import ClipTargets, batch_of
from avis.modeling.criterion import Match, VideoSetCriterion, class_weights
from avis.modeling.decoder import Decoded, DecoderOutput
from avis.modeling.whole_batch import TrackCounts
from avis.registry import PartRegistry, Shapes

LOSS_REGISTRY = PartRegistry("MODEL.LOSSES.NAMES")
LOSS_REGISTRY.__doc__ = (
    """Subclasses of Loss; shapes: "queries" (channels C, height N) and "mask_features"."""
)

# By the name of the term that has matched: for each of its predictions the match of each clip.
Matches = dict[str, list[list[Match]]]


class Loss(nn.Module, ABC):
    """A term of the training loss."""

    @abstractmethod
    def forward(self, decoded: Decoded, targets: list[ClipTargets], matches: Matches) -> dict[str, Tensor]:
        """Weighted losses by name.

        Args:
            decoded: of B clips.
            targets: of each of them; `batch_of` knows the whole batch, of which they are a part.
            matches: of the terms before this one; a term that matches adds its own, under its name.
        """


class Criterion(nn.Module):
    """All loss terms of a model."""

    @configurable
    def __init__(self, terms: Mapping[str, nn.Module], class_weights: Tensor) -> None:
        """Keep the terms.

        Args:
            terms: by name, in the order in which they are computed.
            class_weights: (K + 1,), only to be in checkpoints, where Mask2Former has them.
        """
        super().__init__()
        self.terms = nn.ModuleDict(terms)
        self.register_buffer("empty_weight", class_weights)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """Arguments of the class from a config."""
        options = cfg.MODEL.MASK_FORMER
        shapes = {
            "queries": ShapeSpec(channels=options.HIDDEN_DIM, height=options.NUM_OBJECT_QUERIES),
            "mask_features": ShapeSpec(channels=cfg.MODEL.SEM_SEG_HEAD.MASK_DIM),
        }
        names = cfg.MODEL.LOSSES.NAMES
        if not names or len(set(names)) < len(names):
            raise ValueError(f"MODEL.LOSSES.NAMES is {names}; it lists one or several different names")
        return {
            "terms": {name: LOSS_REGISTRY.build(name, cfg, shapes) for name in names},
            "class_weights": class_weights(cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, options.NO_OBJECT_WEIGHT),
        }

    def forward(self, decoded: Decoded, targets: list[ClipTargets]) -> dict[str, Tensor]:
        """Weighted losses of all terms by name; arguments as those of `Loss.forward`.

        Raises:
            ValueError: two terms have a loss of the same name.
        """
        losses: dict[str, Tensor] = {}
        matches: Matches = {}
        for name, term in self.terms.items():
            of_term = term(decoded, targets, matches)
            if shared := losses.keys() & of_term.keys():
                raise ValueError(f"MODEL.LOSSES.NAMES: {name!r} repeats {sorted(shared)} of an earlier term")
            losses |= of_term
        return losses


@LOSS_REGISTRY.register(name="prediction")
class PredictionLoss(Loss):
    """Class, mask and dice losses of the decoder's predictions; the matches of the final one come first."""

    @configurable
    def __init__(self, criterion: VideoSetCriterion, deep_supervision: bool = True) -> None:
        """Keep the set criterion; `deep_supervision` takes all layers' predictions, not only the last."""
        super().__init__()
        self.criterion = criterion
        self.deep_supervision = deep_supervision

    @classmethod
    def from_config(cls, cfg: CfgNode, shapes: Shapes) -> dict:
        """Arguments of the class from a config."""
        return {
            "criterion": VideoSetCriterion(cfg),
            "deep_supervision": cfg.MODEL.MASK_FORMER.DEEP_SUPERVISION,
        }

    def forward(self, decoded: Decoded, targets: list[ClipTargets], matches: Matches) -> dict[str, Tensor]:
        """See `Loss.forward`."""
        counts = batch_of(targets).tracks_of_clips
        losses, matches["prediction"] = self._set_losses(decoded.predictions, targets, counts)
        return losses

    def _set_losses(
        self, predictions: list[DecoderOutput], targets: list[ClipTargets], counts: TrackCounts
    ) -> tuple[dict[str, Tensor], list[list[Match]]]:
        """Losses and matches of each layer's predictions, which may be of several times the B clips."""
        *others, final = predictions
        # Final prediction first, then those of the layers from the first on.
        ordered = [final, *others] if self.deep_supervision else [final]
        times = len(final.class_logits) // len(targets)
        counts = TrackCounts(counts.numbers * times, counts.num_parts)
        return self.criterion(ordered, targets * times, counts)


@LOSS_REGISTRY.register(name="frame_prediction")
class FramePredictionLoss(PredictionLoss):
    """The losses of what a frame-wise decoder says of each frame, as an image with what sounds in it."""

    def forward(self, decoded: Decoded, targets: list[ClipTargets], matches: Matches) -> dict[str, Tensor]:
        """See `Loss.forward`."""
        predictions = extra_of(decoded, "frame_predictions", "frame_prediction")
        frames = [frame for target in targets for frame in target.frames]
        counts = batch_of(targets).tracks_of_frames
        losses, matches["frame_prediction"] = self._set_losses(predictions, frames, counts)
        return _renamed(losses, "frame")


@LOSS_REGISTRY.register(name="clip_prediction")
class ClipPredictionLoss(PredictionLoss):
    """The losses of what clip queries say; a track's masks of all frames count as one mask."""

    @classmethod
    def from_config(cls, cfg: CfgNode, shapes: Shapes) -> dict:
        """Arguments of the class from a config."""
        criterion = VideoSetCriterion(cfg, joint_frames=True)
        return {**super().from_config(cfg, shapes), "criterion": criterion}

    def forward(self, decoded: Decoded, targets: list[ClipTargets], matches: Matches) -> dict[str, Tensor]:
        """See `Loss.forward`."""
        counts = batch_of(targets).tracks_of_clips
        losses, matches["clip_prediction"] = self._set_losses(decoded.predictions, targets, counts)
        return _renamed(losses, "clip")


def _renamed(losses: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    return {name.replace("loss_", f"loss_{kind}_"): value for name, value in losses.items()}


def extra_of(decoded: Decoded, extra: str, loss: str) -> Any:
    """What a decoder has decoded for a loss.

    Raises:
        ValueError: it has not.
    """
    if extra not in decoded.extras:
        raise ValueError(
            f"MODEL.LOSSES.NAMES has {loss!r}, which needs {extra} of the decoder; "
            "MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME FrameClipDecoder has them"
        )
    return decoded.extras[extra]

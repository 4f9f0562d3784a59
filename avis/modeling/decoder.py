"""The protocol of decoders: what every decoder takes, keeps and gives, in training and on whole videos.

A decoder *sees* a video in chunks of frames and then *decides* on the whole of it:

    parts = [decoder.see(levels, mask_features, audio) for each chunk of frames]
    decoded = decoder.decide(parts, audio)

In training there is one chunk. What `see` returns is the decoder's own affair; features of frames that it
returns as `FrameFeatures` are laid side by side by the store that keeps the parts. A decoder over whole clips
keeps the levels in `see` and attends to them in `decide`. A frame-wise decoder decodes its frames in `see`,
as B·t clips of one frame, and keeps their queries.

The features of a long video are not all in the device's memory (`FeatureStore`). A decoder that iterates over
the parts has those of one at a time.

Dimensions: B clips, T frames of the video, t frames of a chunk, N queries, E extra tokens, K classes, S audio
sources, A audio channels, C channels, h×w a feature level, H×W the per-pixel embeddings.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from detectron2.config import CfgNode
from torch import Tensor, nn

from avis.modeling.feature_store import StoredFeature
from avis.modeling.mask_head import MaskHead
from avis.registry import PartRegistry

TRANSFORMER_DECODER_REGISTRY = PartRegistry("MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME")
TRANSFORMER_DECODER_REGISTRY.__doc__ = """Subclasses of VideoDecoder; shapes: "levels", "mask_features", and
"audio" for a model that hears."""

# A decoder reads the coarsest levels that there are, at most so many, in turn.
_MAX_LEVELS = 3


@dataclass
class DecoderOutput:
    """What a decoder says of each query after one layer.

    Attributes:
        class_logits: (B, N, K+1), the last class is no-object.
        queries: (B, N, C), normalised, as the mask head takes them.
        mask_logits: (B, N, T, H, W) in training; None in evaluation, which needs the masks of few queries.
        extra: (B, E, C), the normalised extra tokens of the audio query; None without.
        gate: (B, N, T), what is to be added to the mask logits of a frame, as `mask_logits` have it; or None.
    """

    class_logits: Tensor
    queries: Tensor
    mask_logits: Tensor | None = None
    extra: Tensor | None = None
    gate: Tensor | None = None


@dataclass
class Decoded:
    """What a decoder says of a clip or video.

    Attributes:
        predictions: one for each supervised layer; the last one answers.
        mask_features: (B, T, C, H, W), the per-pixel embeddings on which the masks of the answer are made.
            They are the pixel decoder's, or a map of the decoder's own. Of a video that is read part by part,
            a `StoredFeature`.
        extras: what only losses need, by name.
    """

    predictions: list[DecoderOutput]
    mask_features: Tensor | StoredFeature
    extras: dict[str, Any] = field(default_factory=dict)


class VideoDecoder(nn.Module, ABC):
    """A decoder of videos.

    Attributes:
        mask_embed: makes the masks of the answer's queries on `Decoded.mask_features`.
        num_passes: how often `decide` goes through the parts of a video that is read part by part; progress
            reckons with it.
    """

    mask_embed: MaskHead
    num_passes = 0

    @abstractmethod
    def see(self, levels: list[Tensor], mask_features: Tensor, audio: Tensor | None) -> Any:
        """Take in a chunk of frames.

        Args:
            levels: feature maps (B, t, C, h_i, w_i), coarse to fine: those of the pixel decoder's encoder,
                then those of its pyramid, of which the last is what `mask_features` are made of.
            mask_features: (B, t, C, H, W) per-pixel embeddings.
            audio: (B, t, S, A) audio features of the chunk; None for a model that does not hear.

        Returns:
            What `decide` needs of the chunk.
        """

    @abstractmethod
    def decide(self, parts: Sequence[Any], audio: Tensor | None) -> Decoded:
        """Decode the whole video.

        Args:
            parts: what `see` has returned, chunk by chunk.
            audio: (B, T, S, A) audio features of the video; None for a model that does not hear.
        """


def num_decoder_levels(cfg: CfgNode) -> int:
    """How many feature levels, from the coarsest on, a decoder's queries attend to."""
    return min(len(cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES), _MAX_LEVELS)

"""Mask2Former's head over video: the pixel decoder frame by frame, then the video decoder.

Dimensions: B clips, T frames of the video, t frames of a chunk, S audio sources, A audio channels, C
channels, h×w a feature map.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import Tensor, nn

from avis.config import hears
from avis.modeling.decoder import TRANSFORMER_DECODER_REGISTRY, Decoded, VideoDecoder


@SEM_SEG_HEADS_REGISTRY.register()
class MaskFormerHead(nn.Module):
    """A pixel decoder and a video decoder, as one decoder of backbone features."""

    @configurable
    def __init__(self, pixel_decoder: nn.Module, predictor: VideoDecoder) -> None:
        """Keep the two parts."""
        super().__init__()
        self.pixel_decoder = pixel_decoder
        self.predictor = predictor

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict:
        """Arguments of the class from a config."""
        head = cfg.MODEL.SEM_SEG_HEAD
        shapes = {
            "levels": ShapeSpec(channels=head.CONVS_DIM),
            "mask_features": ShapeSpec(channels=head.MASK_DIM),
        }
        if hears(cfg):
            shapes["audio"] = ShapeSpec(channels=cfg.MODEL.AUDIO.FEATURE_DIM)
        decoder_name = cfg.MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME
        return {
            "pixel_decoder": SEM_SEG_HEADS_REGISTRY.get(head.PIXEL_DECODER_NAME)(cfg, input_shape),
            "predictor": TRANSFORMER_DECODER_REGISTRY.build(decoder_name, cfg, shapes),
        }

    def forward(self, features: Mapping[str, Tensor], audio: Tensor | None) -> Decoded:
        """Decode clips that are seen at once, as in training; arguments as those of `see`."""
        return self.decide([self.see(features, audio)], audio)

    def see(self, features: Mapping[str, Tensor], audio: Tensor | None) -> Any:
        """Take in a chunk of frames.

        Args:
            features: (B, t, C_i, h_i, w_i) backbone features, fused with the audio or not.
            audio: (B, t, S, A) audio features, or None.

        Returns:
            What `decide` needs of the chunk.
        """
        num_frames = next(iter(features.values())).shape[1]
        images = {name: x.flatten(0, 1) for name, x in features.items()}
        sounds = None if audio is None else audio.flatten(0, 1)
        mask_features, levels = self.pixel_decoder(images, sounds)
        mask_features, *levels = (x.unflatten(0, (-1, num_frames)) for x in (mask_features, *levels))
        return self.predictor.see(levels, mask_features, audio)

    def decide(self, parts: Sequence[Any], audio: Tensor | None) -> Decoded:
        """Decode the whole video from what `see` has returned; `audio` (B, T, S, A), or None."""
        return self.predictor.decide(parts, audio)

"""Mask2Former's head over video: the pixel decoder frame by frame, then the decoder over whole clips.

Dimensions: B clips, T frames, C channels, A audio channels, h×w a feature map.
"""

from collections.abc import Mapping

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import Tensor, cat, nn

from avis.modeling.video_decoder import TRANSFORMER_DECODER_REGISTRY, DecoderOutput


@SEM_SEG_HEADS_REGISTRY.register()
class MaskFormerHead(nn.Module):
    """A pixel decoder and a video transformer decoder."""

    @configurable
    def __init__(self, pixel_decoder: nn.Module, predictor: nn.Module) -> None:
        """Keep the two parts."""
        super().__init__()
        self.pixel_decoder = pixel_decoder
        self.predictor = predictor

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict:
        """Arguments of the class from a config."""
        head, decoder_name = cfg.MODEL.SEM_SEG_HEAD, cfg.MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME
        decoder = TRANSFORMER_DECODER_REGISTRY.get(decoder_name)
        return {
            "pixel_decoder": SEM_SEG_HEADS_REGISTRY.get(head.PIXEL_DECODER_NAME)(cfg, input_shape),
            "predictor": decoder(cfg, in_channels=head.CONVS_DIM),
        }

    def forward(
        self, features: Mapping[str, Tensor], num_frames: int, audio: Tensor | None, chunk_size: int
    ) -> tuple[list[DecoderOutput], Tensor]:
        """Decode B clips of `num_frames` frames.

        Args:
            features: (B·T, C_i, h_i, w_i) backbone features, fused with the audio or not.
            num_frames: T.
            audio: (B, T, A) audio features, or None.
            chunk_size: images that pass the pixel decoder at once.

        Returns:
            The decoder's outputs, last layer last, and per-pixel embeddings (B, T, C, h, w).
        """
        chunks = zip(*(x.split(chunk_size) for x in features.values()), strict=True)
        decoded = [self.pixel_decoder(dict(zip(features, chunk, strict=True))) for chunk in chunks]
        mask_features = cat([embeddings for embeddings, _ in decoded])
        levels = [cat(level) for level in zip(*(levels for _, levels in decoded), strict=True)]
        mask_features, *levels = (x.unflatten(0, (-1, num_frames)) for x in (mask_features, *levels))
        return self.predictor(levels, mask_features, audio), mask_features

"""Frame and clip decoder: frames are decoded apart, then their queries are joined over time.

Follows Heo et al., "VITA", NeurIPS 2022, and its descendants with sound: AVISM (Guo et al., CVPR 2025), ACVIS
(Seo et al., ICASSP 2026) and H2S (Liu et al., ACM MM 2026). They differ in how the sound enters the frames'
queries (AUDIO_QUERY), the pixel decoder (FUSION) and the queries over time (TEMPORAL_FUSION).

Dimensions: B clips, T frames of the video, t frames of a chunk, L layers of the frame decoder whose queries
are joined, N frame queries, M clip queries, C channels, S audio sources, A audio channels, h×w a feature
level, H×W the per-pixel embeddings.
"""

from collections.abc import Callable, Sequence

import torch
from detectron2.config import CfgNode, configurable
from fvcore.nn import weight_init
from torch import Tensor, nn

from avis.modeling.clip_decoder import ClipDecoder
from avis.modeling.decoder import TRANSFORMER_DECODER_REGISTRY, Decoded, DecoderOutput, VideoDecoder
from avis.modeling.feature_store import FrameFeatures, all_frames, join_frames
from avis.modeling.mask_head import MaskHead
from avis.modeling.video_decoder import VideoMultiScaleMaskedTransformerDecoder
from avis.registry import Shapes


@TRANSFORMER_DECODER_REGISTRY.register()
class FrameClipDecoder(VideoDecoder):
    """A decoder of images on every frame, and a clip decoder over the queries that it leaves."""

    @configurable
    def __init__(
        self,
        frame: VideoMultiScaleMaskedTransformerDecoder,
        clip: ClipDecoder,
        *,
        in_channels: int,
        mask_dim: int,
        num_frame_layers: int,
    ) -> None:
        """Keep the parts.

        Args:
            frame: decodes clips of one frame.
            clip: joins the frames.
            in_channels: of the pyramid's output.
            mask_dim: of the per-pixel embeddings on which the clip queries' masks are made.
            num_frame_layers: L in training; on whole videos the last layer's queries alone are joined.
        """
        super().__init__()
        if not 1 <= num_frame_layers <= frame.num_layers + 1:
            raise ValueError(
                f"MODEL.CLIP_DECODER.FRAME_LAYERS is {num_frame_layers}; the frame decoder makes "
                f"{frame.num_layers + 1} predictions (MASK_FORMER.DEC_LAYERS), of which it joins some"
            )
        self.frame, self.clip, self.num_frame_layers = frame, clip, num_frame_layers
        self.mask_features = nn.Conv2d(in_channels, mask_dim, 1)
        weight_init.c2_xavier_fill(self.mask_features)

    @classmethod
    def from_config(cls, cfg: CfgNode, shapes: Shapes) -> dict:
        """Arguments of the class from a config."""
        return {
            # A frame's position in a clip of one frame would say nothing.
            "frame": VideoMultiScaleMaskedTransformerDecoder(cfg, shapes, temporal_position=False),
            "clip": ClipDecoder(cfg, shapes),
            "in_channels": shapes["levels"].channels,
            "mask_dim": shapes["mask_features"].channels,
            "num_frame_layers": cfg.MODEL.CLIP_DECODER.FRAME_LAYERS,
        }

    @property
    def mask_embed(self) -> MaskHead:
        """Makes the masks of the clip queries."""
        return self.clip.mask_embed

    def see(self, levels: list[Tensor], mask_features: Tensor, audio: Tensor | None = None) -> FrameFeatures:
        """Decode the frames apart; see `VideoDecoder.see`.

        Returns:
            "queries" (B, t, L, N, C), "mask_features" (B, t, C, H, W) of the clip queries, and in training
            what each layer predicts.
        """
        batch = len(mask_features)
        images = [level.flatten(0, 1).unsqueeze(1) for level in levels]
        embeddings = mask_features.flatten(0, 1).unsqueeze(1)
        sounds = None if audio is None else audio.flatten(0, 1).unsqueeze(1)
        seen = self.frame.see(images[: self.frame.num_levels], embeddings, sounds)
        predictions = self.frame.decide([seen], sounds).predictions
        embeddings = self.mask_features(levels[-1].flatten(0, 1))
        joined = predictions[-self.num_frame_layers if self.training else -1 :]
        features = {
            "queries": torch.stack([prediction.queries for prediction in joined], dim=1),
            # Mask heads take pixel after pixel.
            "mask_features": embeddings.contiguous(memory_format=torch.channels_last),
        }
        if self.training:
            features |= _by_name(predictions)
        return FrameFeatures({name: x.unflatten(0, (batch, -1)) for name, x in features.items()})

    def decide(self, parts: Sequence[FrameFeatures], audio: Tensor | None = None) -> Decoded:
        """Join the frames; see `VideoDecoder.decide`.

        Returns:
            In training, a prediction for each layer of the clip decoder, of L·B clips: those of all B clips
            from the frame decoder's first joined layer, then from the next. On whole videos the last one, of
            B. The extras, in training only: "frame_predictions", of B·T frames, a prediction a layer;
            "frame_queries" (L·B, T, N, C), as the clip queries attend to them.
        """
        # (B, T, L, N, C) to (L·B, T, N, C). Queries are small beside embeddings, which stay where they are.
        queries = all_frames(parts, "queries")[:, :].permute(2, 0, 1, 3, 4)
        num_layers = len(queries)
        sounds = None if audio is None else audio.repeat(num_layers, 1, 1, 1)
        decoded = self.clip(queries.flatten(0, 1), sounds)
        mask_features = all_frames(parts, "mask_features")
        layers = decoded.layers if self.training else decoded.layers[-1:]
        masks = self.mask_embed.on(mask_features) if self.training else None
        predictions = [self._predict(layer, masks) for layer in layers]
        if not self.training:
            return Decoded(predictions, mask_features)
        extras = {"frame_predictions": _from_names(join_frames(parts)), "frame_queries": decoded.frames}
        return Decoded(predictions, mask_features, extras)

    def _predict(self, queries: Tensor, masks: Callable[[Tensor], Tensor] | None) -> DecoderOutput:
        """What normalised clip queries (L·B, M, C) say; `masks` gives the logits of (B, M, C)."""
        logits = None
        if masks is not None:
            by_layer = queries.unflatten(0, (self.num_frame_layers, -1))
            logits = torch.cat([masks(of_layer) for of_layer in by_layer])
        return DecoderOutput(self.clip.class_embed(queries), queries, logits)


_TENSORS = ("class_logits", "queries", "mask_logits", "extra")


def _by_name(predictions: Sequence[DecoderOutput]) -> dict[str, Tensor]:
    """The tensors of predictions, each with its layer's number."""
    return {
        f"{name}_{index}": getattr(prediction, name)
        for index, prediction in enumerate(predictions)
        for name in _TENSORS
        if getattr(prediction, name) is not None
    }


def _from_names(features: FrameFeatures) -> list[DecoderOutput]:
    """The predictions of B·T frames that `_by_name` has put apart, of B clips and T frames."""
    num_predictions = sum(name.startswith("class_logits_") for name in features)
    return [
        DecoderOutput(
            **{
                name: features[f"{name}_{index}"].flatten(0, 1)
                for name in _TENSORS
                if f"{name}_{index}" in features
            }
        )
        for index in range(num_predictions)
    ]

"""Video transformer decoder: queries attend to the pixels of all frames at once, within their own masks.

Follows Cheng et al., "Mask2Former for Video Instance Segmentation", 2021, and its parameter names, with the
audio query of Guo et al., "Audio-Visual Instance Segmentation", arXiv 2310.18709.

Dimensions: B clips, T frames, N queries, C channels, K classes, A audio channels, h×w a feature level,
H×W the per-pixel embeddings.
"""

from dataclasses import dataclass

import torch
from detectron2.config import CfgNode, configurable
from detectron2.utils.registry import Registry
from fvcore.nn import weight_init
from torch import Tensor, nn

from avis.modeling.layers import CrossAttentionLayer, FFNLayer, SelfAttentionLayer
from avis.modeling.mask_head import MASK_HEAD_REGISTRY, resize_frames
from avis.modeling.position_encoding import sine_embedding_3d

TRANSFORMER_DECODER_REGISTRY = Registry("TRANSFORMER_DECODER")
TRANSFORMER_DECODER_REGISTRY.__doc__ = """Video decoders: built as decoder(cfg, in_channels)."""

_NUM_LEVELS = 3


@dataclass
class DecoderOutput:
    """What the decoder says of each query after one layer.

    Attributes:
        class_logits: (B, N, K+1), the last class is no-object.
        queries: (B, N, C), normalised, as the mask head takes them.
        mask_logits: (B, N, T, H, W) in training; None in evaluation, which needs the masks of few queries.
    """

    class_logits: Tensor
    queries: Tensor
    mask_logits: Tensor | None


@TRANSFORMER_DECODER_REGISTRY.register()
class VideoMultiScaleMaskedTransformerDecoder(nn.Module):
    """Masked cross-attention over T·h·w pixels, self-attention and feed-forward, level after level."""

    @configurable
    def __init__(
        self,
        in_channels: int,
        *,
        num_classes: int,
        hidden_dim: int,
        mask_dim: int,
        num_queries: int,
        num_heads: int,
        dim_feedforward: int,
        num_layers: int,
        mask_head: str,
        enforce_input_proj: bool = False,
        audio_dim: int | None = None,
    ) -> None:
        """Make the decoder.

        Args:
            in_channels: channels of the feature levels.
            num_classes: K, without no-object.
            hidden_dim: C.
            mask_dim: channels of the per-pixel embeddings.
            num_queries: N.
            num_heads: attention heads.
            dim_feedforward: width of the feed-forward layers.
            num_layers: decoder layers.
            mask_head: a name in MASK_HEAD_REGISTRY.
            enforce_input_proj: project the levels also where `in_channels` equals C.
            audio_dim: A; None builds a decoder without audio query.
        """
        super().__init__()
        self.num_layers = num_layers
        layers = range(num_layers)
        self.transformer_cross_attention_layers = nn.ModuleList(
            CrossAttentionLayer(hidden_dim, num_heads) for _ in layers
        )
        self.transformer_self_attention_layers = nn.ModuleList(
            SelfAttentionLayer(hidden_dim, num_heads) for _ in layers
        )
        self.transformer_ffn_layers = nn.ModuleList(FFNLayer(hidden_dim, dim_feedforward) for _ in layers)
        self.decoder_norm = nn.LayerNorm(hidden_dim)
        self.query_feat = nn.Embedding(num_queries, hidden_dim)
        self.query_embed = nn.Embedding(num_queries, hidden_dim)
        self.level_embed = nn.Embedding(_NUM_LEVELS, hidden_dim)
        self.input_proj = nn.ModuleList(
            _input_projection(in_channels, hidden_dim, enforce_input_proj) for _ in range(_NUM_LEVELS)
        )
        self.class_embed = nn.Linear(hidden_dim, num_classes + 1)
        # The mask head, whichever it is, has the name of Mask2Former's.
        self.mask_embed = MASK_HEAD_REGISTRY.get(mask_head)(hidden_dim, mask_dim, num_queries)
        self.audio_proj = None if audio_dim is None else nn.Linear(audio_dim, hidden_dim)

    @classmethod
    def from_config(cls, cfg: CfgNode, in_channels: int) -> dict:
        """Arguments of the class from a config."""
        mask_former = cfg.MODEL.MASK_FORMER
        hears = cfg.MODEL.AUDIO.NAME and mask_former.AUDIO_QUERY
        return {
            "in_channels": in_channels,
            "num_classes": cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
            "hidden_dim": mask_former.HIDDEN_DIM,
            "mask_dim": cfg.MODEL.SEM_SEG_HEAD.MASK_DIM,
            "num_queries": mask_former.NUM_OBJECT_QUERIES,
            "num_heads": mask_former.NHEADS,
            "dim_feedforward": mask_former.DIM_FEEDFORWARD,
            # DEC_LAYERS counts predictions: one of the learnable queries, then one a layer.
            "num_layers": mask_former.DEC_LAYERS - 1,
            "mask_head": mask_former.MASK_HEAD,
            "enforce_input_proj": mask_former.ENFORCE_INPUT_PROJ,
            "audio_dim": cfg.MODEL.AUDIO.FEATURE_DIM if hears else None,
        }

    def forward(
        self, levels: list[Tensor], mask_features: Tensor, audio: Tensor | None = None
    ) -> list[DecoderOutput]:
        """Decode B clips.

        Args:
            levels: three feature maps (B, T, C', h_i, w_i), coarse to fine.
            mask_features: (B, T, C', H, W) per-pixel embeddings.
            audio: (B, T, A) audio features; needed by a decoder with an audio query only.

        Returns:
            num_layers + 1 outputs: of the learnable queries, then after each layer.
        """
        sizes = [tuple(level.shape[-2:]) for level in levels]
        keys_values = [self._keys_and_values(index, level) for index, level in enumerate(levels)]
        queries = self._initial_queries(levels[0].shape[0], audio)
        outputs = [self._predict(queries, mask_features)]
        for index in range(self.num_layers):
            level = index % _NUM_LEVELS
            allowed = self._attention_mask(outputs[-1], mask_features, sizes[level])
            queries = self.transformer_cross_attention_layers[index](
                queries, self.query_embed.weight, *keys_values[level], allowed
            )
            queries = self.transformer_self_attention_layers[index](queries, self.query_embed.weight)
            queries = self.transformer_ffn_layers[index](queries)
            outputs.append(self._predict(queries, mask_features))
        return outputs

    def _initial_queries(self, batch: int, audio: Tensor | None) -> Tensor:
        queries = self.query_feat.weight.expand(batch, -1, -1)
        if self.audio_proj is None:
            return queries
        return queries + self.audio_proj(audio.mean(dim=1, keepdim=True))

    def _keys_and_values(self, index: int, level: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T·h·w, C) keys, which carry the position, and values, which do not."""
        batch, length, _, height, width = level.shape
        projected = self.input_proj[index](level.flatten(0, 1)).unflatten(0, (batch, length))
        values = projected + self.level_embed.weight[index][:, None, None]
        position = sine_embedding_3d(values.shape[2], length, height, width, level.device)
        return tuple(x.permute(0, 1, 3, 4, 2).flatten(1, 3) for x in (values + position, values))

    @torch.no_grad()
    def _attention_mask(self, output: DecoderOutput, mask_features: Tensor, size: tuple[int, int]) -> Tensor:
        """(B, N, T·h·w), True inside each query's own mask, or everywhere if that mask is empty."""
        if output.mask_logits is None:
            logits = self.mask_embed.resized(output.queries, mask_features, size)
        else:
            logits = resize_frames(output.mask_logits, size)
        allowed = logits.flatten(2) >= 0
        return allowed | ~allowed.any(dim=-1, keepdim=True)

    def _predict(self, queries: Tensor, mask_features: Tensor) -> DecoderOutput:
        queries = self.decoder_norm(queries)
        masks = self.mask_embed(queries, mask_features) if self.training else None
        return DecoderOutput(self.class_embed(queries), queries, masks)


def _input_projection(in_channels: int, hidden_dim: int, enforce: bool) -> nn.Module:
    if in_channels == hidden_dim and not enforce:
        return nn.Identity()
    convolution = nn.Conv2d(in_channels, hidden_dim, 1)
    weight_init.c2_xavier_fill(convolution)
    return convolution

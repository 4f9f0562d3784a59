"""Multi-scale deformable attention pixel decoder: backbone features to per-pixel embeddings.

Follows Cheng et al., "Masked-attention Mask Transformer", CVPR 2022, and its parameter names.

Dimensions: B images (clips times frames), C channels, S tokens of all levels, L levels, h×w feature map.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from fvcore.nn import weight_init
from torch import Tensor, nn
from torch.nn import functional as F

from avis.config import checkpoints
from avis.modeling.fusion import build_fusion, fuse_levels
from avis.modeling.ms_deform_attn import MSDeformAttn
from avis.modeling.position_encoding import sine_embedding_2d
from avis.modeling.recomputing import recomputed


@SEM_SEG_HEADS_REGISTRY.register()
class MSDeformAttnPixelDecoder(nn.Module):
    """Deformable encoder over the coarse levels, then a feature pyramid down to the finest one."""

    @configurable
    def __init__(
        self,
        input_shape: Mapping[str, ShapeSpec],
        *,
        transformer_in_features: Sequence[str],
        conv_dim: int,
        mask_dim: int,
        num_layers: int,
        num_heads: int,
        num_points: int,
        dim_feedforward: int,
        norm: str,
        checkpointing: bool = False,
        encoder_amp: bool = False,
        position_in_mask_features: bool = False,
        fusion: nn.ModuleDict | None = None,
    ) -> None:
        """Make the decoder.

        Args:
            input_shape: channels and stride of every backbone feature.
            transformer_in_features: the features that pass the deformable encoder; those that are finer than
                all of them join after it.
            conv_dim: C of the encoder and the pyramid.
            mask_dim: channels of the per-pixel embeddings.
            num_layers: layers of the encoder.
            num_heads: heads of its attention.
            num_points: sampling points per head and level.
            dim_feedforward: width of its feed-forward layers.
            norm: normalisation of the pyramid's convolutions, as Detectron2's `get_norm` takes it.
            checkpointing: compute the encoder's layers again in the backward pass, to save memory.
            encoder_amp: under autocast, the encoder computes in the lower precision.
            position_in_mask_features: add a sine embedding of the place to the per-pixel embeddings.
            fusion: modules that fuse levels of the encoder with the audio before it, by feature name.

        Raises:
            ValueError: no feature passes the encoder, or one that is not in `input_shape`.
        """
        super().__init__()
        self.fusion = fusion if fusion is not None else nn.ModuleDict()
        self.position_in_mask_features, self.encoder_amp = position_in_mask_features, encoder_amp
        if not transformer_in_features or not set(transformer_in_features) <= set(input_shape):
            raise ValueError(
                "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES is "
                f"{list(transformer_in_features)}; it names some of IN_FEATURES, {list(input_shape)}"
            )
        # From coarse to fine, the order of the levels in every tensor of tokens.
        by_stride = sorted(input_shape, key=lambda name: input_shape[name].stride, reverse=True)
        self.transformer_in_features = [name for name in by_stride if name in transformer_in_features]
        self.lateral_in_features = by_stride[by_stride.index(self.transformer_in_features[-1]) + 1 :]

        self.input_proj = nn.ModuleList(
            nn.Sequential(nn.Conv2d(input_shape[name].channels, conv_dim, 1), nn.GroupNorm(32, conv_dim))
            for name in self.transformer_in_features
        )
        for projection in self.input_proj:
            nn.init.xavier_uniform_(projection[0].weight)
            nn.init.zeros_(projection[0].bias)
        self.transformer = DeformableEncoder(
            conv_dim,
            len(self.input_proj),
            num_layers,
            num_heads,
            num_points,
            dim_feedforward,
            checkpointing=checkpointing,
        )
        for index, name in enumerate(self.lateral_in_features, start=1):
            lateral = _conv_norm(input_shape[name].channels, conv_dim, 1, norm)
            output = _conv_norm(conv_dim, conv_dim, 3, norm, activation=F.relu)
            self.add_module(f"adapter_{index}", lateral)
            self.add_module(f"layer_{index}", output)
        self.mask_features = nn.Conv2d(conv_dim, mask_dim, 1)
        weight_init.c2_xavier_fill(self.mask_features)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict:
        """Arguments of the class from a config."""
        head = cfg.MODEL.SEM_SEG_HEAD
        projected = {
            name: ShapeSpec(channels=head.CONVS_DIM, stride=input_shape[name].stride)
            for name in head.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES
            if name in input_shape
        }
        return {
            "input_shape": {name: input_shape[name] for name in head.IN_FEATURES},
            "transformer_in_features": head.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES,
            "conv_dim": head.CONVS_DIM,
            "mask_dim": head.MASK_DIM,
            "num_layers": head.TRANSFORMER_ENC_LAYERS,
            "num_heads": head.DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS,
            "num_points": head.DEFORMABLE_TRANSFORMER_ENCODER_N_POINTS,
            "dim_feedforward": head.DEFORMABLE_TRANSFORMER_ENCODER_DIM_FEEDFORWARD,
            "norm": head.NORM,
            "checkpointing": checkpoints(cfg, "encoder"),
            "encoder_amp": _encoder_amp(cfg),
            "position_in_mask_features": head.POSITION_IN_MASK_FEATURES,
            "fusion": build_fusion(cfg, "pixel_decoder", projected),
        }

    def forward(
        self, features: Mapping[str, Tensor], audio: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Decode the features of B images, also under autocast in float32, but for the encoder if it may.

        Args:
            features: (B, C_i, h_i, w_i) for every name in `input_shape`.
            audio: (B, S, A) audio features of each image; needed for fusion only.

        Returns:
            Per-pixel embeddings (B, mask_dim, h, w) at the finest level's size, and feature maps
            (B, C, h_i, w_i), coarse to fine: the encoder's L, then those of the pyramid below, of which the
            last one is what the embeddings are made of.
        """
        device = self.mask_features.weight.device.type
        # As it is outside the next line.
        is_lower, precision = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
        with torch.autocast(device, enabled=False):
            levels = self._project(features, audio)
            with torch.autocast(device, precision, enabled=self.encoder_amp and is_lower):
                levels = self.transformer(levels)
            for index, name in enumerate(self.lateral_in_features, start=1):
                lateral = getattr(self, f"adapter_{index}")(features[name].float())
                upsampled = F.interpolate(
                    levels[-1], size=lateral.shape[-2:], mode="bilinear", align_corners=False
                )
                levels.append(getattr(self, f"layer_{index}")(lateral + upsampled))
            embeddings = self._place(self.mask_features(levels[-1]))
            # Mask heads take pixel after pixel.
            return embeddings.contiguous(memory_format=torch.channels_last), levels

    def _project(self, features: Mapping[str, Tensor], audio: Tensor | None) -> list[Tensor]:
        """The encoder's L levels (B, C, h_i, w_i); a fusion sees every image as a clip of its own."""
        levels = {
            name: projection(features[name].float())
            for name, projection in zip(self.transformer_in_features, self.input_proj, strict=True)
        }
        if not self.fusion:
            return list(levels.values())
        clips = {name: level.unsqueeze(1) for name, level in levels.items()}
        fused = fuse_levels(self.fusion, clips, audio.float().unsqueeze(1))
        return [level.squeeze(1) for level in fused.values()]

    def _place(self, embeddings: Tensor) -> Tensor:
        """(B, mask_dim, h, w) per-pixel embeddings, with the place if they shall tell it."""
        if not self.position_in_mask_features:
            return embeddings
        return embeddings + sine_embedding_2d(*embeddings.shape[1:], embeddings.device)


class DeformableEncoder(nn.Module):
    """Deformable self-attention over the tokens of all levels."""

    def __init__(
        self,
        embed_dim: int,
        num_levels: int,
        num_layers: int,
        num_heads: int,
        num_points: int,
        dim_feedforward: int,
        checkpointing: bool = False,
    ) -> None:
        """Make the layers; `checkpointing` computes each again in the backward pass."""
        super().__init__()
        self.checkpointing = checkpointing
        self.level_embed = nn.Parameter(torch.empty(num_levels, embed_dim))
        nn.init.normal_(self.level_embed)
        # A module of its own only for Mask2Former's parameter names, encoder.layers.*.
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList(
            DeformableEncoderLayer(embed_dim, num_levels, num_heads, num_points, dim_feedforward)
            for _ in range(num_layers)
        )

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        """L maps (B, C, h_i, w_i) in, the same shapes out."""
        device, channels = levels[0].device, levels[0].shape[1]
        sizes = [tuple(level.shape[-2:]) for level in levels]
        tokens = torch.cat([level.flatten(2).transpose(1, 2) for level in levels], dim=1)
        positions = torch.cat(
            [
                sine_embedding_2d(channels, *size, device).flatten(1).T + level_embed
                for size, level_embed in zip(sizes, self.level_embed, strict=True)
            ]
        )
        reference_points = torch.cat([pixel_centres(*size, device) for size in sizes])
        for layer in self.encoder.layers:
            run = partial(recomputed, layer) if self.checkpointing else layer
            tokens = run(tokens, positions, reference_points, sizes)
        maps = tokens.transpose(1, 2).split([height * width for height, width in sizes], dim=2)
        return [level.unflatten(2, size).contiguous() for level, size in zip(maps, sizes, strict=True)]


class DeformableEncoderLayer(nn.Module):
    """Deformable self-attention and a feed-forward network, each followed by its norm."""

    def __init__(
        self, embed_dim: int, num_levels: int, num_heads: int, num_points: int, dim_feedforward: int
    ) -> None:
        """Make the layer."""
        super().__init__()
        self.self_attn = MSDeformAttn(embed_dim, num_levels, num_heads, num_points)
        self.norm1 = nn.LayerNorm(embed_dim)
        self.linear1 = nn.Linear(embed_dim, dim_feedforward)
        self.linear2 = nn.Linear(dim_feedforward, embed_dim)
        self.norm2 = nn.LayerNorm(embed_dim)
        for linear in (self.linear1, self.linear2):
            nn.init.xavier_uniform_(linear.weight)

    def forward(
        self, tokens: Tensor, positions: Tensor, reference_points: Tensor, sizes: list[tuple[int, int]]
    ) -> Tensor:
        """(B, S, C) in and out; positions (S, C) and reference points (S, 2) are the same for every image."""
        sampled = self.self_attn(tokens, positions, reference_points, tokens, sizes)
        # What follows would keep most of the layer, the hidden units above all, and takes little of its time.
        return recomputed(self._after_sampling, tokens, sampled)

    def _after_sampling(self, tokens: Tensor, sampled: Tensor) -> Tensor:
        tokens = self.norm1(tokens + self.self_attn.output_proj(sampled))
        return self.norm2(tokens + self.linear2(F.relu(self.linear1(tokens))))


def _encoder_amp(cfg: CfgNode) -> bool:
    """MODEL.SEM_SEG_HEAD.ENCODER_AMP.

    Raises:
        ValueError: it would do nothing.
    """
    asked = cfg.MODEL.SEM_SEG_HEAD.ENCODER_AMP
    if asked and not (cfg.SOLVER.AMP.ENABLED or cfg.TEST.AMP):
        raise ValueError(
            "MODEL.SEM_SEG_HEAD.ENCODER_AMP is True, but all else is float32; set SOLVER.AMP.ENABLED for "
            "training or TEST.AMP for predictions, too"
        )
    return asked


def pixel_centres(height: int, width: int, device: torch.device) -> Tensor:
    """(h·w, 2) centres of a level's pixels as (x, y) in 0 … 1, row-major."""
    y = (torch.arange(height, device=device) + 0.5) / height
    x = (torch.arange(width, device=device) + 0.5) / width
    return torch.stack([x.expand(height, -1), y[:, None].expand(-1, width)], dim=-1).flatten(0, 1)


def _conv_norm(in_channels: int, channels: int, kernel: int, norm: str, activation=None) -> Conv2d:
    convolution = Conv2d(
        in_channels,
        channels,
        kernel_size=kernel,
        padding=kernel // 2,
        bias=not norm,
        norm=get_norm(norm, channels),
        activation=activation,
    )
    weight_init.c2_xavier_fill(convolution)
    return convolution

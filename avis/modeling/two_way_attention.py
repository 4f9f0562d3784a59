"""Two-way attention between pixels and separated sound sources, in the direction that is of use.

Follows the pixel decoder of H2S (Liu et al., "Hear to See", ACM MM 2026), with its parameter names. There the
sources attend to the pixels, too, and the outcome is dropped. That direction is not computed, and its two
layers (`to_v`, `context_to_out`) are not built: they never get a gradient.

Dimensions: B clips, T frames, R = B·T images, C channels, h×w feature map, P = h·w pixels, S audio sources, A
audio channels.
"""

import torch
from detectron2.config import CfgNode, configurable
from torch import Tensor, nn
from torch.nn import functional as F

from avis.modeling.fusion import AV_FUSION_REGISTRY
from avis.modeling.position_encoding import sine_embedding_2d
from avis.registry import Shapes


@AV_FUSION_REGISTRY.register()
class TwoWayAttention(nn.Module):
    """Every pixel attends to the sources of its frame and adds what it hears; there is no norm."""

    takes_sources = True
    framewise = True

    @configurable
    def __init__(self, in_channels: int, audio_dim: int, num_heads: int) -> None:
        """Make the module.

        Args:
            in_channels: C.
            audio_dim: A.
            num_heads: attention heads.

        Raises:
            ValueError: C is not a multiple of `num_heads`.
        """
        super().__init__()
        if in_channels % num_heads:
            raise ValueError(f"{in_channels} channels cannot be split over {num_heads} heads")
        self.num_heads = num_heads
        self.to_qk = nn.Linear(in_channels, in_channels, bias=False)
        self.context_to_qk = nn.Linear(audio_dim, in_channels, bias=False)
        self.context_to_v = nn.Linear(audio_dim, in_channels, bias=False)
        self.to_out = nn.Linear(in_channels, in_channels)

    @classmethod
    def from_config(cls, cfg: CfgNode, shapes: Shapes) -> dict:
        """Arguments of the class from a config."""
        return {
            "in_channels": shapes["visual"].channels,
            "audio_dim": shapes["audio"].channels,
            "num_heads": cfg.MODEL.MASK_FORMER.NHEADS,
        }

    def forward(self, visual: Tensor, audio: Tensor) -> Tensor:
        """Fuse, in float32 also under autocast.

        Args:
            visual: (B, C, T, h, w).
            audio: (B, T, S, A).

        Returns:
            (B, C, T, h, w).

        Raises:
            ValueError: the two do not have the same clips and frames.
        """
        batch, channels, length, height, width = visual.shape
        if audio.dim() != 4 or audio.shape[:2] != (batch, length):
            raise ValueError(
                f"visual features of {batch} clips × {length} frames, but audio features of shape "
                f"{tuple(audio.shape)}; (clips, frames, sources, channels) are needed"
            )
        with torch.autocast(visual.device.type, enabled=False):
            pixels = visual.float().movedim(2, 1).flatten(0, 1).flatten(2).transpose(1, 2)
            positions = sine_embedding_2d(channels, height, width, visual.device).flatten(1).T
            heard = pixels + self.hear(pixels + positions, audio.float().flatten(0, 1))
        images = heard.transpose(1, 2).unflatten(2, (height, width))
        return images.unflatten(0, (batch, length)).movedim(1, 2)

    def hear(self, pixels: Tensor, sources: Tensor) -> Tensor:
        """What pixels (R, P, C), which tell their place, hear of sources (R, S, A): (R, P, C)."""
        layers = ((self.to_qk, pixels), (self.context_to_qk, sources), (self.context_to_v, sources))
        query, key, value = (
            layer(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for layer, x in layers
        )
        attended = F.scaled_dot_product_attention(query, key, value)
        return self.to_out(attended.transpose(1, 2).flatten(2))

"""Temporal pixel-wise audio-visual interaction (TPAVI).

Follows Zhou et al., "Audio-Visual Segmentation", ECCV 2022, Eq. (2), in its dot-product form, and the
parameter names of AVSBench. A new fusion is a module with TPAVI's arguments, registered in AV_FUSION_REGISTRY
and chosen by MODEL.FUSION.NAME.

Dimensions: B clips, T frames, C channels, D inner channels, A audio channels, h×w feature map.
"""

import torch
from detectron2.utils.registry import Registry
from torch import Tensor, nn

AV_FUSION_REGISTRY = Registry("AV_FUSION")
AV_FUSION_REGISTRY.__doc__ = """Fusions of one feature level: built as fusion(in_channels, audio_dim)."""


@AV_FUSION_REGISTRY.register()
class TPAVI(nn.Module):
    """Every pixel of a clip attends to the sound of all its frames; residual, then layer norm."""

    def __init__(self, in_channels: int, audio_dim: int = 128, inter_channels: int | None = None) -> None:
        """Make the module.

        Args:
            in_channels: C.
            audio_dim: A.
            inter_channels: D; half of C if None.
        """
        super().__init__()
        inner = inter_channels or in_channels // 2
        self.align_channel = nn.Linear(audio_dim, in_channels)
        self.norm_layer = nn.LayerNorm(in_channels)
        self.g = nn.Conv3d(in_channels, inner, 1)
        self.theta = nn.Conv3d(in_channels, inner, 1)
        self.phi = nn.Conv3d(in_channels, inner, 1)
        self.W_z = nn.Sequential(nn.Conv3d(inner, in_channels, 1), nn.BatchNorm3d(in_channels))
        # As in the non-local block that TPAVI builds on: at the start the attention adds nothing.
        nn.init.zeros_(self.W_z[1].weight)
        nn.init.zeros_(self.W_z[1].bias)

    def forward(self, visual: Tensor, audio: Tensor) -> Tensor:
        """Fuse.

        The attention (θφᵀ/n)g, with n = T·h·w, has no softmax, so it equals θ(φᵀg/n); and since φ is the same
        for all pixels of a frame, φᵀg needs g's mean over each frame only. Time and memory are linear in n.

        Args:
            visual: (B, C, T, h, w).
            audio: (B, T, A).

        Returns:
            (B, C, T, h, w).

        Raises:
            ValueError: the two do not have the same clips and frames.
        """
        batch, _, length, _, _ = visual.shape
        if audio.shape[:2] != (batch, length):
            raise ValueError(
                f"visual features of {batch} clips × {length} frames, but audio features of shape "
                f"{tuple(audio.shape)}"
            )
        aligned = self.align_channel(audio).transpose(1, 2)[..., None, None]
        phi = self.phi(aligned).flatten(2)
        # g is linear: its mean over a frame is g of the frame's mean.
        mean_g = self.g(visual.mean(dim=(3, 4), keepdim=True)).flatten(2)
        context = phi @ mean_g.transpose(1, 2) / length
        attended = torch.einsum("bdthw,bde->bethw", self.theta(visual), context)
        fused = self.W_z(attended) + visual
        return self.norm_layer(fused.movedim(1, -1)).movedim(-1, 1)

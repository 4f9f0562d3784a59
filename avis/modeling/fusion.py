"""Fusion of sound and sight at the feature levels.

TPAVI, the temporal pixel-wise audio-visual interaction, follows Zhou et al., "Audio-Visual Segmentation",
ECCV 2022, Eq. (2), in its dot-product form, and the parameter names of AVSBench.

A fusion is a module in AV_FUSION_REGISTRY, with TPAVI's `forward`; MODEL.FUSION.NAME chooses it. One that
takes several audio sources, (B, T, S, A), says so by ``takes_sources = True``.

Dimensions: B clips, T frames, S audio sources, C channels, D inner channels, A audio channels, h×w feature
    map.
"""

from collections.abc import Mapping

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from avis.config import hears
from avis.registry import PartRegistry, Shapes

AV_FUSION_REGISTRY = PartRegistry("MODEL.FUSION.NAME")
AV_FUSION_REGISTRY.__doc__ = """Fusions of one feature level; shapes: "visual" and "audio"."""

# Values of MODEL.FUSION.AT.
PLACES = ("backbone", "pixel_decoder")


def build_fusion(cfg: CfgNode, place: str, shapes: Shapes) -> nn.ModuleDict:
    """Build the fusion of each level of MODEL.FUSION.IN_FEATURES, if it belongs to a place.

    Args:
        cfg: of the model.
        place: that asks, one of PLACES; a model fuses at one of them.
        shapes: of the levels that there are.

    Returns:
        Fusions by level; none for a model without fusion, or that fuses elsewhere.

    Raises:
        ValueError: FUSION.AT is no place, or a level is not there.
        KeyError: there is no such fusion.
    """
    options = cfg.MODEL.FUSION
    if not (hears(cfg) and options.NAME):
        return nn.ModuleDict()
    if options.AT not in PLACES:
        raise ValueError(f"MODEL.FUSION.AT is {options.AT!r}; it can be one of {PLACES}")
    if place != options.AT:
        return nn.ModuleDict()
    missing = set(options.IN_FEATURES) - set(shapes)
    if missing:
        raise ValueError(
            f"MODEL.FUSION.IN_FEATURES names {sorted(missing)}, but the {place} gives {sorted(shapes)}"
        )
    audio = ShapeSpec(channels=cfg.MODEL.AUDIO.FEATURE_DIM)
    fusion = nn.ModuleDict(
        {
            name: AV_FUSION_REGISTRY.build(options.NAME, cfg, {"visual": shapes[name], "audio": audio})
            for name in options.IN_FEATURES
        }
    )
    return nn.SyncBatchNorm.convert_sync_batchnorm(fusion) if cfg.MODEL.AUDIO.SYNC_BN else fusion


def fuse_levels(
    fusion: nn.ModuleDict, levels: Mapping[str, Tensor], audio: Tensor | None
) -> dict[str, Tensor]:
    """Fuse the levels that have a fusion; the others stay as they are.

    Args:
        fusion: by level.
        levels: (B, T, C_i, h_i, w_i) by name.
        audio: (B, T, S, A); None without any fusion.

    Returns:
        The same levels, (B, T, C_i, h_i, w_i).

    Raises:
        ValueError: there are several sources, and a fusion takes one.
    """
    fused = dict(levels)
    for name, module in fusion.items():
        visual = levels[name].transpose(1, 2)
        fused[name] = module(visual, _sources_for(module, audio)).transpose(1, 2)
    return fused


def _sources_for(fusion: nn.Module, audio: Tensor) -> Tensor:
    """The audio as a fusion takes it: (B, T, S, A), or (B, T, A) of the only source."""
    if getattr(fusion, "takes_sources", False):
        return audio
    if audio.shape[2] != 1:
        raise ValueError(
            f"MODEL.FUSION.NAME {type(fusion).__name__} takes one audio source, "
            f"but the features have {audio.shape[2]}"
        )
    return audio.squeeze(2)


@AV_FUSION_REGISTRY.register()
class TPAVI(nn.Module):
    """Every pixel of a clip attends to the sound of all its frames; residual, then layer norm."""

    @configurable
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

    @classmethod
    def from_config(cls, cfg: CfgNode, shapes: Shapes) -> dict:
        """Arguments of the class from a config."""
        return {"in_channels": shapes["visual"].channels, "audio_dim": shapes["audio"].channels}

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

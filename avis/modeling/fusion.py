"""Fusion of sound and sight at the feature levels.

TPAVI, the temporal pixel-wise audio-visual interaction, follows Zhou et al., "Audio-Visual Segmentation",
ECCV 2022, Eq. (2), in its dot-product form, and the parameter names of AVSBench.

A fusion is a module in AV_FUSION_REGISTRY, with TPAVI's `forward`; MODEL.FUSION.NAME chooses it. One that
takes several audio sources, (B, T, S, A), says so by ``takes_sources = True``. One whose frames do not hear
of each other says ``framewise = True``, and so can fuse a video chunk by chunk. A `TwoPassFusion` can, too.
Any other needs all frames at once.

Dimensions: B clips, T frames, t frames of a chunk, S audio sources, C channels, D inner channels, A audio
    channels, h×w feature map.
"""

from abc import ABC, abstractmethod
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
    return nn.ModuleDict(
        {
            name: AV_FUSION_REGISTRY.build(options.NAME, cfg, {"visual": shapes[name], "audio": audio})
            for name in options.IN_FEATURES
        }
    )


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


class TwoPassFusion(nn.Module, ABC):
    """A fusion in which a frame hears of the others only by a sum over all frames.

    So it needs to see a chunk of frames at a time: first every chunk for the sum, then again to be fused.
    """

    @abstractmethod
    def context(self, visual: Tensor, audio: Tensor) -> Tensor:
        """What a chunk adds to the sum, from (B, C, t, h, w) and the audio as `forward` takes it."""

    @abstractmethod
    def fuse(self, visual: Tensor, audio: Tensor, context: Tensor) -> Tensor:
        """Fuse a chunk.

        Args:
            visual: (B, C, t, h, w).
            audio: of the chunk.
            context: the sum over all T frames, divided by T.

        Returns:
            (B, C, t, h, w).
        """


class ChunkedFusion:
    """Fuses the levels of a video chunk by chunk, in two passes: `look` at every chunk, then `fuse` each."""

    def __init__(self, fusion: Mapping[str, nn.Module], num_frames: int) -> None:
        """Keep the fusions, which `can_fuse_in_chunks`, and T."""
        self._fusion, self._num_frames = fusion, num_frames
        self._contexts: dict[str, Tensor] = {}

    @property
    def looks(self) -> bool:
        """Whether there is anything to look for."""
        return any(isinstance(module, TwoPassFusion) for module in self._fusion.values())

    def look(self, levels: Mapping[str, Tensor], audio: Tensor) -> None:
        """Add what is to know of a chunk; levels and audio as `fuse_levels` takes them."""
        for name, module in self._fusion.items():
            if isinstance(module, TwoPassFusion):
                context = module.context(levels[name].transpose(1, 2), _sources_for(module, audio))
                self._contexts[name] = self._contexts.get(name, 0) + context

    def fuse(self, levels: Mapping[str, Tensor], audio: Tensor | None) -> dict[str, Tensor]:
        """Fuse a chunk as `fuse_levels` fuses all frames."""
        fused = dict(levels)
        for name, module in self._fusion.items():
            visual, sound = levels[name].transpose(1, 2), _sources_for(module, audio)
            if isinstance(module, TwoPassFusion):
                of_level = module.fuse(visual, sound, self._contexts[name] / self._num_frames)
            else:
                of_level = module(visual, sound)
            fused[name] = of_level.transpose(1, 2)
        return fused


def can_fuse_in_chunks(fusion: Mapping[str, nn.Module]) -> bool:
    """Whether no level needs all frames of a video at once."""
    return all(
        isinstance(module, TwoPassFusion) or getattr(module, "framewise", False) for module in fusion.values()
    )


@AV_FUSION_REGISTRY.register()
class TPAVI(TwoPassFusion):
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
        return self.fuse(visual, audio, self.context(visual, audio) / length)

    def context(self, visual: Tensor, audio: Tensor) -> Tensor:
        """φᵀg, (B, D, D), summed over the frames; see `TwoPassFusion.context`."""
        aligned = self.align_channel(audio).transpose(1, 2)[..., None, None]
        phi = self.phi(aligned).flatten(2)
        # g is linear: its mean over a frame is g of the frame's mean.
        mean_g = self.g(visual.mean(dim=(3, 4), keepdim=True)).flatten(2)
        return phi @ mean_g.transpose(1, 2)

    def fuse(self, visual: Tensor, audio: Tensor, context: Tensor) -> Tensor:
        """See `TwoPassFusion.fuse`; the sound is in the context alone."""
        attended = torch.einsum("bdthw,bde->bethw", self.theta(visual), context)
        fused = self.W_z(attended) + visual
        return self.norm_layer(fused.movedim(1, -1)).movedim(-1, 1)

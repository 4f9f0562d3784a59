"""How the sound joins the frame queries of a video, over time.

Dimensions: B clips, T frames, N frame queries, C channels, S audio sources, A audio channels.
"""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from avis.registry import PartRegistry

TEMPORAL_FUSION_REGISTRY = PartRegistry("MODEL.TEMPORAL_FUSION.NAME")
TEMPORAL_FUSION_REGISTRY.__doc__ = """Subclasses of TemporalFusion; shapes: "queries" (channels C, height N)
and "audio" (channels A)."""


class TemporalFusion(nn.Module, ABC):
    """Lets the sound of all frames into the frame queries of a video."""

    @abstractmethod
    def forward(self, frames: Tensor, audio: Tensor) -> Tensor:
        """Fuse.

        Args:
            frames: (B, T, N, C) frame queries.
            audio: (B, T, S, A) audio features.

        Returns:
            (B, T, N, C).
        """

"""How the sound joins the frame queries of a video, over time.

"window_attention" is the audio encoder of AVISM (Guo et al., "Audio-Visual Instance Segmentation", CVPR
2025), with its parameter names.

Dimensions: B clips, T frames, N frame queries, C channels, S audio sources, A audio channels.
"""

from abc import ABC, abstractmethod

from detectron2.config import CfgNode, configurable
from torch import Tensor, nn

from avis.modeling.frame_windows import FrameWindows
from avis.modeling.layers import CrossAttentionLayer, FFNLayer
from avis.registry import PartRegistry, Shapes

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


@TEMPORAL_FUSION_REGISTRY.register(name="window_attention")
class WindowAttention(TemporalFusion):
    """The sound of each frame attends to the frame queries of its window; the outcome is added to them.

    The original gives every frame query a copy of the frame's sound. As the copies stay alike in all layers,
    there is one here, for 1/N of the work and the same numbers. Every other layer shifts the windows.
    """

    @configurable
    def __init__(
        self,
        audio_dim: int,
        embed_dim: int,
        *,
        num_heads: int,
        dim_feedforward: int,
        num_layers: int,
        window: int,
    ) -> None:
        """Make the layers, for audio of A = `audio_dim` and queries of C = `embed_dim` channels."""
        super().__init__()
        self.window = window
        self.av_proj = nn.Linear(audio_dim, embed_dim)
        self.enc_av_cross_attn = nn.ModuleList(
            CrossAttentionLayer(embed_dim, num_heads) for _ in range(num_layers)
        )
        self.enc_av_ffn = nn.ModuleList(FFNLayer(embed_dim, dim_feedforward) for _ in range(num_layers))

    @classmethod
    def from_config(cls, cfg: CfgNode, shapes: Shapes) -> dict:
        """Arguments of the class from a config."""
        options = cfg.MODEL.CLIP_DECODER
        return {
            "audio_dim": shapes["audio"].channels,
            "embed_dim": shapes["queries"].channels,
            "num_heads": cfg.MODEL.MASK_FORMER.NHEADS,
            "dim_feedforward": options.DIM_FEEDFORWARD,
            "num_layers": options.ENC_LAYERS,
            "window": options.WINDOW,
        }

    def forward(self, frames: Tensor, audio: Tensor) -> Tensor:
        """See `TemporalFusion.forward`; of several sources each has a token, and their sum is added."""
        batch, num_frames, num_queries, _ = frames.shape
        sounds = self.av_proj(audio)
        num_sources = sounds.shape[2]
        for index, (attention, feedforward) in enumerate(
            zip(self.enc_av_cross_attn, self.enc_av_ffn, strict=True)
        ):
            windows = FrameWindows(num_frames, self.window, shifted=index % 2 == 1)
            allowed = windows.allowed(batch, num_queries, frames.device)
            keys = windows.split(frames)
            heard = feedforward(attention(windows.split(sounds), None, keys, keys, allowed))
            sounds = windows.join(heard, num_sources)
        return frames + sounds.sum(dim=2, keepdim=True)

"""AudioCNN: a small audio backbone to train from scratch on little data.

Dimensions: N examples of 96 windows (10 ms each) × 64 mel bands, C output channels.
"""

from detectron2.config import CfgNode, configurable
from torch import Tensor, nn

from avis.audio.backbone import AUDIO_BACKBONE_REGISTRY, AudioBackbone
from avis.audio.log_mel import SILENCE
from avis.registry import Shapes

WIDTHS = (16, 32, 64, 128)
# About the standard deviation of the log-mel values of sound at ordinary levels.
SCALE = 2.0


@AUDIO_BACKBONE_REGISTRY.register()
class AudioCNN(AudioBackbone):
    """Four strided 3×3 convolutions, the mean over time, and a linear layer over the remaining bands."""

    @configurable
    def __init__(self, output_dim: int = 128) -> None:
        super().__init__()
        self.output_dim = output_dim
        self.stages = nn.Sequential(
            *(_stage(narrow, wide) for narrow, wide in zip((1, *WIDTHS), WIDTHS, strict=False))
        )
        num_bands = 64 // 2 ** len(WIDTHS)
        self.projection = nn.Linear(WIDTHS[-1] * num_bands, output_dim)

    @classmethod
    def from_config(cls, cfg: CfgNode, shapes: Shapes) -> dict:
        """The output channels are MODEL.AUDIO.FEATURE_DIM."""
        return {"output_dim": cfg.MODEL.AUDIO.FEATURE_DIM}

    def forward(self, examples: Tensor) -> Tensor:
        """(N, 96, 64) or (N, 1, 96, 64) log-mel examples → (N, C) features."""
        levels = (examples.reshape(-1, 1, 96, 64) - SILENCE) / SCALE
        maps = self.stages(levels)
        return self.projection(maps.mean(dim=2).flatten(1))


def _stage(in_channels: int, out_channels: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )

"""VGGish: AudioSet's convolutional network for one 0.96 s log-mel example.

Follows Hershey et al., "CNN Architectures for Large-Scale Audio Classification", ICASSP 2017.
Parameters are named as in torchvggish, whose released weights load as they are. The features end with a ReLU
and without PCA, as AVISeg's precomputed ones do.
"""

from detectron2.config import CfgNode, configurable
from torch import Tensor, nn

from avis.audio.backbone import AUDIO_BACKBONE_REGISTRY, AudioBackbone
from avis.registry import Shapes


@AUDIO_BACKBONE_REGISTRY.register()
class VGGish(AudioBackbone):
    """Six 3×3 convolutions with four 2×2 poolings, then three linear layers."""

    @configurable
    def __init__(self) -> None:
        super().__init__()
        self.output_dim = 128
        self.features = nn.Sequential(
            *_convolution(1, 64),
            nn.MaxPool2d(2),
            *_convolution(64, 128),
            nn.MaxPool2d(2),
            *_convolution(128, 256),
            *_convolution(256, 256),
            nn.MaxPool2d(2),
            *_convolution(256, 512),
            *_convolution(512, 512),
            nn.MaxPool2d(2),
        )
        self.embeddings = nn.Sequential(
            nn.Linear(512 * 6 * 4, 4096),
            nn.ReLU(inplace=True),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Linear(4096, self.output_dim),
            nn.ReLU(inplace=True),
        )

    @classmethod
    def from_config(cls, cfg: CfgNode, shapes: Shapes) -> dict:
        """VGGish has nothing to configure."""
        return {}

    def forward(self, examples: Tensor) -> Tensor:
        """(N, 96, 64) or (N, 1, 96, 64) log-mel examples → (N, 128) non-negative features."""
        maps = self.features(examples.reshape(-1, 1, 96, 64))
        # The linear layers were trained on maps in (time, band, channel) order.
        return self.embeddings(maps.permute(0, 2, 3, 1).flatten(1))


def _convolution(in_channels: int, out_channels: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1), nn.ReLU(inplace=True)

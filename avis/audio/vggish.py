"""VGGish: AudioSet's convolutional network for one 0.96 s log-mel example.

Follows Hershey et al., "CNN Architectures for Large-Scale Audio Classification", ICASSP 2017.
Parameters are named as in torchvggish, whose released weights load as they are. The features end with a ReLU,
as AVISeg's precomputed ones do, or with AudioSet's post-processing, as ACVIS's do.

Dimensions: N examples.
"""

import torch
from detectron2.config import CfgNode, configurable
from torch import Tensor, nn

from avis.audio.backbone import AUDIO_BACKBONE_REGISTRY, AudioBackbone
from avis.registry import Shapes

# What AudioSet's post-processing cuts components at, either way.
LARGEST = 2.0


@AUDIO_BACKBONE_REGISTRY.register()
class VGGish(AudioBackbone):
    """Six 3×3 convolutions with four 2×2 poolings, then three linear layers."""

    @configurable
    def __init__(self, postprocess: bool = False) -> None:
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
        self.postprocess = postprocess
        if postprocess:
            self.pproc = Postprocessing(self.output_dim)

    @classmethod
    def from_config(cls, cfg: CfgNode, shapes: Shapes) -> dict:
        """MODEL.AUDIO.POSTPROCESS is all there is to configure."""
        return {"postprocess": cfg.MODEL.AUDIO.POSTPROCESS}

    def forward(self, examples: Tensor) -> Tensor:
        """(N, 96, 64) or (N, 1, 96, 64) log-mel examples → (N, 128) features, none negative."""
        maps = self.features(examples.reshape(-1, 1, 96, 64))
        # The linear layers were trained on maps in (time, band, channel) order.
        features = self.embeddings(maps.permute(0, 2, 3, 1).flatten(1))
        return self.pproc(features) if self.postprocess else features


class Postprocessing(nn.Module):
    """PCA with whitening, and whole numbers of 8 bits: the form in which AudioSet publishes features.

    Rounding has no slope: what comes before it gets gradients of exactly zero.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.pca_eigen_vectors = nn.Parameter(torch.eye(num_channels), requires_grad=False)
        self.pca_means = nn.Parameter(torch.zeros(num_channels, 1), requires_grad=False)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C) features → (N, C) whole numbers from 0 to 255."""
        components = (features - self.pca_means[:, 0]) @ self.pca_eigen_vectors.T
        return torch.round((components.clamp(-LARGEST, LARGEST) + LARGEST) * (255 / (2 * LARGEST)))


def _convolution(in_channels: int, out_channels: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1), nn.ReLU(inplace=True)

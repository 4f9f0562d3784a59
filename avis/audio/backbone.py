"""The interface of audio backbones, and how to add one.

A backbone turns each frame's log-mel example into a feature vector. A new one is one file: a subclass of
`AudioBackbone` in the registry, such as this transformer over the 96 windows (10 ms each) of an example:

    import torch
    from detectron2.config import CfgNode, configurable
    from torch import Tensor, nn

    from avis.audio import AUDIO_BACKBONE_REGISTRY, SILENCE, AudioBackbone


    @AUDIO_BACKBONE_REGISTRY.register()
    class WindowTransformer(AudioBackbone):
        @configurable
        def __init__(self, output_dim: int, num_layers: int = 2) -> None:
            super().__init__()
            self.output_dim = output_dim
            self.embed = nn.Linear(64, output_dim)
            self.position = nn.Parameter(torch.zeros(96, output_dim))
            layer = nn.TransformerEncoderLayer(output_dim, nhead=4, batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, num_layers, enable_nested_tensor=False)

        @classmethod
        def from_config(cls, cfg: CfgNode) -> dict:
            return {"output_dim": cfg.MODEL.AUDIO.FEATURE_DIM}

        def forward(self, examples: Tensor) -> Tensor:
            windows = examples.reshape(-1, 96, 64) - SILENCE
            return self.encoder(self.embed(windows) + self.position).mean(dim=1)

Import the file before a model is built, in `avis/audio/__init__.py` or in a script of your own, and name the
class in the config:

    MODEL.AUDIO.NAME WindowTransformer MODEL.AUDIO.FEATURE_DIM 64 MODEL.AUDIO.FREEZE False

- Input: (N, 96, 64) or (N, 1, 96, 64), the values of `log_mel_examples`: natural logarithms of 64 mel bands,
  `SILENCE` (-4.6) where nothing sounds. Examples come from several frames and videos at once, in chunks, so
  each must be treated by itself.
- Output: (N, output_dim); `output_dim` must be MODEL.AUDIO.FEATURE_DIM, which fusion and audio query take.
- MODEL.AUDIO.WEIGHTS: a state dict in the names of the class, without a prefix. Training starts from it;
  without it the backbone starts as it is built, or as MODEL.WEIGHTS has it under ``audio_backbone.``.
- MODEL.AUDIO.FREEZE True calls `freeze`: the backbone is not trained and stays in evaluation mode. Its
  features may then be computed once, with tools/prepare_audio.py --config-file …, and taken with
  INPUT.AUDIO.SOURCE features.

Models that take the waveform itself (wav2vec 2.0), other spectrograms (AST) or more than 0.96 s of sound do
not fit this interface: they are run apart. Save their features, (T, D) floats with a row for each frame of
the video, as FEATAudios/<video>.npy, and set MODEL.AUDIO.NAME PrecomputedFeatures, MODEL.AUDIO.FEATURE_DIM D
and INPUT.AUDIO.SOURCE features. A model so trained takes data sets with such features only, not video files.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class AudioBackbone(nn.Module, ABC):
    """Turns log-mel examples into one feature vector each.

    Attributes:
        output_dim: channels of the features.
        has_weights: whether a file has given it its weights.
        was_trained_with: whether a model around it has been trained with its features.
        is_deaf: set where it shall not, since its weights are random and will never be others.
    """

    output_dim: int
    has_weights = False
    was_trained_with = False
    is_deaf = False
    _frozen = False

    def __call__(self, examples: Tensor) -> Tensor:
        """Compute features, see `forward`.

        Raises:
            ValueError: it is deaf.
        """
        self.check_hearing()
        self.was_trained_with |= torch.is_grad_enabled()
        return super().__call__(examples)

    def check_hearing(self) -> None:
        """Refuse to be of use for sound without weights.

        Raises:
            ValueError: it is deaf.
        """
        if self.is_deaf:
            raise ValueError(
                f"{type(self).__name__} has no weights, as in a model trained on precomputed features. Set "
                "MODEL.AUDIO.WEIGHTS to hear sound, or take features here, too (INPUT.AUDIO.SOURCE features)"
            )

    @property
    def is_random(self) -> bool:
        """Whether it is frozen with weights that no file has given it."""
        return self._frozen and not self.has_weights and any(True for _ in self.parameters())

    @abstractmethod
    def forward(self, examples: Tensor) -> Tensor:
        """(N, 96, 64) or (N, 1, 96, 64) log-mel examples → (N, output_dim) features."""

    def freeze(self) -> None:
        """Stop training: no gradients, and evaluation mode whatever mode the model around it is in."""
        self._frozen = True
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "AudioBackbone":
        """Set training mode, unless frozen."""
        return super().train(mode and not self._frozen)

"""The interface of audio backbones.

A backbone turns each frame's log-mel example into a feature vector. docs/extending.md shows how to add one.

- Input: (N, 96, 64) or (N, 1, 96, 64), the values of `log_mel_examples`: natural logarithms of 64 mel bands,
  `SILENCE` (-4.6) where nothing sounds. A batch mixes frames and videos, so each example is treated by
  itself.
- Output: (N, output_dim). `output_dim` must be MODEL.AUDIO.FEATURE_DIM.
- MODEL.AUDIO.WEIGHTS: a state dict in the names of the class, without a prefix.
- MODEL.AUDIO.FREEZE True calls `freeze`: the backbone is not trained and stays in evaluation mode.

Models that take the waveform itself (wav2vec 2.0), other spectrograms (AST) or more than 0.96 s of sound do
not fit. Run them apart, and save their features, (T, D) floats with a row for each frame of the video, as
FEATAudios/<video>.npy. Then set MODEL.AUDIO.NAME PrecomputedFeatures, MODEL.AUDIO.FEATURE_DIM D and
INPUT.AUDIO.SOURCE features. Such a model takes data sets with features only, not video files.
"""

from abc import ABC, abstractmethod
from enum import Enum

import torch
from torch import Tensor, nn

from avis.registry import PartRegistry

AUDIO_BACKBONE_REGISTRY = PartRegistry("MODEL.AUDIO.NAME")
AUDIO_BACKBONE_REGISTRY.__doc__ = """Subclasses of AudioBackbone; shapes: "audio_examples"."""


class WeightState(Enum):
    """Where the weights of an audio backbone come from; `avis.audio.weights` moves from one to the next."""

    INITIAL = "as built"
    TRAINED = "as built, and a model around it has been trained with its features"
    LOADED = "from a file"
    DEAF = "as built, and they will never be others"


class AudioBackbone(nn.Module, ABC):
    """Turns log-mel examples into one feature vector each.

    Attributes:
        output_dim: channels of the features.
        weight_state: where its weights come from.
    """

    output_dim: int
    weight_state = WeightState.INITIAL
    _frozen = False

    def __call__(self, examples: Tensor) -> Tensor:
        """Compute features, see `forward`.

        Raises:
            ValueError: it is deaf.
        """
        self.check_hearing()
        if torch.is_grad_enabled() and self.weight_state is WeightState.INITIAL:
            self.weight_state = WeightState.TRAINED
        return super().__call__(examples)

    def check_hearing(self) -> None:
        """Refuse to be of use for sound without weights.

        Raises:
            ValueError: it is deaf.
        """
        if self.weight_state is WeightState.DEAF:
            raise ValueError(
                f"{type(self).__name__} has no weights, as in a model trained on precomputed features. Set "
                "MODEL.AUDIO.WEIGHTS to hear sound, or take features here, too (INPUT.AUDIO.SOURCE features)"
            )

    @property
    def is_useless(self) -> bool:
        """Whether it is frozen with weights that no file has given it and nothing was trained with."""
        has_weights = next(self.parameters(), None) is not None
        return self._frozen and has_weights and self.weight_state is WeightState.INITIAL

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

"""The interface of audio backbones.

A backbone turns each frame's log-mel example into a feature vector. docs/extending.md shows how to add one.

- Input: (N, 96, 64) or (N, 1, 96, 64), the values of `log_mel_examples`: natural logarithms of 64 mel bands,
  `SILENCE` (-4.6) where nothing sounds. A batch mixes frames and videos, so each example is treated by
  itself.
- Output: (N, output_dim). `output_dim` must be MODEL.AUDIO.FEATURE_DIM.
- MODEL.AUDIO.WEIGHTS: a state dict in the names of the class, without a prefix.
- MODEL.AUDIO.FREEZE True calls `freeze`: the backbone is not trained, stays in evaluation mode, and computes
  in float32 whatever the model around it does. So its features are those that were computed before.

Models that take the waveform itself (wav2vec 2.0), other spectrograms (AST) or more than 0.96 s of sound do
not fit. Run them apart, and save their features, (T, D) floats with a row for each frame of the video, as
FEATAudios/<video>.npy. Then set MODEL.AUDIO.NAME PrecomputedFeatures, MODEL.AUDIO.FEATURE_DIM D and
INPUT.AUDIO.SOURCE features. Such a model takes data sets with features only, not video files.
"""

import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import Enum

import torch
from torch import Tensor, nn

from avis.audio.log_mel import NUM_BANDS, NUM_WINDOWS, SILENCE
from avis.registry import PartRegistry

logger = logging.getLogger(__name__)

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
        postprocess: whether its features pass VGGish's post-processing.
    """

    output_dim: int
    weight_state = WeightState.INITIAL
    postprocess = False
    _frozen = False
    _has_warned = False
    _digest: tuple[tuple, str] = ((), "")

    def __call__(self, examples: Tensor) -> Tensor:
        """Compute features, see `forward`.

        Raises:
            ValueError: it is deaf.
        """
        self.check_hearing()
        if torch.is_grad_enabled() and self.weight_state is WeightState.INITIAL:
            self.weight_state = WeightState.TRAINED
        if not self._frozen:
            return super().__call__(examples)
        with torch.autocast(examples.device.type, enabled=False):
            return super().__call__(examples.float())

    @torch.no_grad()
    def silence(self, device: torch.device | str = "cpu") -> Tensor:
        """(output_dim,) features of silence; zeros, with a warning, where no weights can tell."""
        if self.can_hear:
            return self(torch.full((1, NUM_WINDOWS, NUM_BANDS), SILENCE, device=device))[0]
        if not self._has_warned:
            logger.warning(
                "how %s hears silence is not known, as it has no weights: the features of a video without "
                "sound are zeros, in training as in evaluation",
                type(self).__name__,
            )
            self._has_warned = True
        return torch.zeros(self.output_dim, device=device)

    @property
    def can_hear(self) -> bool:
        """Whether its features mean something: they come from weights that a file or a training gave."""
        return self.weight_state is not WeightState.DEAF and not self.is_useless

    def weights_digest(self) -> str:
        """Digest of its weights, computed again only if they have changed."""
        weights = self.state_dict()
        versions = tuple((value.data_ptr(), value._version) for value in weights.values())
        if self._digest[0] != versions:
            self._digest = (versions, digest_weights(weights))
        return self._digest[1]

    def check_made(self, weights: str) -> None:
        """Refuse features that other weights than its own have made.

        Args:
            weights: digest of those that have.

        Raises:
            ValueError: they are others, and it has weights itself.
        """
        has_weights = self.weight_state in (WeightState.LOADED, WeightState.TRAINED)
        if has_weights and weights != self.weights_digest():
            raise ValueError(
                f"the audio features were made with the weights {weights}, the model's {type(self).__name__} "
                f"has {self.weights_digest()}. Make them anew with tools/prepare_audio.py, or set "
                "INPUT.AUDIO.SOURCE waveform"
            )

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


def digest_weights(weights: Mapping[str, Tensor]) -> str:
    """Digest a state dict's names, shapes and values, whatever their order, to 16 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=8)
    for name, value in sorted(weights.items()):
        values = value.detach().cpu()
        values = values.float() if values.is_floating_point() else values
        digest.update(f"{name} {tuple(values.shape)}".encode())
        digest.update(values.contiguous().numpy().tobytes())
    return digest.hexdigest()

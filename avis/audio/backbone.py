"""The interface of audio backbones."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class AudioBackbone(nn.Module, ABC):
    """Turns log-mel examples into one feature vector each.

    Attributes:
        output_dim: channels of the features.
    """

    output_dim: int
    _frozen = False

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

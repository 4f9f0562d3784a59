"""Backbones of which the first stages can rest, as Detectron2's ResNet's can."""

from collections.abc import Sequence

from detectron2.modeling import Backbone
from torch import nn


class FreezableBackbone(Backbone):
    """A backbone whose frozen modules have no gradients and stay in evaluation mode.

    In evaluation mode the statistics of batch norms and stochastic depth rest too.
    """

    def __init__(self) -> None:
        super().__init__()
        self._frozen: tuple[nn.Module, ...] = ()

    def freeze(self, stages: Sequence[Sequence[nn.Module]], freeze_at: int) -> None:
        """Freeze the first `freeze_at` of `stages`: the stem, res2, res3, …, as MODEL.BACKBONE.FREEZE_AT counts.

        Raises:
            ValueError: there are not as many stages.
        """
        if not 0 <= freeze_at <= len(stages):
            raise ValueError(
                f"MODEL.BACKBONE.FREEZE_AT is {freeze_at}; this backbone has a stem and {len(stages) - 1} stages,"
                f" so it can be 0 to {len(stages)}"
            )
        self._frozen = tuple(module for stage in stages[:freeze_at] for module in stage)
        for module in self._frozen:
            module.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> "FreezableBackbone":
        """Set the mode of all modules that are not frozen."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

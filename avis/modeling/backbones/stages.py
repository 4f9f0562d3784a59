"""What the backbones here share: maps named by their stride, and first stages that can rest.

Both as Detectron2's ResNet has them.
"""

from collections.abc import Sequence

from detectron2.modeling import Backbone
from torch import nn

# Detectron2 names feature maps by the logarithm of their stride.
STRIDES = {"res2": 4, "res3": 8, "res4": 16, "res5": 32}


class StagedBackbone(Backbone):
    """A backbone of a stem and stages at strides 4, 8, 16 and 32, of which the first can be frozen.

    Frozen modules have no gradients and stay in evaluation mode, so that the statistics of batch norms and
    stochastic depth rest as well. Subclasses fill `_out_feature_channels`.
    """

    def __init__(self, out_features: Sequence[str]) -> None:
        """Take some of "res2" … "res5" as outputs.

        Raises:
            ValueError: there are none, or others.
        """
        super().__init__()
        if not out_features or not set(out_features) <= set(STRIDES):
            raise ValueError(f"output features of a backbone are some of {list(STRIDES)}, not {out_features}")
        self._out_features = [name for name in STRIDES if name in out_features]
        self._out_feature_strides = {name: STRIDES[name] for name in self._out_features}
        self._out_feature_channels: dict[str, int] = {}
        self._frozen: tuple[nn.Module, ...] = ()

    def freeze(self, stages: Sequence[Sequence[nn.Module]], freeze_at: int) -> None:
        """Freeze the modules of the first `freeze_at` of `stages`, which are the stem, res2, res3, ….

        Raises:
            ValueError: there are not as many stages.
        """
        if not 0 <= freeze_at <= len(stages):
            raise ValueError(
                f"MODEL.BACKBONE.FREEZE_AT is {freeze_at}; this backbone has a stem and {len(stages) - 1} "
                f"stages, so it can be 0 to {len(stages)}"
            )
        self._frozen = tuple(module for stage in stages[:freeze_at] for module in stage)
        for module in self._frozen:
            module.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> "StagedBackbone":
        """Set the mode of all modules that are not frozen."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

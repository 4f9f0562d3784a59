"""Activation checkpointing of Detectron2's ResNets."""

from detectron2.modeling import Backbone
from detectron2.modeling.backbone.resnet import ResNet
from torch import Tensor, nn

from avis.modeling.recomputing import recomputed


class CheckpointedStage(nn.Sequential):
    """Blocks whose inputs alone are kept for the gradients; the rest is computed again."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to the last block's output."""
        for block in self:
            x = recomputed(block, x)
        return x


def checkpoint_blocks(backbone: Backbone) -> None:
    """Let a ResNet compute its blocks' activations again in the backward pass.

    Raises:
        ValueError: it is no ResNet of Detectron2, or has batch norms that would count a batch twice.
    """
    if not isinstance(backbone, ResNet):
        raise ValueError(
            f"MODEL.CHECKPOINTING has 'backbone', which Detectron2's ResNets and timm's models can, "
            f"but not {type(backbone).__name__}; leave it out"
        )
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in backbone.modules()):
        raise ValueError(
            "MODEL.CHECKPOINTING has 'backbone', but batch norms that learn would count every batch twice; "
            "set MODEL.RESNETS.NORM to 'FrozenBN' or 'GN', or leave it out"
        )
    for stage in backbone.stages:
        stage.__class__ = CheckpointedStage  # as `fold_frozen_norms` does: names and parameters stay

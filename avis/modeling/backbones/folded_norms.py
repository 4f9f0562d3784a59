"""Frozen batch norms as part of the convolutions before them: a pass over all pixels less for each."""

from detectron2.layers import Conv2d, FrozenBatchNorm2d
from torch import Tensor, nn
from torch.nn import functional as F


class FoldedConv2d(Conv2d):
    """Detectron2's convolution whose frozen norm scales its weights instead of its output.

    γ·(W·x + b - μ)/σ + β = (γ/σ·W)·x + γ/σ·(b - μ) + β. Parameters and buffers stay as they are, so that
    weights load and save under their names, and gradients are those of W.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) images."""
        norm = self.norm
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        mean = norm.running_mean if self.bias is None else norm.running_mean - self.bias
        weight, bias = self.weight * scale[:, None, None, None], norm.bias - mean * scale
        x = F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)
        return x if self.activation is None else self.activation(x)


def fold_frozen_norms(backbone: nn.Module) -> nn.Module:
    """Fold every frozen norm of Detectron2's convolutions in a backbone, which is returned."""
    for module in backbone.modules():
        if type(module) is Conv2d and isinstance(module.norm, FrozenBatchNorm2d):
            module.__class__ = FoldedConv2d  # a copy would be in the optimizer's way and the checkpoints'
    return backbone

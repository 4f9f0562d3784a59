"""Frozen batch norms as part of the convolutions before them: a pass over all pixels less for each."""

from typing import Any

import torch
from detectron2.layers import Conv2d, FrozenBatchNorm2d
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
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
        bias = norm.bias - mean * scale
        device = x.device.type
        if torch.is_autocast_enabled(device):
            x = x.to(torch.get_autocast_dtype(device))
        options = (self.stride, self.padding, self.dilation, self.groups)
        x = _ScaledConvolution.apply(x, self.weight, scale, bias, options)
        return x if self.activation is None else self.activation(x)


class _ScaledConvolution(torch.autograd.Function):
    """A convolution with weights (C', C, h, w) times a scale (C',) that has no gradient.

    The product is not kept for the gradients: those of a whole backbone take as much as its weights.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor, options: tuple[Any, ...]
    ) -> Tensor:
        ctx.save_for_backward(x, weight, scale)
        ctx.options = options
        return F.conv2d(x, _scaled(weight, scale).to(x.dtype), bias.to(x.dtype), *options)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.options
        of_x, of_weight, of_bias = torch.ops.aten.convolution_backward(
            grad,
            x,
            _scaled(weight, scale).to(x.dtype),
            [len(scale)],
            stride,
            padding,
            dilation,
            False,  # not transposed, so without an output padding
            [0, 0],
            groups,
            [ctx.needs_input_grad[index] for index in (0, 1, 3)],
        )
        if of_weight is not None:
            of_weight = _scaled(of_weight.to(weight.dtype), scale)
        if of_bias is not None:
            of_bias = of_bias.to(scale.dtype)
        return of_x, of_weight, None, of_bias, None


def _scaled(weight: Tensor, scale: Tensor) -> Tensor:
    return weight * scale[:, None, None, None]


def fold_frozen_norms(backbone: nn.Module) -> nn.Module:
    """Fold every frozen norm of Detectron2's convolutions in a backbone, which is returned."""
    for module in backbone.modules():
        if type(module) is Conv2d and isinstance(module.norm, FrozenBatchNorm2d):
            module.__class__ = FoldedConv2d  # a copy would be in the optimizer's way and the checkpoints'
    return backbone

"""A matrix product of which few rows have a gradient, as those of the queries that are matched.

Of N queries a loss reads the M that are matched. The gradients of the product are those of M rows.

Dimensions: N rows, K summed, X columns.
"""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable


def matched_product(left: Tensor, right: Tensor) -> Tensor:
    """`left @ right`, with gradients that skip rows of the product without one.

    On the CPU alone: elsewhere the number of rows would have to come to the host first.

    Args:
        left: (B, N, K), or (N, K), the same for all.
        right: (B, K, X).

    Returns:
        (B, N, X).
    """
    if left.device.type != "cpu" or not torch.is_grad_enabled():
        return left @ right
    return _MatchedProduct.apply(left, right)


class _MatchedProduct(torch.autograd.Function):
    """Arguments and output as those of `matched_product`."""

    @staticmethod
    def forward(ctx: FunctionCtx, left: Tensor, right: Tensor) -> Tensor:
        ctx.save_for_backward(left, right)
        return left @ right

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor]:
        left, right = ctx.saved_tensors
        # The sum is not 0 where a gradient is NaN.
        matched = (grad.abs().sum(dim=(0, 2)) != 0).nonzero().squeeze(1)
        rows = grad[:, matched]
        of_left = torch.zeros_like(left)
        of_left[..., matched, :] = (rows @ right.mT).sum_to_size(
            *left.shape[:-2], len(matched), left.shape[-1]
        )
        return of_left, left[..., matched, :].mT @ rows

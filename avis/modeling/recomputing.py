"""Activations that are computed again for the gradients instead of being kept."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint


def recomputed(function: Callable[..., Any], *inputs: Any) -> Any:
    """`function(*inputs)`, of which the inputs alone are kept for the gradients.

    Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016. Values and gradients are the same;
    the function runs once more in the backward pass.
    """
    if not torch.is_grad_enabled():
        return function(*inputs)
    return checkpoint(function, *inputs, use_reentrant=False)

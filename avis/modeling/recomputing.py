"""Activations that are computed again for the gradients instead of being kept."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

_is_inside: ContextVar[bool] = ContextVar("_is_inside", default=False)


def recomputed(function: Callable[..., Any], *inputs: Any) -> Any:
    """`function(*inputs)`, of which the inputs alone are kept for the gradients.

    Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016. Values and gradients are the same;
    the function runs once more in the backward pass. What is recomputed as a part of a function that is
    recomputed itself runs only once more, too.
    """
    if not torch.is_grad_enabled() or _is_inside.get():
        return function(*inputs)

    def run(*inputs: Any) -> Any:
        token = _is_inside.set(True)
        try:
            return function(*inputs)
        finally:
            _is_inside.reset(token)

    return checkpoint(run, *inputs, use_reentrant=False)

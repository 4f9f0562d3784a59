"""Points that do not depend on what else is drawn."""

import torch
from torch import Tensor


def fixed_points(*shape: int, device: torch.device | None = None) -> Tensor:
    """Stands for torch.rand: (A, P, 2) with the same P points for each of the A masks, in every call."""
    numbers = torch.rand(1, *shape[1:], generator=torch.Generator().manual_seed(0))
    return numbers.expand(shape).to(device)

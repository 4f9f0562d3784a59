"""Lower precision: which one, and autocast to it."""

from contextlib import AbstractContextManager, nullcontext

import torch
from detectron2.config import CfgNode

_PRECISIONS = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def lower_precision(cfg: CfgNode) -> torch.dtype:
    """What SOLVER.AMP.PRECISION names.

    Raises:
        ValueError: it is no precision.
    """
    if cfg.SOLVER.AMP.PRECISION not in _PRECISIONS:
        raise ValueError(
            f"SOLVER.AMP.PRECISION is {cfg.SOLVER.AMP.PRECISION!r}; it can be 'float16' or 'bfloat16'"
        )
    return _PRECISIONS[cfg.SOLVER.AMP.PRECISION]


def autocast_to(precision: torch.dtype | None, device: torch.device) -> AbstractContextManager[object]:
    """Operations that bear it compute in a lower precision; with None all compute as they would."""
    return nullcontext() if precision is None else torch.autocast(device.type, dtype=precision)

"""One optimisation step: losses under autocast, backward, clipping, finite check, update."""

import math
from collections.abc import Sequence

import torch
from detectron2.utils import comm
from torch import Tensor, nn

from avis.engine.optimizer import GradientClipper
from avis.engine.tf32 import tf32

# A float16 loss scale below this means that gradients overflow whatever the scale is.
MIN_LOSS_SCALE = 1e-4


class TrainingStep:
    """Train a model on one batch, in full or mixed precision, on any device.

    Args:
        model: takes a batch, returns a dict of scalar losses; plain or wrapped for distributed training.
        optimizer: holds the parameters to update.
        clip_gradients: clips the gradients in place and returns their norm.
        precision: torch.float16 or torch.bfloat16 for autocast; None trains in the parameters' own.
        allow_tf32: what stays in float32 may take TF32.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        clip_gradients: GradientClipper,
        precision: torch.dtype | None = None,
        allow_tf32: bool = False,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.clip_gradients = clip_gradients
        self.precision = precision
        self.allow_tf32 = allow_tf32
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.device_type = self.parameters[0].device.type
        # bfloat16 has float32's range: only float16 gradients need scaling.
        self.grad_scaler = torch.amp.GradScaler(self.device_type, enabled=precision == torch.float16)

    def __call__(self, batch: Sequence[dict]) -> dict[str, float]:
        """Update the weights once.

        Returns:
            The loss terms, their sum ``total_loss``, and ``grad_norm`` before clipping; means over processes.

        Raises:
            FloatingPointError: a loss or the gradient is not finite; in every process, before weights change.
        """
        with tf32(self.allow_tf32):
            losses, total_loss = self._compute_gradients(batch)
        self.grad_scaler.unscale_(self.optimizer)
        grad_norm = self.clip_gradients(self.parameters)

        metrics = _mean_over_processes({**losses, "total_loss": total_loss, "grad_norm": grad_norm})
        self._check_finite(metrics)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()
        # A gradient that has overflowed has no norm to report.
        return {name: value for name, value in metrics.items() if math.isfinite(value)}

    def _compute_gradients(self, batch: Sequence[dict]) -> tuple[dict[str, Tensor], Tensor]:
        """The losses and their sum, whose scaled gradients the parameters then have."""
        with torch.autocast(self.device_type, dtype=self.precision, enabled=self.precision is not None):
            losses = self.model(batch)
        total_loss = sum(losses.values())
        self.optimizer.zero_grad()
        self.grad_scaler.scale(total_loss).backward()
        return losses, total_loss

    def _check_finite(self, metrics: dict[str, float]) -> None:
        culprits = [f"{name} is {value}" for name, value in metrics.items() if not math.isfinite(value)]
        gradient_overflowed = self.grad_scaler.is_enabled() and self.grad_scaler.get_scale() > MIN_LOSS_SCALE
        if not culprits or (gradient_overflowed and math.isfinite(metrics["total_loss"])):
            return  # an overflowed float16 gradient is normal: the scaler skips the update and scales less
        raise FloatingPointError(f"{', '.join(culprits)}; the weights are as before this iteration")


def _mean_over_processes(metrics: dict[str, Tensor]) -> dict[str, float]:
    """Average scalars with one all-reduce and one transfer to the host."""
    values = torch.stack([value.detach().float() for value in metrics.values()])
    if comm.get_world_size() > 1:
        torch.distributed.all_reduce(values)
        values /= comm.get_world_size()
    return dict(zip(metrics, values.tolist(), strict=True))

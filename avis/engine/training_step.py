"""One optimisation step: losses under autocast, backward, clipping, finite check, update.

A process's clips can pass the model in several parts. If the model prepares them for it (`share_batch`), the
gradients are those of all clips at once.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from detectron2.utils import comm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from avis.engine.distribution import unwrapped
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
        num_passes: into which a process's share of a batch is split.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        clip_gradients: GradientClipper,
        precision: torch.dtype | None = None,
        allow_tf32: bool = False,
        num_passes: int = 1,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.clip_gradients = clip_gradients
        self.precision = precision
        self.allow_tf32 = allow_tf32
        self.num_passes = num_passes
        # What a forward pass changes, be its outcome finite or not.
        self.statistics = [
            buffer
            for module in model.modules()
            if isinstance(module, _BatchNorm)
            for buffer in module.buffers(recurse=False)
        ]
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.device_type = self.parameters[0].device.type
        # bfloat16 has float32's range: only float16 gradients need scaling.
        self.grad_scaler = torch.amp.GradScaler(self.device_type, enabled=precision == torch.float16)

    def __call__(self, batch: Sequence[dict]) -> dict[str, float]:
        """Update the weights once.

        Returns:
            The loss terms, their sum ``total_loss``, and ``grad_norm`` before clipping; means over processes.

        Raises:
            FloatingPointError: a loss or the gradient is not finite; in every process. Nothing has changed,
                as after any other error.
            ValueError: the clips cannot be split into the passes.
        """
        before = [buffer.clone() for buffer in self.statistics]
        try:
            metrics = self._gradients(batch)
        except BaseException:  # also one that ends the run, whose checkpoint is of the step before
            for buffer, value in zip(self.statistics, before, strict=True):
                buffer.copy_(value)
            raise
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()
        # A gradient that has overflowed has no norm to report.
        return {name: value for name, value in metrics.items() if math.isfinite(value)}

    def _gradients(self, batch: Sequence[dict]) -> dict[str, float]:
        """Compute and clip the gradients; the metrics that come back are checked."""
        self.optimizer.zero_grad()
        with tf32(self.allow_tf32):
            losses = self._backward(self._split(batch))
        self.grad_scaler.unscale_(self.optimizer)
        grad_norm = self.clip_gradients(self.parameters)
        metrics = _mean_over_processes({**losses, "grad_norm": grad_norm})
        self._check_finite(metrics)
        return metrics

    def _split(self, batch: Sequence[dict]) -> list[Sequence[dict]]:
        """The clips of each pass."""
        size, rest = divmod(len(batch), self.num_passes)
        if rest:
            raise ValueError(
                f"{len(batch)} clips cannot be split into SOLVER.ACCUMULATE {self.num_passes} passes"
            )
        share_batch = getattr(unwrapped(self.model), "share_batch", None)
        clips = share_batch(batch, self.num_passes) if share_batch else batch
        return [clips[start : start + size] for start in range(0, len(clips), size)]

    def _backward(self, parts: list[Sequence[dict]]) -> dict[str, Tensor]:
        """Compute the gradients, means over the passes; so are the losses and their sum that come back."""
        sums: dict[str, Tensor] = {}
        for number, part in enumerate(parts, 1):
            with self._reducing(number == len(parts)):
                with torch.autocast(
                    self.device_type, dtype=self.precision, enabled=self.precision is not None
                ):
                    losses = self.model(part)
                losses = {**losses, "total_loss": sum(losses.values())}
                self.grad_scaler.scale(losses["total_loss"] / len(parts)).backward()
            sums = {name: sums.get(name, 0) + value.detach() for name, value in losses.items()}
        return {name: value / len(parts) for name, value in sums.items()}

    @contextmanager
    def _reducing(self, is_last: bool) -> Iterator[None]:
        """Let the processes share their gradients in the last pass alone, but those in pieces in each."""
        if is_last or not isinstance(self.model, DistributedDataParallel):
            yield
            return
        with self.model.no_sync():
            yield

    def _check_finite(self, metrics: dict[str, float]) -> None:
        culprits = [f"{name} is {value}" for name, value in metrics.items() if not math.isfinite(value)]
        gradient_overflowed = self.grad_scaler.is_enabled() and self.grad_scaler.get_scale() > MIN_LOSS_SCALE
        if not culprits or (gradient_overflowed and math.isfinite(metrics["total_loss"])):
            return  # an overflowed float16 gradient is normal: the scaler skips the update and scales less
        if self.grad_scaler.is_enabled():
            self.grad_scaler.update()  # it takes no other gradient before
        raise FloatingPointError(f"{', '.join(culprits)}; the weights are as before this iteration")


def _mean_over_processes(metrics: dict[str, Tensor]) -> dict[str, float]:
    """Average scalars with one all-reduce and one transfer to the host."""
    values = torch.stack([value.detach().float() for value in metrics.values()])
    if comm.get_world_size() > 1:
        torch.distributed.all_reduce(values)
        values /= comm.get_world_size()
    return dict(zip(metrics, values.tolist(), strict=True))

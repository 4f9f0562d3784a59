"""Batch norms that take their statistics over the clips of all processes; torch has them for GPUs alone.

Ioffe & Szegedy, "Batch Normalization", ICML 2015.

Dimensions: B samples, C channels, … any further axes.
"""

import torch
from detectron2.layers import NaiveSyncBatchNorm
from detectron2.utils import comm
from fvcore.nn.distributed import differentiable_all_reduce
from torch import Tensor, nn

_KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class SharedBatchNorm(nn.BatchNorm3d):
    """Normalises (B, C, …) by the mean and variance of all processes while it learns, on the CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, …) → (B, C, …)."""
        return self._normalise(x) if self.training and comm.get_world_size() > 1 else super().forward(x)

    def _check_input_dim(self, input: Tensor) -> None:
        """Take any number of axes."""

    def _normalise(self, x: Tensor) -> Tensor:
        axes = [0, *range(2, x.dim())]
        shape = [1, -1, *[1] * (x.dim() - 2)]
        count = x.new_tensor([x.numel() / x.shape[1]])
        summed = differentiable_all_reduce(torch.cat([x.sum(axes), count]))
        count = summed[-1].detach()
        mean = summed[:-1] / count
        centred = x - mean.view(shape)
        variance = differentiable_all_reduce(centred.square().sum(axes)) / count
        self._track(mean.detach(), variance.detach() * count / (count - 1))
        scale = self.weight * (variance + self.eps).rsqrt()
        return centred * scale.view(shape) + self.bias.view(shape)

    @torch.no_grad()
    def _track(self, mean: Tensor, unbiased_variance: Tensor) -> None:
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(unbiased_variance, self.momentum)


def share_batch_norms(model: nn.Module) -> None:
    """Replace the batch norms of a model that is on its device, in place; parameters and names stay.

    Raises:
        ValueError: a batch norm is of a kind that does more.
    """
    for name, module in list(model.named_modules()):
        if not isinstance(module, _KINDS) or isinstance(module, NaiveSyncBatchNorm):
            continue
        if type(module) not in _KINDS:
            raise ValueError(f"MODEL.SYNC_BN: {name} is a {type(module).__name__}, which cannot be shared")
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, _shared(module))


def _shared(norm: nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d) -> nn.Module:
    kind = nn.SyncBatchNorm if norm.weight.is_cuda else SharedBatchNorm
    shared = kind(norm.num_features, norm.eps, norm.momentum)
    for name, parameter in norm.named_parameters():
        setattr(shared, name, parameter)
    for name, buffer in norm.named_buffers():
        setattr(shared, name, buffer)
    return shared.train(norm.training)

"""The training's losses on clips of a test set, which tell when a model begins to learn its data by heart.

The clips, their frames and sampling points are the same in every run and for any number of processes. A clip
is a batch of its own; the losses are means over the clips.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from timm.layers import DropPath
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from avis.data import build_loss_loader
from avis.engine.rng import preserved_rng
from avis.engine.signals import spare_workers, stop_if_asked
from avis.modeling.precision import lower_precision
from avis.modeling.whole_batch import as_whole_batch
from avis.weights import classes_of

# Of the metrics' names.
PREFIX = "val_loss"
# What is in training otherwise than in use: it takes statistics, or drops at random.
_DISTURBING = (_BatchNorm, _DropoutNd, DropPath)


def validation_loss(cfg: CfgNode, model: nn.Module, dataset_name: str) -> dict[str, dict[str, float]]:
    """Compute the losses of a model on a test set; all processes call this.

    Neither weights, running statistics nor random numbers change.

    Args:
        cfg: of the model and its input. It computes in SOLVER.AMP.PRECISION where training does.
        model: not wrapped for distributed training.
        dataset_name: a registered name, or the path of annotations.

    Returns:
        {"val_loss": losses} on the main process, "total_loss" among them; {} on the others, and where the
        data set has no annotations.

    Raises:
        FloatingPointError: the predictions are not finite.
    """
    loader = build_loss_loader(cfg, dataset_name, classes_of(model))
    if not any(record["annotations"] for record in loader.dataset.records):
        return {}
    device = next(model.parameters()).device.type
    precision = lower_precision(cfg) if cfg.SOLVER.AMP.ENABLED else None
    own: dict[int, dict[str, float]] = {}
    with preserved_rng(), _as_it_learns(model), torch.no_grad():
        for (position, _), clips in zip(loader.sampler, spare_workers(loader), strict=True):
            stop_if_asked()
            torch.manual_seed(clips[0]["seed"])  # for parts that draw from the process's generator
            with torch.autocast(device, dtype=precision, enabled=precision is not None):
                losses = model([as_whole_batch(clip) for clip in clips])
            own[position] = {name: value.item() for name, value in losses.items()}
    parts = comm.gather(own)
    if not comm.is_main_process():
        return {}
    by_position = {position: losses for part in parts for position, losses in part.items()}
    # In the order of the clips, as sums depend on it.
    all_losses = [by_position[position] for position in sorted(by_position)]
    means = {name: sum(losses[name] for losses in all_losses) / len(all_losses) for name in all_losses[0]}
    return {PREFIX: {**means, "total_loss": sum(means.values())}}


@contextmanager
def _as_it_learns(model: nn.Module) -> Iterator[None]:
    """Let a model give losses, but neither take statistics nor drop anything."""
    modes = {module: module.training for module in model.modules()}
    model.train()
    for module in modes:
        if isinstance(module, _DISTURBING):
            module.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode

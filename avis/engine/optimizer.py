"""Optimizer, gradient clipping and learning-rate schedule, from the config's SOLVER section.

Decay and learning rate follow Mask2Former's train_net_video.py. But parameters share a handful of groups,
which the optimizer updates together, where Mask2Former makes one group of each.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from detectron2.config import CfgNode
from detectron2.solver import build_lr_scheduler
from torch import Tensor, nn
from torch.nn import Parameter

from avis.modeling.backbones import layer_depths
from avis.weights.pieces import whole

__all__ = ["build_gradient_clipper", "build_lr_scheduler", "build_optimizer", "group_parameters"]

NORM_LAYERS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)
# Position tables of Swin that are plain parameters; they never decay.
POSITION_TABLES = ("relative_position_bias_table", "absolute_pos_embed")

GradientClipper = Callable[[Sequence[Parameter]], Tensor]


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """Build the optimizer SOLVER.OPTIMIZER over the trainable parameters of `model`.

    Raises:
        ValueError: an unknown optimizer, or nothing to train.
    """
    solver = cfg.SOLVER
    groups = group_parameters(
        model,
        lr=solver.BASE_LR,
        backbone_multiplier=solver.BACKBONE_MULTIPLIER,
        layer_decay=solver.LAYER_DECAY,
        weight_decay=solver.WEIGHT_DECAY,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        weight_decay_embed=solver.WEIGHT_DECAY_EMBED,
    )
    if solver.OPTIMIZER == "ADAMW":
        return torch.optim.AdamW(groups, lr=solver.BASE_LR, fused=True)
    if solver.OPTIMIZER == "SGD":
        # Not fused: its momentum is uninitialised memory if float16's loss scaling skips the first update.
        return torch.optim.SGD(
            groups, lr=solver.BASE_LR, momentum=solver.MOMENTUM, nesterov=solver.NESTEROV, foreach=True
        )
    raise ValueError(f"SOLVER.OPTIMIZER is {solver.OPTIMIZER!r}; it can be 'ADAMW' or 'SGD'")


def group_parameters(
    model: nn.Module,
    *,
    lr: float,
    backbone_multiplier: float,
    weight_decay: float,
    weight_decay_norm: float,
    weight_decay_embed: float,
    layer_decay: float = 1.0,
) -> list[dict]:
    """Sort the trainable parameters into groups of equal learning rate and weight decay.

    Each parameter appears once, also where modules share it. Parameters below ``backbone.`` learn at
    ``lr * backbone_multiplier``, times `layer_decay` for each layer from there to the top.

    Raises:
        ValueError: the model has no trainable parameter, or a backbone whose layers are not known.
    """
    factors = _backbone_factors(model, backbone_multiplier, layer_decay)
    groups: dict[tuple[float, float], list[Parameter]] = {}
    seen: set[Parameter] = set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or parameter in seen:
                continue
            seen.add(parameter)
            decay = weight_decay
            if isinstance(module, NORM_LAYERS):
                decay = weight_decay_norm
            elif isinstance(module, nn.Embedding):
                decay = weight_decay_embed
            elif name in POSITION_TABLES:
                decay = 0.0
            key = (lr * factors.get(parameter, 1.0), decay)
            groups.setdefault(key, []).append(parameter)
    if not groups:
        raise ValueError("the model has no trainable parameter")
    return [
        {"params": parameters, "lr": group_lr, "weight_decay": decay}
        for (group_lr, decay), parameters in groups.items()
    ]


def _backbone_factors(model: nn.Module, multiplier: float, layer_decay: float) -> dict[Parameter, float]:
    """By what the learning rate of the backbone's parameters is multiplied."""
    if not 0 < layer_decay <= 1:
        raise ValueError(f"SOLVER.LAYER_DECAY is {layer_decay}; it is more than 0 and at most 1")
    backbone = getattr(model, "backbone", nn.Module())
    depths = layer_depths(backbone) if layer_decay < 1 else {}
    return {
        parameter: multiplier * layer_decay ** depths.get(name, 0)
        for name, parameter in backbone.named_parameters()
    }


def build_gradient_clipper(cfg: CfgNode) -> GradientClipper:
    """Build the function that clips gradients in place as SOLVER.CLIP_GRADIENTS says.

    It takes the parameters and returns the norm of all their gradients together, before clipping.
    CLIP_TYPE "full_model" bounds that norm (Mask2Former), "norm" each parameter's own norm and "value" each
    element (both Detectron2).

    Raises:
        ValueError: an unknown CLIP_TYPE.
    """
    clip = cfg.SOLVER.CLIP_GRADIENTS
    if not clip.ENABLED:
        return partial(_gradient_norm, norm_type=clip.NORM_TYPE)
    clippers = {"full_model": _clip_full_model, "norm": _clip_each_norm, "value": _clip_values}
    if clip.CLIP_TYPE not in clippers:
        raise ValueError(
            f"SOLVER.CLIP_GRADIENTS.CLIP_TYPE is {clip.CLIP_TYPE!r}; it can be one of {sorted(clippers)}"
        )
    return partial(clippers[clip.CLIP_TYPE], bound=clip.CLIP_VALUE, norm_type=clip.NORM_TYPE)


def _gradient_norm(parameters: Sequence[Parameter], norm_type: float) -> Tensor:
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return whole(nn.utils.get_total_norm(gradients, norm_type))


def _clip_full_model(parameters: Sequence[Parameter], bound: float, norm_type: float) -> Tensor:
    return whole(nn.utils.clip_grad_norm_(parameters, bound, norm_type))


def _clip_each_norm(parameters: Sequence[Parameter], bound: float, norm_type: float) -> Tensor:
    norm = _gradient_norm(parameters, norm_type)
    for parameter in parameters:
        nn.utils.clip_grad_norm_(parameter, bound, norm_type)
    return norm


def _clip_values(parameters: Sequence[Parameter], bound: float, norm_type: float) -> Tensor:
    norm = _gradient_norm(parameters, norm_type)
    nn.utils.clip_grad_value_(parameters, bound)
    return norm

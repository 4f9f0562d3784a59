"""Any timm model that gives feature maps, as a Detectron2 backbone.

Weights come through MODEL.WEIGHTS; timm's own download is never used.

Dimensions: B images, C_i channels, h_i×w_i feature maps.
"""

import difflib
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import timm
import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from timm.layers import Format
from timm.models import FeatureListNet
from torch import Tensor, nn

from avis.config import checkpoints
from avis.modeling.backbones.stages import STRIDES, StagedBackbone
from avis.modeling.backbones.swin import SwinTransformer, swin_sizes

# An image on which a model is tried: no square, no multiple of more than 32.
_TRIAL_SIZE = (160, 224)


class TimmBackbone(StagedBackbone):
    """Feature maps "res2" … "res5" of a timm model, channels first.

    Its parameters are named `model.<name in timm's model of features only>`.
    """

    def __init__(
        self,
        name: str,
        out_features: Sequence[str] = tuple(STRIDES),
        drop_path_rate: float = 0.0,
        freeze_at: int = 0,
        grad_checkpointing: bool = False,
    ) -> None:
        """Build the model without weights.

        Args:
            name: as timm lists it.
            out_features: some of "res2" … "res5"; where several maps have one stride, the deepest is taken.
            drop_path_rate: stochastic depth at the last block, growing linearly up to it.
            freeze_at: 0 trains all; 1 freezes the stem, 2 the first stage too, and so on.
            grad_checkpointing: compute activations again in the backward pass, to save memory. Batch norms
                that train then count a batch twice in their running statistics.

        Raises:
            ValueError: timm has no such model, it lacks a wanted stride or option, takes images of one size
                only, or its stages cannot be told apart for `freeze_at`.
        """
        super().__init__(out_features)
        check_model_name(name)
        self.timm_name = name
        feature_info = _feature_info(name)
        options = {"out_indices": _indices(name, feature_info, self._out_features)}
        if drop_path_rate:  # not every model knows it
            options["drop_path_rate"] = drop_path_rate
        if name.startswith("swinv2_"):
            options["strict_img_size"] = False
        self.model = _create(name, **options)
        self.channels_last = getattr(self.model, "output_fmt", Format.NCHW) == Format.NHWC
        channels = self.model.feature_info.channels()
        self._out_feature_channels = dict(zip(self._out_features, channels, strict=True))
        # Distributed training waits for a gradient of everything that asks for one.
        for unused in self._names_without_gradient(name, options):
            self.model.get_parameter(unused).requires_grad_(False)
        if grad_checkpointing:
            _enable_checkpointing(name, self.model)
        if freeze_at:
            self.freeze(_stages(name, self.model, feature_info), freeze_at)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) to (B, C_i, h_i, w_i) by feature name."""
        maps = self.model(images)
        if self.channels_last:
            maps = [x.permute(0, 3, 1, 2).contiguous() for x in maps]
        return dict(zip(self._out_features, maps, strict=True))

    def _names_without_gradient(self, name: str, options: dict[str, Any]) -> list[str]:
        """Parameters of `model` on which no map depends, by a trial without memory or arithmetic."""
        with torch.device("meta"), torch.enable_grad():
            model = _create(name, **options).eval()
            maps = _trial_maps(name, model)
            self._check_sizes(name, maps)
            names, parameters = zip(*model.named_parameters(), strict=True)
            gradients = torch.autograd.grad(sum(x.sum() for x in maps), parameters, allow_unused=True)
        return [name for name, gradient in zip(names, gradients, strict=True) if gradient is None]

    def _check_sizes(self, name: str, maps: Sequence[Tensor]) -> None:
        height, width = _TRIAL_SIZE
        for x, (feature, shape) in zip(maps, self.output_shape().items(), strict=True):
            # Numbers, since the order of the dimensions differs between models.
            if x.numel() != shape.channels * (height // shape.stride) * (width // shape.stride):
                raise ValueError(
                    f"timm model '{name}' gives an image of {height}×{width} a map {tuple(x.shape[1:])} for "
                    f"'{feature}', which is not at stride {shape.stride}; take another MODEL.TIMM.NAME"
                )


@BACKBONE_REGISTRY.register()
def build_timm_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> StagedBackbone:
    """Build the model of MODEL.TIMM, frozen up to MODEL.BACKBONE.FREEZE_AT; a Swin with its official names.

    Raises:
        ValueError: see `TimmBackbone`.
    """
    name = cfg.MODEL.TIMM.NAME
    options = {
        "out_features": cfg.MODEL.TIMM.OUT_FEATURES,
        "drop_path_rate": cfg.MODEL.TIMM.DROP_PATH_RATE,
        "freeze_at": cfg.MODEL.BACKBONE.FREEZE_AT,
        "grad_checkpointing": cfg.MODEL.TIMM.GRAD_CHECKPOINTING or checkpoints(cfg, "backbone"),
    }
    if not name.startswith("swin_"):
        return TimmBackbone(name, **options)
    check_model_name(name)
    return SwinTransformer(**swin_sizes(name), **options)


def check_model_name(name: str) -> None:
    """Refuse a name that timm does not list.

    Raises:
        ValueError: names similar models.
    """
    if not timm.is_model(name):
        similar = ", ".join(difflib.get_close_matches(name, timm.list_models(), n=3)) or "none"
        raise ValueError(f"timm has no model '{name}' (MODEL.TIMM.NAME); similar: {similar}")


def _create(name: str, **options: Any) -> nn.Module:
    try:
        return timm.create_model(name, features_only=True, pretrained=False, **options)
    except TypeError as error:
        if "drop_path_rate" not in str(error):
            raise
        raise ValueError(
            f"timm model '{name}' has no stochastic depth; set MODEL.TIMM.DROP_PATH_RATE to 0"
        ) from error


def _feature_info(name: str) -> list[dict[str, Any]]:
    """Stride ("reduction") and module name ("module") of each of a model's feature maps."""
    with torch.device("meta"):  # the structure alone: no memory, no initialisation
        return _create(name).feature_info.info


def _indices(name: str, feature_info: list[dict[str, Any]], features: Sequence[str]) -> list[int]:
    strides = [info["reduction"] for info in feature_info]
    missing = [feature for feature in features if STRIDES[feature] not in strides]
    if missing:
        raise ValueError(f"timm model '{name}' has strides {strides}, but {missing} are wanted")
    last_index = {stride: index for index, stride in enumerate(strides)}
    return [last_index[STRIDES[feature]] for feature in features]


def _trial_maps(name: str, model: nn.Module) -> list[Tensor]:
    height, width = _TRIAL_SIZE
    try:
        return model(torch.empty(1, 3, height, width))
    except (AssertionError, RuntimeError) as error:
        raise ValueError(
            f"timm model '{name}' does not take an image of {height}×{width}, perhaps only of one size; take "
            f"another MODEL.TIMM.NAME ({type(error).__name__}: {error})"
        ) from error


def _enable_checkpointing(name: str, model: nn.Module) -> None:
    owner = model if hasattr(model, "set_grad_checkpointing") else getattr(model, "model", model)
    try:
        owner.set_grad_checkpointing(True)
    except (AssertionError, AttributeError) as error:
        raise ValueError(
            f"timm model '{name}' has no activation checkpointing; set MODEL.TIMM.GRAD_CHECKPOINTING to False"
        ) from error


def _stages(name: str, model: nn.Module, feature_info: list[dict[str, Any]]) -> list[list[nn.Module]]:
    """The modules of the stem, res2, res3, …, of a model that is a chain of modules.

    The stem ends where the modules begin that have the name, but for numbers, of the one that gives res2.
    """
    names = list(model.keys()) if isinstance(model, FeatureListNet) else []
    last_names = [
        feature_info[index]["module"].replace(".", "_") for index in _indices(name, feature_info, STRIDES)
    ]
    ends = [1 + names.index(last) for last in last_names if last in names]
    kinds = [re.sub(r"\d+", "", module_name) for module_name in names]
    stem_end = kinds.index(kinds[ends[0] - 1]) if ends else 0
    if not stem_end:
        raise ValueError(
            f"the stages of timm model '{name}' cannot be told apart; set MODEL.BACKBONE.FREEZE_AT to 0"
        )
    modules = list(model.values())
    return [modules[start:end] for start, end in pairwise([0, stem_end, *ends])]

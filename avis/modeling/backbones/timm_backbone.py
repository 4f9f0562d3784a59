"""Any timm model that gives feature maps, as a Detectron2 backbone.

Weights come through MODEL.WEIGHTS; timm's own download is never used.

Dimensions: B images, C_i channels, h_i×w_i feature maps.
"""

import difflib
from collections.abc import Sequence

import timm
import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from timm.layers import Format
from torch import Tensor

from avis.modeling.backbones.swin import SwinTransformer, swin_sizes

# Detectron2 names feature maps by the logarithm of their stride.
_STRIDES = {"res2": 4, "res3": 8, "res4": 16, "res5": 32}


class TimmBackbone(Backbone):
    """Feature maps "res2" … "res5" of a timm model, channels first."""

    def __init__(self, name: str, out_features: Sequence[str], drop_path_rate: float = 0.0) -> None:
        """Build the model without weights.

        Args:
            name: as timm lists it.
            out_features: some of "res2" … "res5".
            drop_path_rate: stochastic depth at the last block, growing linearly up to it; 0 is not passed on,
                since not every model knows it.

        Raises:
            ValueError: timm has no such model, or it has no feature map at one of the wanted strides.
        """
        super().__init__()
        _check_name(name)
        options = {"drop_path_rate": drop_path_rate} if drop_path_rate else {}
        strides = _strides(name)
        missing = [feature for feature in out_features if _STRIDES[feature] not in strides]
        if missing:
            raise ValueError(f"timm model '{name}' has strides {strides}, but {missing} are wanted")
        indices = [strides.index(_STRIDES[feature]) for feature in out_features]
        self.model = timm.create_model(
            name, features_only=True, pretrained=False, out_indices=indices, **options
        )
        self.channels_last = self.model.output_fmt == Format.NHWC
        self._out_features = list(out_features)
        self._out_feature_strides = {feature: _STRIDES[feature] for feature in out_features}
        channels = self.model.feature_info.channels()
        self._out_feature_channels = dict(zip(out_features, channels, strict=True))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) to (B, C_i, h_i, w_i) by feature name."""
        maps = self.model(images)
        if self.channels_last:
            maps = [x.permute(0, 3, 1, 2).contiguous() for x in maps]
        return dict(zip(self._out_features, maps, strict=True))


@BACKBONE_REGISTRY.register()
def build_timm_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> Backbone:
    """Build from MODEL.TIMM.{NAME, OUT_FEATURES, DROP_PATH_RATE}; a Swin gets its official names.

    Raises:
        ValueError: see `TimmBackbone`.
    """
    options = cfg.MODEL.TIMM
    _check_name(options.NAME)
    if options.NAME.startswith("swin_"):
        return SwinTransformer(
            **swin_sizes(options.NAME),
            out_features=options.OUT_FEATURES,
            drop_path_rate=options.DROP_PATH_RATE,
        )
    return TimmBackbone(options.NAME, options.OUT_FEATURES, options.DROP_PATH_RATE)


def _check_name(name: str) -> None:
    if not timm.is_model(name):
        similar = ", ".join(difflib.get_close_matches(name, timm.list_models(), n=3)) or "none"
        raise ValueError(f"timm has no model '{name}' (MODEL.TIMM.NAME); similar: {similar}")


def _strides(name: str) -> list[int]:
    with torch.device("meta"):  # the structure alone: no memory, no initialisation
        return timm.create_model(name, features_only=True, pretrained=False).feature_info.reduction()

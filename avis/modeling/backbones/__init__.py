"""Image backbones beside Detectron2's own, registered in its BACKBONE_REGISTRY."""

from avis.modeling.backbones.resnet10 import build_resnet10_backbone

__all__ = ["build_resnet10_backbone"]

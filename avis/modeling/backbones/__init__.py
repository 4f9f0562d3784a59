"""Image backbones beside Detectron2's own, registered in its BACKBONE_REGISTRY."""

from avis.modeling.backbones.resnet10 import build_resnet10_backbone
from avis.modeling.backbones.swin import SwinTransformer
from avis.modeling.backbones.timm_backbone import TimmBackbone, build_timm_backbone

__all__ = ["SwinTransformer", "TimmBackbone", "build_resnet10_backbone", "build_timm_backbone"]

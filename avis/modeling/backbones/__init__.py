"""Image backbones beside Detectron2's own, registered in its BACKBONE_REGISTRY."""

from avis.modeling.backbones import resnet10  # noqa: F401  it registers its part
from avis.modeling.backbones.checkpointed import checkpoint_blocks
from avis.modeling.backbones.folded_norms import fold_frozen_norms
from avis.modeling.backbones.layer_depths import layer_depths
from avis.modeling.backbones.stages import StagedBackbone
from avis.modeling.backbones.swin import SwinTransformer
from avis.modeling.backbones.timm_backbone import TimmBackbone

__all__ = [
    "StagedBackbone",
    "SwinTransformer",
    "TimmBackbone",
    "checkpoint_blocks",
    "fold_frozen_norms",
    "layer_depths",
]

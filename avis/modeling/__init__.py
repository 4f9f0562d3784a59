"""The model: meta-architecture, backbones, fusion, pixel decoder, video decoder, mask heads and losses.

Importing this package registers them all.
"""

from avis.modeling.avis_mask_former import AVISMaskFormer
from avis.modeling.backbones import (
    SwinTransformer,
    TimmBackbone,
    build_resnet10_backbone,
    build_timm_backbone,
)
from avis.modeling.criterion import ClipTargets, VideoSetCriterion
from avis.modeling.fusion import AV_FUSION_REGISTRY, TPAVI
from avis.modeling.mask_former_head import MaskFormerHead
from avis.modeling.mask_head import MASK_HEAD_REGISTRY, DotMaskHead, MaskHead, ResidualMaskHead
from avis.modeling.matcher import VideoHungarianMatcher
from avis.modeling.ms_deform_attn import MSDeformAttn, ms_deform_attn
from avis.modeling.pixel_decoder import MSDeformAttnPixelDecoder
from avis.modeling.video_decoder import (
    TRANSFORMER_DECODER_REGISTRY,
    VideoMultiScaleMaskedTransformerDecoder,
)

__all__ = [
    "AV_FUSION_REGISTRY",
    "MASK_HEAD_REGISTRY",
    "TPAVI",
    "TRANSFORMER_DECODER_REGISTRY",
    "AVISMaskFormer",
    "ClipTargets",
    "DotMaskHead",
    "MSDeformAttn",
    "MSDeformAttnPixelDecoder",
    "MaskFormerHead",
    "MaskHead",
    "ResidualMaskHead",
    "SwinTransformer",
    "TimmBackbone",
    "VideoHungarianMatcher",
    "VideoMultiScaleMaskedTransformerDecoder",
    "VideoSetCriterion",
    "build_resnet10_backbone",
    "build_timm_backbone",
    "ms_deform_attn",
]

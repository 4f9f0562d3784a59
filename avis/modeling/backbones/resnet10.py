"""ResNet-10: one basic block a stage, of any width, for small data and CPUs.

Follows He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, in Detectron2's parts.
"""

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, ResNet

_STAGES = ("res2", "res3", "res4", "res5")


@BACKBONE_REGISTRY.register()
def build_resnet10_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> ResNet:
    """Build from MODEL.RESNETS.{STEM_OUT_CHANNELS, RES2_OUT_CHANNELS, NORM, OUT_FEATURES}.

    RES2_OUT_CHANNELS is the width of the first stage; it doubles with each further one.
    """
    resnets = cfg.MODEL.RESNETS
    stem = BasicStem(input_shape.channels, resnets.STEM_OUT_CHANNELS, resnets.NORM)
    stages, in_channels = [], resnets.STEM_OUT_CHANNELS
    for index in range(len(_STAGES)):
        out_channels = resnets.RES2_OUT_CHANNELS * 2**index
        stages.append(
            ResNet.make_stage(
                BasicBlock,
                num_blocks=1,
                stride_per_block=[1 if index == 0 else 2],
                in_channels=in_channels,
                out_channels=out_channels,
                norm=resnets.NORM,
            )
        )
        in_channels = out_channels
    return ResNet(stem, stages, out_features=resnets.OUT_FEATURES, freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT)

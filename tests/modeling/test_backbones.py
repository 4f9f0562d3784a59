"""Backbones beside Detectron2's own."""

import pytest
import torch
from detectron2.layers import ShapeSpec

from avis.config import get_avis_cfg
from avis.modeling import TimmBackbone, build_resnet10_backbone

FEATURES = ["res2", "res3", "res4", "res5"]


def _assert_maps(backbone: torch.nn.Module, height: int, width: int) -> None:
    maps = backbone(torch.randn(2, 3, height, width))
    for name, shape in backbone.output_shape().items():
        expected = (2, shape.channels, height // shape.stride, width // shape.stride)
        assert maps[name].shape == expected, name


@pytest.mark.parametrize("name", ["convnext_atto", "resnet10t"])
def test_timm_models_give_maps_of_the_announced_shapes(name):
    _assert_maps(TimmBackbone(name, FEATURES, drop_path_rate=0.1), 96, 160)


def test_a_model_without_a_wanted_stride_is_refused():
    with pytest.raises(ValueError, match=r"'vit_tiny_patch16_224' has strides .* \['res2'"):
        TimmBackbone("vit_tiny_patch16_224", FEATURES)


def test_an_unknown_model_is_named_with_similar_ones():
    with pytest.raises(ValueError, match=r"no model 'resnet10zz' .*similar: .*resnet10t"):
        TimmBackbone("resnet10zz", FEATURES)


def test_resnet10_has_one_block_a_stage():
    cfg = get_avis_cfg("configs/quickstart.yaml")
    backbone = build_resnet10_backbone(cfg, ShapeSpec(channels=3))
    assert [len(stage) for stage in backbone.stages] == [1, 1, 1, 1]
    _assert_maps(backbone, 64, 96)

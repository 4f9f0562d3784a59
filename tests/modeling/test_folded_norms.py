"""Frozen norms within convolutions against norms after them."""

import copy

import pytest
import torch
from detectron2.layers import Conv2d, FrozenBatchNorm2d, ShapeSpec
from detectron2.modeling import build_backbone
from torch.nn import functional as F

from avis.config import get_avis_cfg
from avis.modeling.backbones import fold_frozen_norms
from avis.modeling.backbones.folded_norms import FoldedConv2d
from tests.modeling.kept import kept_tensors, sizes_of


def norm_of(channels: int) -> FrozenBatchNorm2d:
    norm = FrozenBatchNorm2d(channels)
    for buffer in (norm.weight, norm.bias, norm.running_mean):
        buffer.copy_(torch.randn(channels))
    norm.running_var.copy_(torch.rand(channels) + 0.1)
    return norm


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("activation", [None, F.relu])
def test_a_folded_convolution_is_the_convolution_and_its_norm(bias: bool, activation):
    torch.manual_seed(0)
    options = {"stride": 2, "padding": 2, "dilation": 2, "groups": 2, "bias": bias}
    plain = Conv2d(4, 6, 3, norm=norm_of(6), activation=activation, **options)
    folded = fold_frozen_norms(copy.deepcopy(plain))
    assert type(folded) is FoldedConv2d and folded.state_dict().keys() == plain.state_dict().keys()
    images = torch.randn(2, 4, 9, 7)
    results = []
    for convolution in (folded, plain):
        leaf = images.clone().requires_grad_()
        output = convolution(leaf)
        output.square().sum().backward()
        results.append([output.detach(), leaf.grad, *(p.grad for p in convolution.parameters())])
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)  # sums of squares of some tens


def test_scaled_weights_are_not_kept():
    torch.manual_seed(0)
    folded = fold_frozen_norms(Conv2d(32, 64, 3, norm=norm_of(64)))
    images = torch.randn(1, 32, 5, 5, requires_grad=True)
    with kept_tensors() as kept:
        folded(images)
    scales = 64 * 4  # bytes of the scale, a float32 for each output channel
    assert sizes_of(kept, [folded.weight, images]) == [scales]


@pytest.mark.parametrize("first", [True, False], ids=["image", "feature map"])
def test_under_autocast_it_is_a_convolution_with_scaled_weights(first: bool):
    """Bit by bit: what is cast when is the same."""
    torch.manual_seed(0)
    folded = fold_frozen_norms(Conv2d(4, 6, 3, bias=True, norm=norm_of(6)))
    images = torch.randn(2, 4, 9, 7)
    images = images if first else images.bfloat16()
    scale = folded.norm.weight * (folded.norm.running_var + folded.norm.eps).rsqrt()
    shift = folded.norm.bias - folded.norm.running_mean * scale

    def plain(x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, folded.weight * scale[:, None, None, None], folded.bias * scale + shift)

    results = []
    for convolution in (folded, plain):
        leaf = images.clone().requires_grad_()
        folded.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = convolution(leaf)
        output.float().square().sum().backward()
        results.append([output.detach(), leaf.grad, folded.weight.grad, folded.bias.grad])
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=0)


def test_a_resnet_gives_the_same_features_and_names():
    cfg = get_avis_cfg("configs/video_maskformer_R50.yaml")
    torch.manual_seed(0)
    plain = build_backbone(cfg, ShapeSpec(channels=3)).eval()
    folded = fold_frozen_norms(copy.deepcopy(plain))
    assert not [m for m in folded.modules() if isinstance(m, Conv2d) and type(m) is not FoldedConv2d]
    folded.load_state_dict(plain.state_dict())
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for name, features in plain(images).items():
            torch.testing.assert_close(folded(images)[name], features, rtol=1e-4, atol=1e-5)


def test_norms_that_learn_are_left_alone():
    convolution = Conv2d(4, 6, 3, norm=torch.nn.BatchNorm2d(6))
    assert type(fold_frozen_norms(convolution)) is Conv2d

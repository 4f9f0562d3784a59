"""Backbones: any of timm's, Detectron2's ResNets by the config, and the small ResNet-10."""

import pytest
import torch
from detectron2.layers import FrozenBatchNorm2d, ShapeSpec
from detectron2.modeling import build_backbone
from torch import Tensor, nn

from avis.config import get_avis_cfg
from avis.modeling.backbones import TimmBackbone

FEATURES = ["res2", "res3", "res4", "res5"]
CHAINS = ["convnext_atto", "pvt_v2_b0", "resnet10t", "resnet18", "swin_tiny_patch4_window7_224"]
FAMILIES = [*CHAINS, "mobilenetv3_small_050", "swinv2_tiny_window8_256", "twins_pcpvt_small"]


def built(config: str, *options) -> nn.Module:
    return build_backbone(get_avis_cfg(f"configs/{config}.yaml", options), ShapeSpec(channels=3))


def built_timm(name: str, *options) -> nn.Module:
    return built("avis_SwinB", "MODEL.TIMM.NAME", name, "MODEL.TIMM.DROP_PATH_RATE", 0.0, *options)


def assert_maps(backbone: nn.Module, height: int, width: int) -> dict[str, Tensor]:
    maps = backbone(torch.randn(2, 3, height, width))
    assert list(maps) == list(backbone.output_shape())
    for name, shape in backbone.output_shape().items():
        expected = (2, shape.channels, height // shape.stride, width // shape.stride)
        assert maps[name].shape == expected, name
    return maps


def gradients(backbone: nn.Module, images: Tensor) -> dict[str, Tensor]:
    torch.manual_seed(3)  # of stochastic depth
    maps = backbone(images)
    sum((x * x).mean() for x in maps.values()).backward()
    return {name: p.grad for name, p in backbone.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("name", FAMILIES)
def test_maps_have_the_announced_shapes(name):
    backbone = built_timm(name)
    assert backbone.output_shape().keys() == set(FEATURES)
    assert_maps(backbone, 64, 96)


@pytest.mark.parametrize("features", [FEATURES, ["res4", "res2"]])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_trainable_parameter_gets_a_gradient(name, features):
    """Distributed training waits for all of them."""
    backbone = built_timm(name, "MODEL.TIMM.OUT_FEATURES", features)
    assert_maps(backbone, 64, 64)
    missing = [key for key, value in gradients(backbone, torch.randn(2, 3, 64, 64)).items() if value is None]
    assert not missing


@pytest.mark.parametrize(
    ("name", "drop_path_rate"), [*((name, 0.5) for name in CHAINS), ("resnet10t", 0.0), (CHAINS[-1], 0.0)]
)
def test_activation_checkpointing_gives_the_same_gradients(name, drop_path_rate):
    options = ["MODEL.TIMM.DROP_PATH_RATE", drop_path_rate]
    plain = built_timm(name, *options)
    saving = built_timm(name, *options, "MODEL.TIMM.GRAD_CHECKPOINTING", True)
    saving.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 64, 64)
    expected, actual = gradients(plain, images), gradients(saving, images)
    for key, gradient in expected.items():
        torch.testing.assert_close(actual[key], gradient, rtol=0, atol=0, msg=key)


@pytest.mark.parametrize("name", CHAINS)
def test_activation_checkpointing_keeps_fewer_activations(name):
    images, sizes = torch.randn(1, 3, 96, 96), []
    for is_saving in (False, True):
        backbone, kept = built_timm(name, "MODEL.TIMM.GRAD_CHECKPOINTING", is_saving), []
        # Keeps the tensors: what is freed would not be told from what is kept by its address.
        with torch.autograd.graph.saved_tensors_hooks(lambda x, kept=kept: kept.append(x) or x, lambda x: x):
            backbone(images)
        parameters = {p.data_ptr() for p in backbone.parameters()}
        storages = {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in kept}
        sizes.append(sum(size for address, size in storages.items() if address not in parameters))
    assert sizes[1] < 0.8 * sizes[0]


@pytest.mark.parametrize("name", CHAINS)
def test_frozen_stages_rest_and_the_others_train(name):
    plain, frozen = built_timm(name), built_timm(name, "MODEL.BACKBONE.FREEZE_AT", 3)
    frozen.load_state_dict(plain.state_dict())
    upstream = _upstream_of(plain.eval(), "res3")
    resting = {key for key, p in frozen.named_parameters() if not p.requires_grad}
    # Of Swin, the step to the next stage rests too and the output norm trains: test_swin.py.
    different = {key for key in resting ^ upstream if not key.startswith(("layers.1.downsample", "norm1"))}
    assert not different

    before = {key: value.clone() for key, value in frozen.state_dict().items()}
    assert all(value is not None for value in gradients(frozen.train(), torch.randn(2, 3, 64, 96)).values())
    changed = {key for key, value in frozen.state_dict().items() if not torch.equal(value, before[key])}
    assert not {key.rpartition(".")[0] for key in changed} & {key.rpartition(".")[0] for key in resting}


def _upstream_of(backbone: nn.Module, feature: str) -> set[str]:
    """The parameters on which a map depends."""
    maps = backbone(torch.randn(1, 3, 64, 64))
    names, parameters = zip(*backbone.named_parameters(), strict=True)
    found = torch.autograd.grad(maps[feature].square().sum(), parameters, allow_unused=True)
    return {name for name, gradient in zip(names, found, strict=True) if gradient is not None}


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("convnext_atto", {"model.stem_0", "model.stem_1"}),
        ("pvt_v2_b0", {"model.patch_embed"}),
        ("resnet18", {"model.conv1", "model.bn1"}),
        ("swin_tiny_patch4_window7_224", {"patch_embed.proj", "patch_embed.norm"}),
    ],
)
def test_freezing_at_1_rests_the_stem_alone(name, stem):
    backbone = built_timm(name, "MODEL.BACKBONE.FREEZE_AT", 1)
    resting = {key for key, p in backbone.named_parameters() if not p.requires_grad}
    assert {".".join(key.split(".")[:2]) for key in resting} == stem


def test_frozen_stages_have_no_stochastic_depth():
    backbone = built_timm(CHAINS[-1], "MODEL.BACKBONE.FREEZE_AT", 5, "MODEL.TIMM.DROP_PATH_RATE", 0.9)
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(backbone.train()(images)["res5"], backbone(images)["res5"])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet10zz", [], r"no model 'resnet10zz' .*similar: .*resnet10t"),
        ("swin_huge", [], r"no model 'swin_huge' .*similar: .*swinv2_cr_huge_224"),
        ("vit_tiny_patch16_224", [], r"'vit_tiny_patch16_224' has strides .* \['res2'"),
        ("legacy_xception", [], r"'legacy_xception' .*160×224 .*\(128, 39, 55\) for 'res2'.* stride 4"),
        ("coat_tiny", [], r"'coat_tiny' does not take an image of 160×224"),
        ("vgg11", ["MODEL.TIMM.DROP_PATH_RATE", 0.1], r"'vgg11' .*MODEL\.TIMM\.DROP_PATH_RATE to 0"),
        ("hrnet_w18_small", ["MODEL.TIMM.GRAD_CHECKPOINTING", True], r"MODEL\.TIMM\.GRAD_CHECKPOINTING to"),
        ("vgg11", ["MODEL.BACKBONE.FREEZE_AT", 1], r"'vgg11' .*MODEL\.BACKBONE\.FREEZE_AT to 0"),
        ("resnet10t", ["MODEL.BACKBONE.FREEZE_AT", 6], r"FREEZE_AT is 6; .*4 stages, so it can be 0 to 5"),
        ("resnet10t", ["MODEL.TIMM.OUT_FEATURES", ["res6"]], r"some of \['res2', .*not \['res6'\]"),
    ],
)
def test_what_a_model_cannot_do_is_refused_by_name(name, options, message):
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        built_timm(name, *options)


def test_maps_come_in_the_order_of_their_strides():
    backbone = TimmBackbone("resnet10t", ["res5", "res2"])
    assert list(backbone.output_shape()) == ["res2", "res5"]
    assert_maps(backbone, 64, 64)


@pytest.mark.parametrize(
    ("config", "norm", "norm_class", "res4_blocks"),
    [
        ("avis_R50", "FrozenBN", FrozenBatchNorm2d, 6),
        ("avis_R50", "BN", nn.BatchNorm2d, 6),
        ("avis_R50", "GN", nn.GroupNorm, 6),
        ("avis_R101", "SyncBN", nn.SyncBatchNorm, 23),
    ],
)
def test_resnets_of_the_config(config, norm, norm_class, res4_blocks):
    backbone = built(config, "MODEL.RESNETS.NORM", norm)
    assert len(backbone.res4) == res4_blocks
    assert isinstance(backbone.res4[0].conv1.norm, norm_class)
    assert all(p.requires_grad for p in backbone.parameters())
    assert_maps(backbone, 64, 96)


@pytest.mark.parametrize(("freeze_at", "resting"), [(1, ["stem"]), (3, ["stem", "res2", "res3"])])
def test_resnets_rest_as_timm_models_do(freeze_at, resting):
    backbone = built("avis_R50", "MODEL.BACKBONE.FREEZE_AT", freeze_at)
    found = [name for name, stage in backbone.named_children() if not any(_trainable(stage))]
    assert found == resting


def _trainable(module: nn.Module) -> list[bool]:
    return [p.requires_grad for p in module.parameters()]


def test_resnet10_has_one_block_a_stage():
    backbone = built("quickstart")
    assert [len(stage) for stage in backbone.stages] == [1, 1, 1, 1]
    assert_maps(backbone, 64, 96)

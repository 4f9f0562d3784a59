"""SOLVER.LAYER_DECAY: the learning rate of every parameter of each kind of backbone."""

import re

import pytest
import torch
from detectron2.modeling.backbone.vit import get_vit_lr_decay_rate
from torch import nn

from avis.config import get_avis_cfg
from avis.engine.optimizer import build_optimizer
from avis.modeling import build_model
from avis.modeling.backbones import TimmBackbone, layer_depths
from tests.engine.small_model import build_small_model
from tests.engine.test_optimizer import settings, solver_cfg
from tests.modeling.test_avis_mask_former import SMALL
from tests.modeling.test_swin import small_swin

LR, MULTIPLIER, DECAY = 0.25, 0.5, 0.5  # powers of two: products are exact


class Model(nn.Module):
    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(2, 2)


def rates(model: nn.Module, **keys: object) -> dict[str, float]:
    """The learning rate of each trained parameter."""
    keys = {"BASE_LR": LR, "BACKBONE_MULTIPLIER": MULTIPLIER, "LAYER_DECAY": DECAY, **keys}
    return {name: lr for name, (lr, _) in settings(model, build_optimizer(solver_cfg(**keys), model)).items()}


def by_part(rates: dict[str, float], pattern: str) -> dict[str, float]:
    """The one rate of all parameters whose names match alike."""
    found: dict[str, set[float]] = {}
    for name, rate in rates.items():
        if match := re.match(pattern, name):
            found.setdefault(match[0], set()).add(rate)
    assert all(len(each) == 1 for each in found.values())
    return {part: each.pop() for part, each in found.items()}


def test_resnet_from_the_config():
    keys = ["MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.BACKBONE.FREEZE_AT", 0]
    sizes = ["MODEL.RESNETS.DEPTH", 18, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64, "MODEL.RESNETS.NORM", "BN"]
    cfg = get_avis_cfg("configs/avis_R50.yaml", [*SMALL, *keys, *sizes, "MODEL.DEVICE", "cpu"])
    cfg.SOLVER.BASE_LR, cfg.SOLVER.BACKBONE_MULTIPLIER, cfg.SOLVER.LAYER_DECAY = LR, MULTIPLIER, DECAY
    model = build_model(cfg)
    found = {n: lr for n, (lr, _) in settings(model, build_optimizer(cfg, model)).items()}
    top = LR * MULTIPLIER
    blocks = by_part(found, r"backbone\.(stem|res\d\.\d)")
    # Two blocks a stage: block k of 8 from the stem lies 9 - k layers below what follows.
    assert blocks == {
        "backbone.stem": top * DECAY**9,
        **{
            f"backbone.res{s}.{b}": top * DECAY ** (9 - (2 * (s - 2) + b + 1))
            for s in range(2, 6)
            for b in (0, 1)
        },
    }
    assert len([name for name in found if name.startswith("backbone.")]) == 63  # 21 convolutions with norms
    others = {lr for name, lr in found.items() if not name.startswith("backbone.")}
    assert others == {LR}


def test_swin():
    model = Model(small_swin())  # two blocks a stage
    found = rates(model)
    top = LR * MULTIPLIER
    assert by_part(found, r"backbone\.(patch_embed|norm\d|layers\.\d\.(blocks\.\d|downsample))") == {
        "backbone.patch_embed": top * DECAY**9,
        **{
            f"backbone.layers.{s}.blocks.{b}": top * DECAY ** (8 - 2 * s - b)
            for s in range(4)
            for b in (0, 1)
        },
        **{f"backbone.layers.{s}.downsample": top * DECAY ** (7 - 2 * s) for s in range(3)},
        **{f"backbone.norm{s}": top for s in range(4)},
    }
    assert found["head.weight"] == LR
    assert found.keys() == {name for name, _ in model.named_parameters()}


def test_timm():
    """ConvNeXt: its own two-part names, and a stage's downsampling as its first layer, as timm counts it."""
    found = rates(Model(TimmBackbone("convnext_atto")))  # 2, 2, 6 and 2 blocks
    top = LR * MULTIPLIER
    assert by_part(found, r"backbone\.model\.(stem|stages_\d\.(blocks\.\d|downsample))") == {
        "backbone.model.stem": top * DECAY**13,
        **{
            f"backbone.model.stages_{stage}.blocks.{block}": top
            * DECAY ** (12 - sum((2, 2, 6, 2)[:stage]) - block)
            for stage, size in enumerate((2, 2, 6, 2))
            for block in range(size)
        },
        **{
            f"backbone.model.stages_{stage}.downsample": top * DECAY ** (12 - sum((2, 2, 6)[:stage]))
            for stage in (1, 2, 3)
        },
    }


@pytest.mark.parametrize("name", ["pvt_v2_b0", "swinv2_cr_tiny_ns_224", "regnetx_002", "edgenext_xx_small"])
def test_every_parameter_of_other_timm_models_has_a_depth_that_falls(name: str):
    backbone = TimmBackbone(name)
    depths = layer_depths(backbone)
    assert list(depths) == [name for name, _ in backbone.named_parameters()]
    first, *_, last = depths.values()
    assert first == max(depths.values()) and last == min(depths.values())
    assert set(depths.values()) == set(range(last, first + 1))


def test_numbers_are_those_of_detectron2s_vit():
    """Of N blocks, block b has decay ** (N - b); those of a Swin are counted on from stage to stage."""
    found = rates(Model(small_swin()), BASE_LR=1.0, BACKBONE_MULTIPLIER=1.0)
    for stage in range(4):
        for block in (0, 1):
            theirs = get_vit_lr_decay_rate(
                f"backbone.net.blocks.{2 * stage + block}.mlp", DECAY, num_layers=8
            )
            assert found[f"backbone.layers.{stage}.blocks.{block}.mlp.fc1.weight"] == theirs
    assert found["backbone.patch_embed.proj.weight"] == get_vit_lr_decay_rate(
        "backbone.net.patch_embed", DECAY, 8
    )


def test_1_is_off():
    assert rates(Model(small_swin()), LAYER_DECAY=1.0)["backbone.patch_embed.proj.weight"] == LR * MULTIPLIER
    assert set(rates(build_small_model(), LAYER_DECAY=1.0).values()) == {LR, LR * MULTIPLIER}


@pytest.mark.parametrize("value", [0.0, -1.0, 1.1])
def test_values_that_make_no_sense_are_named(value: float):
    with pytest.raises(ValueError, match=rf"SOLVER\.LAYER_DECAY is {value}; it is more than 0 and at most 1"):
        rates(Model(small_swin()), LAYER_DECAY=value)


def test_unknown_backbones_are_refused():
    with pytest.raises(
        ValueError, match=r"SOLVER\.LAYER_DECAY does not know the layers of Sequential: .* 1\.0"
    ):
        rates(build_small_model())
    with pytest.raises(ValueError, match=r"SOLVER\.LAYER_DECAY does not know the layers of Module"):
        rates(nn.ModuleDict({"head": nn.Linear(2, 2)}))


def test_a_step_moves_layers_by_their_rates():
    model = Model(small_swin())
    keys = {"BASE_LR": LR, "LAYER_DECAY": DECAY, "BACKBONE_MULTIPLIER": 1.0, "WEIGHT_DECAY": 0.0}
    optimizer = build_optimizer(solver_cfg(**keys), model)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for name, expected in (("head.bias", LR), ("backbone.layers.3.blocks.1.norm1.bias", LR * DECAY)):
        moved = (before[name] - model.get_parameter(name)).mean().item()
        assert moved == pytest.approx(expected, rel=1e-4)  # Adam's first step is as long as its rate

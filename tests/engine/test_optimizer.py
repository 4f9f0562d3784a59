import pytest
import torch
from torch import nn

from avis.config import get_avis_cfg
from avis.engine.optimizer import build_gradient_clipper, build_optimizer
from tests.engine.small_model import build_small_model


def settings(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, tuple[float, float]]:
    """(learning rate, weight decay) of each trained parameter."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {
        names[parameter]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


def solver_cfg(**keys: object):
    cfg = get_avis_cfg(opts=["SOLVER.BASE_LR", 1.0, "SOLVER.BACKBONE_MULTIPLIER", 0.1])
    cfg.SOLVER.WEIGHT_DECAY = 0.05
    for key, value in keys.items():
        cfg.SOLVER[key] = value
    return cfg


def test_learning_rate_and_decay_follow_mask2former():
    model = build_small_model()
    assert settings(model, build_optimizer(solver_cfg(), model)) == {
        "backbone.0.weight": (0.1, 0.05),
        "backbone.0.bias": (0.1, 0.05),
        "backbone.1.weight": (0.1, 0.0),
        "backbone.1.bias": (0.1, 0.0),
        "backbone_like.weight": (1.0, 0.05),
        "backbone_like.bias": (1.0, 0.05),
        "query_embed.weight": (1.0, 0.0),
        "level_embed": (1.0, 0.05),
        "class_embed.weight": (1.0, 0.05),
        "class_embed.bias": (1.0, 0.05),
    }


def test_decay_of_norms_and_embeddings_is_configurable():
    model = build_small_model()
    cfg = solver_cfg(WEIGHT_DECAY_NORM=0.2, WEIGHT_DECAY_EMBED=0.3)
    found = settings(model, build_optimizer(cfg, model))
    assert found["backbone.1.weight"] == (0.1, 0.2)
    assert found["query_embed.weight"] == (1.0, 0.3)


def test_position_tables_do_not_decay():
    model = nn.Module()
    model.relative_position_bias_table = nn.Parameter(torch.zeros(3))
    model.absolute_pos_embed = nn.Parameter(torch.zeros(3))
    assert set(settings(model, build_optimizer(solver_cfg(), model)).values()) == {(1.0, 0.0)}


def test_groups_are_few_and_hold_each_trainable_parameter_once():
    model = build_small_model()
    model.shared = model.class_embed
    model.backbone[0].weight.requires_grad_(False)
    groups = build_optimizer(solver_cfg(), model).param_groups
    trained = [parameter for group in groups for parameter in group["params"]]
    assert len(groups) == 4  # backbone or not, decay or not
    assert len(trained) == len(set(trained))
    assert set(trained) == {p for p in model.parameters() if p.requires_grad}


def test_sgd():
    optimizer = build_optimizer(solver_cfg(OPTIMIZER="SGD", MOMENTUM=0.8), build_small_model())
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.param_groups[0]["momentum"] == 0.8


def test_mistakes_name_the_key():
    with pytest.raises(ValueError, match=r"SOLVER\.OPTIMIZER is 'LION'.*'ADAMW' or 'SGD'"):
        build_optimizer(solver_cfg(OPTIMIZER="LION"), build_small_model())
    with pytest.raises(ValueError, match="no trainable parameter"):
        build_optimizer(solver_cfg(), build_small_model().requires_grad_(False))
    cfg = solver_cfg()
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = True
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = "nrom"
    with pytest.raises(ValueError, match=r"CLIP_TYPE is 'nrom'.*'full_model', 'norm', 'value'"):
        build_gradient_clipper(cfg)


@pytest.mark.parametrize(
    ("clip_type", "expected"),
    [
        ("full_model", [[0.6, 0.0], [0.0, 0.8]]),  # (3, 0, 0, 4) / 5
        ("norm", [[1.0, 0.0], [0.0, 1.0]]),
        ("value", [[1.0, 0.0], [0.0, 1.0]]),
        (None, [[3.0, 0.0], [0.0, 4.0]]),
    ],
)
def test_gradient_clipping(clip_type: str | None, expected: list):
    cfg = solver_cfg()
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = clip_type is not None
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = clip_type or "unused"
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = 1.0
    parameters = [nn.Parameter(torch.zeros(2)) for _ in range(3)]
    parameters[0].grad = torch.tensor([3.0, 0.0])
    parameters[1].grad = torch.tensor([0.0, 4.0])  # the third has no gradient
    norm = build_gradient_clipper(cfg)(parameters)
    assert norm.item() == pytest.approx(5.0)
    clipped = torch.stack([p.grad for p in parameters[:2]])
    # clip_grad_norm_ divides by the norm + 1e-6
    torch.testing.assert_close(clipped, torch.tensor(expected), atol=1e-5, rtol=0)

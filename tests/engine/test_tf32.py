"""TF32 is allowed in training steps alone, and refused where there is none."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from avis.config import get_avis_cfg
from avis.engine.optimizer import build_gradient_clipper
from avis.engine.tf32 import tf32
from avis.engine.training_step import TrainingStep
from tests.engine.small_model import SmallTrainer, small_cfg


def settings() -> tuple[str, str]:
    """Of matrix products and of convolutions."""
    return torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision


class Witness(nn.Module):
    """Notes the settings of the forward and of the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.seen: list[tuple[str, str]] = []
        self.weight.register_hook(lambda gradient: self.seen.append(settings()))

    def forward(self, batch: list[float]) -> dict[str, Tensor]:
        self.seen.append(settings())
        return {"loss": (self.weight * batch[0]).sum()}


@pytest.mark.parametrize("allowed", [True, False])
def test_a_step_takes_tf32_if_it_may_and_leaves_the_settings(allowed: bool):
    before, model = settings(), Witness()
    assert before[0] != "tf32"
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step = TrainingStep(model, optimizer, build_gradient_clipper(get_avis_cfg()), allow_tf32=allowed)
    assert step([0.5])["total_loss"] == 0.5
    assert model.seen == [("tf32", "tf32") if allowed else before] * 2
    assert settings() == before


def test_an_error_leaves_the_settings():
    before = settings()
    with pytest.raises(ZeroDivisionError), tf32(True):
        1 / 0  # noqa: B018
    assert settings() == before


def test_training_on_a_device_without_tf32_is_refused(tmp_path: Path):
    cfg = small_cfg(tmp_path)
    cfg.SOLVER.TF32 = True
    with pytest.raises(
        ValueError, match=r"SOLVER\.TF32 is True, .* but MODEL\.DEVICE is 'cpu'; set it to False"
    ):
        SmallTrainer(cfg)


def test_a_trainer_hands_it_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cfg = small_cfg(tmp_path)
    assert not SmallTrainer(cfg).step.allow_tf32
    monkeypatch.setattr("avis.engine.trainer.check_tf32", lambda device: None)
    cfg.SOLVER.TF32 = True
    assert SmallTrainer(cfg).step.allow_tf32

import pytest
import torch
from torch import Tensor, nn

from avis.config import get_avis_cfg
from avis.engine.optimizer import build_gradient_clipper
from avis.engine.training_step import TrainingStep


class Quadratic(nn.Module):
    """loss_near = (w·x)², and loss_far = factor·w."""

    def __init__(self, factor: float = 0.0) -> None:
        super().__init__()
        self.linear = nn.Linear(1, 1, bias=False)
        nn.init.ones_(self.linear.weight)
        self.factor = factor

    def forward(self, batch: list[float]) -> dict[str, Tensor]:
        self.output = self.linear(torch.tensor([batch]).T)
        return {
            "loss_near": self.output.float().square().sum(),
            "loss_far": self.factor * self.linear.weight.sum(),
        }


def build_step(model: nn.Module, precision: torch.dtype | None = None) -> TrainingStep:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return TrainingStep(model, optimizer, build_gradient_clipper(get_avis_cfg()), precision)


@pytest.mark.parametrize("precision", [None, torch.bfloat16, torch.float16])
def test_step_updates_weights_and_reports_terms(precision: torch.dtype | None):
    model = Quadratic()
    metrics = build_step(model, precision)([0.25])
    assert metrics == {"loss_near": 0.0625, "loss_far": 0.0, "total_loss": 0.0625, "grad_norm": 0.125}
    assert model.output.dtype == (precision or torch.float32)
    assert model.linear.weight.item() == pytest.approx(1 - 0.1 * 0.125)


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
@pytest.mark.parametrize("precision", [None, torch.bfloat16, torch.float16])
def test_loss_that_is_not_finite_stops_before_the_weights_change(
    factor: float, precision: torch.dtype | None
):
    model = Quadratic(factor)
    with pytest.raises(FloatingPointError, match=rf"loss_far is {factor}.*total_loss is {factor}"):
        build_step(model, precision)([2.0])
    assert model.linear.weight.item() == 1


def test_overflow_of_float16_gradients_skips_the_update_and_lowers_the_scale():
    model = Quadratic()
    step = build_step(model, torch.float16)
    assert "grad_norm" not in step([2.0])  # the gradient is 8, times the scale 2 ** 16 beyond float16
    assert model.linear.weight.item() == 1
    assert step.grad_scaler.get_scale() == 2**15


def test_float16_gradients_that_overflow_at_any_scale_are_an_error():
    model = Quadratic()
    step = build_step(model, torch.float16)
    model.linear.weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(FloatingPointError, match="grad_norm is inf"):
        for _ in range(60):  # the scale halves each time, from 2 ** 16 to below 1e-4
            step([2.0])


def test_gradients_do_not_accumulate():
    step = build_step(Quadratic())
    assert step([2.0])["grad_norm"] == 8
    assert step([2.0])["grad_norm"] == pytest.approx(8 * 0.2)  # the weight is 0.2 now

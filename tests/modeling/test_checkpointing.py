"""Activation checkpointing: the same losses and gradients, of fewer kept activations."""

import pytest
import torch
from torch import Tensor

from avis.config import get_avis_cfg
from avis.modeling import build_model
from avis.modeling.recomputing import recomputed
from tests.modeling.kept import kept_tensors, sizes_of
from tests.modeling.test_avis_mask_former import clip
from tests.modeling.test_reference_model import SMALL

CONFIGS = {"avis": "configs/avis_R50.yaml", "family": "configs/avism_R50.yaml"}
# The share of what is kept that each part saves at least, in a model this small: of four decoder layers over
# few pixels little, of the family's frames and windows more.
SAVED = {
    ("avis", "backbone"): 0.08,
    ("avis", "encoder"): 0.08,
    ("avis", "decoder"): 0.02,
    ("family", "decoder"): 0.1,
}


def losses_gradients_and_kept(config: str, parts: list[str]) -> tuple[dict, dict[str, Tensor], int]:
    """Of a small model's training step: losses, gradients, and bytes kept for the backward pass."""
    options = SMALL | {"MODEL.AUDIO.NAME": "AudioCNN", "MODEL.AUDIO.FREEZE": False}
    options |= {"MODEL.CLIP_DECODER.NUM_QUERIES": 10, "MODEL.CLIP_DECODER.DIM_FEEDFORWARD": 128}
    settings = [item for pair in options.items() for item in pair]
    torch.manual_seed(0)
    model = build_model(get_avis_cfg(CONFIGS[config], [*settings, "MODEL.CHECKPOINTING", parts]))
    torch.manual_seed(1)
    with kept_tensors() as kept:
        losses = model.train()([clip(2)])
    size = sum(sizes_of(kept, model.parameters()))
    sum(losses.values()).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return losses, gradients, size


@pytest.fixture(scope="module")
def plain() -> dict[str, tuple[dict, dict[str, Tensor], int]]:
    return {config: losses_gradients_and_kept(config, []) for config in CONFIGS}


@pytest.mark.parametrize(("config", "part"), SAVED)
def test_losses_and_gradients_are_the_same_and_less_is_kept(plain, config: str, part: str):
    expected_losses, expected, expected_size = plain[config]
    losses, gradients, size = losses_gradients_and_kept(config, [part])
    assert losses == expected_losses
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-5, atol=1e-6, msg=name)
    assert size < (1 - SAVED[config, part]) * expected_size


def test_what_is_recomputed_within_something_recomputed_runs_once_more_alone():
    runs = []

    def inner(x: Tensor) -> Tensor:
        runs.append("inner")
        return x.sin().cos()

    def outer(x: Tensor) -> Tensor:
        runs.append("outer")
        return recomputed(inner, x).exp()

    x = torch.linspace(0, 1, 5, requires_grad=True)
    recomputed(outer, x).sum().backward()
    assert runs == ["outer", "inner"] * 2
    expected = torch.autograd.grad(x.sin().cos().exp().sum(), x)[0]
    torch.testing.assert_close(x.grad, expected, rtol=0, atol=0)
    # An error inside leaves nothing behind.
    with pytest.raises(ZeroDivisionError):
        recomputed(lambda _: 1 / 0, x)
    with kept_tensors() as kept:
        recomputed(inner, x)
    assert [tensor.data_ptr() for tensor in kept] == [x.data_ptr()]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["MODEL.CHECKPOINTING", ["neck"]], r"CHECKPOINTING has \['neck'\]; it lists any of 'backbone'"),
        (["MODEL.CHECKPOINTING", ["backbone"], "MODEL.RESNETS.NORM", "BN"], "would count every batch twice"),
    ],
)
def test_what_cannot_be_is_refused(options: list, message: str):
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        build_model(get_avis_cfg("configs/avis_R50.yaml", options))

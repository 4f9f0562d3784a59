"""Activation checkpointing: the same losses and gradients, of fewer kept activations."""

import pytest
import torch
from torch import Tensor

from avis.config import get_avis_cfg
from avis.modeling import build_model
from tests.modeling.test_avis_mask_former import clip
from tests.modeling.test_reference_model import SMALL

PARTS = ["backbone", "encoder"]


def losses_gradients_and_kept(parts: list[str]) -> tuple[dict, dict[str, Tensor], int]:
    """Of a small model's training step: losses, gradients, and bytes kept for the backward pass."""
    options = SMALL | {"MODEL.AUDIO.NAME": "AudioCNN", "MODEL.AUDIO.FREEZE": False}
    settings = [item for pair in options.items() for item in pair]
    torch.manual_seed(0)
    model = build_model(get_avis_cfg("configs/avis_R50.yaml", [*settings, "MODEL.CHECKPOINTING", parts]))
    kept: list[Tensor] = []
    torch.manual_seed(1)
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        losses = model.train()([clip(2)])
    parameters = {p.data_ptr() for p in model.parameters()}
    storages = {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in kept}
    size = sum(size for address, size in storages.items() if address not in parameters)
    sum(losses.values()).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return losses, gradients, size


@pytest.fixture(scope="module")
def plain() -> tuple[dict, dict[str, Tensor], int]:
    return losses_gradients_and_kept([])


@pytest.mark.parametrize("part", PARTS)
def test_losses_and_gradients_are_the_same_and_less_is_kept(plain, part: str):
    losses, gradients, size = losses_gradients_and_kept([part])
    assert losses == plain[0]
    assert gradients.keys() == plain[1].keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, plain[1][name], rtol=1e-5, atol=1e-6, msg=name)
    assert size < plain[2]


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

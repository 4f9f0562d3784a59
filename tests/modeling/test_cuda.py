"""The model on a GPU: it predicts what it does on the CPU, and trains in every precision."""

import warnings
from collections.abc import Callable

import pytest
import torch
from pycocotools import mask as mask_api

from avis.config import get_avis_cfg
from avis.engine.optimizer import build_gradient_clipper
from avis.engine.training_step import TrainingStep
from avis.structures import VideoPrediction
from tests.modeling.test_avis_mask_former import clip, small_model

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def predict(device: str) -> VideoPrediction:
    model = small_model().eval().to(device)
    torch.manual_seed(1)
    with torch.no_grad():
        (prediction,) = model([clip(5)])
    return prediction


def test_predicts_what_it_does_on_the_cpu(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    cpu, gpu = predict("cpu"), predict("cuda")
    assert any(mask for track in cpu.tracks for mask in track.segmentations)
    assert [track.category_id for track in gpu.tracks] == [track.category_id for track in cpu.tracks]
    torch.testing.assert_close(
        torch.tensor([track.score for track in gpu.tracks]),
        torch.tensor([track.score for track in cpu.tracks]),
        rtol=1e-4,
        atol=1e-6,
    )
    for on_gpu, on_cpu in zip(gpu.tracks, cpu.tracks, strict=True):
        masks = [pair for pair in zip(on_gpu.segmentations, on_cpu.segmentations, strict=True) if all(pair)]
        differing = sum(
            int((mask_api.decode(ours) != mask_api.decode(theirs)).sum()) for ours, theirs in masks
        )
        assert len(masks) == sum(map(bool, on_cpu.segmentations)) == sum(map(bool, on_gpu.segmentations))
        assert differing <= 2 * len(masks)  # pixels at the threshold


def waits_of(function: Callable[[], object]) -> list[str]:
    """What torch says of each time that the host waited for the GPU."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            function()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return [str(warning.message) for warning in seen if "synchronizing" in str(warning.message)]


def test_the_host_waits_once_for_losses_and_gradients():
    """For the costs by which queries and tracks are matched."""
    model = small_model().train().cuda()
    batch = [clip(2), clip(2, num_tracks=1)]

    def step() -> None:
        sum(model(batch).values()).backward()

    step()  # kernels are chosen and compiled, constants of a size made
    assert len(waits_of(step)) == 1


@pytest.mark.parametrize("precision", [None, torch.bfloat16, torch.float16])
def test_trains_in_every_precision(precision: torch.dtype | None):
    model = small_model().train().cuda()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    step = TrainingStep(model, optimizer, build_gradient_clipper(get_avis_cfg()), precision)
    batch = [clip(2), clip(2, height=32, num_tracks=1)]
    losses = [step(batch)["total_loss"] for _ in range(10)]
    assert losses[-1] < losses[0]

"""What stays float32 under autocast, and that training in bfloat16 follows training in float32."""

import pytest
import torch
from detectron2.layers import ShapeSpec
from torch import Tensor

from avis.config import get_avis_cfg
from avis.engine.optimizer import build_gradient_clipper
from avis.engine.training_step import TrainingStep
from avis.modeling import (
    ClipTargets,
    DecoderOutput,
    MSDeformAttnPixelDecoder,
    VideoHungarianMatcher,
    VideoSetCriterion,
)
from tests.modeling.fixed_points import fixed_points
from tests.modeling.test_avis_mask_former import clip, small_model

CLASSES, QUERIES, TRACKS, FRAMES, SIZE = 3, 6, 2, 2, (8, 12)


def autocast() -> torch.autocast:
    return torch.autocast("cpu", dtype=torch.bfloat16)


def assert_same_float32(found: list[Tensor], expected: list[Tensor]) -> None:
    """Bit by bit: a computation in float32 of the same numbers has no reason to differ."""
    assert {x.dtype for x in found} == {torch.float32}
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("place", ["backbone", "pixel_decoder"])
def test_the_pixel_decoder_computes_in_float32(place: str):
    shapes = {f"res{level}": ShapeSpec(channels=8, stride=2**level) for level in range(2, 6)}
    torch.manual_seed(0)
    decoder = MSDeformAttnPixelDecoder(
        get_avis_cfg("configs/quickstart.yaml", ["MODEL.FUSION.AT", place]), shapes
    ).eval()
    features = {
        name: torch.randn(2, 8, 64 // spec.stride, 96 // spec.stride).bfloat16()
        for name, spec in shapes.items()
    }
    audio = torch.randn(2, 1, 128).bfloat16()
    expected, levels = decoder({name: x.float() for name, x in features.items()}, audio.float())
    with autocast():
        found, found_levels = decoder(features, audio)
    assert_same_float32([found, *found_levels], [expected, *levels])


@pytest.fixture
def prediction() -> DecoderOutput:
    """In bfloat16, as a decoder gives it under autocast; large logits, which its 8 bits spoil first."""
    torch.manual_seed(0)
    logits = (20 * torch.randn(1, QUERIES, CLASSES + 1)).bfloat16()
    masks = (20 * torch.randn(1, QUERIES, FRAMES, *SIZE)).bfloat16()
    return DecoderOutput(logits, torch.randn(1, QUERIES, 4).bfloat16(), masks)


@pytest.fixture
def target() -> ClipTargets:
    masks = (torch.rand(TRACKS, FRAMES, *SIZE) > 0.5).float()
    return ClipTargets(torch.arange(TRACKS), masks, torch.arange(TRACKS))


def as_float32(prediction: DecoderOutput) -> DecoderOutput:
    return DecoderOutput(
        prediction.class_logits.float(), prediction.queries.float(), prediction.mask_logits.float()
    )


def test_the_matcher_s_costs_are_float32(prediction: DecoderOutput, target: ClipTargets):
    matcher = VideoHungarianMatcher(2.0, 5.0, 5.0, num_points=200)

    def cost(predicted: DecoderOutput) -> Tensor:
        logits, masks = predicted.class_logits[0], predicted.mask_logits[0]
        return matcher.cost(logits, masks, target.classes, target.masks, fixed_points)

    expected = cost(as_float32(prediction))
    with autocast():
        assert_same_float32([cost(prediction)], [expected])


@pytest.mark.parametrize("joint_frames", [False, True])
def test_the_criterion_s_losses_are_float32(
    prediction: DecoderOutput, target: ClipTargets, joint_frames: bool
):
    criterion = VideoSetCriterion(
        CLASSES,
        VideoHungarianMatcher(2.0, 5.0, 5.0, num_points=200),
        no_object_weight=0.1,
        weights={"loss_ce": 2.0, "loss_mask": 5.0, "loss_dice": 5.0},
        num_points=200,
        oversample_ratio=3.0,
        importance_sample_ratio=0.75,
        joint_frames=joint_frames,
    )
    criterion.rand = fixed_points
    expected, _ = criterion([as_float32(prediction)], [target])
    with autocast():
        found, _ = criterion([prediction], [target])
    assert_same_float32(list(found.values()), list(expected.values()))


def losses_of_steps(precision: torch.dtype | None, steps: int) -> list[float]:
    """The total loss before each of some steps on the same clips, at the same points."""
    model = small_model().train()
    model.criterion.terms["prediction"].criterion.rand = fixed_points
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    step = TrainingStep(model, optimizer, build_gradient_clipper(get_avis_cfg()), precision)
    torch.manual_seed(1)
    batch = [clip(2), clip(2)]
    return [step(batch)["total_loss"] for _ in range(steps)]


def test_training_in_bfloat16_follows_training_in_float32():
    """Two updates: the losses fall, and by as much. 8 bits are 0.4 %, a few layers of them about 1 %."""
    expected, found = losses_of_steps(None, 3), losses_of_steps(torch.bfloat16, 3)
    assert found[0] > found[1] > found[2]
    assert found == pytest.approx(expected, rel=0.02)

"""What stays float32 under autocast, and that training in bfloat16 follows training in float32."""

import pytest
import torch
from detectron2.layers import ShapeSpec
from pycocotools import mask as mask_utils
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
    build_model,
)
from avis.structures import VideoPrediction
from tests.modeling.fixed_points import fixed_points
from tests.modeling.test_avis_mask_former import clip, small_model

CLASSES, QUERIES, TRACKS, FRAMES, SIZE = 3, 6, 2, 2, (8, 12)


@pytest.fixture(params=[True, False], ids=["autocast", "plain"])
def bfloat16(request: pytest.FixtureRequest) -> torch.autocast:
    """Where the inputs are bfloat16: under autocast, which casts by itself in some operations, or in none."""
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=request.param)


def assert_same_float32(found: list[Tensor], expected: list[Tensor]) -> None:
    """Bit by bit: a computation in float32 of the same numbers has no reason to differ."""
    assert {x.dtype for x in found} == {torch.float32}
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


SHAPES = {f"res{level}": ShapeSpec(channels=8, stride=2**level) for level in range(2, 6)}


def pixel_decoder(*options: object) -> MSDeformAttnPixelDecoder:
    torch.manual_seed(0)
    return MSDeformAttnPixelDecoder(get_avis_cfg("configs/quickstart.yaml", list(options)), SHAPES).eval()


def bfloat16_features() -> dict[str, Tensor]:
    return {
        name: torch.randn(2, 8, 64 // spec.stride, 96 // spec.stride).bfloat16()
        for name, spec in SHAPES.items()
    }


@pytest.mark.parametrize("place", ["backbone", "pixel_decoder"])
def test_the_pixel_decoder_computes_in_float32(place: str, bfloat16: torch.autocast):
    decoder, features = pixel_decoder("MODEL.FUSION.AT", place), bfloat16_features()
    audio = torch.randn(2, 1, 128).bfloat16()
    expected, levels = decoder({name: x.float() for name, x in features.items()}, audio.float())
    with bfloat16:
        found, found_levels = decoder(features, audio)
    assert_same_float32([found, *found_levels], [expected, *levels])


def test_the_encoder_computes_in_bfloat16_if_it_may_and_all_else_does():
    """A few layers of 8 bits are about 1 % of the largest value."""
    options = ["MODEL.SEM_SEG_HEAD.ENCODER_AMP", True, "SOLVER.AMP.ENABLED", True]
    decoder = pixel_decoder("MODEL.FUSION.NAME", "", *options)
    features = bfloat16_features()
    dtypes = []
    decoder.transformer.encoder.layers[0].linear1.register_forward_hook(
        lambda module, inputs, output: dtypes.append(output.dtype)
    )
    expected, levels = decoder(features)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, found_levels = decoder(features)
    assert dtypes == [torch.float32, torch.bfloat16]
    for ours, exact in zip([found, *found_levels], [expected, *levels], strict=True):
        assert ours.dtype == torch.float32 and not torch.equal(ours, exact)
        torch.testing.assert_close(ours, exact, rtol=0, atol=0.02 * exact.abs().max().item())


def test_an_encoder_that_would_stay_in_float32_is_refused():
    with pytest.raises(
        ValueError, match=r"ENCODER_AMP is True, but .*; set SOLVER\.AMP\.ENABLED for training"
    ):
        pixel_decoder("MODEL.SEM_SEG_HEAD.ENCODER_AMP", True)


def predicted(store: str, *options: object) -> tuple[VideoPrediction, set[torch.dtype]]:
    """By a small model, with the types of its backbone's features."""
    model = small_model(*options).eval()
    model.feature_store, model.chunk_size = store, 2
    dtypes: set[torch.dtype] = set()
    model.backbone.register_forward_hook(lambda module, inputs, output: dtypes.add(output["res5"].dtype))
    torch.manual_seed(1)
    with torch.inference_mode():
        return model([clip(5)])[0], dtypes


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("store", ["device", "host", "file"])
def test_a_video_is_predicted_in_lower_precision_if_it_may(store: str, precision: str):
    """Scores within 3 %, as pixels of untrained masks cross 0; the best track's class and near its masks."""
    quality = ["MODEL.MASK_FORMER.TEST.MASK_QUALITY", True]
    options = ["TEST.AMP", True, "SOLVER.AMP.PRECISION", precision]
    (exact, dtypes), (found, lower) = predicted(store, *quality), predicted(store, *quality, *options)
    assert (dtypes, lower) == ({torch.float32}, {getattr(torch, precision)})
    scores, expected = ([track.score for track in video.tracks] for video in (found, exact))
    assert scores != expected and scores == pytest.approx(expected, rel=0.03)
    ours, theirs = (
        [mask_utils.decode(rle) for rle in video.tracks[0].segmentations if rle] for video in (found, exact)
    )
    assert found.tracks[0].category_id == exact.tracks[0].category_id
    differing = sum((one != other).mean() for one, other in zip(ours, theirs, strict=True))
    assert differing <= 0.02 * len(theirs)


def test_a_precision_that_there_is_not_is_named():
    options = ["TEST.AMP", True, "SOLVER.AMP.PRECISION", "float8"]
    with torch.device("meta"), pytest.raises(ValueError, match=r"SOLVER\.AMP\.PRECISION is 'float8'"):
        build_model(get_avis_cfg("configs/avis_R50.yaml", options))


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


def test_the_matcher_s_costs_are_float32(
    prediction: DecoderOutput, target: ClipTargets, bfloat16: torch.autocast
):
    matcher = VideoHungarianMatcher(2.0, 5.0, 5.0, num_points=200)

    def cost(predicted: DecoderOutput) -> Tensor:
        logits, masks = predicted.class_logits[0], predicted.mask_logits[0]
        return matcher.cost(logits, masks, target.classes, target.masks, fixed_points)

    expected = cost(as_float32(prediction))
    with bfloat16:
        assert_same_float32([cost(prediction)], [expected])


@pytest.mark.parametrize("joint_frames", [False, True])
def test_the_criterion_s_losses_are_float32(
    prediction: DecoderOutput, target: ClipTargets, joint_frames: bool, bfloat16: torch.autocast
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
    with bfloat16:
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

"""A batch that is seen in parts gives the losses and gradients of the whole."""

import pytest
import torch
from torch import Tensor, nn

from avis.config import get_avis_cfg
from avis.engine.optimizer import build_gradient_clipper
from avis.engine.training_step import TrainingStep
from avis.modeling.clip_targets import clip_targets
from avis.modeling.whole_batch import with_whole_batch
from tests.modeling.test_avis_mask_former import clip, small_model

VISION = ["MODEL.AUDIO.NAME", "", "MODEL.FUSION.NAME", "", "MODEL.MASK_FORMER.AUDIO_QUERY", ""]
# A frozen audio backbone has batch norms, but none that learns.
ALL_LOSSES = [
    "MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME", "FrameClipDecoder", "MODEL.MASK_FORMER.MASK_HEAD", "dot",
    "MODEL.FUSION.NAME", "", "MODEL.CLIP_DECODER.NUM_QUERIES", 3, "MODEL.CLIP_DECODER.DIM_FEEDFORWARD", 32,
    "MODEL.CLIP_DECODER.ENC_LAYERS", 2, "MODEL.CLIP_DECODER.FRAME_LAYERS", 2, "MODEL.MASK_FORMER.AUDIO_QUERY",
    "centric", "MODEL.TEMPORAL_FUSION.NAME", "window_attention", "MODEL.AUDIO.FREEZE", True,
    "MODEL.LOSSES.NAMES", ["frame_prediction", "clip_prediction", "similarity", "count"],
]  # fmt: skip
CASES = {"vision": VISION, "all losses": ALL_LOSSES}


def four_clips() -> list[dict]:
    """Clips that differ in size, tracks and sounding objects; one has more tracks than there are queries."""
    torch.manual_seed(1)
    sizes = [(40, 50, 1), (33, 70, 3), (65, 34, 0), (40, 50, 4)]
    clips = [clip(2, height, width, tracks) for height, width, tracks in sizes]
    sounding = torch.tensor([[1, 2], [3, 1], [0, 0], [4, 5]])
    return [
        {**each, "seed": seed, "num_sounding": counts}
        for seed, (each, counts) in enumerate(zip(clips, sounding, strict=True))
    ]


def wake(model: nn.Module) -> None:
    """Let the parameters that start at zero, and so hide what comes before them, take part."""
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.05)


def assert_same_gradients(
    found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-5
) -> None:
    """To a share of a parameter's largest, or of a hundredth of all's: before a norm a bias has rounding."""
    assert found.keys() == expected.keys()
    largest = max(value.abs().max() for value in expected.values())
    for name, value in expected.items():
        bound = tolerance * max(value.abs().max(), 1e-2 * largest)
        assert (found[name] - value).abs().max() <= bound, name


def train(options: list, num_passes: int, clips: list[dict]) -> tuple[dict[str, float], dict[str, Tensor]]:
    model = small_model(*options).train()
    wake(model)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.0)
    cfg = get_avis_cfg(opts=["SOLVER.CLIP_GRADIENTS.ENABLED", False])
    metrics = TrainingStep(model, optimizer, build_gradient_clipper(cfg), num_passes=num_passes)(clips)
    return metrics, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("options", CASES.values(), ids=CASES.keys())
def test_passes_add_up_to_the_whole_batch(options: list):
    metrics, gradients = train(options, 1, four_clips())
    for num_passes in (2, 4):
        found_metrics, found_gradients = train(options, num_passes, four_clips())
        assert found_metrics == pytest.approx(metrics, rel=1e-5)
        assert_same_gradients(found_gradients, gradients)


def test_the_order_of_clips_does_not_matter():
    """Each draws from its own seed; without, what a clip gets depends on those before it."""
    metrics, gradients = train(VISION, 1, four_clips())
    found_metrics, found_gradients = train(VISION, 1, four_clips()[::-1])
    assert found_metrics == pytest.approx(metrics, rel=1e-5)
    assert_same_gradients(found_gradients, gradients)
    seedless = [[{k: v for k, v in each.items() if k != "seed"} for each in four_clips()] for _ in range(2)]
    first, second = (train(VISION, 1, clips)[0] for clips in (seedless[0], seedless[1][::-1]))
    assert first["loss_mask"] != pytest.approx(second["loss_mask"], rel=1e-5)


def test_clips_that_do_not_fill_the_passes_are_refused():
    with pytest.raises(ValueError, match=r"4 clips cannot be split into SOLVER\.ACCUMULATE 3 passes"):
        train(VISION, 3, four_clips())


def test_facts_are_those_of_the_targets():
    clips = with_whole_batch(four_clips(), num_passes=2)
    batch = clips[0]["batch"]
    assert all(each["batch"] is batch for each in clips)
    assert batch.num_parts == 2 and batch.size == (65, 70)
    assert batch.tracks_of_clips.numbers == (1, 3, 0, 4)
    # the first track of a clip is silent in its last frame
    assert batch.tracks_of_frames.numbers == (1, 0, 3, 2, 0, 0, 4, 3)
    targets = [clip_targets(each, (96, 96), torch.device("cpu")) for each in clips]
    for facts, target in zip(batch.clips, targets, strict=True):
        assert (facts.num_tracks, facts.in_frames) == (target.facts.num_tracks, target.facts.in_frames)
        assert facts.num_sounding == target.facts.num_sounding
    assert batch.mean(lambda each: sum(each.num_sounding)) == 8

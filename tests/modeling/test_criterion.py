"""The set criterion: single and joint frames against plain loops, and what it has matched."""

import pytest
import torch
from torch.nn import functional as F

from avis.modeling import ClipTargets, DecoderOutput, VideoHungarianMatcher, VideoSetCriterion

FRAMES, SIZE, CLASSES = 3, (8, 8), 4


def criterion(joint_frames: bool) -> VideoSetCriterion:
    matcher = VideoHungarianMatcher(2.0, 5.0, 5.0, 64)
    return VideoSetCriterion(
        CLASSES,
        matcher,
        no_object_weight=0.1,
        weights={"loss_ce": 2.0, "loss_mask": 5.0, "loss_dice": 5.0},
        num_points=64,
        oversample_ratio=1.0,
        importance_sample_ratio=1.0,
        joint_frames=joint_frames,
    )


def pixel_centres(*shape: int, device: torch.device | None = None) -> torch.Tensor:
    """Stands for random points: the centres of all 64 pixels, for any number of masks."""
    ys, xs = torch.meshgrid(*(torch.arange(n) + 0.5 for n in SIZE), indexing="ij")
    return torch.stack([xs / SIZE[1], ys / SIZE[0]], dim=-1).flatten(0, 1).expand(shape[0], -1, -1)


@pytest.fixture
def predicted() -> tuple[DecoderOutput, list[ClipTargets]]:
    torch.manual_seed(0)
    masks = (torch.rand(2, 2, FRAMES, *SIZE) > 0.5).float()
    masks[0, 1, 2] = 0  # silent in the last frame
    targets = [ClipTargets(torch.tensor([1, 3]), one, torch.tensor([11, 12])) for one in masks]
    return DecoderOutput(
        torch.randn(2, 5, CLASSES + 1), torch.randn(2, 5, 6), torch.randn(2, 5, FRAMES, *SIZE)
    ), targets


def dice(probabilities: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return 1 - (2 * (probabilities * labels).sum() + 1) / (probabilities.sum() + labels.sum() + 1)


@pytest.mark.parametrize("joint_frames", [False, True])
def test_losses_against_a_plain_loop(predicted, joint_frames):
    prediction, targets = predicted
    ours = criterion(joint_frames)
    ours.rand = pixel_centres
    losses, ((first, second),) = ours([prediction], targets)
    loss_mask, loss_dice = torch.zeros(()), torch.zeros(())
    for clip, (queries, tracks) in enumerate((first, second)):
        for query, track in zip(queries.tolist(), tracks.tolist(), strict=True):
            logits, labels = prediction.mask_logits[clip, query], targets[clip].masks[track]
            pieces = [(logits, labels)] if joint_frames else list(zip(logits, labels, strict=True))
            for piece, label in pieces:
                loss_mask += F.binary_cross_entropy_with_logits(piece, label)
                loss_dice += dice(piece.sigmoid(), label)
    torch.testing.assert_close(losses["loss_mask"], 5 * loss_mask / 4)
    torch.testing.assert_close(losses["loss_dice"], 5 * loss_dice / 4)


def test_matches_of_every_prediction_come_back(predicted):
    prediction, targets = predicted
    losses, matches = criterion(False)([prediction] * 3, targets)
    assert list(losses)[3:6] == ["loss_ce_0", "loss_mask_0", "loss_dice_0"]
    assert [len(clips) for clips in matches] == [2, 2, 2]
    for queries, tracks in matches[0]:
        assert sorted(tracks.tolist()) == [0, 1]
        assert queries.tolist() == sorted(queries.tolist())


def test_frames_as_clips_of_one_frame_are_single_frames():
    """As a frame-wise decoder is supervised: B·T clips of one frame."""
    torch.manual_seed(0)
    logits, masks = torch.randn(1, 5, 1, *SIZE), (torch.rand(2, 1, *SIZE) > 0.5).float()
    prediction = DecoderOutput(torch.randn(1, 5, CLASSES + 1), torch.randn(1, 5, 6), logits)
    targets = [ClipTargets(torch.tensor([0, 2]), masks, torch.tensor([1, 2]))]
    values = []
    for joint_frames in (False, True):
        ours = criterion(joint_frames)
        ours.rand = pixel_centres
        values.append(torch.stack(list(ours([prediction], targets)[0].values())))
    torch.testing.assert_close(*values)

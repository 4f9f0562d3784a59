"""Ground truth on its way to the device: nothing is lost, and the host asks the device once a step."""

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.overrides import TorchFunctionMode

from avis.modeling import ClipTargets, DecoderOutput, VideoHungarianMatcher, VideoSetCriterion
from avis.modeling.clip_targets import clip_targets, packed, to_device, unpacked
from tests.modeling.test_avis_mask_former import clip

CPU = torch.device("cpu")
# What makes the host wait for the device, unless the tensor is on the host already.
WAITING = {
    "cpu",
    "item",
    "tolist",
    "numpy",
    "nonzero",
    "__bool__",
    "__int__",
    "__float__",
    "new_tensor",
    "tensor",
}


@given(st.integers(0, 5), st.integers(0, 3), st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_bits_are_the_masks(tracks: int, frames: int, height: int, width: int, seed: int):
    masks = torch.rand(tracks, frames, height, width, generator=torch.Generator().manual_seed(seed)) > 0.5
    bits = packed(masks)
    assert bits.dtype == torch.uint8 and len(bits) == -(-masks.numel() // 8)
    assert torch.equal(unpacked(bits, masks.shape), masks)


def test_vectors_that_go_together_come_apart():
    vectors = [torch.tensor([3, 1]), torch.tensor([], dtype=torch.int64), torch.tensor([7])]
    assert [vector.tolist() for vector in to_device(vectors, CPU)] == [[3, 1], [], [7]]


def test_silent_tracks_are_left_out_and_masks_are_padded():
    sample = clip(3, height=30, width=50, num_tracks=3)
    for frame in sample["instances"]:
        frame.gt_masks.tensor[1] = False
    targets = clip_targets(sample, (32, 64), CPU)
    assert targets.classes.tolist() == [0, 2]
    assert targets.ids.tolist() == sample["instances"][0].gt_ids[[0, 2]].tolist()
    expected = torch.stack([frame.gt_masks.tensor[[0, 2]] for frame in sample["instances"]], dim=1)
    assert targets.masks.shape == (2, 3, 32, 64)
    assert torch.equal(targets.masks[..., :30, :50], expected.float())
    assert targets.masks.sum() == expected.sum()
    assert targets.seen.tolist() == [[True, True], [True, True], [False, True]]


def test_frames_are_the_same_whether_it_is_known_what_is_seen_or_not():
    targets = clip_targets(clip(3), (64, 64), CPU)
    unknown = ClipTargets(targets.classes, targets.masks, targets.ids)
    for known, found in zip(targets.frames, unknown.frames, strict=True):
        assert known.ids.tolist() == found.ids.tolist()
        assert torch.equal(known.masks, found.masks)


class WaitCounter(TorchFunctionMode):
    """Counts the calls that make a host wait for its device."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        picks = name == "__getitem__" and any(
            isinstance(index, Tensor) and index.dtype == torch.bool
            for index in (args[1] if isinstance(args[1], tuple) else (args[1],))
        )
        if name in WAITING or picks:
            self.calls["a bool index" if picks else name] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("num_layers", [1, 4])
def test_the_losses_ask_the_device_once(num_layers: int):
    """`cpu` brings all costs; what follows reads them on the host, and does not grow with clips or layers."""
    torch.manual_seed(0)
    criterion = VideoSetCriterion(
        4,
        VideoHungarianMatcher(2.0, 5.0, 5.0, 16),
        no_object_weight=0.1,
        weights={"loss_ce": 2.0, "loss_mask": 5.0, "loss_dice": 5.0},
        num_points=16,
        oversample_ratio=3.0,
        importance_sample_ratio=0.75,
    )
    targets = [clip_targets(clip(2), (64, 64), CPU) for _ in range(3)]
    layers = [
        DecoderOutput(torch.randn(3, 6, 5), torch.randn(3, 6, 8), torch.randn(3, 6, 2, 16, 16))
        for _ in range(num_layers)
    ]
    with WaitCounter() as counter:
        criterion(layers, targets)
    on_host = {name: count for name, count in counter.calls.items() if name != "cpu"}
    num_matches = 3 * num_layers
    assert counter.calls["cpu"] == 1
    # of the state that has come with the costs, and one check of each cost
    assert on_host == {"__bool__": 1 + num_matches}

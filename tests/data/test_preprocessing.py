"""Frames as a model takes them: order of the channels, one transform for all."""

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T

from avis.data.preprocessing import prepare_frames


def frames(number: int = 3, height: int = 6, width: int = 8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (number, height, width, 3), np.uint8)


def test_channels_come_in_the_order_that_the_model_takes():
    nothing = T.AugmentationList([])
    rgb, bgr = (torch.stack(prepare_frames(frames(), nothing, form).images) for form in ("RGB", "BGR"))
    assert torch.equal(rgb, torch.from_numpy(frames().transpose(0, 3, 1, 2)))
    assert torch.equal(bgr, rgb.flip(1))


def test_augmentations_are_drawn_once_for_all_frames():
    same = np.repeat(frames(1), 8, axis=0)
    np.random.seed(0)
    for _ in range(5):
        images = prepare_frames(same, T.AugmentationList([T.RandomCrop("absolute", (2, 2))]), "RGB").images
        assert all(torch.equal(image, images[0]) for image in images)


def test_the_size_is_that_of_the_frames_and_the_transform_is_told():
    resize = T.AugmentationList([T.ResizeShortestEdge(12, 100, "choice")])
    prepared = prepare_frames(iter(frames()), resize, "RGB")
    assert prepared.size == (6, 8)
    assert {tuple(image.shape) for image in prepared.images} == {(3, 12, 16)}
    assert [t.apply_segmentation(np.zeros((6, 8), np.uint8)).shape for t in prepared.transforms] == [
        (12, 16)
    ] * 3


def test_frames_of_several_sizes_are_refused():
    mixed = [*frames(2), *frames(1, height=7)]
    with pytest.raises(ValueError, match=r"frame 2 is \(7, 8, 3\), frame 0 is \(6, 8, 3\)"):
        prepare_frames(mixed, T.AugmentationList([]), "RGB")

"""Pictures resized by torch differ from Pillow's by a level or two, and masks not at all."""

import numpy as np
import pytest
from detectron2.data import transforms as T
from hypothesis import given, settings
from hypothesis import strategies as st

from avis.data.augmentation import build_augmentations
from avis.data.resizing import ByteResize, ResizeShortestEdge

SIDES = st.integers(8, 120)
# Height and width, and what they become.
SIZES = st.tuples(SIDES, SIDES, SIDES, SIDES)


def picture(height: int, width: int, seed: int) -> np.ndarray:
    """Noise and edges, whose resizing rounds most."""
    rng = np.random.default_rng(seed)
    blocks = np.kron(rng.integers(0, 256, (height // 4 + 1, width // 4 + 1, 3)), np.ones((4, 4, 1)))
    noise = rng.integers(0, 256, (height, width, 3))
    return np.where(rng.random((height, width, 1)) < 0.5, blocks[:height, :width], noise).astype(np.uint8)


@settings(deadline=None)
@given(SIZES, st.integers(0, 99))
def test_pixels_are_pillows_but_for_rounding(sizes: tuple[int, int, int, int], seed: int):
    """Two roundings, with weights of 15 bits instead of 22: two levels at most, and most within one."""
    image = picture(*sizes[:2], seed)
    ours, theirs = (kind(*sizes).apply_image(image).astype(int) for kind in (ByteResize, T.ResizeTransform))
    assert ours.shape == (*sizes[2:], 3)
    difference = np.abs(ours - theirs)
    assert difference.max() <= 2
    assert difference.mean() <= 0.3


@pytest.mark.parametrize("layout", ["read-only", "flipped", "channels turned", "cropped"])
def test_pictures_may_lie_in_memory_as_they_like(layout: str):
    image = picture(30, 40, 0)
    views = {"flipped": image[:, ::-1], "channels turned": image[..., ::-1], "cropped": image[3:, 5:]}
    view = views.get(layout, image)
    view.flags.writeable = layout != "read-only"
    resize = ByteResize(*view.shape[:2], 50, 60)
    np.testing.assert_array_equal(resize.apply_image(view), resize.apply_image(view.copy()))


@settings(deadline=None, max_examples=30)
@given(SIZES, st.integers(0, 99))
def test_masks_are_resized_as_detectron2_does(sizes: tuple[int, int, int, int], seed: int):
    mask = (picture(*sizes[:2], seed)[..., 0] > 127).astype(np.uint8)
    ours, theirs = (kind(*sizes).apply_segmentation(mask) for kind in (ByteResize, T.ResizeTransform))
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("style", ["choice", "range"])
def test_sizes_are_drawn_as_detectron2_draws_them(style: str):
    drawn = []
    for kind in (ResizeShortestEdge, T.ResizeShortestEdge):
        np.random.seed(0)
        steps = [kind((20, 64), 70, style).get_transform(picture(24, 32, 0)) for _ in range(20)]
        drawn.append([(step.h, step.w, step.new_h, step.new_w) for step in steps])
    assert drawn[0] == drawn[1] and len(set(drawn[0])) > 1


def test_evaluation_keeps_pillow(cfg):
    cfg.INPUT.MIN_SIZE_TEST = 24
    assert [type(step) for step in build_augmentations(cfg, is_train=False)] == [T.ResizeShortestEdge]
    assert ResizeShortestEdge in map(type, build_augmentations(cfg, is_train=True))

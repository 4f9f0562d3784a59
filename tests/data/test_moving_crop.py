"""The crop that moves through a clip: masks move with their pictures, along a line, within the frame."""

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from hypothesis import given, settings
from hypothesis import strategies as st

from avis.data import ClipMapper, load_aviseg_json
from avis.data.augmentation import build_augmentations
from avis.data.moving_crop import MovingCrop
from avis.data.preprocessing import prepare_frames
from tests.small_dataset import HEIGHT, LENGTH, WIDTH, edit


def coordinates(num_frames, height, width):
    """Frames (F, H, W, 3) whose pixels say their own row, column and frame."""
    frames = np.zeros((num_frames, height, width, 3), np.uint8)
    frames[..., 0], frames[..., 1] = np.arange(height)[:, None], np.arange(width)
    frames[..., 2] = np.arange(num_frames)[:, None, None]
    return frames


def corners_of(images):
    """(F, 2) row and column of the top left pixel of images of `coordinates`."""
    return np.array([image[:2, 0, 0].tolist() for image in images])


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 9),
    st.integers(1, 70),
    st.integers(1, 70),
    st.integers(1, 80),
    st.integers(0, 40),
    st.integers(0, 2**32 - 1),
)
def test_crops_have_one_size_in_range_and_stand_in_order_on_a_line_within_the_frame(
    num_frames, height, width, low, more, seed
):
    np.random.seed(seed)
    frames = coordinates(num_frames, height, width)
    crop = T.AugmentationList([MovingCrop((low, low + more))])
    prepared = prepare_frames(frames, crop, "RGB", num_frames)
    (shape,) = {tuple(image.shape[1:]) for image in prepared.images}
    for side, whole in zip(shape, (height, width), strict=True):
        assert min(whole, low) <= side <= min(whole, low + more)
    corners = corners_of(prepared.images)
    for frame, (image, (top, left)) in enumerate(zip(prepared.images, corners, strict=True)):
        part = frames[frame, top : top + shape[0], left : left + shape[1]].transpose(2, 0, 1)
        assert part.shape[1:] == shape
        np.testing.assert_array_equal(image, part)
        # what a mask is cropped to is where the picture is
        mask = prepared.transforms[frame].apply_segmentation(frames[frame, ..., 0])
        np.testing.assert_array_equal(mask, image[0])
    steps = np.diff(corners, axis=0)
    assert (steps >= 0).all() or (steps <= 0).all()
    assert_on_a_line(corners)


def assert_on_a_line(corners):
    """The cross product with the whole way is at most what rounding all points by ½ can give."""
    way, from_start = corners[-1] - corners[0], corners - corners[0]
    across = np.abs(way[0] * from_start[:, 1] - way[1] * from_start[:, 0])
    assert (across <= 2 * np.abs(way).sum() + 2).all()


def test_all_corners_directions_and_sizes_are_drawn():
    """Of a frame of 6×5 and crops of 2 to 3: each top left corner, each size, both directions, standstill."""
    np.random.seed(0)
    seen, sizes, directions = set(), set(), set()
    for _ in range(600):
        crop = T.AugmentationList([MovingCrop((2, 3))])
        images = prepare_frames(coordinates(3, 6, 5), crop, "RGB", 3).images
        corners = corners_of(images)
        seen |= set(map(tuple, corners.tolist()))
        sizes.add(tuple(images[0].shape[1:]))
        directions.add(tuple(np.sign(corners[-1] - corners[0]).tolist()))
    assert seen == {(row, column) for row in range(5) for column in range(4)}
    assert sizes == {(height, width) for height in (2, 3) for width in (2, 3)}
    assert directions == {(0, 0), (0, 1), (1, 0), (1, 1), (0, -1), (-1, 0), (-1, -1)}


def test_places_on_the_line_are_uniform_and_every_second_clip_goes_back():
    np.random.seed(0)
    crop = T.AugmentationList([MovingCrop((1, 1))])
    paths = [
        corners_of(prepare_frames(coordinates(3, 1, 201), crop, "RGB", 3).images)[:, 1] for _ in range(400)
    ]
    # Sorted, the middle one of three uniform places lies at the middle of the line in the mean.
    backwards = np.mean([path[0] > path[2] for path in paths])
    assert backwards == pytest.approx(0.5, abs=0.08)  # 3 standard deviations
    share = [(path[1] - path[0]) / (path[2] - path[0]) for path in paths if abs(path[2] - path[0]) > 10]
    assert np.mean(share) == pytest.approx(0.5, abs=0.05)
    # The second corner is uniform beyond the first, so the end lies at 3/4 in the mean, the start at 1/2.
    middle = np.mean([path.mean() for path in paths])
    assert middle == pytest.approx(200 * 5 / 8, abs=12)


@pytest.mark.parametrize("size", [[0.9, 0.9], (0, 5), (6, 5), (2.0, 3)])
def test_a_size_that_is_no_range_of_pixels_is_refused(size):
    with pytest.raises(ValueError, match=r"INPUT\.CROP\.SIZE is .*range of a side in pixels"):
        MovingCrop(size)


@pytest.fixture
def moving(cfg):
    """The augmentation of AVISM, at an eighth of its sizes."""
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = True, "moving", [40, 60]
    cfg.INPUT.CROP.MIN_SIZE, cfg.INPUT.CROP.PROB = (50, 62, 75), 1.0
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN = (36, 64), 96
    cfg.INPUT.RANDOM_FLIP = "horizontal"
    cfg.INPUT.SAMPLING_FRAME_NUM = LENGTH
    return cfg


@pytest.mark.parametrize("seed", range(8))
def test_masks_stay_on_their_objects_while_the_crop_moves(moving, train_json, seed):
    """Masks are resized to the nearest pixel and pictures smoothly, so borders differ by about a pixel."""
    np.random.seed(seed)
    clip = ClipMapper(moving, is_train=True, audio_source=None)(load_aviseg_json(train_json)[seed % 3])
    assert len({tuple(image.shape) for image in clip["image"]}) == 1
    for image, instances in zip(clip["image"], clip["instances"], strict=True):
        assert instances.image_size == tuple(image.shape[1:])
        for mask, number in zip(instances.gt_masks.tensor, instances.gt_classes.tolist(), strict=True):
            seen = image[number] > 127  # red is the first object's, green the second's
            assert int((mask ^ seen).sum()) <= mask.shape[0] + mask.shape[1]
            assert int((mask & seen).sum()) >= 0.8 * int(mask.sum()) - 8


def test_a_clip_of_one_frame_is_cropped(moving, train_json):
    moving.INPUT.SAMPLING_FRAME_NUM = 1
    np.random.seed(0)
    clip = ClipMapper(moving, is_train=True, audio_source=None)(load_aviseg_json(train_json)[0])
    assert len(clip["image"]) == 1


def shapes_before_the_last_resize(cfg, number):
    """(h, w) of frames of 48×64 after the crop of drawn augmentations."""
    for _ in range(number):
        steps = T.AugmentationList(build_augmentations(cfg, is_train=True)[:-2])
        frames = np.zeros((2, HEIGHT, WIDTH, 3), np.uint8)
        yield tuple(prepare_frames(frames, steps, "RGB", 2).images[0].shape[1:])


def test_the_probability_of_the_crop_is_that_of_the_config(moving):
    moving.INPUT.CROP.PROB = 0.25
    np.random.seed(0)
    uncropped = [shape == (HEIGHT, WIDTH) for shape in shapes_before_the_last_resize(moving, 400)]
    assert np.mean(uncropped) == pytest.approx(0.75, abs=0.07)  # 3 standard deviations


def test_the_frame_is_resized_before_the_crop(moving):
    moving.INPUT.CROP.SIZE = [500, 600]  # larger than the frame: nothing is cropped
    np.random.seed(0)
    sizes = set(shapes_before_the_last_resize(moving, 60))
    assert sizes == {(50, 67), (62, 83), (75, 100)}
    moving.INPUT.CROP.MAX_SIZE = 80
    assert set(shapes_before_the_last_resize(moving, 60)) == {(50, 67), (60, 80)}


def test_a_probability_beyond_1_is_refused(moving):
    moving.INPUT.CROP.PROB = 1.5
    with pytest.raises(ValueError, match=r"INPUT\.CROP\.PROB is 1\.5"):
        build_augmentations(moving, is_train=True)


def test_objects_in_the_frames_are_counted_before_the_crop(moving, train_json):
    """Whether the crop leaves them or not; crowds are not counted."""
    record = load_aviseg_json(train_json)[0]
    moving.INPUT.CROP.MIN_SIZE, moving.INPUT.CROP.SIZE = (), [2, 2]
    np.random.seed(0)
    clip = ClipMapper(moving, is_train=True, audio_source=None)(record)
    assert sum(len(instances) for instances in clip["instances"]) < 2 * LENGTH
    assert torch.equal(clip["num_sounding"], torch.tensor([2, 1, 2, 1, 1, 0]))
    edit(train_json, lambda content: content["annotations"][0].update(iscrowd=1))
    clip = ClipMapper(moving, is_train=True, audio_source=None)(load_aviseg_json(train_json)[0])
    assert torch.equal(clip["num_sounding"], torch.tensor([1, 1, 1, 1, 0, 0]))


def test_counts_are_of_the_frames_of_the_clip(cfg, train_json):
    cfg.INPUT.SAMPLING_FRAME_NUM = 3
    np.random.seed(0)
    record = load_aviseg_json(train_json)[0]
    for _ in range(10):
        clip = ClipMapper(cfg, is_train=True, audio_source=None)(record)
        wanted = [[2, 1, 2, 1, 1, 0][index] for index in clip["frame_indices"]]
        assert clip["num_sounding"].tolist() == wanted and clip["num_sounding"].dtype == torch.int64
    assert "num_sounding" not in ClipMapper(cfg, is_train=False, audio_source=None)(record)

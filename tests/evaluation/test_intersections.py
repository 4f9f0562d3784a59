import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from avis.evaluation.intersections import frame_intersections
from avis.evaluation.overlap import VideoOverlap
from avis.formats.tracks import GroundTruthTrack, MaskTrack, PredictedTrack, Video
from tests.evaluation.builders import rle


def mask_track(masks: np.ndarray) -> MaskTrack:
    areas = masks.sum((1, 2))
    rles = [rle(mask) if mask.any() else None for mask in masks]
    return MaskTrack(1, rles, areas, areas > 0, float(areas.mean()))


def track_iou(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Spatio-temporal IoU (D, G) of masks (D, T, h, w) and (G, T, h, w)."""
    length, height, width = predicted.shape[1:]
    overlap = VideoOverlap(
        Video(1, height, width, ["folder/0.jpg"] * length),
        [PredictedTrack(**vars(mask_track(masks)), score=0.5) for masks in predicted],
        [GroundTruthTrack(**vars(mask_track(masks)), is_crowd=False, id=1) for masks in true],
    )
    return overlap.tracks.iou


@st.composite
def two_sets_of_masks(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Masks (D, T, h, w) and (G, T, h, w), some of them empty."""
    length, height, width = draw(st.integers(1, 4)), draw(st.integers(1, 8)), draw(st.integers(1, 8))

    def masks(number: int) -> np.ndarray:
        seed = draw(st.integers(0, 2**32 - 1))
        generator = np.random.default_rng(seed)
        density = generator.choice([0, 0.1, 0.5, 0.9, 1], size=(number, length, 1, 1))
        return generator.random((number, length, height, width)) < density

    return masks(draw(st.integers(0, 3))), masks(draw(st.integers(0, 3)))


@settings(max_examples=150)
@given(two_sets_of_masks())
def test_same_as_with_dense_masks(sets: tuple[np.ndarray, np.ndarray]):
    predicted, true = sets
    both = predicted[:, None] & true
    either = predicted[:, None] | true
    expected = both.sum((2, 3, 4)) / np.maximum(either.sum((2, 3, 4)), 1)
    # fractions of the same whole numbers: equal to the last bit
    np.testing.assert_array_equal(track_iou(predicted, true), expected)
    tracks, true_tracks = [mask_track(masks) for masks in predicted], [mask_track(masks) for masks in true]
    if tracks and true_tracks:
        in_frames = frame_intersections(tracks, true_tracks)
        np.testing.assert_array_equal(in_frames, both.sum((3, 4)).transpose(2, 0, 1))


@given(st_numpy.arrays(bool, (2, 5, 6)))
def test_track_overlaps_itself_entirely(masks: np.ndarray):
    assert track_iou(masks[None], masks[None]) == (1 if masks.any() else 0)


def test_large_masks_are_counted_exactly():
    generator = np.random.default_rng(0)
    masks = generator.random((2, 1, 1080, 1920)) < 0.5
    first, second = mask_track(masks[0]), mask_track(masks[1])
    assert frame_intersections([first], [second]).item() == (masks[0] & masks[1]).sum()


def test_tracks_of_different_lengths_are_refused():
    masks = np.ones((3, 4, 4), bool)
    with pytest.raises(ValueError, match=r"numbers of frames: \[2, 3\]"):
        frame_intersections([mask_track(masks)], [mask_track(masks[:2])])

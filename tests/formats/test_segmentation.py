import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from avis.formats.segmentation import decode_segmentations


def decode(segmentation, height, width):
    return decode_segmentations([segmentation], ["mask"], height, width)[0]


def runs_of(mask):
    """Uncompressed counts, column by column, background first."""
    flat = mask.T.reshape(-1)
    changes = np.flatnonzero(np.diff(np.concatenate([[0], flat])))
    return np.diff(np.concatenate([[0], changes, [len(flat)]])).tolist()


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_compressed_and_uncompressed_rle_are_the_mask(height, width, grain, seed):
    rng = np.random.default_rng(seed)
    mask = np.kron(rng.random((height, width)) < rng.random(), np.ones((grain, grain))).astype(np.uint8)
    rle = coco_mask.encode(np.asfortranarray(mask))
    as_text = {"size": list(mask.shape), "counts": rle["counts"].decode("ascii")}
    uncompressed = {"size": list(mask.shape), "counts": runs_of(mask)}
    for form in (rle, as_text, uncompressed):
        np.testing.assert_array_equal(decode(form, *mask.shape), mask)


def test_polygons_are_the_union_of_their_parts():
    square = [2.0, 3.0, 12.0, 3.0, 12.0, 9.0, 2.0, 9.0]
    other = [20.0, 1.0, 26.0, 1.0, 26.0, 5.0, 20.0, 5.0]
    expected = np.zeros((16, 30), np.uint8)
    expected[3:9, 2:12] = 1
    expected[1:5, 20:26] = 1
    np.testing.assert_array_equal(decode([square, other], 16, 30), expected)


NOTHING = {
    "null": None,
    "empty list": [],
    "empty polygon": [[]],
    "two points": [[1.0, 1.0, 4.0, 4.0]],
    "box": [1.0, 1.0, 3.0, 3.0],
    "box as polygon": [[1, 1, 3, 3]],
    "line": [[1, 1, 4, 4, 2, 2]],
    "left of the picture": [[-9, 0, -4, 0, -4, 4, -9, 4]],
    "below the picture": [[0, 6, 4, 6, 4, 9, 0, 9]],
    "far away": [[1e9, 0, 2e9, 0, 2e9, 4]],
    "at 10^400": [[10**400, 0, 10**400, 1, 10**400, 4]],
    "RLE of background": {"size": [5, 7], "counts": [35]},
    "compressed RLE of background": {"size": [5, 7], "counts": "S1"},
    "RLE of nothing": {"size": [5, 7], "counts": ""},
    "RLE of no bytes": {"size": [5, 7], "counts": b""},
    "RLE of no runs": {"size": [5, 7], "counts": []},
    "RLE of runs of nothing": {"size": [5, 7], "counts": [0, 0]},
}


@pytest.mark.parametrize("form", NOTHING)
def test_masks_without_a_pixel_are_empty(form):
    mask = decode(NOTHING[form], 5, 7)
    assert mask.shape == (5, 7) and not mask.any()


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({"size": [5, 8], "counts": [40]}, "5×8, the video is 5×7"),
        ({"size": [5, 7], "counts": [5, 40]}, "45 pixels of 35"),
        ({"size": [5, 7], "counts": [5]}, "5 pixels of 35"),
        ({"size": [5, 7], "counts": "0d0"}, "covers 20 pixels, the video has 5×7, 35 pixels"),
        ({"size": [5, 7], "counts": [40, -5]}, "no natural numbers"),
        ({"size": [5, 7], "counts": [17.5, 17.5]}, "no natural numbers"),
        ([[0, 0, 1e9, 0, 3, 4]], r"coordinate 1e\+09 in a picture of 5×7"),
        ([[0, 0, 10**400, 0, 3, 4]], r"coordinate 1e\+300 in a picture"),
        ([[0, 0, float("nan"), 0, 3, 4]], "coordinate nan"),
        ({"counts": "0d0"}, "'size' and 'counts'"),
        ([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]], "7 numbers"),
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "list of lists"),
        ("0d0", "a str"),
    ],
)
def test_malformed_masks_are_refused(segmentation, message):
    with pytest.raises(ValueError, match=message):
        decode(segmentation, 5, 7)


def test_the_malformed_one_of_several_masks_is_named():
    square = {"size": [5, 7], "counts": [7, 14, 14]}
    for broken, message in (({"size": [5, 7], "counts": "0d0"}, "covers 20"), ("0d0", "a str")):
        with pytest.raises(ValueError, match=f"^third: .*{message}"):
            decode_segmentations([None, square, broken], ["first", "second", "third"], 5, 7)
    nothing, mask = decode_segmentations([None, square], ["first", "second"], 5, 7)
    assert nothing.sum() == 0 and mask.sum() == 14

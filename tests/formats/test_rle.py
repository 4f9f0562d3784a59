import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from pycocotools import mask as coco_mask

from avis.formats.rle import measure_rles

SIZE = (7, 9)
MASKS = st_numpy.arrays(bool, SIZE)


def counts_of(mask: np.ndarray) -> str:
    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode("ascii")


@given(st.lists(MASKS, min_size=1, max_size=6))
def test_pixels_of_many_masks_at_once(masks: list[np.ndarray]):
    inside, covered = measure_rles([counts_of(mask) for mask in masks])
    assert inside.tolist() == [mask.sum() for mask in masks]
    assert covered.tolist() == [7 * 9] * len(masks)


def test_runs_of_many_groups():
    mask = np.zeros((2000, 3000), bool, order="F")
    mask[5, 7] = mask[1999, 2000] = True
    mask[:, 2500:] = True
    inside, covered = measure_rles([counts_of(mask), counts_of(~mask)])
    assert inside.tolist() == [mask.sum(), (~mask).sum()]
    assert covered.tolist() == [mask.size] * 2


def test_no_masks():
    assert [part.tolist() for part in measure_rles([])] == [[], []]


@pytest.mark.parametrize(
    "counts",
    ["5P", "5 3", "5\x7f3", "N5", "5" + "o" * 30 + "1", "01110M"],
    ids=[
        "cut off",
        "below the range",
        "above the range",
        "negative run",
        "endless run",
        "negative difference",
    ],
)
def test_malformed_rle_is_told_from_its_neighbours(counts: str):
    good = counts_of(np.eye(7, 9, dtype=bool))
    _, covered = measure_rles([good, counts, good])
    assert covered.tolist() == [63, -1, 63]


def test_rle_without_runs_covers_nothing():
    assert measure_rles(["", "52"])[1].tolist() == [0, 7]


@given(MASKS, st.data())
def test_any_text_is_measured_or_refused(mask: np.ndarray, data: st.DataObject):
    good = counts_of(mask)
    text = data.draw(st.text(st.characters(max_codepoint=127), max_size=12))
    _, covered = measure_rles([text, good])
    assert covered[0] >= -1
    assert covered[1] == 63

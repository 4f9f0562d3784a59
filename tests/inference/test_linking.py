"""Linking windows: known permutations are found by queries, by masks and by both, and ids stay."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as mask_utils

from avis.inference import Linking
from avis.inference.linking import Linker, shared_iou, similarities
from avis.modeling.candidates import FoundQuery

HEIGHT, WIDTH = 12, 40
CHANNELS = 8


def box(left, width=6, top=2, height=8):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[top : top + height, left : left + width] = 1
    return mask_utils.encode(np.asfortranarray(mask))


def found(query, masks, probabilities=(0.7, 0.1), quality=1.0):
    return FoundQuery(torch.tensor(probabilities), torch.as_tensor(query).float(), quality, masks)


def ids(linker, start, objects):
    return [track.id for track in linker.link(start, objects)]


@settings(deadline=None, max_examples=40)
@given(st.data(), st.sampled_from([0.0, 0.5, 1.0]), st.integers(1, 5), st.integers(1, 3))
def test_a_permutation_is_found(data, query_weight, number, overlap):
    """Objects stand apart, and queries are orthogonal but for a little noise."""
    seed = data.draw(st.integers(0, 1000))
    noise = torch.randn(number, CHANNELS, generator=torch.Generator().manual_seed(seed)) * 0.1
    queries = torch.eye(CHANNELS)[:number]
    masks = [box(8 * index) for index in range(number)]
    linker = Linker(Linking(query_weight))
    first = [found(queries[index], [masks[index]] * 4) for index in range(number)]
    assert ids(linker, 0, first) == list(range(1, number + 1))
    order = data.draw(st.permutations(range(number)))
    second = [found(queries[index] + noise[index], [masks[index]] * 4) for index in order]
    assert ids(linker, 4 - overlap, second) == [index + 1 for index in order]


def test_masks_decide_between_queries_that_are_alike_and_queries_between_masks():
    same, other = [1.0, 0.0], [0.0, 1.0]
    left, right = [box(0)] * 4, [box(20)] * 4
    by_masks, by_queries = Linker(Linking()), Linker(Linking())
    ids(by_masks, 0, [found(same, left), found(same, right)])
    assert ids(by_masks, 2, [found(same, right), found(same, left)]) == [2, 1]
    ids(by_queries, 0, [found(same, left), found(other, left)])
    assert ids(by_queries, 2, [found(other, left), found(same, left)]) == [2, 1]


def test_the_assignment_is_the_best_of_all_and_not_greedy():
    """The second object is most like track 1 (0.9), but the first object has no other."""
    linker = Linker(Linking(query_weight=1.0, min_similarity=0.0))
    queries = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    ids(linker, 0, [found(query, [box(0)]) for query in queries])
    seen = torch.tensor([[0.8, 0.0, 0.6], [0.75, 0.66, 0.0]])
    assert ids(linker, 1, [found(query, [box(0)]) for query in seen]) == [1, 2]


def test_what_is_like_no_track_begins_one_and_ids_are_never_given_again():
    linker = Linker(Linking(patience=3))
    assert ids(linker, 0, [found([1.0, 0.0, 0.0], [box(0)] * 2)]) == [1]
    assert ids(linker, 1, [found([0.0, 1.0, 0.0], [box(20)] * 2)]) == [2]
    assert [track.id for track in linker.tracks] == [1, 2]
    assert ids(linker, 5, [found([1.0, 0.0, 0.0], [box(0)] * 2)]) == [1]  # not found for 3 frames
    assert [track.id for track in linker.tracks] == [1, 2]
    assert ids(linker, 11, [found([1.0, 0.0, 0.0], [box(0)] * 2)]) == [3]  # not found for 4 frames
    assert [track.id for track in linker.tracks] == [3]
    assert ids(linker, 12, [found([0.0, 1.0, 0.0], [box(20)] * 2)]) == [4]


def test_an_object_that_is_silent_keeps_its_id_by_its_query():
    linker = Linker(Linking())
    silent = [None] * 4
    assert ids(linker, 0, [found([1.0, 0.0], [box(0)] * 2 + [None] * 2)]) == [1]
    assert ids(linker, 2, [found([1.0, 0.1], silent)]) == [1]
    assert ids(linker, 4, [found([1.0, 0.0], [None] * 2 + [box(20)] * 2)]) == [1]


def test_iou_is_of_the_shared_frames_alone():
    """Track: frames 0–3, of which the window from 2 on shares two: 6 + 0 of 6 + 6 columns are in common."""
    linker = Linker(Linking())
    linker.link(0, [found([1.0], [box(20), box(20), box(0), box(0)])])
    objects = [
        found([1.0], [box(0), box(10), box(30), box(30)]),
        found([1.0], [None, None, box(0), box(0)]),
    ]
    np.testing.assert_allclose(shared_iou(linker.tracks, 2, objects), [[6 / 18, 0]])
    assert np.isnan(shared_iou(linker.tracks, 4, objects)).all()


def test_similarity_is_the_weighted_mean_of_cosine_and_iou():
    linker = Linker(Linking())
    linker.link(0, [found([1.0, 0.0], [box(0), box(0)])])
    objects = [found([1.2, 1.6], [box(3), box(3)]), found([-1.0, 0.0], [None, box(0)])]
    for weight, expected in ((0.0, [1 / 3, 0]), (0.25, [0.15 + 0.25, -0.25]), (1.0, [0.6, -1])):
        np.testing.assert_allclose(similarities(linker.tracks, 1, objects, weight), [expected], atol=1e-6)


def test_class_and_quality_are_means_weighted_by_the_frames_with_masks():
    linker = Linker(Linking())
    (track,) = linker.link(0, [found([1.0], [None, None], (0.1, 0.2), 0.5)])
    assert (track.category_id, track.score) == (1, pytest.approx(0.1))
    windows = [
        ([box(0), None], (0.9, 0.1), 0.9),  # the first with a mask: what was said before no longer counts
        ([box(0), box(0)], (0.6, 0.4), 0.6),
        ([None, None], (0.0, 0.0), 0.0),
    ]
    for start, (masks, probabilities, quality) in enumerate(windows, start=1):
        linker.link(start, [found([1.0], masks, probabilities, quality)])
    assert track.probabilities.tolist() == pytest.approx([0.7, 0.3])
    assert track.quality == pytest.approx(0.7)
    assert track.score == pytest.approx(0.49)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"query_weight": 1.5}, r"QUERY_WEIGHT\) is 1.5"), ({"patience": -1}, r"PATIENCE\) is -1 frames")],
)
def test_settings_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Linking(**options)

"""MOTA and IDF1, against all pairings of small videos and by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avis.evaluation.metrics.clear import count_clear
from avis.evaluation.metrics.identity import count_identity
from avis.evaluation.overlap import Detections


@st.composite
def detections(draw: st.DrawFn) -> Detections:
    """Small videos; the IoUs of a frame differ, unless they are 0, and one is exactly at the threshold."""
    length, num_predicted, num_true = (draw(st.integers(1, most)) for most in (5, 3, 3))
    generator = np.random.default_rng(draw(st.integers(0, 10**6)))
    shape = (length, num_predicted, num_true)
    iou = generator.random(shape) * (generator.random(shape) < 0.7)
    predicted, true = generator.random(shape[:2]) < 0.8, generator.random((length, num_true)) < 0.8
    iou[:, 0, 0] = 0.5
    return Detections(iou * predicted[:, :, None] * true[:, None], predicted, true)


def pairings(rows: list[int], columns: list[int]) -> list[tuple[tuple[int, int], ...]]:
    """All ways to pair some rows with some columns, one to one."""
    found = [()]
    for number in range(1, min(len(rows), len(columns)) + 1):
        for chosen in itertools.combinations(rows, number):
            found += [
                tuple(zip(chosen, order, strict=True)) for order in itertools.permutations(columns, number)
            ]
    return found


@settings(max_examples=150, deadline=None)
@given(detections())
def test_clear_by_definition(video: Detections):
    last: dict[int, int] = {}
    before: dict[int, int] = {}
    found = switches = 0
    for iou, predicted, true in zip(video.iou, video.predicted, video.true, strict=True):
        rows, columns = np.flatnonzero(predicted).tolist(), np.flatnonzero(true).tolist()
        if not (rows and columns):
            continue
        allowed = [
            pairs
            for pairs in pairings(rows, columns)
            if all(iou[row, column] >= 0.5 for row, column in pairs)
        ]
        best = max(
            allowed,
            key=lambda pairs: (
                sum(last.get(column) == row for row, column in pairs),
                sum(iou[row, column] for row, column in pairs),
            ),
        )
        found += len(best)
        switches += sum(before.get(column, row) != row for row, column in best)
        last = {column: row for row, column in best}
        before |= last
    counts = count_clear(video)
    assert (counts.found, counts.switches) == (found, switches)
    wrong, missed = int(video.predicted.sum()) - found, int(video.true.sum()) - found
    if video.predicted.any() and video.true.any():
        assert counts.mota == pytest.approx(1 - (wrong + missed + switches) / video.true.sum(), abs=1e-12)


@settings(max_examples=150, deadline=None)
@given(detections())
def test_identity_by_definition(video: Detections):
    num_predicted, num_true = video.iou.shape[1:]
    found = max(
        sum(int((video.iou[:, row, column] >= 0.5).sum()) for row, column in pairs)
        for pairs in pairings(list(range(num_predicted)), list(range(num_true)))
    )
    counts = count_identity(video)
    assert counts.found == found
    wrong, missed = int(video.predicted.sum()) - found, int(video.true.sum()) - found
    assert counts.idf1 == pytest.approx(found / max(1, found + wrong / 2 + missed / 2))


def detections_of(iou: list) -> Detections:
    values = np.array(iou, float)
    return Detections(values, np.ones(values.shape[:2], bool), np.ones((len(values), values.shape[2]), bool))


def test_a_pair_goes_on_though_another_overlaps_more():
    counts = count_clear(detections_of([[[0.9], [0.2]], [[0.6], [0.9]], [[0.1], [0.9]]]))
    assert (counts.found, counts.switches) == (3, 1)


def test_a_pair_is_remembered_over_frames_without_detections():
    absent = Detections(
        np.array([[[0.9], [0.1]], [[0.0], [0.0]], [[0.6], [0.9]]]),
        predicted=np.array([[1, 1], [0, 0], [1, 1]], bool),
        true=np.ones((3, 1), bool),
    )
    assert count_clear(absent).switches == 0

"""HOTA on cases small enough to count by hand, and against its definition spelled out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from avis.evaluation import evaluate_predictions
from avis.evaluation.metrics.hota import ALPHAS, FIELDS, count_hota, hota_fields, pool_hota
from avis.evaluation.overlap import Detections
from tests.evaluation.builders import annotation, columns, ground_truth, perfect, prediction, rle


def detections(iou: list | np.ndarray, predicted: list | None = None, true: list | None = None) -> Detections:
    """Of IoUs (T, D, G); tracks have a detection in all frames if nothing else is said."""
    iou = np.array(iou, float)
    predicted = np.ones(iou.shape[:2]) if predicted is None else predicted
    true = np.ones((iou.shape[0], iou.shape[2])) if true is None else true
    return Detections(iou, np.array(predicted, bool), np.array(true, bool))


def fields(*videos: Detections) -> dict[str, float]:
    return hota_fields(pool_hota(map(count_hota, videos)))


def half_found() -> Detections:
    """A track of 4 frames of which a prediction of 2 frames finds these 2."""
    return detections([[[1]], [[1]], [[0]], [[0]]], predicted=[[1], [1], [0], [0]])


def by_definition(video: Detections) -> dict[str, np.ndarray]:
    """Each field at each alpha, frame by frame and pair by pair, for a video in which something is found."""
    iou, num_frames = video.iou, len(video.iou)
    length, true_length = video.predicted.sum(0), video.true.sum(0)
    shares = np.zeros(iou.shape[1:])
    for t in range(num_frames):
        for d, g in np.ndindex(shares.shape):
            if iou[t, d, g]:
                shares[d, g] += iou[t, d, g] / (iou[t, d].sum() + iou[t, :, g].sum() - iou[t, d, g])
    alignment = shares / np.maximum(1, length[:, None] + true_length - shares)
    values = {name: [] for name in FIELDS}
    assigned = []
    for t in range(num_frames):
        predicted, true = np.flatnonzero(video.predicted[t]), np.flatnonzero(video.true[t])
        columns, rows = linear_sum_assignment(-(alignment * iou[t])[np.ix_(predicted, true)].T)
        assigned += [(t, predicted[row], true[column]) for row, column in zip(rows, columns, strict=True)]
    for alpha in ALPHAS:
        pairs = [pair for pair in assigned if iou[pair] >= alpha - 1e-15]
        together = np.zeros(shares.shape)
        for _, d, g in pairs:
            together[d, g] += 1
        found = max(1, len(pairs))
        values["DetA"].append(len(pairs) / (length.sum() + true_length.sum() - len(pairs)))
        values["DetRe"].append(len(pairs) / true_length.sum())
        values["DetPr"].append(len(pairs) / length.sum())
        values["LocA"].append(sum(iou[pair] for pair in pairs) / found if pairs else 1)
        for name, reference in (
            ("AssA", length[:, None] + true_length - together),
            ("AssRe", true_length + 0 * together),
            ("AssPr", length[:, None] + 0 * together),
        ):
            values[name].append(sum(together[d, g] / reference[d, g] for _, d, g in pairs) / found)
        values["HOTA"].append(np.sqrt(values["DetA"][-1] * values["AssA"][-1]))
    return {name: np.mean(numbers) for name, numbers in values.items()}


@st.composite
def videos(draw: st.DrawFn) -> Detections:
    """IoUs between a few tracks, with many ties, zeros and conflicts."""
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    few_values = draw(st.booleans())
    iou = generator.choice([0, 0.25, 0.5, 0.5, 1], shape) if few_values else generator.random(shape)
    predicted, true = generator.random(shape[:2]) < 0.8, generator.random((shape[0], shape[2])) < 0.8
    predicted[0, 0] = true[0, 0] = True
    return Detections(iou * predicted[:, :, None] * true[:, None], predicted, true)


@settings(max_examples=200, deadline=None)
@given(videos())
def test_same_as_by_definition(video: Detections):
    assert fields(video) == pytest.approx(by_definition(video), abs=1e-12)


def test_half_of_the_frames_found():
    # 2 of 4 detections found, nothing wrong: DetA 2/4; the track's pairs are 2 of 4: AssA 2/4
    halves = dict.fromkeys(("HOTA", "DetA", "AssA", "DetRe", "AssRe"), 0.5)
    assert fields(half_found()) == pytest.approx(halves | {"LocA": 1, "DetPr": 1, "AssPr": 1})


def test_identity_switch_costs_association_only():
    switched = detections([[[1], [0]], [[1], [0]], [[0], [1]], [[0], [1]]], [[1, 0], [1, 0], [0, 1], [0, 1]])
    values = fields(switched)
    assert (values["DetA"], values["LocA"]) == (1, 1)
    assert (values["AssA"], values["AssRe"], values["AssPr"]) == (0.5, 0.5, 1)
    assert values["HOTA"] == pytest.approx(np.sqrt(0.5))


@pytest.mark.parametrize(("iou", "num_alphas"), [(0.5, 10), (0.49, 9), (0.05, 1), (1, 19)])
def test_iou_equal_to_alpha_is_enough(iou: float, num_alphas: int):
    assert fields(detections([[[iou]]]))["DetA"] == pytest.approx(num_alphas / 19)


def test_tracks_that_fit_as_a_whole_are_paired():
    # in the first frame the second prediction overlaps more, over the video the first one fits better
    iou = [[[0.6], [0.7]], [[0.9], [0]], [[0.9], [0]]]
    counts = count_hota(detections(iou, predicted=[[1, 1], [1, 0], [1, 0]]))
    assert counts.localization[0] == pytest.approx(0.6 + 0.9 + 0.9)


def test_best_sum_of_a_frame_is_found_where_objects_compete():
    # taking the best pair first (0.9) would leave the other object without a partner
    frame = [[0.9, 0.8], [0.8, 0]]
    assert count_hota(detections([frame])).found[0] == 2


def test_videos_are_pooled_not_averaged():
    found_all, found_half = detections([[[1]]] * 12), half_found()
    # 12 + 2 pairs of 16 true and 14 predicted detections; association 12 · 1 + 2 · 1/2 over 14 pairs
    values = fields(found_all, found_half)
    assert values["DetA"] == pytest.approx(14 / 16)
    assert values["AssA"] == pytest.approx(13 / 14)


def test_categories_are_averaged_where_there_is_ground_truth():
    truth = ground_truth(annotation(columns(0, 5)))
    both = [prediction(columns(0, 5)), prediction(columns(9, 12), category_id=5)]
    metrics = evaluate_predictions(truth, both)
    assert metrics["HOTA"] == metrics["HOTA/dog"] == pytest.approx(100)
    assert metrics["HOTA/cat"] == -1


def test_wrong_category_is_not_found():
    truth = ground_truth(annotation(columns(0, 5)), annotation(columns(9, 12), category_id=5))
    metrics = evaluate_predictions(truth, [prediction(columns(0, 5)), prediction(columns(9, 12))])
    # dog: one of one found, and one wrong; cat: nothing
    assert metrics["DetA"] == pytest.approx((50 + 0) / 2)
    assert metrics["DetPr"] == pytest.approx((50 + 0) / 2)


def test_crowds_and_empty_masks_are_no_detections():
    empty = rle(np.zeros((20, 30)))
    truth = ground_truth(annotation(columns(0, 5)), annotation(columns(9, 12), iscrowd=1))
    found = [*perfect(truth)[:1], prediction([empty, None, empty])]
    assert evaluate_predictions(truth, found)["HOTA"] == pytest.approx(100)


def test_scores_do_not_matter():
    truth = ground_truth(annotation(columns(0, 5)))
    tracks = [prediction(columns(0, 4), 0.1), prediction(columns(3, 9), 0.9)]
    others = [prediction(columns(0, 4), 0.8), prediction(columns(3, 9), 0.2)]
    assert evaluate_predictions(truth, tracks)["HOTA"] == evaluate_predictions(truth, others)["HOTA"]


def test_hota_is_undefined_without_detections_to_be_found():
    metrics = evaluate_predictions(ground_truth(annotation(None)), [prediction(columns(0, 5))])
    assert {metrics[name] for name in FIELDS} == {-1}

"""Each rule of the metric on a case small enough to count by hand."""

import numpy as np
import pytest

from avis.evaluation import evaluate_predictions
from avis.evaluation.metrics.average_precision import ALL, MEDIUM, SMALL, match_tracks
from avis.evaluation.overlap import ComparedTracks
from avis.formats.tracks import GroundTruthTrack, PredictedTrack
from tests.evaluation.builders import LENGTH, annotation, columns, ground_truth, perfect, prediction

CATEGORY = 1
NO_MASKS = ([], np.zeros(0, np.int64), np.zeros(0, bool))


def true_track(area: float = 100, is_crowd: bool = False) -> GroundTruthTrack:
    return GroundTruthTrack(CATEGORY, *NO_MASKS, area, is_crowd, id=1)


def predicted_track(score: float = 0.5, area: float = 100) -> PredictedTrack:
    return PredictedTrack(CATEGORY, *NO_MASKS, area, score)


def outcome(predicted: list, true: list, iou: list, area: int = ALL) -> list[str]:
    """What becomes of each prediction at IoU 0.5, best score first."""
    iou = np.array(iou, float).reshape(len(predicted), len(true))
    matches = match_tracks(ComparedTracks.from_tracks(predicted, true, iou), CATEGORY)
    flags = zip(matches.right[area, 0], matches.wrong[area, 0], strict=True)
    return ["right" if right else "wrong" if wrong else "ignored" for right, wrong in flags]


def test_perfect_predictions():
    truth = ground_truth(annotation(columns(0, 5)), annotation(columns(9, 12), video_id=2, category_id=5))
    metrics = evaluate_predictions(truth, perfect(truth))
    found = ("AP", "AP50", "AP75", "APs", "AR1", "AR10", "AR100", "AP/dog", "AP/cat")
    expected = dict.fromkeys(found, 100) | {"APm": -1, "APl": -1}
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)


def test_average_precision_by_hand():
    truth = ground_truth(annotation(columns(0, 5)), annotation(columns(10, 15), video_id=2))
    predictions = [
        prediction(columns(0, 5), 0.9),
        prediction(columns(20, 25), 0.8),
        prediction(columns(10, 15), 0.7, video_id=2),
    ]
    metrics = evaluate_predictions(truth, predictions)
    # precision 1 at the recalls 0 … 0.50, 2/3 at 0.51 … 1
    assert metrics["AP"] == pytest.approx(100 * (51 + 50 * 2 / 3) / 101)
    assert metrics["AR1"] == metrics["AR100"] == 100


def test_iou_over_all_frames_decides():
    truth = ground_truth(annotation([columns(0, 4), columns(0, 4), None]))
    # 4 + 4 of 4 + 4 + 4 columns are right: IoU 2/3, so right at 0.50, 0.55, 0.60 and 0.65
    metrics = evaluate_predictions(truth, [prediction(columns(0, 4))])
    assert metrics["AP"] == pytest.approx(40)
    assert metrics["AP50"] == pytest.approx(100)
    assert metrics["AP75"] == 0


@pytest.mark.parametrize(("shared", "of"), [(1, 2), (3, 5), (3, 4), (9, 10)])
def test_iou_equal_to_a_threshold_is_enough(shared: int, of: int):
    truth = ground_truth(annotation(columns(0, of)))
    metrics = evaluate_predictions(truth, [prediction(columns(0, shared))])
    num_reached = round((shared / of - 0.5) / 0.05) + 1
    assert metrics["AP"] == pytest.approx(10 * num_reached)


def test_category_must_agree():
    truth = ground_truth(annotation(columns(0, 5)))
    metrics = evaluate_predictions(truth, [prediction(columns(0, 5), category_id=5)])
    assert metrics["AP"] == metrics["AP/dog"] == 0
    assert metrics["AP/cat"] == -1


def test_second_find_of_an_object_is_wrong():
    assert outcome([predicted_track(0.9), predicted_track(0.8)], [true_track()], [[0.7], [0.9]]) == [
        "right",
        "wrong",
    ]


def test_best_score_chooses_first():
    predicted = [predicted_track(0.8), predicted_track(0.9)]
    true = [true_track(), true_track()]
    # the second prediction takes the first object, which the other would need
    assert outcome(predicted, true, [[0.9, 0.1], [0.8, 0.7]]) == ["right", "wrong"]


def test_of_equal_overlaps_the_last_object_is_taken():
    matches = [predicted_track(0.9), predicted_track(0.8)]
    assert outcome(matches, [true_track(), true_track()], [[0.6, 0.6], [0.6, 0]]) == ["right", "right"]
    assert outcome(matches, [true_track(), true_track()], [[0.6, 0.6], [0, 0.6]]) == ["right", "wrong"]


def test_crowd_can_be_found_any_number_of_times_and_counts_for_nothing():
    predicted = [predicted_track(0.9), predicted_track(0.8), predicted_track(0.7)]
    true = [true_track(is_crowd=True), true_track()]
    assert outcome(predicted, true, [[0.9, 0], [0.9, 0], [0.9, 0.6]]) == ["ignored", "ignored", "right"]


def test_crowd_alone_leaves_the_metric_undefined():
    truth = ground_truth(annotation(columns(0, 5), iscrowd=1))
    assert evaluate_predictions(truth, perfect(truth))["AP"] == -1


def test_bounds_of_the_area_ranges_belong_to_both():
    at_bound = ([predicted_track(area=128**2)], [true_track(area=128**2)], [[1]])
    assert [outcome(*at_bound, area=area) for area in (ALL, SMALL, MEDIUM)] == [["right"]] * 3


def test_unmatched_prediction_outside_the_area_range_is_ignored():
    predicted = [predicted_track(0.9, area=100), predicted_track(0.8, area=200**2)]
    assert outcome(predicted, [true_track()], [[0], [0]], area=SMALL) == ["wrong", "ignored"]


def test_object_outside_the_area_range_may_be_found():
    true = [true_track(area=200**2)]
    assert outcome([predicted_track(area=100)], true, [[0.6]], area=SMALL) == ["ignored"]


def test_areas_in_the_annotations_count():
    truth = ground_truth(annotation(columns(0, 5), areas=[200**2, None, 0]))
    metrics = evaluate_predictions(truth, perfect(truth))
    # the prediction itself is small, which does not matter once it has found the object
    assert (metrics["APs"], metrics["APm"]) == (-1, pytest.approx(100))


def test_areas_are_measured_where_the_annotations_have_none():
    truth = ground_truth(annotation(columns(0, 5), areas=None))
    assert evaluate_predictions(truth, perfect(truth))["APs"] == pytest.approx(100)


def test_hundred_predictions_per_video_and_category_count():
    truth = ground_truth(annotation(columns(0, 5)), annotation(columns(0, 5), category_id=5))
    misses = [
        prediction(columns(20, 25), 0.9, category_id=category) for category in (2, 5) for _ in range(99)
    ]
    misses.append(prediction(columns(20, 25), 0.9, category_id=5))
    found = [prediction(columns(0, 5), 0.1, category_id=category) for category in (2, 5)]
    metrics = evaluate_predictions(truth, misses + found)
    assert metrics["AP/dog"] == pytest.approx(1)
    assert metrics["AP/cat"] == 0
    assert (metrics["AR10"], metrics["AR100"]) == (0, 50)


def test_recall_by_number_of_predictions_in_each_video():
    truth = ground_truth(
        annotation(columns(0, 5)), annotation(columns(10, 15)), annotation(columns(0, 5), video_id=2)
    )
    metrics = evaluate_predictions(truth, perfect(truth))
    assert metrics["AR1"] == pytest.approx(200 / 3)
    assert metrics["AR10"] == 100


def test_video_without_ground_truth_has_only_wrong_predictions():
    truth = ground_truth(annotation(columns(0, 5)))
    predictions = [prediction(columns(0, 5), 0.5), prediction(columns(0, 5), 0.9, video_id=2)]
    assert evaluate_predictions(truth, predictions)["AP"] == pytest.approx(50)


@pytest.mark.parametrize(("first", "second", "ap"), [(1, 2, 100), (2, 1, 50)])
def test_equal_scores_rank_by_video(first: int, second: int, ap: float):
    truth = ground_truth(annotation(columns(0, 5), video_id=first))
    predictions = [prediction(columns(0, 5), video_id=second), prediction(columns(0, 5), video_id=first)]
    assert evaluate_predictions(truth, predictions)["AP"] == pytest.approx(ap)


def test_equal_scores_in_a_video_keep_their_order():
    truth = ground_truth(annotation(columns(0, 5)))
    right, wrong = prediction(columns(0, 5)), prediction(columns(20, 25))
    assert evaluate_predictions(truth, [right, wrong])["AP"] == pytest.approx(100)
    assert evaluate_predictions(truth, [wrong, right])["AP"] == pytest.approx(50)


def test_nothing_predicted():
    metrics = evaluate_predictions(ground_truth(annotation(columns(0, 5))), [])
    ap_and_ar = {name: value for name, value in metrics.items() if name.startswith(("AP", "AR"))}
    assert {name for name, value in ap_and_ar.items() if value == -1} == {"APm", "APl", "AP/cat"}
    assert {value for value in ap_and_ar.values() if value != -1} == {0}


def test_nothing_to_find():
    metrics = evaluate_predictions(ground_truth(), [prediction(columns(0, 5))])
    assert {value for name, value in metrics.items() if name.startswith(("AP", "AR"))} == {-1}


def test_track_without_a_mask_is_found_by_none():
    truth = ground_truth(annotation(None))
    assert evaluate_predictions(truth, [prediction([None] * LENGTH)])["AP"] == 0

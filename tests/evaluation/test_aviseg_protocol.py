"""Each peculiarity of AVISM's released evaluation, beside the standard protocol."""

import numpy as np
import pytest

from avis.evaluation.api import evaluate_detailed, evaluate_predictions
from avis.formats.ground_truth import load_ground_truth
from avis.formats.results import load_predictions
from tests.evaluation.builders import annotation, columns, ground_truth, perfect, prediction, rle

# The size whose empty mask the release knows.
SIZE = {"height": 720, "width": 1280}


def both(truth: dict, predictions: list[dict], name: str) -> tuple[float, float]:
    """A metric by the standard and by the released evaluation."""
    return tuple(
        evaluate_predictions(truth, predictions, protocol)[name] for protocol in ("standard", "aviseg")
    )


def in_large_frames(truth: dict) -> dict:
    return {**truth, "videos": [{**video, **SIZE} for video in truth["videos"]]}


def box(first: int, last: int, size: dict = SIZE) -> dict:
    mask = np.zeros((size["height"], size["width"]))
    mask[:, first:last] = 1
    return rle(mask)


def test_unknown_protocol():
    with pytest.raises(ValueError, match="no protocol 'avis', only standard, aviseg, aviseg-dense"):
        evaluate_predictions(ground_truth(), [], "avis")


def test_metrics_of_the_release():
    truth = ground_truth(annotation(columns(0, 5)))
    names = set(evaluate_predictions(truth, [], "aviseg"))
    assert names == set(evaluate_predictions(truth, [])) - {"AR1", "AR10", "AR100"} | {"AR"}


@pytest.mark.parametrize(
    ("shared", "num_thresholds"), [(16, (7, 7)), (17, (8, 7)), (18, (9, 8)), (19, (10, 9))]
)
def test_iou_of_exactly_a_high_threshold_misses_it(shared: int, num_thresholds: tuple[int, int]):
    truth = ground_truth(annotation(columns(0, 20)))
    ap = both(truth, [prediction(columns(0, shared))], "AP")
    assert ap == pytest.approx(tuple(10 * number for number in num_thresholds))


def test_object_found_by_the_first_prediction_can_be_found_again():
    # the first prediction of the first folder has the number 0, which reads as "not taken"
    truth = ground_truth(annotation(columns(0, 5)), annotation(columns(10, 15)))
    twice = [prediction(columns(0, 5), 0.9), prediction(columns(0, 5), 0.8)]
    assert both(truth, twice, "AP") == pytest.approx((51 / 101 * 100, 100))
    # as the second of the file it takes its object
    in_second_place = [prediction(columns(20, 22), 0.1), *twice]
    assert both(truth, in_second_place, "AP") == pytest.approx((51 / 101 * 100, 51 / 101 * 100))


def test_crowd_is_found_once():
    truth = ground_truth(annotation(columns(0, 5), iscrowd=1), annotation(columns(10, 15)))
    first = prediction(columns(28, 29), 0.1, category_id=5)
    tracks = [first, *(prediction(columns(0, 5), score) for score in (0.9, 0.8)), prediction(columns(10, 15))]
    # the second find of the crowd is wrong
    assert both(truth, tracks, "AP/dog") == pytest.approx((100, 50))


def test_no_limit_of_predictions():
    truth = ground_truth(annotation(columns(0, 5)))
    misses = [prediction(columns(20, 25), 0.9) for _ in range(100)]
    assert both(truth, [*misses, prediction(columns(0, 5), 0.1)], "AP") == pytest.approx((0, 100 / 101))


def test_equal_scores_are_ordered_by_folder():
    truth = ground_truth(annotation(columns(0, 5)))
    for video, folder in zip(truth["videos"], "ba", strict=True):
        video["file_names"] = [f"{folder}/{name}" for name in video["file_names"]]
    tracks = [prediction(columns(0, 5)), prediction(columns(0, 5), video_id=2)]
    assert both(truth, tracks, "AP") == pytest.approx((100, 50))


def test_of_videos_in_one_folder_the_last_counts():
    content = ground_truth(annotation(columns(0, 5)), annotation(columns(0, 5), video_id=2))
    for video in content["videos"]:
        video["file_names"] = [f"all/{name}" for name in video["file_names"]]
    tracks = perfect(content)[1:]
    assert both(content, tracks, "AP") == pytest.approx((51 / 101 * 100, 100))
    truth = load_ground_truth(content)
    evaluation = evaluate_detailed(truth, load_predictions(tracks, truth), ["aviseg"])["aviseg"]
    assert evaluation.remarks == ["1 videos are left out: of several in one folder only the last counts"]


def test_empty_masks_are_detections():
    truth = ground_truth(annotation([columns(0, 5), None, None]))
    empty = columns(0, 0)
    assert both(truth, [prediction([columns(0, 5), None, empty])], "DetPr") == pytest.approx((100, 25))


def test_crowds_are_to_be_found():
    truth = ground_truth(annotation(columns(0, 5)), annotation(columns(10, 15), iscrowd=1))
    assert both(truth, perfect(truth)[:1], "HOTA/dog") == pytest.approx((100, 100 * np.sqrt(0.5)))


def test_categories_without_tracks_are_averaged():
    truth = ground_truth(annotation(columns(0, 5)))
    assert both(truth, perfect(truth), "HOTA") == pytest.approx((100, 50))
    assert both(truth, perfect(truth), "LocA") == pytest.approx((100, 100))


def test_empty_mask_is_known_by_720_times_1280_pixels():
    empty = columns(0, 0)
    # in the first two frames one source sounds, and the other prediction of its category is empty
    sounds = [[columns(0, 5)] * 2 + [empty], [empty] * 2 + [columns(9, 15)]]
    truth = ground_truth(
        *(annotation([mask if mask != empty else None for mask in masks]) for masks in sounds)
    )
    assert both(truth, [prediction(masks) for masks in sounds], "FSLAs") == pytest.approx((100, 0))


def test_empty_mask_of_the_known_size_is_none():
    empty = box(0, 0)
    sounds = [[box(0, 500)] * 2 + [empty], [empty] * 2 + [box(900, 1200)]]
    annotations = (annotation([mask if mask != empty else None for mask in masks]) for masks in sounds)
    truth = in_large_frames(ground_truth(*annotations))
    assert both(truth, [prediction(masks) for masks in sounds], "FSLAs") == pytest.approx((100, 100))


def test_silent_frame_is_right_in_videos_without_predictions_only():
    empty = box(0, 0)
    truth = in_large_frames(ground_truth(annotation([box(0, 500), None, None])))
    tracks = [prediction([box(0, 500), empty, empty])]
    # two silent frames beside the sound, and three of the second video
    assert both(truth, tracks, "FSLAn") == pytest.approx((100, 60))


def test_single_source_swaps_rows_and_columns():
    # one of three sounds in each frame, and the predictions are in another order: a cycle
    boxes = [box(0, 300), box(400, 700), box(800, 1200)]
    tracks = [[mask if frame == row else box(0, 0) for frame in range(3)] for row, mask in enumerate(boxes)]
    annotations = (annotation([mask if mask != box(0, 0) else None for mask in masks]) for masks in tracks)
    truth = in_large_frames(ground_truth(*annotations, num_videos=1))
    in_order = [prediction(masks) for masks in tracks]
    assert both(truth, in_order, "FSLAs") == pytest.approx((100, 100))
    assert both(truth, [in_order[row] for row in (1, 2, 0)], "FSLAs") == pytest.approx((100, 0))


def test_track_that_never_sounds_shifts_the_numbers():
    truth = in_large_frames(ground_truth(annotation(None), annotation([box(0, 500)] * 3), num_videos=1))
    assert both(truth, [prediction([box(0, 500)] * 3)], "FSLAs") == pytest.approx((100, 0))


def test_track_that_never_sounds_stands_for_the_next():
    # of three tracks, the two that sound are taken for the first two
    truth = ground_truth(annotation(None), annotation(columns(0, 5)), annotation(columns(10, 15)))
    assert both(truth, perfect(truth)[1:], "FSLAm") == pytest.approx((100, 0))


def test_prediction_that_is_null_throughout_has_no_number():
    truth = ground_truth(annotation(columns(0, 5)))
    assert both(truth, [prediction(None), prediction(columns(0, 5))], "FSLAs") == pytest.approx((100, 100))


def test_sound_of_a_silent_source_makes_the_frame_wrong():
    # in the first frame the second source sounds, which has no prediction, and the third one's prediction
    left, middle, right = columns(0, 5), columns(10, 15), columns(20, 25)
    truth = ground_truth(*map(annotation, ([left] * 3, [middle, None, None], [None, right, right])))
    tracks = [prediction(right), prediction(left)]
    assert both(truth, tracks, "FSLAm") == pytest.approx((200 / 3, 200 / 3))


def test_null_frames_break_fsla_only(caplog: pytest.LogCaptureFixture):
    masks = [
        [columns(0, 5)] * 3,
        [None, columns(9, 12), columns(9, 12)],
        [columns(15, 20), columns(15, 20), None],
    ]
    truth = ground_truth(*map(annotation, masks))
    metrics = evaluate_predictions(truth, perfect(truth), "aviseg")
    assert [metrics[f"FSLA{kind}"] for kind in ("", "n", "s", "m")] == [-1] * 4
    assert metrics["HOTA/dog"] == metrics["AP/dog"] == pytest.approx(100)
    assert (
        "FSLA is undefined (1 videos): video 1, frame 0: prediction 2 is looked up among the 2" in caplog.text
    )
    assert evaluate_predictions(truth, perfect(truth))["FSLA"] == pytest.approx(100)


def test_sources_are_numbered_by_id_and_looked_up_by_place():
    first, second = box(0, 5), box(10, 15)
    annotations = [annotation([first, None, None]), annotation([None, second, None])]
    truth = in_large_frames(ground_truth(*annotations))
    tracks = perfect(truth)
    assert evaluate_predictions(truth, tracks, "aviseg-dense")["FSLAs"] == 100
    for track, number in zip(truth["annotations"], (2, 1), strict=True):
        track["id"] = number
    assert evaluate_predictions(truth, tracks, "aviseg-dense")["FSLAs"] == 0
    assert evaluate_predictions(truth, tracks)["FSLAs"] == 100

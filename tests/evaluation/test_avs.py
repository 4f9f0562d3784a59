"""The metrics of audio-visual segmentation: AVSBench's numbers (tests/recorded/avs), also from tracks."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from avis.evaluation.metrics.avs_maps import SemanticScores, binary_metrics, score_label_maps, score_maps
from avis.evaluation.metrics.avs_tracks import evaluate_avs, score_tracks
from avis.formats.ground_truth import load_ground_truth
from avis.formats.results import load_predictions
from tests.evaluation.builders import annotation, columns, ground_truth, perfect, prediction, rle

DATA = Path(__file__).parents[1] / "recorded/avs"
BINARY_CASES = ("binary", "binary_some_silent", "binary_silent", "binary_saturated")
# The reference computes in float32.
TOLERANCE = 1e-5


@pytest.fixture(params=BINARY_CASES)
def binary_case(request: pytest.FixtureRequest) -> dict[str, np.ndarray]:
    return dict(np.load(DATA / f"{request.param}.npz"))


def test_j_is_that_of_avsbench(binary_case: dict):
    assert score_maps(binary_case["prob"], binary_case["gt"]).j == pytest.approx(
        float(binary_case["miou_one_batch"]), abs=TOLERANCE
    )
    alone = [
        score_maps(p[None], t[None]).j for p, t in zip(binary_case["prob"], binary_case["gt"], strict=True)
    ]
    assert alone == pytest.approx(binary_case["miou_per_frame"], abs=TOLERANCE)


def test_f_is_that_of_avsbench_for_one_batch(binary_case: dict):
    f = score_maps(binary_case["prob"], binary_case["gt"]).f
    expected = float(binary_case["fscore_one_batch"])
    if binary_case["gt"].any():
        assert f == pytest.approx(expected, abs=TOLERANCE)
    else:
        assert np.isnan(f) and expected == 0  # undefined, where AVSBench says 0


def test_averages_over_videos_are_those_that_avsbench_prints(binary_case: dict):
    size = int(binary_case["batch"])
    videos = [
        score_maps(binary_case["prob"][i : i + size], binary_case["gt"][i : i + size])
        for i in range(0, len(binary_case["gt"]), size)
    ]
    assert np.mean([video.j for video in videos]) == pytest.approx(
        float(binary_case["miou_avg"]), abs=TOLERANCE
    )
    f = np.mean(np.nan_to_num([video.f for video in videos]))
    assert f == pytest.approx(float(binary_case["fscore_avg"]), abs=TOLERANCE)
    if all(video.f >= 0 for video in videos):  # otherwise AVSBench counts 0 where it is undefined
        assert binary_metrics(videos)["F"] == pytest.approx(f)


def by_definition(probability: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """J and F of a video as AVSBench's code defines them, spelled out pixel by pixel."""
    ious = [
        (above & true).sum() / (above | true).sum() if true.any() else (~above).mean()
        for above, true in zip(probability > 0.5, truth, strict=True)
    ]
    curves = []
    for likely, true in zip(probability, truth, strict=True):
        curve = []
        for threshold in np.linspace(0, 1 - 1e-10, 255, dtype=np.float32):
            found = likely >= threshold
            right = (found & true).sum()
            precision, recall = right / max(found.sum(), 1e-20), right / max(true.sum(), 1e-20)
            curve.append(1.3 * precision * recall / (0.3 * precision + recall) if right else 0.0)
        if true.any():
            curves.append(curve)
    return float(np.mean(ious)), float(np.mean(curves, axis=0).max()) if curves else np.nan


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3, 0.8]))
def test_j_and_f_are_their_definitions(seed: int, share: float):
    generator = np.random.default_rng(seed)
    probability = generator.random((3, 4, 5)).round(2).astype(np.float32)
    truth = generator.random((3, 4, 5)) < share
    scores = score_maps(probability, truth)
    assert (scores.j, scores.f) == pytest.approx(by_definition(probability, truth), abs=1e-12, nan_ok=True)


def semantic_by_definition(predicted: np.ndarray, truth: np.ndarray, classes: int) -> tuple[float, float]:
    """mIoU and mF of AVSS: sums over frames for each class, over the frames in which it is seen."""
    ious, fs = [], []
    for number in range(classes):
        iou, f, frames = 0.0, 0.0, 0
        for one, other in zip(predicted == number, truth == number, strict=True):
            if not (one | other).any():
                continue
            right = (one & other).sum()
            frames, iou = frames + 1, iou + right / (one | other).sum()
            if right:
                precision, recall = right / one.sum(), right / other.sum()
                f += 1.3 * precision * recall / (0.3 * precision + recall)
        if frames:
            ious.append(iou / frames)
            fs.append(f / frames)
    return float(np.mean(ious)), float(np.mean(fs))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_scores_of_classes_are_their_definitions(seed: int):
    generator = np.random.default_rng(seed)
    predicted, truth = generator.integers(0, 4, (2, 3, 4, 5))
    found = score_label_maps(predicted, truth, num_classes=6).metrics()
    expected = semantic_by_definition(predicted, truth, 6)
    assert (found["mIoU"], found["mF"]) == pytest.approx(expected, abs=1e-12)


def test_map_of_classes_scores_as_in_avsbench():
    case = np.load(DATA / "semantic.npz")
    scores = score_label_maps(case["predicted"], case["gt"], num_classes=6)
    assert scores.iou == pytest.approx(case["iou_sum"], abs=TOLERANCE * 10)  # sums over ten frames
    assert scores.f_measure == pytest.approx(case["f_sum"], abs=TOLERANCE * 10)
    assert scores.num_frames.tolist() == case["cls_count"].tolist()
    expected = {"mIoU": float(case["miou"]), "mF": float(case["fscore"])}
    assert scores.metrics() == pytest.approx(expected, abs=TOLERANCE)


def test_a_class_that_never_occurs_does_not_count():
    case = np.load(DATA / "semantic.npz")
    more_classes = score_label_maps(case["predicted"], case["gt"], num_classes=9)
    expected = {"mIoU": float(case["miou"]), "mF": float(case["fscore"])}
    assert more_classes.metrics() == pytest.approx(expected, abs=TOLERANCE)


SIZE = (9, 11)
T = 3


@st.composite
def track_lists(draw: st.DrawFn) -> tuple[dict, list[dict]]:
    """Ground truth and predictions of one small video, with overlapping and empty masks."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def masks() -> list[dict | None]:
        corners = generator.integers(0, 8, (T, 2))
        drawn = np.zeros((T, *SIZE), bool)
        for frame, (top, left) in zip(drawn, corners, strict=True):
            frame[top : top + 6, left : left + 5] = generator.random() < 0.7
        return [rle(frame) if frame.any() else None for frame in drawn]

    video = {"id": 1, "height": SIZE[0], "width": SIZE[1], "file_names": [f"v/{t}.jpg" for t in range(T)]}
    true = [
        annotation(masks(), category_id=category, id=number)
        for number, category in enumerate(draw(st.lists(st.sampled_from([2, 5]), max_size=3)))
    ]
    scores = st.sampled_from([0, 0.1, 0.3, 0.5, 0.500001, 0.9, 1])
    predicted = [
        prediction(masks(), score, category_id=category)
        for score, category in draw(st.lists(st.tuples(scores, st.sampled_from([2, 5])), max_size=4))
    ]
    categories = [{"id": 2, "name": "dog"}, {"id": 5, "name": "cat"}]
    return {"videos": [video], "categories": categories, "annotations": true}, predicted


def decoded(mask: dict | None) -> np.ndarray:
    return np.zeros(SIZE, bool) if mask is None else coco_mask.decode(mask).astype(bool)


@settings(max_examples=60, deadline=None)
@given(track_lists())
def test_tracks_score_as_the_maps_that_they_make(drawn: tuple[dict, list[dict]]):
    content, entries = drawn
    labels = {2: 1, 5: 2}
    probability, chosen, true = np.zeros((T, *SIZE)), np.zeros((T, *SIZE), int), np.zeros((T, *SIZE), int)
    for entry in sorted(entries, key=lambda entry: entry["score"]):
        for t, mask in enumerate(entry["segmentations"]):
            probability[t][decoded(mask)] = entry["score"]
    above = [entry for entry in entries if entry["score"] > 0.5]
    for entry in sorted(above, key=lambda entry: -entry["score"])[::-1]:
        for t, mask in enumerate(entry["segmentations"]):
            chosen[t][decoded(mask)] = labels[entry["category_id"]]
    for track in content["annotations"]:
        for t, mask in enumerate(track["segmentations"]):
            true[t][decoded(mask)] = labels[track["category_id"]]

    truth = load_ground_truth(content)
    predictions = load_predictions(entries, truth)
    binary, semantic = score_tracks(predictions[1], truth.tracks[1], truth.videos[1], labels, 0.5)
    expected = score_maps(probability, true > 0)
    assert (binary.j, binary.f) == pytest.approx((expected.j, expected.f), nan_ok=True, abs=1e-12)
    assert semantic.metrics() == pytest.approx(score_label_maps(chosen, true, 3).metrics(), abs=1e-12)


def test_perfect_predictions_score_100():
    truth = ground_truth(annotation(columns(0, 5)), annotation([None, columns(9, 12), None], 2, 5))
    loaded = load_ground_truth(truth)
    metrics = evaluate_avs(loaded, load_predictions(perfect(truth, score=0.9), loaded))
    assert metrics == pytest.approx({"J": 100, "F": 100, "mIoU": 100, "mF": 100})


def test_without_a_sound_and_predictions_f_is_undefined():
    truth = load_ground_truth(ground_truth())
    metrics = evaluate_avs(truth, load_predictions([], truth))
    assert metrics == {"J": 100, "F": -1, "mIoU": 100, "mF": 100}


def test_the_better_scored_track_is_visible_in_the_map_of_classes():
    truth = load_ground_truth(ground_truth(annotation(columns(0, 10)), num_videos=1))
    above = prediction(columns(0, 10), score=0.8)
    below = prediction(columns(5, 10), score=0.7, category_id=5)
    assert evaluate_avs(truth, load_predictions([below, above], truth))["mIoU"] == pytest.approx(100)
    above["score"], below["score"] = 0.7, 0.8
    # dog: half of its 10 columns; cat: nothing right; background: all
    expected = 100 * (0.5 + 0 + 1) / 3
    assert evaluate_avs(truth, load_predictions([below, above], truth))["mIoU"] == pytest.approx(expected)


def test_only_tracks_above_the_threshold_are_in_the_maps():
    truth = load_ground_truth(ground_truth(annotation(columns(0, 10)), num_videos=1))
    predictions = load_predictions([prediction(columns(0, 10), score=0.4)], truth)
    assert evaluate_avs(truth, predictions)["J"] == 0
    assert evaluate_avs(truth, predictions, score_threshold=0.3)["J"] == pytest.approx(100)
    # F tries all thresholds by itself
    assert evaluate_avs(truth, predictions)["F"] == pytest.approx(100)


def test_a_false_alarm_in_a_silent_frame_costs_its_share_of_the_pixels():
    truth = load_ground_truth(ground_truth(num_videos=1))
    metrics = evaluate_avs(truth, load_predictions([prediction(columns(0, 6), score=0.9)], truth))
    assert metrics["J"] == pytest.approx(100 * 24 / 30)
    assert SemanticScores.zero(3).metrics() == pytest.approx({"mIoU": np.nan, "mF": np.nan}, nan_ok=True)

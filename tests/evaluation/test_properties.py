"""What holds for all predictions."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avis.evaluation.api import PROTOCOLS, evaluate_detailed, evaluate_predictions
from avis.formats.ground_truth import load_ground_truth
from avis.formats.results import load_predictions
from tests.evaluation.builders import annotation, columns, ground_truth, perfect, prediction
from tests.evaluation.recorded import with_empty_masks

each_protocol = pytest.mark.parametrize("protocol", PROTOCOLS)


@st.composite
def masks(draw: st.DrawFn) -> list[dict | None]:
    """Some columns but the last, others in each of the three frames, at least one frame with a mask."""
    first = draw(st.lists(st.integers(0, 23), min_size=3, max_size=3))
    widths = draw(st.lists(st.integers(0, 6), min_size=3, max_size=3).filter(any))
    return [columns(a, a + width) if width else None for a, width in zip(first, widths, strict=True)]


UNIT = {"video_id": st.sampled_from((1, 2)), "category_id": st.sampled_from((2, 5))}
ANNOTATIONS = st.lists(st.builds(annotation, masks(), **UNIT, iscrowd=st.integers(0, 1)), max_size=4)
# scores of their own, so that no order depends on the order in the file
SCORES = st.lists(st.floats(0.01, 1), unique=True, min_size=6, max_size=6)


@st.composite
def predictions(draw: st.DrawFn) -> list[dict]:
    scores = draw(SCORES)
    number = draw(st.integers(0, 6))
    return [
        prediction(draw(masks()), score, draw(UNIT["video_id"]), draw(UNIT["category_id"]))
        for score in scores[:number]
    ]


@st.composite
def objects_apart(draw: st.DrawFn) -> list[dict]:
    """Objects that never overlap, each in six columns of its own."""
    widths = draw(st.lists(st.lists(st.integers(0, 6), min_size=3, max_size=3).filter(any), max_size=4))
    return [
        annotation(
            [columns(6 * place, 6 * place + width) if width else None for width in track],
            draw(UNIT["video_id"]),
            draw(UNIT["category_id"]),
        )
        for place, track in enumerate(widths)
    ]


@st.composite
def predictions_apart(draw: st.DrawFn) -> list[dict]:
    """Predictions of which each may overlap one of `objects_apart`."""
    return [
        {**track, "score": score} for track, score in zip(draw(objects_apart()), draw(SCORES), strict=False)
    ]


@settings(max_examples=50, deadline=None)
@given(objects_apart())
def test_perfect_predictions_give_100(annotations: list[dict]):
    truth = ground_truth(*annotations)
    metrics = evaluate_predictions(truth, perfect(truth))
    undefined = {name for name, value in metrics.items() if value == -1}
    assert undefined >= {"APm", "APl"}
    assert bool(annotations) == ("AP" not in undefined) == ("HOTA" not in undefined)
    assert "FSLA" not in undefined
    # one prediction of a category and video cannot find several objects
    expected = {name: 100 for name in metrics if name not in undefined and name != "AR1"}
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)


@settings(max_examples=50, deadline=None)
@given(ANNOTATIONS, predictions(), st.randoms(use_true_random=False))
def test_order_in_the_files_does_not_matter_for_ap(annotations: list[dict], tracks: list[dict], random):
    truth = ground_truth(*annotations)
    expected = evaluate_predictions(truth, tracks)
    for entries in (tracks, truth["videos"], truth["categories"]):
        random.shuffle(entries)
    metrics = evaluate_predictions(truth, tracks)
    assert all(metrics[name] == value for name, value in expected.items() if name.startswith(("AP", "AR")))


@settings(max_examples=50, deadline=None)
@given(objects_apart(), predictions_apart(), st.randoms(use_true_random=False))
def test_order_in_the_files_does_not_matter(annotations: list[dict], tracks: list[dict], random):
    truth = ground_truth(*annotations)
    expected = evaluate_predictions(truth, tracks)
    for entries in (tracks, truth["videos"], truth["categories"], truth["annotations"]):
        random.shuffle(entries)
    assert evaluate_predictions(truth, tracks) == pytest.approx(expected)


@settings(max_examples=50, deadline=None)
@given(ANNOTATIONS, predictions(), UNIT["video_id"], UNIT["category_id"])
def test_false_positive_of_the_lowest_score_never_raises_a_metric(
    annotations: list[dict], tracks: list[dict], video_id: int, category_id: int
):
    truth = ground_truth(*annotations)
    before = evaluate_predictions(truth, tracks)
    # no annotation reaches the last column
    false_positive = prediction([columns(29, 30)] * 3, 0.001, video_id, category_id)
    after = evaluate_predictions(truth, [*tracks, false_positive])
    assert all(after[name] <= before[name] + 1e-9 for name in before)


@each_protocol
@settings(max_examples=40, deadline=None)
@given(annotations=ANNOTATIONS, tracks=predictions())
def test_metrics_are_percentages_or_undefined(protocol: str, annotations: list[dict], tracks: list[dict]):
    metrics = evaluate_predictions(ground_truth(*annotations), tracks, protocol)
    values = np.array(list(metrics.values()))
    assert np.all((values == -1) | ((values >= 0) & (values <= 100 + 1e-9)))
    assert metrics["AP"] <= metrics["AP50"] + 1e-9
    assert metrics["HOTA"] <= np.sqrt(metrics["DetA"] * metrics["AssA"]) + 1e-9


@settings(max_examples=40, deadline=None)
@given(ANNOTATIONS, predictions())
def test_recall_grows_with_the_number_of_predictions(annotations: list[dict], tracks: list[dict]):
    metrics = evaluate_predictions(ground_truth(*annotations), tracks)
    assert metrics["AR1"] <= metrics["AR10"] <= metrics["AR100"]


@settings(max_examples=30, deadline=None)
@given(ANNOTATIONS, predictions(), st.floats(0.1, 10))
def test_only_the_order_of_scores_matters(annotations: list[dict], tracks: list[dict], factor: float):
    truth = ground_truth(*annotations)
    expected = evaluate_predictions(truth, tracks)
    scaled = [{**track, "score": track["score"] ** 3 * factor} for track in tracks]
    if len({track["score"] for track in scaled}) == len(tracks):
        assert evaluate_predictions(truth, scaled) == expected


@settings(max_examples=40, deadline=None)
@given(ANNOTATIONS, predictions())
def test_null_and_empty_masks_are_the_same(annotations: list[dict], tracks: list[dict]):
    truth = ground_truth(*annotations)
    dense = with_empty_masks(truth, tracks)
    assert evaluate_predictions(truth, dense) == evaluate_predictions(truth, tracks)
    as_released = evaluate_predictions(truth, tracks, "aviseg-dense")
    assert evaluate_predictions(truth, dense, "aviseg") == as_released


@each_protocol
@settings(max_examples=40, deadline=None)
@given(annotations=ANNOTATIONS, tracks=predictions())
def test_counts_of_separate_videos_can_be_put_together(
    protocol: str, annotations: list[dict], tracks: list[dict]
):
    truth = load_ground_truth(ground_truth(*annotations))
    loaded = load_predictions(tracks, truth)
    whole = evaluate_detailed(truth, loaded, [protocol])[protocol]
    parts = []
    for video_id, video in truth.videos.items():
        share = dataclasses.replace(truth, videos={video_id: video})
        parts.append(evaluate_detailed(share, loaded, [protocol])[protocol])
    together = dataclasses.replace(parts[1], truth=truth, videos=parts[1].videos | parts[0].videos)
    assert together.metrics() == whole.metrics()
    for video_id, part in zip(truth.videos, parts, strict=True):
        if protocol == "standard":
            assert whole.metrics([video_id]) == part.metrics()

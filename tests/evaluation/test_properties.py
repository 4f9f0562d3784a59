"""What holds for all predictions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avis.evaluation import evaluate_predictions
from tests.evaluation.builders import annotation, columns, ground_truth, perfect, prediction

RANKED = ("AP", "AP50", "AP75", "APs", "AP/dog", "AP/cat")


@st.composite
def masks(draw: st.DrawFn) -> list[dict | None]:
    """Some columns, other ones in each of the three frames, at least one frame with a mask."""
    first = draw(st.lists(st.integers(0, 24), min_size=3, max_size=3))
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


@settings(max_examples=50)
@given(ANNOTATIONS)
def test_perfect_predictions_give_100(annotations: list[dict]):
    truth = ground_truth(*({**track, "iscrowd": 0} for track in annotations))
    metrics = evaluate_predictions(truth, perfect(truth))
    undefined = {name for name, value in metrics.items() if value == -1}
    assert undefined >= {"APm", "APl"}
    expected = {name: 100 for name in metrics if name not in undefined and name != "AR1"}
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)
    assert bool(annotations) == (metrics["AP"] > 0)


@settings(max_examples=50)
@given(ANNOTATIONS, predictions(), st.randoms(use_true_random=False))
def test_order_in_the_files_does_not_matter(annotations: list[dict], tracks: list[dict], random):
    truth = ground_truth(*annotations)
    shuffled = ground_truth(*annotations)
    expected = evaluate_predictions(truth, tracks)
    for entries in (tracks, shuffled["videos"], shuffled["categories"]):
        random.shuffle(entries)
    assert evaluate_predictions(shuffled, tracks) == expected


@settings(max_examples=50)
@given(ANNOTATIONS, predictions(), st.sampled_from((1, 2)), st.sampled_from((2, 5)))
def test_false_positive_of_the_lowest_score_never_raises_ap(
    annotations: list[dict], tracks: list[dict], video_id: int, category_id: int
):
    truth = ground_truth(*annotations)
    before = evaluate_predictions(truth, tracks)
    # no annotation reaches the last column
    false_positive = prediction([columns(29, 30)] * 3, 0.001, video_id, category_id)
    after = evaluate_predictions(truth, [*tracks, false_positive])
    assert all(after[name] <= before[name] + 1e-9 for name in RANKED)


@settings(max_examples=50)
@given(ANNOTATIONS, predictions())
def test_metrics_are_percentages_or_undefined(annotations: list[dict], tracks: list[dict]):
    metrics = evaluate_predictions(ground_truth(*annotations), tracks)
    values = np.array(list(metrics.values()))
    assert np.all((values == -1) | ((values >= 0) & (values <= 100 + 1e-9)))
    assert metrics["AR1"] <= metrics["AR10"] <= metrics["AR100"]
    assert metrics["AP75"] <= metrics["AP"] + 1e-9 or metrics["AP75"] <= metrics["AP50"] + 1e-9
    assert metrics["AP"] <= metrics["AP50"] + 1e-9


@settings(max_examples=30)
@given(ANNOTATIONS, predictions(), st.floats(0.1, 10))
def test_only_the_order_of_scores_matters(annotations: list[dict], tracks: list[dict], factor: float):
    truth = ground_truth(*annotations)
    expected = evaluate_predictions(truth, tracks)
    scaled = [{**track, "score": track["score"] ** 3 * factor} for track in tracks]
    if len({track["score"] for track in scaled}) == len(tracks):
        assert evaluate_predictions(truth, scaled) == expected

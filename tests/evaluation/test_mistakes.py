"""Kinds of mistakes and what they cost, on videos of three or ten frames made by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avis.evaluation import evaluate_predictions
from avis.evaluation.diagnosis.mistakes import JudgedTracks, Mistake, ap50, judge_tracks, mend, mistake_costs
from avis.evaluation.overlap import VideoOverlap
from avis.formats.ground_truth import load_ground_truth
from avis.formats.results import load_predictions
from tests.evaluation.builders import (
    CATEGORIES,
    LENGTH,
    annotation,
    columns,
    ground_truth,
    perfect,
    prediction,
)

CATEGORY_IDS = [category["id"] for category in CATEGORIES]
TEN = 10


def judge(truth: dict, entries: list[dict]) -> JudgedTracks:
    loaded = load_ground_truth(truth)
    predictions = load_predictions(entries, loaded)
    return JudgedTracks.pool(
        judge_tracks(VideoOverlap(video, predictions[video_id], loaded.tracks[video_id]))
        for video_id, video in loaded.videos.items()
    )


def ten_frames(*annotations: dict) -> dict:
    truth = ground_truth(*annotations, num_videos=1)
    truth["videos"][0] |= {"length": TEN, "file_names": [f"1/{t}.jpg" for t in range(TEN)]}
    return truth


def during(mask: dict, first: int, last: int) -> list[dict | None]:
    """The mask in frames first … last - 1 of ten."""
    return [mask if first <= t < last else None for t in range(TEN)]


def joined(*parts: list[dict | None]) -> list[dict | None]:
    return [next((mask for mask in masks if mask), None) for masks in zip(*parts, strict=True)]


DOG = annotation(columns(0, 10))


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        (prediction(columns(0, 10)), ""),
        (prediction(columns(0, 10), category_id=5), Mistake.WRONG_CLASS),
        (prediction(columns(0, 4)), Mistake.POOR_MASK),
        (prediction([columns(0, 10), None, None]), Mistake.SOUNDING_INTERVAL),
        (prediction(columns(20, 30)), Mistake.FALSE_POSITIVE),
        # IoU of 1 / 19 with the dog: nobody means that
        (prediction(columns(9, 19)), Mistake.FALSE_POSITIVE),
        (prediction(columns(0, 4), category_id=5), Mistake.FALSE_POSITIVE),
        (prediction(columns(0, 10), video_id=2), Mistake.FALSE_POSITIVE),
    ],
)
def test_kind_of_one_prediction(entry: dict, kind: str):
    judged = judge(ground_truth(DOG), [entry])
    assert judged.mistakes.tolist() == [kind]
    assert judged.missed.tolist() == [kind == Mistake.FALSE_POSITIVE]


def test_second_prediction_of_a_track_is_a_duplicate():
    judged = judge(ground_truth(DOG), [prediction(columns(0, 8), 0.4), prediction(columns(0, 10), 0.9)])
    assert judged.mistakes.tolist() == ["", Mistake.DUPLICATE]
    assert judged.scores.tolist() == [0.9, 0.4]


def test_switch_between_two_tracks_that_sound_all_along():
    left, right = columns(0, 10), columns(15, 25)
    truth = ten_frames(annotation([left] * TEN), annotation([right] * TEN))
    judged = judge(truth, [prediction(joined(during(left, 0, 6), during(right, 6, TEN)))])
    assert judged.mistakes.tolist() == [Mistake.IDENTITY_SWITCH]
    assert judged.targets.tolist() == [0]
    assert judged.missed.tolist() == [False, True]


def test_a_glance_at_another_track_is_no_switch():
    left, right = columns(0, 10), columns(15, 25)
    truth = ten_frames(annotation([left] * TEN), annotation([right] * TEN))
    # Frames 0 to 3 on the one, frame 4 on the other: 1 of 5 is a switch, 1 of 6 none.
    one_of_five = prediction(joined(during(left, 0, 4), during(right, 4, 5)))
    one_of_six = prediction(joined(during(left, 0, 4), during(right, 4, 5), during(columns(28, 30), 5, 6)))
    assert judge(truth, [one_of_five]).mistakes.tolist() == [Mistake.IDENTITY_SWITCH]
    assert judge(truth, [one_of_six]).mistakes.tolist() != [Mistake.IDENTITY_SWITCH]


def test_sounding_too_long_is_an_error_of_the_interval():
    mask = columns(0, 10)
    truth = ten_frames(annotation(during(mask, 0, 4)))
    assert judge(truth, [prediction([mask] * TEN)]).mistakes.tolist() == [Mistake.SOUNDING_INTERVAL]


def test_crowds_are_neither_missed_nor_mistaken():
    truth = ground_truth({**DOG, "iscrowd": 1})
    judged = judge(truth, [prediction(columns(0, 10)), prediction(columns(0, 10), category_id=5)])
    assert not judged.missed.any()
    # The first is ignored as AP ignores it; the other class is no mistake about a crowd.
    assert judged.mistakes.tolist() == [Mistake.FALSE_POSITIVE]


def test_perfect_predictions_make_no_mistakes():
    truth = ground_truth(DOG, annotation(columns(5, 9), 2, 5))
    costs = mistake_costs(judge(truth, perfect(truth)), CATEGORY_IDS)
    assert all((cost.count, cost.gain, cost.share) == (0, 0, 0) for cost in costs.values())


def test_no_predictions_lose_everything_by_missing():
    truth = ground_truth(DOG, annotation(columns(5, 9), 2, 5))
    costs = mistake_costs(judge(truth, []), CATEGORY_IDS)
    missed = costs[Mistake.MISSED]
    assert (missed.count, missed.gain, missed.share) == (2, 100, 100)
    assert sum(cost.gain for cost in costs.values()) == 100


def test_without_ground_truth_costs_are_undefined():
    costs = mistake_costs(judge(ground_truth(), [prediction(columns(0, 5))]), CATEGORY_IDS)
    assert costs[Mistake.FALSE_POSITIVE].count == 1
    assert all(np.isnan(cost.gain) for cost in costs.values())


def test_cost_of_each_kind_is_what_mending_it_gains():
    truth = ground_truth(DOG, annotation(columns(12, 20)), annotation(columns(0, 10), 2, 5))
    entries = [
        prediction(columns(25, 30), 0.9),  # false positive above the dog that is found: precision 1/2
        prediction(columns(0, 10), 0.8),
        prediction(columns(0, 10), 0.7, 2, 2),  # the cat, called a dog
    ]
    costs = mistake_costs(judge(truth, entries), CATEGORY_IDS)
    # Dog: one of two found at precision 1/2 (51 of 101 recalls); cat: none.
    now = 100 * (51 / 101 / 2 + 0) / 2
    assert ap50(judge(truth, entries), CATEGORY_IDS) == pytest.approx(now)
    assert costs[Mistake.FALSE_POSITIVE].gain == pytest.approx(100 * (51 / 101) / 2 - now)
    assert costs[Mistake.WRONG_CLASS].gain == pytest.approx(100 * (51 / 101 / 2 + 1) / 2 - now)
    assert costs[Mistake.MISSED].gain == pytest.approx(100 * (1 / 2 + 0) / 2 - now)
    assert sum(cost.share for cost in costs.values()) == pytest.approx(100)


def test_mended_prediction_of_a_found_track_is_removed():
    entries = [prediction(columns(0, 10), 0.9), prediction(columns(0, 10), 0.95, category_id=5)]
    mended = mend(judge(ground_truth(DOG), entries), Mistake.WRONG_CLASS)
    assert (mended.categories.tolist(), mended.mistakes.tolist()) == ([2], [""])


def test_of_two_poor_masks_the_better_scored_is_mended():
    entries = [prediction(columns(0, 3), 0.3), prediction(columns(0, 4), 0.6)]
    mended = mend(judge(ground_truth(DOG), entries), Mistake.POOR_MASK)
    assert (mended.scores.tolist(), mended.targets.tolist(), mended.mistakes.tolist()) == ([0.6], [0], [""])


@st.composite
def data_sets(draw: st.DrawFn) -> tuple[dict, list[dict]]:
    def masks() -> list[dict | None]:
        first = draw(st.integers(0, 24))
        mask = columns(first, first + draw(st.integers(2, 6)))
        return [mask if draw(st.booleans()) else None for _ in range(LENGTH)]

    def some(count: int) -> list[tuple]:
        places = st.tuples(st.sampled_from([1, 2]), st.sampled_from(CATEGORY_IDS))
        return draw(st.lists(places, max_size=count))

    truth = ground_truth(
        *(annotation(masks(), *place, iscrowd=int(draw(st.integers(0, 5)) == 0)) for place in some(4))
    )
    scores = st.sampled_from([0.1, 0.5, 0.9])
    return truth, [prediction(masks(), draw(scores), *place) for place in some(6)]


@settings(max_examples=80, deadline=None)
@given(data_sets())
def test_ap50_before_mending_is_the_reported_one(drawn: tuple[dict, list[dict]]):
    expected = evaluate_predictions(*drawn)["AP50"]
    value = ap50(judge(*drawn), CATEGORY_IDS)
    assert (-1 if np.isnan(value) else value) == pytest.approx(expected)


@settings(max_examples=80, deadline=None)
@given(data_sets())
def test_mending_never_costs(drawn: tuple[dict, list[dict]]):
    costs = mistake_costs(judge(*drawn), CATEGORY_IDS)
    gains = [cost.gain for cost in costs.values()]
    assert np.isnan(gains).all() or min(gains) >= -1e-9


@settings(max_examples=40, deadline=None)
@given(data_sets())
def test_nothing_is_lost_once_all_is_mended(drawn: tuple[dict, list[dict]]):
    judged = judge(*drawn)
    defined = not np.isnan(ap50(judged, CATEGORY_IDS))
    for kind in Mistake:
        judged = mend(judged, kind)
    value = ap50(judged, CATEGORY_IDS)
    assert np.isnan(value) or (defined and value == pytest.approx(100))

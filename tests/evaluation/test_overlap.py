"""Which predicted track has found which object, whatever the classes."""

from avis.evaluation.overlap import VideoOverlap, found_tracks
from avis.formats.ground_truth import load_ground_truth
from avis.formats.results import load_predictions
from tests.evaluation.builders import annotation, columns, ground_truth, prediction


def found(objects: list[dict], predictions: list[dict]) -> dict[int, int]:
    truth = load_ground_truth(ground_truth(*map(annotation, objects)))
    predicted = load_predictions(predictions, truth)
    return found_tracks(VideoOverlap(truth.videos[1], predicted[1], truth.tracks[1]))


def test_tracks_are_paired_one_to_one_by_overlap():
    objects = [columns(0, 6), columns(8, 14), columns(16, 22)]
    # The second prediction also lies on the first object, but less exactly.
    predictions = [
        prediction(columns(16, 22)),
        prediction(columns(1, 7)),
        prediction(columns(0, 6), category_id=5),
    ]
    assert found(objects, predictions) == {0: 2, 2: 0}


def test_tracks_that_hardly_overlap_are_no_pair():
    assert found([columns(0, 10)], [prediction(columns(9, 19))]) == {}
    assert found([columns(0, 10)], [prediction(columns(8, 18))]) == {0: 0}


def test_nothing_is_found_among_nothing():
    assert found([], [prediction(columns(0, 5))]) == found([columns(0, 5)], []) == {}

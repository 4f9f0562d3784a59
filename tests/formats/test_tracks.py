"""Tracks as drawing takes them."""

from avis.formats.ground_truth import load_ground_truth
from avis.formats.results import load_predictions
from tests.evaluation.builders import HEIGHT, LENGTH, WIDTH, annotation, columns, ground_truth, prediction


def test_tracks_are_drawn_with_class_indices_and_scores():
    truth = load_ground_truth(ground_truth(annotation([columns(0, 5), None, None], category_id=5)))
    predicted = load_predictions([prediction(columns(0, 9), 0.25)], truth)
    video = truth.videos[1]
    drawn = truth.to_prediction(video, [*truth.tracks[1], *predicted[1]])
    assert (drawn.video_id, drawn.height, drawn.width, drawn.length) == (1, HEIGHT, WIDTH, LENGTH)
    assert [(track.score, track.category_id) for track in drawn.tracks] == [(1.0, 1), (0.25, 0)]
    assert list(drawn.tracks[0].segmentations) == [columns(0, 5), None, None]

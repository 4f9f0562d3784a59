"""Colours of tracks."""

from avis.visualization.drawing import matched_colors, track_color


def test_a_prediction_has_the_colour_of_what_it_has_found_and_others_their_own():
    true, predicted = matched_colors(2, 4, found={1: 1, 2: 0})
    assert true == [track_color(0), track_color(1)]
    assert predicted == [track_color(2), track_color(1), track_color(0), track_color(3)]


def test_without_tracks_there_are_no_colours():
    assert matched_colors(0, 0, {}) == ([], [])

"""Tables and timelines of what was found."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from avis.app.found import ALL_TRACKS, Found
from avis.inference import prediction_to_json
from avis.structures import Track, VideoPrediction
from avis.visualization.drawing import track_color
from tests.small_dataset import CATEGORIES, compressed, object_mask

MASK = compressed(object_mask(2, 4))


def found(*tracks: tuple[float, int, str], fps: float = 1.0) -> Found:
    """Of (score, class, in which frames it sounds: "x" or "-")."""
    made = [
        Track(score, index, [MASK if char == "x" else None for char in sounds])
        for score, index, sounds in tracks
    ]
    prediction = VideoPrediction("clip", 48, 64, len(tracks[0][2]), made)
    return Found.sorted(prediction_to_json(prediction, fps, CATEGORIES))


def test_the_table_says_when_and_how_long_each_sounds():
    rows = found((0.2, 1, "-x--"), (0.9, 0, "xx-x"), (0.1, 0, "----"), fps=2).rows()
    assert rows == [
        [1, "violin", "0.90", "0–1, 1.5–2", "1.5"],
        [2, "dog", "0.20", "0.5–1", "0.5"],
        [3, "violin", "0.10", "never", "0.0"],
    ]


def test_tracks_keep_number_and_colour_above_a_threshold_and_alone():
    all_tracks = found((0.2, 1, "-x"), (0.9, 0, "xx"), (0.6, 1, "x-"))
    assert all_tracks.names == ["1 violin", "2 dog", "3 dog"]
    assert all_tracks.above(0.6).names == ["1 violin"]
    alone = all_tracks.alone("2 dog")
    assert (alone.names, alone.colors) == (["2 dog"], [track_color(1)])
    assert [track["score"] for track in alone.content["tracks"]] == [0.6]
    assert all_tracks.alone(ALL_TRACKS) is all_tracks


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.floats(0, 1))
def test_tracks_above_a_threshold_are_the_first(scores, threshold):
    all_tracks = found(*[(score, 0, "x") for score in scores])
    above = all_tracks.above(threshold)
    assert above.names == all_tracks.names[: sum(score > threshold for score in scores)]


def test_the_timeline_has_the_tracks_colours_where_they_sound():
    picture = found((0.9, 0, "xx--"), (0.2, 1, "---x")).timeline()
    row = picture.shape[0] // 6
    right = picture[:, picture.shape[1] // 2 :]
    assert (right == np.array(track_color(1))).all(axis=2).any()
    assert not (picture[: 2 * row, -60:] == np.array(track_color(0))).all(axis=2).any()

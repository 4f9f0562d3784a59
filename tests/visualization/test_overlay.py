"""Overlays: where pixels change, in which colour, labels, and videos with sound."""

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as mask_utils

from avis.media.video import decode_video, has_audio_stream, write_video
from avis.structures import Track, VideoPrediction
from avis.visualization import draw_frame, draw_video
from avis.visualization.drawing import draw_texts, shorten, text_size, track_color
from avis.visualization.overlay import _place
from tests.small_dataset import tones, write_wav

HEIGHT, WIDTH = 90, 120
NAMES = ["violin", "dog"]


def disc(x, y, radius):
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return ((columns - x) ** 2 + (rows - y) ** 2 <= radius**2).astype(np.uint8)


def rle(mask):
    return mask_utils.encode(np.asfortranarray(mask))


@pytest.fixture
def prediction():
    first = Track(0.9, 0, [rle(disc(30 + 5 * t, 65, 15)) for t in range(3)])
    second = Track(0.7, 1, [None, rle(disc(90, 65, 12)), None])
    return VideoPrediction("clip", HEIGHT, WIDTH, 3, [first, second])


@pytest.fixture
def image():
    return np.full((HEIGHT, WIDTH, 3), 100, np.uint8)


def test_a_mask_is_tinted_in_its_tracks_colour_and_the_rest_is_untouched(image, prediction):
    picture = draw_frame(image, prediction, 1, NAMES, min_height=0)
    for x, color in ((35, track_color(0)), (90, track_color(1))):
        expected = 0.55 * 100 + 0.45 * np.array(color)
        np.testing.assert_allclose(picture[70, x], expected, atol=1)
    assert (picture[85:] == 100).all()
    assert (image == 100).all()


def test_a_silent_track_is_not_drawn(image, prediction):
    prediction.tracks = prediction.tracks[1:]
    np.testing.assert_array_equal(draw_frame(image, prediction, 0, NAMES, min_height=0), image)


def test_small_frames_are_enlarged_and_large_ones_kept(image, prediction):
    assert draw_frame(image, prediction, 0, NAMES).shape == (480, 640, 3)
    large = np.zeros((600, 800, 3), np.uint8)
    assert draw_frame(large, prediction, 0, NAMES).shape == (600, 800, 3)


def test_a_track_keeps_its_colour_when_an_earlier_one_falls_silent(image, prediction):
    prediction.tracks[0].segmentations[1] = None
    picture = draw_frame(image, prediction, 1, NAMES, min_height=0)
    np.testing.assert_allclose(picture[70, 90], 0.55 * 100 + 0.45 * np.array(track_color(1)), atol=1)


def test_the_better_track_lies_on_top(image):
    tracks = [Track(score, 0, [rle(disc(60, 60, 20))]) for score in (0.9, 0.6)]
    picture = draw_frame(image, VideoPrediction("clip", HEIGHT, WIDTH, 1, tracks), 0, NAMES, min_height=0)
    on_top = np.abs(picture[60, 60] - np.array(track_color(0))).sum()
    below = np.abs(picture[60, 60] - np.array(track_color(1))).sum()
    assert on_top < below


def test_masks_of_one_pixels_width_survive_enlarging(image):
    line = np.zeros((HEIGHT, WIDTH), np.uint8)
    line[60, 20:100] = 1
    prediction = VideoPrediction("clip", HEIGHT, WIDTH, 1, [Track(0.9, 0, [rle(line)])])
    picture = draw_frame(image, prediction, 0, NAMES)
    assert (picture[round(60.5 * 480 / HEIGHT), 160:480] != 100).any(axis=-1).all()


def test_a_frame_that_the_video_does_not_have_is_refused(image, prediction):
    with pytest.raises(IndexError, match="'clip' has 3 frames, none with index 3"):
        draw_frame(image, prediction, 3, NAMES)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1)), min_size=1, max_size=5))
def test_labels_do_not_cover_each_other(corners):
    placed = []
    for x, y in corners:
        placed.append(_place(disc(x, y, 8), (40, 12), placed))
    covered = np.zeros((10 * HEIGHT, WIDTH), int)
    for left, top, right, bottom in placed:
        assert left >= 0 <= top and right <= WIDTH
        covered[top:bottom, left:right] += 1
    assert covered.max() == 1


def test_all_colours_differ():
    colors = [track_color(index) for index in range(30)]
    assert len(set(colors)) == 30
    assert all(0 <= channel <= 255 for color in colors for channel in color)


def test_texts_are_cut_to_their_width():
    assert shorten("violin", 200, 14) == "violin"
    cut = shorten("a very long name of a category", 80, 14)
    assert cut.endswith("…") and text_size(cut, 14)[0] <= 80


def test_text_is_drawn_on_a_copy(image):
    picture = draw_texts(image, [((5, 5), "dog", 14, (255, 255, 255))])
    assert (picture[:25, :40] > 200).any()
    assert (image == 100).all()


def test_an_overlay_video_has_all_frames_the_timeline_and_the_sound(tmp_path, image, prediction):
    write_wav(tmp_path / "sound.wav", tones(1, seconds=3))
    path = tmp_path / "overlay.mp4"
    drawn = draw_video([image] * 3, prediction, NAMES, fps=1)
    write_video(path, drawn, fps=1, audio_from=tmp_path / "sound.wav")
    frames = list(decode_video(path, fps=1))
    assert len(frames) == 3
    assert frames[0].shape[0] > 480 and frames[0].shape[1] == 640
    # The row of the first track, at the second frame; H.264 changes colours a little.
    np.testing.assert_allclose(frames[1][500, 400], track_color(0), atol=25)
    assert has_audio_stream(path)
    with av.open(str(path)) as container:
        assert container.duration / 1e6 == pytest.approx(3, abs=0.05)

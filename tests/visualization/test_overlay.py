"""Overlays: where pixels change, in which colour, labels, and videos with sound."""

from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as mask_utils

from avis.media.shown import Shown, at_rate
from avis.media.video import decode_video, has_audio_stream, write_shown
from avis.structures import Track, VideoPrediction
from avis.visualization import draw_frame, draw_video
from avis.visualization.drawing import draw_texts, shorten, text_size, track_color
from avis.visualization.overlay import _place, held_frame
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
    picture = draw_frame(image, prediction, 1, NAMES, min_side=0)
    for x, color in ((35, track_color(0)), (90, track_color(1))):
        expected = 0.55 * 100 + 0.45 * np.array(color)
        np.testing.assert_allclose(picture[70, x], expected, atol=1)
    assert (picture[85:] == 100).all()
    assert (image == 100).all()


def test_a_silent_track_is_not_drawn(image, prediction):
    prediction.tracks = prediction.tracks[1:]
    np.testing.assert_array_equal(draw_frame(image, prediction, 0, NAMES, min_side=0), image)


@pytest.mark.parametrize(
    ("size", "drawn"),
    [
        ((90, 120), (480, 640)),
        ((640, 360), (853, 480)),  # held upright
        ((600, 800), (600, 800)),
        ((100, 2000), (100, 2000)),  # long enough
        ((64, 640), (128, 1280)),
    ],
)
def test_small_frames_are_enlarged_and_large_ones_kept(prediction, size, drawn):
    picture = draw_frame(np.zeros((*size, 3), np.uint8), prediction, 0, NAMES)
    assert picture.shape == (*drawn, 3)


def test_a_track_keeps_its_colour_when_an_earlier_one_falls_silent(image, prediction):
    prediction.tracks[0].segmentations[1] = None
    picture = draw_frame(image, prediction, 1, NAMES, min_side=0)
    np.testing.assert_allclose(picture[70, 90], 0.55 * 100 + 0.45 * np.array(track_color(1)), atol=1)


def test_the_better_track_lies_on_top(image):
    tracks = [Track(score, 0, [rle(disc(60, 60, 20))]) for score in (0.9, 0.6)]
    picture = draw_frame(image, VideoPrediction("clip", HEIGHT, WIDTH, 1, tracks), 0, NAMES, min_side=0)
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
    drawn = draw_video(at_rate([image] * 3, 1), prediction, NAMES, fps=1, peaks=np.ones(9, np.float32))
    write_shown(path, drawn, audio_from=tmp_path / "sound.wav")
    frames = list(decode_video(path, fps=1))
    assert len(frames) == 3
    assert frames[0].shape[0] > 480 and frames[0].shape[1] == 640
    # The row of the first track, at the second frame; H.264 changes colours a little.
    assert (np.abs(frames[1][480:, 430].astype(int) - track_color(0)).max(axis=1) < 25).sum() > 10
    assert has_audio_stream(path)
    with av.open(str(path)) as container:
        assert container.duration / 1e6 == pytest.approx(3, abs=0.05)


def test_pictures_between_predicted_frames_are_drawn_as_these_are(prediction):
    """The layer that is held gives what drawing gives, but for rounding, most at smooth edges."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (6, HEIGHT, WIDTH, 3)).astype(np.uint8)
    drawn = list(draw_video(at_rate(pictures, 2), prediction, NAMES, fps=1))
    for index, (picture, begin, end) in enumerate(drawn):
        expected = draw_frame(pictures[index], prediction, index // 2, NAMES)
        np.testing.assert_allclose(picture[:480].astype(int), expected, atol=6)
        assert (begin, end) == (Fraction(index, 2), Fraction(index + 1, 2))


def test_the_strip_shows_when_it_is_and_whether_a_predicted_frame_is_seen(image, prediction):
    """The cursor's head is dark on predicted frames and light between them."""
    prediction.tracks = []
    strips = [shown.content[480:] for shown in draw_video(at_rate([image] * 12, 4), prediction, NAMES, fps=1)]
    columns = [np.flatnonzero((strip[50] < 60).all(axis=1)) for strip in strips]
    middles = np.array([np.median(found) for found in columns]).round().astype(int)
    assert np.ptp(np.diff(middles)) <= 1 and np.diff(middles).min() > 20
    heads = [strip[9, middle] for strip, middle in zip(strips, middles, strict=True)]
    assert [bool((head < 60).all()) for head in heads] == [True, False, False, False] * 3


@given(
    st.fractions(min_value=0, max_value=20, max_denominator=1000),
    st.fractions(min_value=Fraction(1, 1000), max_value=3, max_denominator=1000),
    st.sampled_from([Fraction(1), Fraction(1, 5), Fraction(1001, 24000)]),
)
def test_masks_are_those_of_the_latest_predicted_frame(begin, duration, step):
    index, is_predicted = held_frame(begin, begin + duration, step, 10**6)
    first, last = int(begin / step), int((begin + duration) / step) + 1
    inside = [k for k in range(first, last + 1) if begin <= k * step < begin + duration]
    assert is_predicted == (index in inside)
    # A picture is shown for no longer than a step, but where a lower rate is asked for.
    assert index == (inside[-1] if inside and duration <= step else first)


def test_what_comes_after_the_last_predicted_frame_has_its_masks():
    assert held_frame(Fraction(9), Fraction(10), Fraction(1), 3) == (2, False)


def test_a_picture_that_is_predicted_is_drawn_with_its_own_masks(image):
    """At 23.976 frames a second, what is seen at 1 s comes a little before."""
    step = Fraction(1001, 24000)
    shown = [Shown(image, 23 * step, 24 * step), Shown(image, 24 * step, 25 * step)]
    assert [held_frame(s.begin, s.end, Fraction(1), 3) for s in shown] == [(1, True), (1, False)]

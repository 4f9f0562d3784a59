"""Streams: what they have in common with whole videos, what they remember, and what they refuse."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avis.data import build_test_loader
from avis.engine.trainer import AVISTrainer
from avis.inference import Latency, OnlineSession, VideoPredictor, open_video
from avis.inference.windows import Windows, WindowedModel, select_frames
from avis.media.video import read_waveform
from avis.structures import VideoPrediction
from tests.small_dataset import LENGTH, tones

ONLINE = "MODEL.MASK_FORMER.TEST.ONLINE"


@pytest.fixture(scope="module")
def predictor(cfg):
    return VideoPredictor(cfg)


@pytest.fixture(scope="module")
def folder(json_file):
    return json_file.with_suffix("") / "JPEGImages" / "clip1"


@pytest.fixture(scope="module")
def video(cfg):
    """The only video of the data set, as the model takes it."""
    return next(iter(build_test_loader(cfg, cfg.DATASETS.TEST[0])))[0]


def noise(number, seed=0, size=(48, 64)):
    return list(np.random.default_rng(seed).integers(0, 255, (number, *size, 3)).astype(np.uint8))


def same_tracks(prediction, expected):
    """Masks to the bit; scores to the rounding of sound that comes in pieces."""
    assert (prediction.height, prediction.width, prediction.length) == (
        expected.height, expected.width, expected.length,
    )  # fmt: skip
    pairs = list(zip(prediction.tracks, expected.tracks, strict=True))
    assert pairs
    for track, other in pairs:
        assert (track.category_id, track.segmentations) == (other.category_id, other.segmentations)
        assert track.score == pytest.approx(other.score, abs=1e-5)


def online(cfg, *options):
    cfg = cfg.clone()
    cfg.merge_from_list([f"{ONLINE}.{option}" if index % 2 == 0 else option for index, option in enumerate(options)])
    return cfg


# Windows of a video


@given(st.integers(1, 40), st.integers(1, 12), st.data())
def test_windows_cover_a_video_and_share_their_overlap(length, size, data):
    overlap = data.draw(st.integers(0, size - 1))
    windows = list(Windows(size, overlap).of(length))
    assert windows[0].start == 0 and windows[-1].stop == length
    assert {window.stop - window.start for window in windows} == {min(size, length)}
    for index, (one, next_one) in enumerate(zip(windows, windows[1:], strict=False), start=1):
        shared = one.stop - next_one.start
        assert one.start < next_one.start and one.stop < next_one.stop
        assert shared == overlap if index < len(windows) - 1 else shared >= overlap


@pytest.mark.parametrize(("size", "overlap"), [(4, 4), (4, -1), (0, 0)])
def test_windows_that_make_no_sense_are_refused(size, overlap):
    with pytest.raises(ValueError, match=rf"windows of {size} frames cannot overlap by {overlap}"):
        Windows(size, overlap)


# Whole videos and data sets, window by window


@pytest.mark.parametrize("window", [LENGTH, LENGTH + 5])
@pytest.mark.parametrize("mask_quality", [False, True])
def test_a_window_over_the_whole_video_gives_exactly_the_whole_video(cfg, predictor, video, window, mask_quality):
    model = predictor.model
    model.mask_quality, topk = mask_quality, model.topk
    model.topk = 15  # more than the queries there are: some are in several pairs
    try:
        with torch.inference_mode():
            (expected,) = model([video])
            assert WindowedModel(online(cfg, "WINDOW", window), model)([video]) == [expected]
    finally:
        model.mask_quality, model.topk = False, topk
    assert len(expected.tracks) == 15


@torch.inference_mode()
def test_a_frame_has_the_masks_of_the_first_window_that_has_it(cfg, predictor, video):
    (prediction,) = WindowedModel(online(cfg, "WINDOW", 4, "OVERLAP", 2, "MIN_SIMILARITY", 0.0), predictor.model)([video])
    first, second = (predictor.model([select_frames(video, frames)])[0] for frames in (slice(0, 4), slice(2, 6)))
    early = [track.segmentations[:4] for track in prediction.tracks]
    late = [track.segmentations[4:] for track in prediction.tracks]
    assert any(early) and all(masks in [t.segmentations for t in first.tracks] or not any(masks) for masks in early)
    assert any(late) and all(masks in [t.segmentations[2:] for t in second.tracks] or not any(masks) for masks in late)


def test_evaluation_goes_through_windows_where_the_config_says_so(cfg, predictor, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("avis.inference.windows.find_candidates", lambda model, window: seen.append(len(window["image"])) or nothing())
    cfg = online(cfg, "WINDOW", 4, "OVERLAP", 1)
    cfg.OUTPUT_DIR = str(tmp_path)
    AVISTrainer.test(cfg, predictor.model)
    assert seen == [4, 4]
    assert not predictor.model.training


def test_prediction_goes_through_windows_where_the_config_says_so(cfg, predictor, folder):
    windowed = VideoPredictor(online(cfg, "WINDOW", 3, "OVERLAP", 1))
    assert windowed(folder) != predictor(folder)
    same_tracks(VideoPredictor(online(cfg, "WINDOW", 50))(folder), predictor(folder))


def nothing():
    class Nothing:
        def found_queries(self):
            return []

    return Nothing()


# Sessions


@pytest.mark.parametrize("steps", [[6], [1] * 6, [4, 0, 2]])
def test_a_session_gives_what_the_file_gives_whatever_the_steps(predictor, folder, steps):
    source = open_video(folder, fps=1.0)
    frames = list(source.frames())
    waveform, sample_rate = read_waveform(source.audio_file)
    windowed = OnlineSession(predictor, 4, 2, sample_rate=sample_rate, keep_masks=True)
    whole = OnlineSession(predictor, 6, 0, sample_rate=sample_rate, keep_masks=True)
    position = 0
    for number in steps:
        sound = waveform[position * sample_rate : (position + number) * sample_rate]
        for session in (windowed, whole):
            session.step(frames[position : position + number], sound)
        position += number
    windowed.finish(), whole.finish()
    same_tracks(whole.prediction("clip1"), predictor.predict(source))
    same_tracks(windowed.prediction("clip1"), windowed_prediction(predictor, source))


def windowed_prediction(predictor, source) -> VideoPrediction:
    """What one step with everything gives."""
    session = OnlineSession(predictor, 4, 2, keep_masks=True)
    session.step(list(source.frames()), tones(1, LENGTH).astype(np.float32))
    session.finish()
    return session.prediction("clip1")

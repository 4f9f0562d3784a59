"""Streams: what they have in common with whole videos, what they remember, and what they refuse."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avis.audio import log_mel_examples
from avis.data import build_test_loader
from avis.engine.trainer import AVISTrainer
from avis.inference import Latency, Linking, OnlineSession, VideoPredictor, open_video
from avis.inference.sound_stream import SoundStream
from avis.inference.windows import WindowedModel, Windows, select_frames
from avis.media.video import read_waveform
from avis.modeling.whole_video import find_candidates
from tests.small_dataset import LENGTH


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
    for key, value in zip(options[::2], options[1::2], strict=True):
        cfg.MODEL.MASK_FORMER.TEST.ONLINE[key] = value
    return cfg


# Windows of a video


@given(st.integers(1, 40), st.integers(1, 12), st.data())
def test_windows_cover_a_video_and_share_their_overlap(length, size, data):
    overlap = data.draw(st.integers(0, size - 1))
    windows = list(Windows(size, overlap).of(length))
    assert windows[0].start == 0 and windows[-1].stop == length
    assert {window.stop - window.start for window in windows} == {min(size, length)}
    shared = [one.stop - other.start for one, other in pairwise(windows)]
    assert shared[:-1] == [overlap] * (len(windows) - 2) or not shared
    assert all(overlap <= number < size for number in shared)


@pytest.mark.parametrize(("size", "overlap"), [(4, 4), (4, -1), (0, 0)])
def test_windows_that_make_no_sense_are_refused(size, overlap):
    with pytest.raises(ValueError, match=rf"windows of {size} frames cannot overlap by {overlap}"):
        Windows(size, overlap)


# Whole videos and data sets, window by window


@pytest.mark.parametrize("window", [LENGTH, LENGTH + 5])
@pytest.mark.parametrize("mask_quality", [False, True])
@torch.inference_mode()
def test_one_window_gives_exactly_the_whole_video(cfg, predictor, video, window, mask_quality, monkeypatch):
    model = predictor.model
    monkeypatch.setattr(model, "mask_quality", mask_quality)
    monkeypatch.setattr(model, "topk", 15)  # more than there are queries: some are in several pairs
    (expected,) = model([video])
    assert len(expected.tracks) == 15
    assert WindowedModel(online(cfg, "WINDOW", window), model)([video]) == [expected]


@torch.inference_mode()
def test_a_frame_has_the_masks_of_the_first_window_that_has_it(cfg, predictor, video):
    windowed = WindowedModel(online(cfg, "WINDOW", 4, "OVERLAP", 2), predictor.model)
    windows = [slice(0, 4), slice(2, 6)]
    videos = [select_frames(video, frames) for frames in windows]
    first, second = predictor.model(videos)
    early = [track.segmentations for track in first.tracks]
    late = [track.segmentations[2:] for track in second.tracks]
    (prediction,) = windowed([video])
    assert prediction.tracks
    for track in prediction.tracks:
        assert track.segmentations[:4] in [*early, [None] * 4]
        assert track.segmentations[4:] in [*late, [None] * 2]
        assert any(track.segmentations)


def test_evaluation_goes_through_windows_where_the_config_says_so(cfg, predictor, tmp_path, monkeypatch):
    lengths = []

    def note_length(model, window):
        lengths.append(len(window["image"]))
        return find_candidates(model, window)

    monkeypatch.setattr("avis.inference.windows.find_candidates", note_length)
    cfg = online(cfg, "WINDOW", 4, "OVERLAP", 1)
    cfg.OUTPUT_DIR = str(tmp_path)
    AVISTrainer.test(cfg, predictor.model)
    assert lengths == [4, 4]
    assert not predictor.model.training


def test_prediction_goes_through_windows_where_the_config_says_so(cfg, predictor, folder):
    windowed = VideoPredictor(online(cfg, "WINDOW", 3, "OVERLAP", 1))
    assert windowed(folder) != predictor(folder)
    same_tracks(VideoPredictor(online(cfg, "WINDOW", 50))(folder), predictor(folder))


# Sessions


@pytest.mark.parametrize("steps", [[6], [1] * 6, [4, 0, 2]])
def test_a_session_gives_what_the_file_gives_whatever_the_steps(cfg, predictor, folder, steps):
    source = open_video(folder, fps=1.0)
    same_tracks(stream(source, steps, OnlineSession(predictor, 6, 0, keep_masks=True)), predictor(folder))
    windowed = VideoPredictor(online(cfg, "WINDOW", 4, "OVERLAP", 2))
    session = OnlineSession(predictor, 4, 2, keep_masks=True)
    same_tracks(stream(source, steps, session), windowed(folder))


def stream(source, steps, session):
    frames = list(source.frames())
    waveform, sample_rate = read_waveform(source.audio_file)
    for stop, number in zip(np.cumsum(steps), steps, strict=True):
        sound = waveform[(stop - number) * sample_rate : stop * sample_rate]
        session.step(frames[stop - number : stop], sound)
    session.finish()
    return session.prediction("clip1")


def test_ids_stay_and_masks_come_once(predictor):
    """Every frame is decided once, in order, and no id changes hands: its masks are those of one track."""
    session = OnlineSession(predictor, 4, 2, keep_masks=True)
    decided, by_id = [], {}
    for number in range(12):
        decided += follow(session.step(noise(1, number), sound(number)), by_id)
    decided += follow(session.finish(), by_id)
    assert decided == list(range(12))
    kept = {id: masks for id, (_, masks) in session._history._tracks.items()}
    assert by_id and set(by_id) <= set(kept)
    for id, masks in by_id.items():
        for frame, mask in masks.items():
            assert kept[id][frame] == mask


def follow(tracks, by_id):
    assert len({track.id for track in tracks.tracks}) == len(tracks.tracks)
    for track in tracks.tracks:
        assert len(track.segmentations) == len(tracks.frames)
        if tracks.frames:
            assert track.sounding == (track.segmentations[-1] is not None)
        masks = by_id.setdefault(track.id, {})
        masks |= {f: m for f, m in zip(tracks.frames, track.segmentations, strict=True) if m is not None}
    return list(tracks.frames)


def sound(second, sample_rate=16000):
    return np.random.default_rng(second).uniform(-0.3, 0.3, sample_rate).astype(np.float32)


def test_memory_does_not_grow_with_the_stream(predictor):
    """What a session holds, but for the model, is as large after 60 frames as after 40."""
    session = OnlineSession(predictor, 3, 1, linking=Linking(patience=4))
    sizes = []
    for number in range(60):
        session.step(noise(1, seed=number % 7), sound(number % 5))
        sizes.append(held(session))
    early, late = max(sizes[30:40]), max(sizes[50:])
    assert late <= 1.02 * early
    assert session._tracker.linker._next_id > len(session._tracker.linker.tracks)


def held(session):
    own = {name: value for name, value in vars(session).items() if name != "predictor"}
    tracker = {name: value for name, value in vars(own.pop("_tracker")).items() if name != "model"}
    return len(pickle.dumps((own, tracker)))


def test_masks_wait_for_a_full_window_and_for_the_sound_of_its_last_frame(predictor):
    """At 4 FPS a frame's 0.96 s of sound are there 3 frames after it; a window of 2 ends 1 frame after it."""
    session = OnlineSession(predictor, 2, 0, fps=4)
    assert session.latency == Latency(0.0, 0)
    decided = [list(session.step(noise(1), sound(0)[:4000]).frames) for _ in range(8)]
    assert decided == [[], [], [], [], [0, 1], [], [2, 3], []]
    assert session.latency.frames == 4
    assert 0 < session.latency.seconds < 60
    assert list(session.finish().frames) == [4, 5, 6, 7]


def test_no_sound_is_silence(predictor):
    silent, zeros = (OnlineSession(predictor, 3, 1, keep_masks=True) for _ in range(2))
    silent.step(noise(5))
    zeros.step(noise(5), np.zeros((2, 5 * 16000), np.int16))
    for session in (silent, zeros):
        session.finish()
    assert silent.prediction() == zeros.prediction()


def test_tracks_below_the_threshold_are_not_shown(cfg):
    cfg = cfg.clone()
    cfg.MODEL.MASK_FORMER.TEST.SCORE_THRESHOLD = 1.0
    session = OnlineSession(VideoPredictor(cfg), 3, 1, keep_masks=True)
    session.step(noise(3))
    tracks = session.finish()
    assert list(tracks.frames) == [] and tracks.tracks == [] and session.prediction().tracks == []


@pytest.mark.parametrize(
    ("frames", "waveform", "message"),
    [
        ([np.zeros((48, 64), np.uint8)], None, r"frame 2 is uint8 \(48, 64\); frames are RGB"),
        ([np.zeros((48, 64, 3))], None, r"frame 2 is float64"),
        ([[1, 2]], None, "frame 2 is a list"),
        ([np.zeros((40, 64, 3), np.uint8)], None, r"frame 2 is \(40, 64\), those before are \(48, 64\)"),
        (noise(1), np.zeros((16000, 2), np.float32), r"\(N,\) or \(channels, N\), not \(16000, 2\)"),
        (noise(1), np.full(16000, np.nan), "16000 samples of sound holds NaN"),
        (noise(1), np.zeros(16000, bool), "floats or integers, not bool"),
        (noise(1), np.zeros(48000 * 12, np.float32), r"35\.0 s ahead of the 3 frames at 1 FPS"),
        (noise(12), np.zeros(0, np.float32), r"12\.0 s behind the 14 frames at 1 FPS"),
    ],
)  # fmt: skip
def test_what_is_no_frame_and_no_sound_is_refused(predictor, frames, waveform, message):
    session = OnlineSession(predictor, 4, 2)
    session.step(noise(2), np.zeros(2 * 16000, np.float32))
    with pytest.raises(ValueError, match=message):
        session.step(frames, waveform)


def test_a_session_ends(predictor):
    session = OnlineSession(predictor, 4, 2)
    session.step(noise(1))
    session.finish()
    with pytest.raises(ValueError, match="the session is finished"):
        session.step(noise(1))


def test_a_prediction_needs_kept_masks_and_decided_frames(predictor):
    with pytest.raises(ValueError, match="keep_masks=True"):
        OnlineSession(predictor).prediction()
    with pytest.raises(ValueError, match="no frame has been decided"):
        OnlineSession(predictor, keep_masks=True).prediction()


@pytest.mark.parametrize("rates", [{"fps": 0.0}, {"fps": np.nan}, {"sample_rate": 0}])
def test_rates_are_positive(predictor, rates):
    with pytest.raises(ValueError, match="must be positive"):
        OnlineSession(predictor, **rates)


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (np.zeros((80000, 2), np.float32), r"\(N,\) or \(channels, N\), not \(80000, 2\)"),
        (np.ones(()), r"not \(\)"),
        (torch.zeros(3, 1, 16000), r"not \(3, 1, 16000\)"),
        ([0.1, 0.2], r"not \(\)"),
    ],
)
def test_what_is_no_sound_of_a_stream_is_refused(predictor, audio, message):
    with pytest.raises(ValueError, match=message):
        list(predictor.stream(noise(2), audio, fps=1))


def test_sound_that_is_being_trained_on_is_heard_as_any(predictor):
    sound = torch.ones(2, 32000, requires_grad=True)
    found = list(predictor.stream(noise(2), sound, fps=1, sample_rate=16000.0))
    assert found == list(predictor.stream(noise(2), sound.detach().numpy(), fps=1))
    with pytest.raises(ValueError, match=r"whole number, got 16000\.5 Hz"):
        next(predictor.stream(noise(2), sound, sample_rate=16000.5))


# The sound of streams


@settings(deadline=None, max_examples=30)
@given(st.sampled_from([1.0, 3.0, 4.0]), st.sampled_from([8000, 16000, 44100, 48000]), st.data())
def test_sound_in_pieces_gives_the_examples_of_the_whole(fps, sample_rate, data):
    """The filter's sums are rounded otherwise: 3e-4 where 8 kHz leave bands empty, 5e-6 elsewhere."""
    whole = np.random.default_rng(0).uniform(-0.5, 0.5, 2 * sample_rate).astype(np.float32)
    length = int(2 * fps)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    stream, examples = SoundStream(fps, sample_rate), []
    for piece in np.split(whole, cuts):
        stream.append(piece)
        examples.append(stream.take(length, ended=False))
    examples.append(stream.take(length, ended=True))
    expected = log_mel_examples(whole, sample_rate, length, fps)
    tolerance = 1e-3 if sample_rate == 8000 else 2e-5
    torch.testing.assert_close(torch.cat(examples), expected, atol=tolerance, rtol=0)

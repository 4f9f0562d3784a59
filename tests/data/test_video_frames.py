"""Frames of whole videos: read when they are asked for, and not before."""

import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from avis.data import ClipMapper
from avis.data.records import load_aviseg_json
from avis.data.video_frames import SpooledFrames, VideoFrames


def some_frames(number: int) -> list[torch.Tensor]:
    return list(torch.randint(0, 256, (number, 3, 4, 5), generator=torch.Generator().manual_seed(0)).byte())


@given(st.integers(1, 9), st.integers(-10, 10), st.integers(-10, 10))
def test_spooled_frames_are_those_that_came(number: int, start: int, stop: int):
    expected = some_frames(number)
    with SpooledFrames(iter(expected)) as frames:
        assert len(frames) == number
        for found, wanted in zip(frames[start:stop], expected[start:stop], strict=True):
            assert torch.equal(found, wanted)
        assert torch.equal(frames[-1], expected[-1])
        assert torch.equal(torch.stack(list(frames)), torch.stack(expected))
        with pytest.raises(IndexError):
            frames[number]


def test_frames_are_read_when_they_are_asked_for():
    asked: list[int] = []
    frames = VideoFrames(asked.append, 1000)
    assert len(frames) == 1000 and not asked
    frames[3:6], frames[-1]
    assert asked == [3, 4, 5, 999]


def test_a_loaders_worker_hands_over_a_video_without_its_pixels_and_annotations(cfg, train_json):
    record = load_aviseg_json(train_json)[0]
    record["annotations"] *= 1000
    frames = ClipMapper(cfg, is_train=False, audio_source="waveform")(record)["image"]
    handed_over = pickle.dumps(frames)
    assert len(handed_over) < 5_000
    assert torch.equal(torch.stack(pickle.loads(handed_over)[:]), torch.stack(frames[:]))

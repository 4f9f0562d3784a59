"""Log-mel examples that are kept are those that would be computed, and none is kept too long."""

import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avis.data import example_cache
from avis.data.clip_audio import VideoSound, load_examples
from avis.data.example_cache import ExampleCache
from tests.small_dataset import SAMPLE_RATE, tones, write_wav

LENGTH = 6


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """The (start, frames) of the sounds that are read from files."""
    calls = []

    def load(sound: VideoSound, frames: list[int], fps: float) -> torch.Tensor:
        calls.append((sound.start, *frames))
        return load_examples(sound, frames, fps)

    monkeypatch.setattr(example_cache, "load_examples", load)
    return calls


@pytest.fixture
def sound(tmp_path) -> VideoSound:
    write_wav(tmp_path / "sound.wav", tones(1, LENGTH))
    return VideoSound("clip", LENGTH, str(tmp_path / "sound.wav"))


@pytest.fixture(scope="module")
def shared_sound(tmp_path_factory) -> VideoSound:
    path = tmp_path_factory.mktemp("sound") / "sound.wav"
    write_wav(path, tones(1, LENGTH))
    return VideoSound("clip", LENGTH, str(path))


CLIPS = st.lists(st.lists(st.integers(0, LENGTH - 1), min_size=1, max_size=4), max_size=5)


@settings(deadline=None, max_examples=30)
@given(clips=CLIPS, kept=st.integers(1, 4))
def test_a_clip_sounds_alike_whatever_was_heard_before(
    shared_sound: VideoSound, clips: list[list[int]], kept: int
):
    cache = ExampleCache(1.0, kept)
    for frames in clips:
        expected = torch.cat([load_examples(shared_sound, [frame], 1.0) for frame in frames])
        assert torch.equal(cache.load(shared_sound, frames), expected)
        assert len(cache._examples) <= kept


def test_what_was_heard_is_not_read_again(sound: VideoSound, read: list[tuple]):
    cache = ExampleCache(1.0)
    for frames in ([1, 4], [4, 1], [4, 5]):
        cache.load(sound, frames)
    assert read == [(0.0, 1), (0.0, 4), (0.0, 5)]


def test_the_longest_unheard_goes_first(sound: VideoSound, read: list[tuple]):
    cache = ExampleCache(1.0, 2)
    for frame in (0, 1, 0, 2, 0, 1):
        cache.load(sound, [frame])
    assert [frame for _, frame in read] == [0, 1, 2, 1]


def test_a_file_that_has_changed_is_read_again(sound: VideoSound):
    cache = ExampleCache(1.0)
    before = cache.load(sound, [2])
    state = os.stat(sound.audio_file)
    write_wav(sound.audio_file, tones(3, LENGTH))
    os.utime(sound.audio_file, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    after = cache.load(sound, [2])
    assert not torch.allclose(after, before, atol=0.1)
    assert torch.equal(after, load_examples(sound, [2], 1.0))


def test_videos_that_share_a_sound_hear_their_own_part(sound: VideoSound, read: list[tuple]):
    cache = ExampleCache(1.0)
    later = VideoSound("later", 3, sound.audio_file, start=2.0)
    first, second = cache.load(sound, [0]), cache.load(later, [0])
    assert not torch.allclose(first, second, atol=0.1)
    assert read == [(0.0, 0), (2.0, 0)]


def test_a_shorter_sound_starts_again_and_silence_is_silent(sound: VideoSound):
    cache = ExampleCache(1.0)
    assert torch.equal(cache.load(sound, [LENGTH + 1]), cache.load(sound, [1]))
    silent = cache.load(VideoSound("silent", LENGTH), [0, 3])
    assert silent.shape == (2, 96, 64) and silent.min() == silent.max()


def test_a_file_that_is_missing_is_named_each_time(tmp_path):
    sound = VideoSound("clip", LENGTH, str(tmp_path / "none.wav"))
    cache = ExampleCache(1.0)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"sound of video 'clip': .*none\.wav"):
            cache.load(sound, [0])
    write_wav(sound.audio_file, np.zeros(LENGTH * SAMPLE_RATE))
    assert cache.load(sound, [0]).shape == (1, 96, 64)

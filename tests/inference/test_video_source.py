"""Opening video files and folders of frames."""

import logging
import shutil

import numpy as np
import pytest
from PIL import Image

from avis.inference import open_video
from avis.media.errors import MediaError
from avis.media.video import write_video
from tests.small_dataset import HEIGHT, WIDTH, tones, write_wav


def grey(level, size=(WIDTH, HEIGHT)):
    return Image.new("RGB", size, (level, level, level))


@pytest.fixture
def folder(tmp_path):
    """Frames 1 … 11, as bright as their numbers say, and their sound."""
    frames = tmp_path / "concert"
    frames.mkdir()
    for number in range(1, 12):
        grey(20 * number).save(frames / f"{number}.png")
    write_wav(frames / "sound.wav", tones(1, 11))
    return frames


def test_a_folders_frames_come_in_the_order_of_their_numbers(folder):
    video = open_video(folder, fps=1.0)
    assert video.name == "concert"
    assert [int(frame[0, 0, 0]) for frame in video.frames()] == [20 * number for number in range(1, 12)]
    assert len(list(video.frames())) == 11  # once more from the start
    assert video.audio_file == str(folder / "sound.wav")


def test_the_sound_of_avisegs_layout_is_found(tmp_path, json_file):
    shutil.copytree(json_file.with_suffix(""), tmp_path / "val")
    video = open_video(tmp_path / "val" / "JPEGImages" / "clip1", fps=1.0)
    assert video.audio_file == str(tmp_path / "val" / "WAVAudios" / "clip1.wav")


def test_a_file_gives_its_frames_and_its_own_sound(tmp_path, folder):
    path = tmp_path / "concert.mp4"
    frames = [np.full((HEIGHT, WIDTH, 3), 50 * index, np.uint8) for index in range(4)]
    write_video(path, frames, fps=2.0, audio_from=folder / "sound.wav")
    video = open_video(path, fps=1.0)
    assert (video.name, video.fps, video.audio_file) == ("concert", 1.0, str(path))
    assert [round(float(frame.mean()), -1) for frame in video.frames()] == [0, 100]


def test_a_video_without_sound_is_silent_with_a_warning(folder, tmp_path, caplog):
    (folder / "sound.wav").unlink()
    write_video(tmp_path / "mute.mp4", [np.zeros((HEIGHT, WIDTH, 3), np.uint8)], fps=1.0)
    with caplog.at_level(logging.WARNING, logger="avis"):
        assert open_video(folder, 1.0).audio_file is None
        assert open_video(tmp_path / "mute.mp4", 1.0).audio_file is None
    assert [record.message.split(" has no sound")[0] for record in caplog.records] == [
        str(folder), str(tmp_path / "mute.mp4"),
    ]  # fmt: skip


def test_what_cannot_be_opened_is_named(folder, tmp_path):
    with pytest.raises(MediaError, match=r"missing\.mp4: no such file"):
        open_video(tmp_path / "missing.mp4", 1.0)
    (tmp_path / "notes.mp4").write_text("no video")
    with pytest.raises(MediaError, match=r"notes\.mp4: cannot be decoded"):
        open_video(tmp_path / "notes.mp4", 1.0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(MediaError, match=r"empty: the folder holds no pictures"):
        open_video(tmp_path / "empty", 1.0)
    write_wav(folder / "other.wav", tones(1, 1))
    with pytest.raises(MediaError, match=r"several WAV files \(other\.wav, sound\.wav\)"):
        open_video(folder, 1.0)


def test_a_broken_picture_is_named(folder):
    (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:50])
    with pytest.raises(MediaError, match=r"3\.png cannot be read as a picture"):
        list(open_video(folder, 1.0).frames())


def test_a_picture_of_another_size_is_named(folder):
    grey(0, size=(10, 20)).save(folder / "5.png")
    with pytest.raises(MediaError, match=r"5\.png is 20×10, .*1\.png is 48×64"):
        list(open_video(folder, 1.0).frames())

"""Opening video files and folders of frames."""

import logging
import shutil

import numpy as np
import pytest
from PIL import Image

from avis.inference import open_video
from avis.media.errors import MediaError
from avis.media.video import write_video
from tests.media.recordings import record, tone
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
    with pytest.raises(MediaError, match=r"empty: the folder holds no video and no pictures"):
        open_video(tmp_path / "empty", 1.0)
    write_wav(folder / "other.wav", tones(1, 1))
    with pytest.raises(MediaError, match=r"several WAV files \(other\.wav, sound\.wav\)"):
        open_video(folder, 1.0)


def test_a_folder_of_videos_or_folders_is_told_from_one_of_frames(tmp_path):
    (tmp_path / "deep").mkdir()
    with pytest.raises(MediaError, match=r"no pictures .*'.*/\*' stands for what its folders hold"):
        open_video(tmp_path, 1.0)
    (tmp_path / "a.mp4").touch()
    with pytest.raises(MediaError, match=r"a folder of videos \(a\.mp4 …\)"):
        open_video(tmp_path, 1.0)


def test_a_link_has_its_own_name_and_the_sound_of_either_place(tmp_path, json_file):
    split, clip = json_file.with_suffix(""), "JPEGImages/clip1"
    for place in ("other/JPEGImages", "elsewhere"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "elsewhere" / "linked").symlink_to(split / clip)
    kept = shutil.copytree(split / clip, tmp_path / "store" / "0f3a")
    (tmp_path / "other" / clip).symlink_to(kept)
    sound = shutil.copytree(split / "WAVAudios", tmp_path / "other" / "WAVAudios") / "clip1.wav"
    out, own = open_video(tmp_path / "elsewhere" / "linked", 1.0), open_video(tmp_path / "other" / clip, 1.0)
    assert (out.name, out.audio_file) == ("linked", str((split / "WAVAudios" / "clip1.wav").resolve()))
    assert (own.name, own.audio_file) == ("clip1", str(sound))


def test_a_broken_picture_is_named(folder):
    (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:50])
    with pytest.raises(MediaError, match=r"3\.png cannot be read as a picture"):
        list(open_video(folder, 1.0).frames())


def test_a_picture_of_another_size_is_named(folder):
    grey(0, size=(10, 20)).save(folder / "5.png")
    with pytest.raises(MediaError, match=r"5\.png is 20×10, .*1\.png is 48×64"):
        list(open_video(folder, 1.0).frames())


def levels(folder):
    """The number that each frame shows, by its brightness."""
    return [int(frame[0, 0, 0]) // 20 for frame in open_video(folder, 1.0).frames()]


def warnings_of(caplog):
    return [record.message for record in caplog.records if "no sound" not in record.message]


@pytest.mark.parametrize(
    ("numbers", "shown"),
    [
        ([1, 2, 5], [1, 2, 2, 2, 5]),
        ([3, 4, 5], [3, 4, 5]),
        ([0, 2, 4, 8], [0, 2, 4, 4, 8]),  # every second frame of a video
        ([0, 10], [0, 10]),
        ([7], [7]),
    ],
)
@pytest.mark.parametrize("name", ["{:04d}.png", "{}.png", "cam2_{:05d}_left.png"])
def test_numbers_of_pictures_are_time(tmp_path, caplog, numbers, shown, name):
    for number in numbers:
        grey(20 * number).save(tmp_path / name.format(number))
    assert levels(tmp_path) == shown
    assert [f"{len(shown) - len(numbers)} of {len(shown)} frames are missing" in line
            for line in warnings_of(caplog)] == [True] * (len(shown) > len(numbers))  # fmt: skip


@pytest.mark.parametrize(
    "names",
    [
        ["a.png", "b.png"],
        ["1_x.png", "9_y.png"],
        ["1700000000123.png", "1700000009321.png", "1700000010001.png"],
    ],
)
def test_names_that_do_not_count_frames_only_order_them(tmp_path, names):
    for index, name in enumerate(names):
        grey(20 * index).save(tmp_path / name)
    assert levels(tmp_path) == list(range(len(names)))


def test_two_pictures_of_one_number_are_refused(tmp_path):
    for name in ("1.png", "2.png", "02.jpg"):
        grey(0).save(tmp_path / name)
    with pytest.raises(MediaError, match=r"02\.jpg and 2\.png have the same number|2\.png and 02\.jpg have"):
        open_video(tmp_path, 1.0)


def test_hidden_files_are_no_part_of_a_folder(folder):
    for name in ("._1.png", ".12.png", "._sound.wav", ".DS_Store"):
        (folder / name).write_bytes(b"\x00\x05\x16\x07")
    (folder / "thumbnails.png").mkdir()
    assert levels(folder) == list(range(1, 12))
    assert open_video(folder, 1.0).audio_file == str(folder / "sound.wav")


@pytest.mark.parametrize(
    "suffix", [".bmp", ".webp", ".TIF", ".tiff", ".ppm", ".tga", ".jp2", ".gif", ".avif"]
)
def test_all_pictures_that_pillow_reads_are_frames(tmp_path, suffix):
    for number in (1, 2):
        grey(20 * number + 5).save(tmp_path / f"{number}{suffix}")
    assert levels(tmp_path) == [1, 2]


def test_what_pillow_only_tells_apart_is_no_picture(tmp_path):
    grey(20).save(tmp_path / "1.png")
    for name in ("clip.mpg", "data.h5"):
        (tmp_path / name).write_bytes(b"\x00\x00\x01\xb3" + bytes(100))
    assert levels(tmp_path) == [1]


def test_a_track_of_a_video_is_chosen(tmp_path, caplog):
    silence, sound = tone(2, amplitude=0), tone(2)
    path = record(tmp_path / "tracks.mkv", 2, sounds=(silence, sound))
    assert open_video(path, 1.0).audio_track is None
    assert ["track 1 is heard" in line for line in warnings_of(caplog)] == [True]
    assert open_video(path, 1.0, audio_track=0).audio_track == 0
    with pytest.raises(MediaError, match=r"tracks\.mkv: there is no audio track 2"):
        open_video(path, 1.0, audio_track=2)


def test_sound_without_a_decoder_counts_as_silence(tmp_path, caplog):
    path = record(tmp_path / "a.mkv", 2, sounds=(tone(2),))
    path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_XYZ"))
    video = open_video(path, 1.0)
    assert video.audio_file is None and len(list(video.frames())) == 2
    assert [line.message.split(": ", 1)[-1] for line in caplog.records] == [
        "there is no decoder for its sound", "it counts as silent",
    ]  # fmt: skip

"""Which videos files, folders and patterns stand for."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avis.files import write_json
from avis.media.errors import MediaError
from avis.media.inputs import find_videos
from avis.media.origin import Origin
from avis.media.writing import write_video


def make(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def names(paths) -> list[str]:
    return [Path(path).name for path in paths]


def test_a_folder_of_videos_stands_for_each_of_them_and_for_nothing_else(tmp_path, caplog):
    caplog.set_level("INFO")
    make(
        tmp_path, "b10.MP4", "b9.mov", "a.webm", "a.jpg", "cover.jpg", ".hidden.mp4", "._a.webm", ".DS_Store",
        "Thumbs.db", "notes.txt", "sound.wav", "holiday 1.png", "deeper/c.mp4", "folder.mp4/x",
    )  # fmt: skip
    assert names(find_videos([str(tmp_path)])) == ["a.webm", "b9.mov", "b10.MP4"]
    assert "its pictures are left out" in caplog.text


def test_a_folder_of_frames_stays_one_video(tmp_path):
    make(tmp_path, "00000.jpg", "00001.jpg", "sound.wav", "cover.jpg")
    assert find_videos([str(tmp_path)]) == [str(tmp_path)]


@pytest.mark.parametrize("where", ["val", "val/JPEGImages"])
def test_a_split_of_a_data_set_stands_for_its_videos(tmp_path, where):
    make(
        tmp_path / "val", "JPEGImages/v2/0.jpg", "JPEGImages/v10/0.jpg", "JPEGImages/music/v1/0.jpg",
        "JPEGImages/v3/.0.jpg", "WAVAudios/v2.wav",
    )  # fmt: skip
    assert names(find_videos([str(tmp_path / where)])) == ["v1", "v2", "v10"]


def test_videos_beside_a_series_of_frames_cannot_be_told(tmp_path):
    make(tmp_path, "film.mp4", "frame_001.jpg", "frame_002.jpg")
    with pytest.raises(MediaError, match=r"holds videos \(film\.mp4, 1 in all\) and 2 numbered pictures"):
        find_videos([str(tmp_path)])
    assert names(find_videos([f"{tmp_path}/*.mp4"])) == ["film.mp4"]


def test_thumbnails_with_the_names_of_videos_are_no_series(tmp_path):
    make(tmp_path, "clip1.mp4", "clip2.mp4", "clip1.jpg", "clip2.jpg")
    assert names(find_videos([str(tmp_path)])) == ["clip1.mp4", "clip2.mp4"]


def test_patterns_find_videos_and_folders(tmp_path):
    make(tmp_path, "x/a.mp4", "x/a.jpg", "x/a.json", "x/deep/b.mkv", "y/0.png", "y/1.png")
    assert names(find_videos([f"{tmp_path}/**/*.mp4", f"{tmp_path}/x/*"])) == ["a.mp4", "b.mkv"]
    assert names(find_videos([f"{tmp_path}/[y]"])) == ["y"]
    with pytest.raises(FileNotFoundError, match=r"no file matches .*/z\*"):
        find_videos([f"{tmp_path}/z*"])


def test_names_with_the_signs_of_patterns_are_files(tmp_path):
    make(tmp_path, "a[1].mp4", "a1.mp4")
    assert names(find_videos([f"{tmp_path}/a[1].mp4"])) == ["a[1].mp4"]


def test_pictures_that_a_shell_names_as_well_are_left_out(tmp_path, caplog):
    caplog.set_level("INFO")
    make(tmp_path, "a.mp4", "cover.jpg", "Thumbs.db", "odd.bin")
    given = [str(tmp_path / name) for name in ("a.mp4", "Thumbs.db", "cover.jpg", "odd.bin", "missing.mp4")]
    assert names(find_videos(given)) == ["a.mp4", "odd.bin", "missing.mp4"]
    assert "cover.jpg is no video: left out" in caplog.text
    with pytest.raises(MediaError, match=r"cover\.jpg is no video: give a video, or the folder"):
        find_videos([str(tmp_path / "cover.jpg")])


def test_a_video_that_is_named_twice_comes_once(tmp_path):
    make(tmp_path, "a.mp4", "b.mp4")
    assert names(find_videos([str(tmp_path / "b.mp4"), str(tmp_path), f"{tmp_path}/*.mp4"])) == [
        "b.mp4",
        "a.mp4",
    ]


def test_an_animated_picture_is_a_video(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.gif")
    assert names(find_videos([str(tmp_path / "a.gif")])) == ["a.gif"]


def test_folders_in_which_nothing_is_found_come_back(tmp_path):
    make(tmp_path, "empty/notes.txt", "covers/cover.jpg")
    given = [str(tmp_path / name) for name in ("empty", "covers")]
    assert find_videos(given) == given


def predicted(folder: Path, stem: str) -> list[Path]:
    """The files of a prediction, of an overlay of one picture."""
    made = Origin("tools/predict.py", "/videos/clip.mov")
    write_video(folder / f"{stem}.mp4", [np.zeros((16, 16, 3), np.uint8)], 1, comment=made.to_comment())
    write_json(folder / f"{stem}.json", made.to_json())
    make(folder, f"{stem}_masks/00000.png", f"{stem}_masks/00001.png", f"{stem}.csv", f"{stem}.coco.json")
    return sorted(folder.glob(f"{stem}[._]*"))


def test_what_our_own_programs_have_made_is_no_input(tmp_path, caplog):
    caplog.set_level("INFO")
    made = predicted(tmp_path, "clip")
    assert len(made) == 5
    with pytest.raises(MediaError, match=r"holds no video but those that avis has made \(clip\.mp4"):
        find_videos([str(tmp_path)])
    with pytest.raises(FileNotFoundError, match="matches 5 files, no video"):
        find_videos([f"{tmp_path}/*"])
    make(tmp_path, "clip.mov", "other.mp4", "other_masks/0.png")
    videos = ["clip.mov", "other.mp4"]
    assert names(find_videos([str(tmp_path)])) == videos
    assert names(find_videos([f"{tmp_path}/*.mp4"])) == ["other.mp4"]
    assert names(find_videos([f"{tmp_path}/*"])) == [*videos, "other_masks"]
    assert names(find_videos([str(path) for path in (*made, tmp_path / "other.mp4")])) == ["other.mp4"]
    assert "left out, as avis has made that of videos" in caplog.text
    with pytest.raises(MediaError, match="give the videos themselves"):
        find_videos(list(map(str, made)))
    assert names(find_videos([str(tmp_path / "clip.mp4")])) == ["clip.mp4"]


def test_pictures_that_move_are_videos_of_their_own_and_others_frames(tmp_path):
    black, white = (Image.new("L", (8, 8), level) for level in (0, 255))
    for name in ("a1.gif", "a2.gif"):
        black.save(tmp_path / name, save_all=True, append_images=[white])
    for given in (tmp_path, f"{tmp_path}/*.gif"):
        assert names(find_videos([str(given)])) == ["a1.gif", "a2.gif"]
    for name in ("a1.gif", "a2.gif"):
        black.save(tmp_path / name)
    assert find_videos([str(tmp_path)]) == [str(tmp_path)]


def test_a_pattern_that_matches_no_video_is_refused(tmp_path):
    make(tmp_path, "a.txt", "b.txt")
    with pytest.raises(FileNotFoundError, match=r"\*\.txt matches 2 files, no video \(.*a\.txt …\)"):
        find_videos([f"{tmp_path}/*.txt"])
    with pytest.raises(FileNotFoundError, match="an input is an empty text"):
        find_videos([""])


def test_home_is_a_folder(tmp_path, monkeypatch):
    make(tmp_path, "a.mp4", "b.mp4")
    monkeypatch.setenv("HOME", str(tmp_path))
    for given in ("~", "~/*.mp4"):
        assert names(find_videos([given])) == ["a.mp4", "b.mp4"]

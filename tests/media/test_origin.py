"""Files that say what made them."""

import json
from pathlib import Path

import numpy as np
import pytest

from avis.files import write_json
from avis.media.origin import Origin, check_replaceable, read_origin
from avis.media.video import write_video

ORIGIN = Origin("tools/predict.py", "/videos/caf\udce9 – 10:30.mp4", "0123")


def write(path: Path, origin: Origin | None) -> None:
    if path.suffix == ".json":
        write_json(path, (origin.to_json() if origin else {}) | {"tracks": []})
    else:
        picture = np.zeros((16, 16, 3), np.uint8)
        write_video(path, [picture], 1.0, comment=origin.to_comment() if origin else "")


@pytest.mark.parametrize("name", ["clip.json", "clip.mp4", "clip.mov", "clip.mkv"])
def test_files_say_what_made_them(tmp_path: Path, name: str):
    path = tmp_path / name
    assert read_origin(path) is None
    write(path, None)
    assert read_origin(path) is None
    write(path, ORIGIN)
    assert read_origin(path) == ORIGIN


@pytest.mark.parametrize(
    "content", ["", "[]", "null", '{"made_by": 1}', '{"made_by": {"run": ""}}', '{"a": 1}']
)
@pytest.mark.parametrize("name", ["clip.json", "clip.mp4"])
def test_others_are_not_ours(tmp_path: Path, name: str, content: str):
    (tmp_path / name).write_text(content)
    assert read_origin(tmp_path / name) is None


def test_only_what_was_made_of_the_same_may_be_replaced(tmp_path: Path):
    path = tmp_path / "clip.json"
    check_replaceable(path, ORIGIN.program, ORIGIN.input)
    write(path, ORIGIN)
    check_replaceable(path, ORIGIN.program, ORIGIN.input)
    with pytest.raises(FileExistsError, match=r"was made of .* not of /videos/b\.mp4"):
        check_replaceable(path, ORIGIN.program, "/videos/b.mp4")
    with pytest.raises(FileExistsError, match=r"was not made by tools/draw\.py"):
        check_replaceable(path, "tools/draw.py", ORIGIN.input)
    check_replaceable(path, "tools/draw.py", "/videos/b.mp4", overwrite=True)


def test_links_to_nowhere_and_folders_are_in_the_way(tmp_path: Path):
    (tmp_path / "link.json").symlink_to(tmp_path / "nowhere.json")
    with pytest.raises(FileExistsError, match="was not made by"):
        check_replaceable(tmp_path / "link.json", "a", "b")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(FileExistsError, match="is a folder"):
        check_replaceable(tmp_path / "folder.json", "a", "b", overwrite=True)


def test_comment_is_json_that_any_player_shows():
    assert json.loads(ORIGIN.to_comment())["made_by"]["program"] == ORIGIN.program
    assert ORIGIN.to_comment().isascii()

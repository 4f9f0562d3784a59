from pathlib import Path

import pytest

from avis.files import replacing


def test_new_content_takes_the_place_of_the_old_when_it_is_complete(tmp_path: Path):
    path = tmp_path / "results.json"
    path.write_text("old")
    with replacing(path) as unfinished:
        unfinished.write_text("new")
        assert path.read_text() == "old"
        assert unfinished.suffix == path.suffix
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_error_leaves_the_old_content_and_nothing_else(tmp_path: Path):
    path = tmp_path / "results.json"
    path.write_text("old")
    with pytest.raises(OSError, match="disk full"), replacing(path) as unfinished:
        unfinished.write_text("ne")
        raise OSError("disk full")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_error_before_anything_is_written_is_the_one_that_is_seen(tmp_path: Path):
    with pytest.raises(ValueError, match="no frames"), replacing(tmp_path / "video.mp4"):
        raise ValueError("no frames")
    assert list(tmp_path.iterdir()) == []

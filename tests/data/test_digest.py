import os
import shutil
import time
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from avis.data.digest import digest_data, digest_file
from tests.small_dataset import write_split


@pytest.fixture
def json_file(tmp_path: Path) -> Path:
    return write_split(tmp_path)


def digested(json_file: Path, seconds: float = 60.0) -> dict:
    return digest_data(str(json_file), "FEATAudios", seconds)


def test_a_copy_has_the_same_digests(json_file: Path, tmp_path: Path):
    found = digested(json_file)
    assert found["annotations"] == str(json_file) and found["sha256"] == digest_file(json_file)
    assert found["entries"] == 6  # three folders of frames, three sounds
    assert list(found["files"]) == ["1", "2", "4", "6"]
    (tmp_path / "copy").mkdir()
    shutil.copy(json_file, tmp_path / "copy")
    shutil.copytree(tmp_path / "train", tmp_path / "copy" / "train")
    copy = digested(tmp_path / "copy" / "train.json")
    assert {**copy, "annotations": ""} == {**found, "annotations": ""}


@pytest.mark.parametrize("change", ["longer", "renamed", "gone", "more", "features", "link"])
def test_what_changes_shows(json_file: Path, tmp_path: Path, change: str):
    before, sound = digested(json_file), tmp_path / "train" / "WAVAudios" / "clip3.wav"
    if change == "longer":
        sound.write_bytes(sound.read_bytes() + b"\0")
    elif change == "renamed":
        sound.rename(sound.with_name("clip4.wav"))
    elif change == "gone":
        (tmp_path / "train" / "JPEGImages" / "clip3" / "00001.png").unlink()
    elif change == "more":
        (tmp_path / "train" / "JPEGImages" / "clip3" / "x" / "y").mkdir(parents=True)
        (tmp_path / "train" / "JPEGImages" / "clip3" / "x" / "y" / "z.png").touch()
    elif change == "link":
        (tmp_path / "train" / "WAVAudios" / "clip3x.wav").symlink_to("nowhere")
    else:
        (tmp_path / "train" / "FEATAudios").mkdir()
        (tmp_path / "train" / "FEATAudios" / "clip1.npy").touch()
    after = digested(json_file)
    assert list(after["files"].values())[-1] != list(before["files"].values())[-1]
    assert after["sha256"] == before["sha256"]


def test_other_annotations_show(json_file: Path):
    before = digested(json_file)
    json_file.write_text(json_file.read_text().replace("violin", "cello"))
    assert digested(json_file)["sha256"] != before["sha256"]
    assert digested(json_file)["files"] == before["files"]


def test_without_time_the_first_are_digested(json_file: Path):
    """What is there then is comparable with what more time gives."""
    files = digested(json_file, seconds=0.0)["files"]
    assert files == {"1": digested(json_file)["files"]["1"]}


def test_thousands_of_files_take_seconds(json_file: Path, tmp_path: Path):
    for video in range(500):
        folder = tmp_path / "train" / "JPEGImages" / f"video{video}"
        folder.mkdir()
        for frame in range(10):
            os.close(os.open(folder / f"{frame}.jpg", os.O_CREAT))
    start = time.monotonic()
    found = digested(json_file)
    assert found["entries"] == 506 and "506" in found["files"]
    assert time.monotonic() - start < 20  # 0.1 s at rest


def test_data_without_a_file(tmp_path: Path):
    DatasetCatalog.register("digest_of_nothing", list)
    try:
        found = digest_data("digest_of_nothing", "FEATAudios", 1.0)
        assert found == {"annotations": None, "sha256": None, "entries": 0, "files": {}}
    finally:
        DatasetCatalog.remove("digest_of_nothing")
        MetadataCatalog.pop("digest_of_nothing", None)

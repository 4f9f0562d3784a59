"""AVTrack's folder as ground truth."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from avis.formats.avtrack import read_attributes, read_avtrack
from avis.formats.ground_truth import load_ground_truth
from avis.formats.results import load_predictions
from tests.avtrack_folder import recorded, results, video_id, write_avtrack
from tests.small_dataset import edit

NAMES = [video["name"] for video in recorded()["videos"]]


@pytest.fixture
def meta(tmp_path: Path) -> Path:
    return write_avtrack(tmp_path)


def masks_of(meta: Path, name: str) -> Path:
    return meta.parent / "Instance_Masks_merged" / name


def test_every_grey_level_is_a_track(meta: Path):
    truth = load_ground_truth(meta)
    assert (truth.categories, truth.class_agnostic) == ({1: "speaker"}, True)
    assert [video.name for video in truth.videos.values()] == NAMES
    for index, video in enumerate(recorded()["videos"]):
        tracks = truth.tracks[video_id(index)]
        shown = {level for level, masks in video["levels"].items() if any(masks)}
        assert {str(track.id) for track in tracks} == shown
        for track in tracks:
            assert track.is_crowd == (track.id == 255)
            for frame in video["frames"]:
                expected, found = video["levels"][str(track.id)][frame], track.masks[frame]
                assert (expected is None) == (found is None)
                if found is not None:
                    assert (coco_mask.decode(found) == coco_mask.decode(expected)).all()
                    assert track.areas[frame] == coco_mask.area(expected)


def test_frames_without_a_mask_are_not_annotated(meta: Path):
    truth = load_ground_truth(meta)
    video = truth.videos[video_id(NAMES.index("some_frames"))]
    assert video.annotated == (0, 1, 2, 5, 6, 9, 11)
    assert video.length == 12


def test_attributes_are_read_from_videos_and_annotations(meta: Path):
    def change(content: dict) -> None:
        content["videos"][0]["attributes"] = {"dark": True, "loud": False}
        content["annotations"] += [{"video_id": video_id(0), "attributes": ["far"]}] * 2

    truth = load_ground_truth(edit(meta, change))
    assert truth.videos[video_id(0)].attributes == ("dark", "far")
    assert truth.videos[video_id(1)].attributes == ("camera motion", "occlusion")
    assert truth.videos[video_id(2)].attributes == ()


def test_predictions_of_any_category_are_taken(meta: Path, tmp_path: Path):
    truth = load_ground_truth(meta)
    tracks = load_predictions(results(category_id=23), truth)[video_id(0)]
    assert [track.category_id for track in tracks] == [1, 1]
    path = tmp_path / "two_good.json"
    found = [{"category": "violin", **track} for track in recorded()["videos"][0]["predictions"]]
    path.write_text(json.dumps({"video": {"name": "two_good"}, "tracks": found}))
    assert [track.score for track in load_predictions(path, truth)[video_id(0)]] == [t.score for t in tracks]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("videos"), "are an object with a list of 'videos'"),
        (lambda content: content["videos"][1].pop("width"), "video 'v01': the key 'width' is missing"),
        (lambda content: content["videos"][1].update(id="v00"), "video id 'v00' is used twice"),
        (
            lambda content: content["videos"][1].update(attributes="dark"),
            "video 'v01': attributes are a list of names, not 'dark'",
        ),
        (
            lambda content: content["videos"][0].update(file_names=["two_good/0.jpg"]),
            r"frame_0000\d\.png: the video 'two_good' has 1 frames, numbered from 0",
        ),
    ],
)
def test_malformed_files_are_refused(meta: Path, change, message: str):
    with pytest.raises(ValueError, match=rf"avtrack_meta\.json: .*{message}|{message}"):
        read_avtrack(edit(meta, change))


def test_a_missing_file_is_told(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"no annotations at .*avtrack_meta\.json"):
        load_ground_truth(tmp_path / "avtrack_meta.json")


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (Image.fromarray(np.zeros((5, 6), np.uint8)), "is 5×6, the video 'two_good' is 36×48"),
        (
            Image.fromarray(np.zeros((36, 48, 3), np.uint8)),
            "is of the mode RGB, not a picture of 8-bit greys",
        ),
        (None, "cannot be read as a picture"),
    ],
)
def test_unusable_masks_are_refused(meta: Path, picture: Image.Image | None, message: str):
    path = masks_of(meta, "two_good") / "frame_00003.png"
    if picture is None:
        path.write_bytes(b"no picture")
    else:
        picture.save(path)
    with pytest.raises(ValueError, match=rf"frame_00003\.png {message}"):
        load_ground_truth(meta).tracks[video_id(0)]


def test_an_empty_folder_of_masks_is_refused(meta: Path):
    for file in masks_of(meta, "two_good").iterdir():
        file.unlink()
    with pytest.raises(ValueError, match=r"two_good has no masks frame_00000\.png"):
        load_ground_truth(meta)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.csv",
            "film,attribute\nx,y\n",
            r"the columns are \['film', 'attribute'\], not video and attribute",
        ),
        ("a.csv", "video,attribute\nnone,dark\n", "avtrack_meta.json has no video 'none'"),
        ("a.json", "[]", "attributes are an object with a list for each video"),
        ("a.json", '{"two_good": "dark"}', "two_good: attributes are a list of names, not 'dark'"),
    ],
)
def test_malformed_attributes_are_refused(meta: Path, tmp_path: Path, name: str, text: str, message: str):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_attributes(tmp_path / name, load_ground_truth(meta))

import json
from pathlib import Path

import numpy as np
import pytest

from avis.data import load_aviseg_json
from avis.data.clip_mapper import sounding_frames
from tests.small_dataset import LENGTH, edit


def test_records_hold_paths_sizes_and_tracks(train_json):
    records = load_aviseg_json(train_json)
    assert [record["video_id"] for record in records] == [1, 2, 3]
    record = records[1]
    assert (record["height"], record["width"], record["length"]) == (48, 64, LENGTH)
    assert all(Path(name).is_absolute() and Path(name).is_file() for name in record["file_names"])
    assert Path(record["audio_file"]).name == "clip2.wav"
    assert record["audio_features_file"] is None
    first, second = record["annotations"]
    assert [first["category_id"], second["category_id"]] == [0, 1]
    assert [mask is None for mask in first["segmentations"]] == [False, True] * 3


def test_a_missing_split_says_where_it_was_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"{tmp_path}/val\.json.*make_synthetic"):
        load_aviseg_json(tmp_path / "val.json")


def test_test_splits_need_no_annotations(train_json):
    edit(train_json, lambda content: content.update(annotations=None))
    assert [record["annotations"] for record in load_aviseg_json(train_json)] == [[], [], []]
    edit(train_json, lambda content: content.pop("annotations"))
    assert len(load_aviseg_json(train_json)) == 3


def test_areas_and_boxes_are_kept_where_present(train_json):
    edit(train_json, lambda content: content["annotations"][0].update(areas=[1, None, 2, None, 3, None]))
    first, second = load_aviseg_json(train_json)[0]["annotations"]
    assert first["areas"] == [1, None, 2, None, 3, None]
    assert second["areas"] is None and second["bboxes"] is None


def test_one_warning_tells_of_all_videos_without_sound(train_json, caplog):
    for wav in (train_json.parent / "train" / "WAVAudios").glob("*.wav"):
        wav.unlink()
    records = load_aviseg_json(train_json)
    assert all(record["audio_file"] is None for record in records)
    assert len(caplog.records) == 1
    assert "3 of 3 videos" in caplog.text


def annotation(content, **changes):
    content["annotations"][3].update(changes)


def video(content, **changes):
    content["videos"][1].update(changes)


RLE_OF_WRONG_SIZE = {"size": [64, 48], "counts": [64 * 48]}

VIOLATIONS = {
    "no videos key": (lambda c: c.pop("videos"), "'videos' is missing"),
    "empty": (lambda c: c.update(videos=[]), "'videos' is empty"),
    "videos no list": (lambda c: c.update(videos={"id": 1}), "'videos' is not a list"),
    "no categories": (lambda c: c.update(categories=[]), "'categories' is empty"),
    "category id no integer": (lambda c: c["categories"][0].update(id="3"), "category id '3'"),
    "missing video key": (lambda c: c["videos"][1].pop("height"), "video 2.*'height' is missing"),
    "size no integer": (lambda c: video(c, height="48"), "video 2: height is '48'"),
    "no frames": (lambda c: video(c, file_names=[]), "video 2: file_names"),
    "length differs": (lambda c: video(c, length=7), "video 2: length is 7.*6 file_names"),
    "duplicate video": (lambda c: video(c, id=1), "video id 1 is used twice"),
    "unhashable id": (lambda c: video(c, id=[1]), r"video id \[1\]"),
    "path upwards": (
        lambda c: video(c, file_names=["clip2/../../../secret.png"] * LENGTH),
        r"video 2.*'clip2/../../../secret.png' leaves the folder",
    ),
    "absolute path": (lambda c: video(c, file_names=["/etc/hostname"] * LENGTH), "leaves the folder"),
    "windows path": (lambda c: video(c, file_names=["C:\\a\\b.png"] * LENGTH), "leaves the folder"),
    "flat path": (lambda c: video(c, file_names=["0.png"] * LENGTH), "not of the form"),
    "unknown video": (lambda c: annotation(c, video_id=9), "annotation 4 of video 9.*no such video"),
    "unknown category": (
        lambda c: annotation(c, category_id=5),
        "annotation 4 of video 2: category 5 is not among",
    ),
    "duplicate annotation": (lambda c: annotation(c, id=1), "annotation id 1 is used twice"),
    "no segmentations": (
        lambda c: c["annotations"][3].pop("segmentations"),
        "annotation 4.*'segmentations' is missing",
    ),
    "too few masks": (lambda c: annotation(c, segmentations=[None]), "annotation 4.*1 segmentations for 6"),
    "too few areas": (lambda c: annotation(c, areas=[3.0]), "annotation 4.*1 areas for 6"),
    "mask of wrong size": (
        lambda c: annotation(c, segmentations=[None, None, RLE_OF_WRONG_SIZE, None, None, None]),
        r"annotation 4 of video 2: frame 2 \(clip2/00002.png\): mask is 64×48, the video is 48×64",
    ),
    "mask of wrong type": (
        lambda c: annotation(c, segmentations=["RLE"] + [None] * 5),
        "annotation 4 of video 2: frame 0",
    ),
    "mask with a null size": (
        lambda c: annotation(c, segmentations=[{"size": None, "counts": [1]}] + [None] * 5),
        "annotation 4 of video 2: frame 0",
    ),
}


@pytest.mark.parametrize("case", VIOLATIONS)
def test_violations_of_the_format_name_the_culprit(train_json, case):
    change, message = VIOLATIONS[case]
    edit(train_json, change)
    with pytest.raises(ValueError, match=message) as error:
        load_aviseg_json(train_json)
    assert str(train_json) in str(error.value)


def test_many_violations_are_cut_short(train_json):
    edit(train_json, lambda c: [a.update(category_id=99) for a in c["annotations"]])
    with pytest.raises(ValueError, match="…") as error:
        load_aviseg_json(train_json)
    assert str(error.value).count("category 99") == 5


def test_a_file_that_was_cut_off_is_named(train_json):
    train_json.write_text(train_json.read_text()[:-200])
    with pytest.raises(ValueError, match=r"train\.json is not valid JSON, perhaps cut off"):
        load_aviseg_json(train_json)


def test_a_file_that_holds_a_list_is_refused(train_json):
    train_json.write_text(json.dumps([1, 2]))
    with pytest.raises(ValueError, match="holds a list"):
        load_aviseg_json(train_json)


def halve_first_video(content, *starts):
    """Two videos of the first three and the last three frames of a folder, with their starts where given."""
    first = content["videos"][0]
    second = {**first, "id": 9, "file_names": first["file_names"][3:], "length": 3}
    first.update(file_names=first["file_names"][:3], length=3)
    for video, start in zip((first, second), starts, strict=False):
        video["start"] = start
    content["videos"].append(second)
    content["annotations"] = []


def test_videos_of_one_folder_start_where_they_say(train_json, caplog):
    features = train_json.parent / "train" / "FEATAudios" / "clip1.npy"
    features.parent.mkdir()
    np.save(features, np.zeros((3, 128), np.float32))
    edit(train_json, lambda content: halve_first_video(content, 0, 3.0))
    records = load_aviseg_json(train_json)
    assert [record["sound_start"] for record in records] == [0.0, 0.0, 0.0, 3.0]
    assert records[0]["audio_features_file"] == str(features)
    assert records[3]["audio_features_file"] is None  # its rows are those of the folder's begin
    assert not caplog.records


@pytest.mark.parametrize("starts", [(), (0,)])
def test_videos_of_one_folder_that_do_not_say_where_they_start_are_told_of(train_json, caplog, starts):
    edit(train_json, lambda content: halve_first_video(content, *starts))
    load_aviseg_json(train_json)
    assert len(caplog.records) == 1
    assert "'clip1', of the videos 1, 9" in caplog.text


@pytest.mark.parametrize("start", [-1, "3", True, float("nan"), [1]])
def test_a_start_is_a_number_of_seconds(train_json, start):
    edit(train_json, lambda content: video(content, start=start))
    with pytest.raises(ValueError, match="video 2: start is "):
        load_aviseg_json(train_json)


def test_separators_of_windows_are_read(train_json):
    def change(content):
        for entry in content["videos"]:
            entry["file_names"] = [name.replace("/", "\\") for name in entry["file_names"]]

    records = load_aviseg_json(edit(train_json, change))
    assert all(Path(name).is_file() for record in records for name in record["file_names"])
    assert all(record["audio_file"] for record in records)


def test_masks_without_a_pixel_count_as_null_and_are_told_of(train_json, caplog):
    masks = [[[1, 1, 9, 9]], [9, 9, 5, 5], [], None, {"size": [48, 64], "counts": ""}, [[0, 0, 9, 0, 9, 9]]]
    edit(train_json, lambda content: annotation(content, segmentations=masks, areas=[64, 25, 0, 0, 9, 40]))
    record = load_aviseg_json(train_json)[1]
    tracked = record["annotations"][1]
    assert [mask is None for mask in tracked["segmentations"]] == [True] * 5 + [False]
    assert tracked["areas"] == [None, None, 0, 0, None, 40]
    assert len(caplog.records) == 1
    assert "3 masks have no pixel and count as null, the first is annotation 4 of video 2" in caplog.text


def test_frames_of_nothing_but_masks_without_a_pixel_do_not_sound(train_json):
    masks = [[[1, 1, 9, 9]]] * LENGTH

    def change(content):
        for entry in content["annotations"]:
            entry["segmentations"] = masks

    assert sounding_frames(load_aviseg_json(edit(train_json, change))[0]) == []


def test_a_malformed_mask_is_named_before_the_training(train_json):
    edit(train_json, lambda c: annotation(c, segmentations=[{"size": [48, 64], "counts": "0d0"}] * LENGTH))
    with pytest.raises(ValueError, match="annotation 4 of video 2: frame 0: the RLE covers 20 pixels"):
        load_aviseg_json(train_json)

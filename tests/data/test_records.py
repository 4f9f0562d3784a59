import json
from pathlib import Path

import pytest

from avis.data import load_aviseg_json
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

"""What lies on disk is AVISeg's format, and picture, annotation and sound belong together."""

import json
import wave
from dataclasses import asdict
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_utils

from avis.data import load_aviseg_json
from avis.synthetic import GENERATOR_VERSION, SynthOptions


def read(root: Path, split: str) -> dict:
    return json.loads((root / f"{split}.json").read_text())


def annotations_of(content: dict, video: dict) -> list[dict]:
    return [entry for entry in content["annotations"] if entry["video_id"] == video["id"]]


def read_wav(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16000)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


@pytest.mark.parametrize(("split", "num_videos"), [("train", 4), ("val", 2)])
def test_the_reader_of_aviseg_takes_it(tiny_root: Path, split: str, num_videos: int) -> None:
    records = load_aviseg_json(tiny_root / f"{split}.json")
    assert len(records) == num_videos
    for record in records:
        assert record["length"] == len(record["file_names"])
        for path in record["file_names"]:
            assert cv2.imread(path).shape == (48, 64, 3)
        assert len(read_wav(record["audio_file"])) == 16000 * record["length"]


def test_a_split_of_no_videos_is_not_written(tiny_root: Path) -> None:
    assert not (tiny_root / "test.json").exists() and not (tiny_root / "test").exists()


def test_ids_and_categories(tiny_root: Path, tiny_options: SynthOptions) -> None:
    content = read(tiny_root, "train")
    assert [video["id"] for video in content["videos"]] == [1, 2, 3, 4]
    assert [entry["id"] for entry in content["annotations"]] == list(
        range(1, len(content["annotations"]) + 1)
    )
    names = enumerate(tiny_options.categories, start=1)
    assert content["categories"] == [{"id": number, "name": name} for number, name in names]
    assert {entry["category_id"] for entry in content["annotations"]} <= set(range(1, 7))


def test_the_json_says_how_it_was_made(tiny_root: Path, tiny_options: SynthOptions) -> None:
    info = read(tiny_root, "val")["info"]
    assert info["generator_version"] == GENERATOR_VERSION
    options = asdict(tiny_options)
    del options["separated_sources"]  # there are none
    assert info["options"] == json.loads(json.dumps(options))


def test_boxes_and_areas_are_those_of_the_masks_and_null_where_they_are(tiny_root: Path) -> None:
    content = read(tiny_root, "train")
    lengths = {video["id"]: video["length"] for video in content["videos"]}
    silent = 0
    for entry in content["annotations"]:
        assert (entry["iscrowd"], entry["width"], entry["height"]) == (0, 64, 48)
        frames = list(zip(entry["segmentations"], entry["bboxes"], entry["areas"], strict=True))
        assert len(frames) == lengths[entry["video_id"]]
        assert any(mask for mask, _, _ in frames)
        for mask, box, area in frames:
            silent += mask is None
            assert (mask is None) == (box is None) == (area is None)
            if mask is not None:
                rows, columns = np.nonzero(mask_utils.decode(mask))
                assert mask["size"] == [48, 64] and area == len(rows)
                extent = columns.max() - columns.min() + 1, rows.max() - rows.min() + 1
                assert box == [columns.min(), rows.min(), *extent]
    assert silent > 0


def test_masks_of_two_objects_are_disjoint(tiny_root: Path) -> None:
    content = read(tiny_root, "train")
    pairs = 0
    for video in content["videos"]:
        for one, other in combinations(annotations_of(content, video), 2):
            for masks in zip(one["segmentations"], other["segmentations"], strict=True):
                if all(masks):
                    pairs += 1
                    assert mask_utils.area(mask_utils.merge(list(masks), intersect=True)) == 0
    assert pairs > 0


def test_an_annotated_frame_is_heard(tiny_root: Path) -> None:
    content = read(tiny_root, "train")
    for video in content["videos"]:
        name = video["file_names"][0].split("/")[0]
        samples = read_wav(tiny_root / "train" / "WAVAudios" / f"{name}.wav")
        loudness = np.abs(samples.reshape(video["length"], 16000) / 32768).max(axis=1)
        for entry in annotations_of(content, video):
            sounding = [mask is not None for mask in entry["segmentations"]]
            assert (loudness[sounding] > 0.02).all()


def test_videos_name_their_scenario(tiny_root: Path) -> None:
    videos = [video for split in ("train", "val") for video in read(tiny_root, split)["videos"]]
    assert {video["scenario"] for video in videos} <= {"music", "speaking", "animal", "machine", "panorama"}

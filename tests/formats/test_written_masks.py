"""COCO whose masks stay text: the same annotations as if they were read, and what is left to the reader."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from avis.data import get_dataset_records
from avis.data.clip_mapper import load_instances
from avis.formats.direct import read_any_annotations, read_unread_annotations
from avis.formats.segmentation import compress_segmentation
from avis.formats.written_masks import WrittenMask, read_coco_categories, read_plain_coco
from tests.data.test_neighbours import write_coco
from tests.formats.foreign_files import HEIGHT, WIDTH, coco, cocovid, write, youtube_vis


def test_both_ways_of_reading_give_the_same(tmp_path: Path):
    path = write_coco(tmp_path)
    plain, read = read_unread_annotations(path), read_any_annotations(path)
    assert plain.is_unread and not read.is_unread
    assert plain.annotations.videos == read.annotations.videos
    assert plain.annotations.categories == read.annotations.categories
    assert (plain.pictures, plain.roots, plain.is_mute) == (read.pictures, read.roots, read.is_mute)
    for video in read.annotations.videos:
        for one, other in zip(
            plain.annotations.entries[video.id], read.annotations.entries[video.id], strict=True
        ):
            masks = [compress_segmentation(e["segmentations"][0], HEIGHT, WIDTH) for e in (one, other)]
            assert masks[0] == masks[1] and len(one["segmentations"]) == 1
            assert {**one, "segmentations": None, "video_id": video.id} == {**other, "segmentations": None}


def test_attributes_that_say_nothing_of_tracks_or_sound_are_plain(tmp_path: Path):
    """CVAT writes attributes to every annotation."""
    content = coco()
    for row in content["annotations"]:
        row["attributes"] = {"occluded": False, "rotation": 0.0}
    assert read_plain_coco(write(tmp_path / "a.json", content)) is not None


def test_a_mask_is_parsed_when_it_is_asked_for():
    mask = pickle.loads(pickle.dumps(WrittenMask(b"[[0, 1, 2.5]]")))
    assert list(mask) == [[[0, 1, 2.5]]] == [mask[-1]]
    with pytest.raises(IndexError, match="no frame 1"):
        mask[1]
    assert list(WrittenMask(b"{}")) == [{}]  # whatever it is


def test_a_malformed_mask_is_told_with_its_place(tmp_path: Path):
    content = json.loads(write_coco(tmp_path).read_text())
    content["annotations"][0]["segmentation"] = [[0, 0, 5]]
    path = write(tmp_path / "annotations/instances_train2017.json", content)
    record = get_dataset_records([str(path)])[0]
    with pytest.raises(ValueError, match=r"train2017\.json: video 1 annotation 1 frame 0: polygon has 3"):
        load_instances(record, [0], [], (HEIGHT, WIDTH))


CHANGES: dict[str, Callable[[dict], object]] = {
    "tracks": lambda c: c["annotations"][0].update(track_id=3),
    "attributes": lambda c: c["annotations"][0].update(attributes={"sounding": False}),
    "sounding": lambda c: c["annotations"][0].update(sounding=False),
    "instances": lambda c: c["annotations"][0].update(instance_id=1),
    "a box": lambda c: c["annotations"][0].update(segmentation=[], bbox=[0, 0, 3, 3]),
    "no mask": lambda c: c["annotations"][0].pop("segmentation"),
    "iscrowd 2": lambda c: c["annotations"][0].update(iscrowd=2),
    "no such picture": lambda c: c["annotations"][0].update(image_id=99),
    "no such category": lambda c: c["annotations"][0].update(category_id=99),
    "two pictures of one id": lambda c: c["images"][1].update(id=1),
    "two pictures of one name": lambda c: c["images"][1].update(file_name="a/2.jpg"),
    "two categories of one name": lambda c: c["categories"][1].update(name="dog"),
    "a size of 0": lambda c: c["images"][0].update(height=0),
    "no size": lambda c: c["images"][0].pop("height"),
    "a path out of the folder": lambda c: c["images"][0].update(file_name="../a.png"),
    "an absolute path": lambda c: c["images"][0].update(file_name="/a.png"),
    "no pictures": lambda c: c.update(images=[], annotations=[]),
    "videos": lambda c: c.update(videos=[{"id": 1}]),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_what_is_not_plain_is_left_to_the_reader(tmp_path: Path, kind: str):
    content = coco()
    assert read_plain_coco(write(tmp_path / "a.json", content)) is not None
    CHANGES[kind](content)
    assert read_plain_coco(write(tmp_path / "a.json", content)) is None


@pytest.mark.parametrize("content", [cocovid(), youtube_vis(), [1], "{", {"images": 3}])
def test_other_files_are_left_to_the_reader(tmp_path: Path, content: object):
    assert read_plain_coco(write(tmp_path / "a.json", content)) is None


def test_categories_are_read_alone(tmp_path: Path):
    assert read_coco_categories(write(tmp_path / "a.json", coco())) == coco()["categories"]
    assert read_coco_categories(write(tmp_path / "a.json", youtube_vis())) is None
    assert read_coco_categories(tmp_path / "none.json") is None

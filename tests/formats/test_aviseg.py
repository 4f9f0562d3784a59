"""Reading annotations, and where the files of a split lie."""

from pathlib import Path

import pytest

from avis.formats.aviseg import (
    features_file,
    frame_file,
    parse_annotations,
    read_annotations,
    sound_file,
    split_folder,
)
from tests.evaluation.builders import annotation, columns, ground_truth


def test_videos_and_their_annotations_keep_the_order_of_the_file():
    content = ground_truth(
        annotation(columns(0, 5), video_id=2), annotation(columns(3, 9), video_id=2), num_videos=3
    )
    content["videos"].reverse()
    content["annotations"].reverse()
    annotations = read_annotations(content)
    assert [video.id for video in annotations.videos] == [3, 2, 1]
    assert {id: [entry["id"] for entry in of_video] for id, of_video in annotations.entries.items()} == {
        3: [], 2: [2, 1], 1: [],
    }  # fmt: skip


def test_categories_are_in_the_order_of_their_ids():
    content = ground_truth()
    content["categories"] = content["categories"][::-1]
    assert list(read_annotations(content).categories.items()) == [(2, "dog"), (5, "cat")]


def test_a_video_is_named_by_the_folder_of_its_frames():
    content = ground_truth()
    content["videos"][1]["file_names"] = [f"music/concert/{t}.jpg" for t in range(3)]
    assert [video.name for video in read_annotations(content).videos] == ["1", "music/concert"]


def test_a_scenario_is_kept_whatever_it_is():
    content = ground_truth(num_videos=3)
    content["videos"][0]["scenario"], content["videos"][1]["scenario"] = "music", 7
    assert [video.scenario for video in read_annotations(content).videos] == ["music", 7, None]


def test_files_of_a_split_lie_beside_its_annotations():
    split = split_folder("data/val.json")
    assert frame_file(split, "a/b/0.jpg") == Path("data/val/JPEGImages/a/b/0.jpg")
    assert sound_file(split, "a/b") == Path("data/val/WAVAudios/a/b.wav")
    assert features_file(split, "a/b") == Path("data/val/FEATAudios/a/b.npy")


def test_only_of_files_all_problems_can_be_listed(train_json: Path):
    train_json.write_text("[]")
    with pytest.raises(
        ValueError, match=r"holds a list(.|\n)*tools/validate_dataset\.py --json .*train\.json"
    ):
        read_annotations(train_json)
    with pytest.raises(ValueError, match=r"^ground truth: the file holds a list, not .*'$"):
        read_annotations([])


def test_content_of_any_format_is_parsed(train_json: Path):
    train_json.write_text("[7]")
    assert parse_annotations(train_json) == (str(train_json), [7])

"""What is written of a prediction beside the overlay."""

import csv
import io
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_utils

from avis.files import replacing_folder, write_json
from avis.inference import prediction_to_json
from avis.inference.prediction_files import PredictionFiles, number_map, to_results, to_table, write_masks
from avis.inference.prediction_json import prediction_from_json
from avis.media.origin import Origin
from avis.structures import Track, VideoPrediction
from avis.visualization.drawing import track_color

HEIGHT, WIDTH = 20, 30
CATEGORIES = [{"id": 3, "name": "violin"}, {"id": 7, "name": "dog"}]


def box(top, left, height, width):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[top : top + height, left : left + width] = 1
    rle = mask_utils.encode(np.asfortranarray(mask))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


@pytest.fixture
def prediction():
    tracks = [Track(0.9, 1, [box(2, 3, 10, 12), None]), Track(0.6, 0, [box(8, 10, 9, 9), box(0, 0, 4, 5)])]
    return VideoPrediction("café, live", HEIGHT, WIDTH, 2, tracks)


@pytest.fixture
def content(prediction):
    return json.loads(json.dumps(prediction_to_json(prediction, 2.0, CATEGORIES, start=10.0)))


def test_the_readable_json_is_read_again(prediction, content):
    assert prediction_from_json(content) == prediction
    assert content["frame_times"] == [10.0, 10.5]
    assert [track["sounding"] for track in content["tracks"]] == [[[10.0, 10.5]], [[10.0, 11.0]]]


def test_masks_hold_the_number_of_the_track_that_is_seen(tmp_path, prediction):
    write_masks(tmp_path / "masks", prediction)
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == ["00000.png", "00001.png"]
    with Image.open(tmp_path / "masks/00000.png") as image:
        assert image.mode == "P"
        numbers, palette = np.asarray(image), np.array(image.getpalette()).reshape(-1, 3)
    expected = np.zeros((HEIGHT, WIDTH), int)
    expected[8:17, 10:19] = 2
    expected[2:12, 3:15] = 1  # the better one lies on top
    np.testing.assert_array_equal(numbers, expected)
    assert [tuple(color) for color in palette[:3]] == [(0, 0, 0), track_color(0), track_color(1)]


def test_scores_and_not_places_say_what_lies_on_top(prediction):
    prediction.tracks.reverse()
    assert number_map(prediction, 0)[9, 11] == 2


def test_more_tracks_than_colours_are_refused(tmp_path, prediction):
    prediction.tracks *= 128
    with pytest.raises(ValueError, match=r"256 tracks do not fit .* raise --score-threshold"):
        write_masks(tmp_path / "masks", prediction)
    assert not list(tmp_path.iterdir())


def test_a_folder_is_whole_or_absent(tmp_path):
    with pytest.raises(RuntimeError), replacing_folder(tmp_path / "a") as unfinished:
        (unfinished / "file").touch()
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_the_table_has_a_row_for_each_track_and_frame(content):
    rows = list(csv.DictReader(io.StringIO(to_table(content))))
    assert rows[0] == {
        "video": "café, live", "track": "1", "category_id": "7", "category": "dog", "score": "0.9",
        "frame": "0", "start": "10.0", "end": "10.5", "x": "3", "y": "2", "width": "12", "height": "10",
        "area": "120",
    }  # fmt: skip
    assert [(row["track"], row["frame"], row["start"]) for row in rows[1:]] == [
        ("2", "0", "10.0"), ("2", "1", "10.5"),
    ]  # fmt: skip


def test_results_are_those_of_youtube_vis(content, prediction):
    results = to_results(content)
    assert [(r["video_id"], r["category_id"], r["score"]) for r in results] == [
        ("café, live", 7, 0.9), ("café, live", 3, 0.6),
    ]  # fmt: skip
    assert results[0]["segmentations"] == prediction.tracks[0].segmentations


def test_another_json_takes_away_what_was_made_of_the_last(tmp_path, content):
    files = PredictionFiles(tmp_path / "clip.mp4")
    origin = Origin("program", "/in.mp4", "1")
    files.write_json(content, origin)
    files.write_others(content, ("coco", "csv"), save_masks=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "clip.coco.json", "clip.csv", "clip.json", "clip_masks",
    ]  # fmt: skip
    files.check_replaceable("program", "/in.mp4", overwrite=False)
    files.write_json(content, origin)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.json"]


@pytest.mark.parametrize("name", ["clip.csv", "clip.coco.json", "clip_masks"])
def test_files_without_our_json_beside_them_are_not_ours(tmp_path, name):
    write_json(tmp_path / name / "x.json" if name == "clip_masks" else tmp_path / name, [])
    files = PredictionFiles(tmp_path / "clip.mp4")
    with pytest.raises(FileExistsError, match=r"does not belong to a prediction, as there is no clip\.json"):
        files.check_replaceable("program", "/in.mp4", overwrite=False)
    files.check_replaceable("program", "/in.mp4", overwrite=True)

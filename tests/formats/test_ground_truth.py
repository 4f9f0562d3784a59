"""Ground truth in all its forms, and one clear error for everything that is wrong with it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from avis.evaluation import evaluate_predictions, load_ground_truth
from tests.evaluation.builders import (
    HEIGHT,
    LENGTH,
    WIDTH,
    annotation,
    changed,
    columns,
    ground_truth,
    perfect,
    rle,
    with_mask,
    without,
)

NOTHING = {
    "null": None,
    "empty list": [],
    "empty RLE": rle(np.zeros((HEIGHT, WIDTH))),
    "uncompressed": {"size": [HEIGHT, WIDTH], "counts": [600]},
    "a line": [[0, 0, 1, 1]],
    "no runs": {"size": [HEIGHT, WIDTH], "counts": ""},
    "a box": [[4, 4, 10, 10]],
    "outside": [[-90, 0, -40, 0, -40, 40]],
}


@pytest.mark.parametrize("form", NOTHING)
def test_forms_of_no_mask(form: str):
    truth = load_ground_truth(ground_truth(annotation([NOTHING[form], None, columns(0, 1)])))
    assert list(truth.tracks[1][0].masks) == [None, None, columns(0, 1)]
    assert truth.tracks[1][0].mean_area == 20


def test_the_area_written_for_a_mask_without_a_pixel_does_not_count():
    entry = annotation([NOTHING["a box"], None, columns(0, 1)], areas=[100, None, 20])
    assert load_ground_truth(ground_truth(entry)).tracks[1][0].mean_area == 20


def test_one_warning_tells_how_many_masks_count_as_null(caplog: pytest.LogCaptureFixture):
    masks = [mask for mask in NOTHING.values() if mask]
    entries = [annotation(masks[start : start + LENGTH]) for start in range(0, len(masks), LENGTH)]
    load_ground_truth(ground_truth(annotation([columns(0, 2), None, []]), *entries))
    assert len(caplog.records) == 1
    assert f"{len(masks)} masks have no pixel" in caplog.text
    assert "annotation 2 of video 1, frame 0 (1/0.jpg)" in caplog.text


def test_ids_of_numbers_and_texts_in_any_order():
    truth = ground_truth(
        *(annotation(columns(0, 5), video_id=video_id) for video_id in (1, 2, 3)), num_videos=3
    )
    for old, new in ((1, "b"), (2, 40), (3, "a")):
        for entry, key in [(truth["videos"][old - 1], "id"), (truth["annotations"][old - 1], "video_id")]:
            entry[key] = new
    loaded = load_ground_truth(truth)
    assert list(loaded.videos) == list(loaded.tracks) == [40, "a", "b"]
    assert evaluate_predictions(truth, perfect(truth))["AP"] == pytest.approx(100)


BAD_ANNOTATIONS = {
    "no video": (without("video_id"), "annotation 2"),
    "unknown video": (changed(video_id=9), "annotation 2 of video 9: there is no such video"),
    "unknown category": (changed(category_id=3), "annotation 2 of video 1: category 3 is not among"),
    "duplicate id": (changed(id=1), "annotation id 1 is used twice"),
    "too few masks": (changed(segmentations=[None]), "annotation 2 of video 1: 1 segmentations for 3 frames"),
    "too few areas": (changed(areas=[1]), "annotation 2 of video 1: 1 areas for 3 frames"),
    "areas as text": (
        changed(areas=["1"] * 3),
        "annotation 2 of video 1: 'areas' holds something that is no",
    ),
    "mask of another size": (
        with_mask(rle(np.ones((WIDTH, HEIGHT)))),
        "annotation 2 of video 1: frame 1 (1/1.jpg): mask is 30×20, the video is 20×30",
    ),
}


@pytest.mark.parametrize("name", BAD_ANNOTATIONS)
def test_malformed_ground_truth(name: str, tmp_path: Path):
    spoil, message = BAD_ANNOTATIONS[name]
    content = ground_truth(annotation(columns(0, 5)), annotation(columns(0, 5)))
    content["annotations"][1] = spoil(content["annotations"][1])
    json_file = tmp_path / "gt.json"
    json_file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=re.escape(f"{json_file}: {message}")):
        evaluate_predictions(json_file, [])


def test_length_is_that_of_the_file_names():
    assert load_ground_truth(ground_truth()).videos[1].length == LENGTH

"""Masks in all their forms, and one clear error for everything that is wrong with a file."""

import copy
import json
import re
from pathlib import Path

import numpy as np
import pytest

from avis.evaluation import evaluate_predictions, load_ground_truth, load_predictions
from tests.evaluation.builders import (
    HEIGHT,
    WIDTH,
    annotation,
    changed,
    columns,
    ground_truth,
    perfect,
    prediction,
    rle,
    with_mask,
    without,
)

FORMS = {
    "compressed": columns(3, 9),
    "bytes": {"size": [HEIGHT, WIDTH], "counts": columns(3, 9)["counts"].encode()},
    "uncompressed": {"size": [HEIGHT, WIDTH], "counts": [60, 120, 420]},
    "polygon": [[3, 0, 9, 0, 9, 20, 3, 20]],
    "two polygons": [[3, 0, 6, 0, 6, 20, 3, 20], [5, 0, 9, 0, 9, 20, 5, 20]],
    "polygon and a line": [[3, 0, 9, 0, 9, 20, 3, 20], [0, 0, 1, 1]],
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_a_mask(form: str):
    truth = load_ground_truth(ground_truth(annotation([FORMS[form], None, columns(0, 1)])))
    predicted = load_predictions([prediction([FORMS[form], None, columns(0, 1)])], truth)
    for track in (truth.tracks[1][0], predicted[1][0]):
        assert list(track.masks) == [FORMS["compressed"], None, columns(0, 1)] or form == "two polygons"
        assert track.areas.tolist() == [120, 0, 20]
        assert track.mean_area == 70


def test_files_give_what_their_content_gives(tmp_path: Path):
    truth = ground_truth(annotation(columns(0, 5)), annotation(columns(3, 9), category_id=5))
    predictions = [*perfect(truth), prediction(columns(0, 2), 0.9)]
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    (tmp_path / "results.json").write_text(json.dumps(predictions))
    from_files = evaluate_predictions(tmp_path / "gt.json", str(tmp_path / "results.json"))
    assert from_files == evaluate_predictions(truth, predictions)


def test_content_is_left_as_it_is():
    truth = ground_truth(annotation([FORMS["polygon"], None, FORMS["bytes"]]))
    predictions = [prediction(FORMS["uncompressed"])]
    before = copy.deepcopy((truth, predictions))
    evaluate_predictions(truth, predictions)
    assert (truth, predictions) == before


BAD_PREDICTIONS = {
    "no object": (lambda entry: 7, "entry 1: a track is an object with video_id, score, category_id"),
    "no video": (without("video_id"), "entry 1: the key 'video_id' is missing"),
    "no score": (without("score"), "entry 1: the key 'score' is missing"),
    "no category": (without("category_id"), "entry 1: the key 'category_id' is missing"),
    "no masks": (without("segmentations"), "entry 1: the key 'segmentations' is missing"),
    "unknown video": (changed(video_id=9), "entry 1: video 9 is not in the ground truth"),
    "neither id nor name": (changed(video_id="9"), "entry 1: video '9' is not in the ground truth"),
    "video as truth value": (changed(video_id=True), "entry 1: video True is not in the ground truth"),
    "video as list": (changed(video_id=[1]), "entry 1: video [1] is not in the ground truth"),
    "unknown category": (changed(category_id=3), "entry 1: category 3 is not among [2, 5]"),
    "NaN score": (changed(score=float("nan")), "entry 1: score is nan, not a finite number"),
    "infinite score": (changed(score=float("inf")), "entry 1: score is inf, not a finite number"),
    "score as text": (changed(score="0.5"), "entry 1: score is '0.5', not a finite number"),
    "too few masks": (
        changed(segmentations=[None]),
        "entry 1: video 1: 1 segmentations for 3 frames (a silent frame has null)",
    ),
    "masks missing": (changed(segmentations=None), "entry 1: video 1: no segmentations for 3 frames"),
    "mask of another size": (
        with_mask(rle(np.ones((WIDTH, HEIGHT)))),
        "entry 1: video 1: frame 1: mask is 30×20, the video is 20×30",
    ),
    "mask without size": (with_mask({"counts": "0"}), "entry 1: video 1: frame 1: RLE needs the keys"),
    "mask as text": (with_mask("abc"), "entry 1: video 1: frame 1: mask is a str, neither an RLE nor"),
    "counts too few": (
        with_mask({"size": [20, 30], "counts": "55"}),
        "entry 1: video 1: frame 1: the RLE covers 10 pixels, the video has 20×30",
    ),
    "counts cut off": (
        with_mask({"size": [20, 30], "counts": "5P"}),
        "entry 1: video 1: frame 1: the RLE is malformed",
    ),
    "counts not ASCII": (
        with_mask({"size": [20, 30], "counts": "5é"}),
        "entry 1: video 1: frame 1: the RLE is malformed",
    ),
    "counts null": (
        with_mask({"size": [20, 30], "counts": None}),
        "entry 1: video 1: frame 1: the counts of an RLE are a list or ASCII text, not None",
    ),
    "uncompressed counts too few": (
        with_mask({"size": [20, 30], "counts": [5, 5]}),
        "entry 1: video 1: frame 1: RLE covers 10 pixels of 600",
    ),
    "uncompressed counts negative": (
        with_mask({"size": [20, 30], "counts": [605, -5]}),
        "entry 1: video 1: frame 1: ",
    ),
    "polygon of odd numbers": (
        with_mask([[0, 0, 5, 0, 5]]),
        "entry 1: video 1: frame 1: polygon has 5 numbers",
    ),
    "polygon of texts": (with_mask([["a"] * 6]), "entry 1: video 1: frame 1: "),
}


@pytest.mark.parametrize("name", BAD_PREDICTIONS)
def test_malformed_predictions(name: str, tmp_path: Path):
    spoil, message = BAD_PREDICTIONS[name]
    entries = [prediction(columns(0, 5)), spoil(prediction(columns(0, 5)))]
    results = tmp_path / "results.json"
    results.write_text(json.dumps(entries))
    with pytest.raises(ValueError, match=re.escape(f"{results}: {message}")):
        evaluate_predictions(ground_truth(annotation(columns(0, 5))), results)


def test_content_without_a_file_is_named_by_what_it_is():
    truth = ground_truth(annotation(columns(0, 5)))
    with pytest.raises(ValueError, match=r"^predictions: predictions are a list of tracks, this is a dict"):
        evaluate_predictions(truth, {"annotations": []})
    with pytest.raises(ValueError, match=r"^ground truth: the file holds a list"):
        evaluate_predictions([], [])


def test_predictions_in_place_of_the_ground_truth(tmp_path: Path):
    results = tmp_path / "results.json"
    results.write_text(json.dumps([prediction(columns(0, 5))]))
    with pytest.raises(ValueError, match=re.escape(f"{results}: the file holds a list")):
        evaluate_predictions(results, results)


@pytest.mark.parametrize("content", ['[{"video_id": 1, "sco', "", b"\xff\xfe\x00"])
def test_truncated_or_binary_file(content: str | bytes, tmp_path: Path):
    results = tmp_path / "results.json"
    results.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=re.escape(f"{results} is not valid JSON, perhaps cut off")):
        evaluate_predictions(ground_truth(), results)


def test_missing_file(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"no annotations at .*nowhere\.json\. datasets/README\.md"):
        evaluate_predictions(tmp_path / "nowhere.json", [])
    with pytest.raises(FileNotFoundError, match=r"file not found: .*nowhere\.json"):
        evaluate_predictions(ground_truth(), tmp_path / "nowhere.json")

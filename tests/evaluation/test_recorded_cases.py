"""The numbers of the YouTube-VIS evaluation (tests/data/metrics says where they come from)."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from avis.evaluation import evaluate_predictions
from tests.evaluation.builders import rle

CASES = sorted((Path(__file__).parents[1] / "data/metrics").glob("*.json.gz"))
METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100")


def read_case(path: Path) -> tuple[dict, list, dict]:
    case = json.loads(gzip.decompress(path.read_bytes()))
    return case["gt"], case["pred"], case["expected"]["ytvis"]


def percent(fraction: float) -> float:
    return -1 if fraction == -1 else 100 * fraction


def test_all_cases_are_there():
    assert len(CASES) == 8


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.name.split(".")[0])
def test_same_numbers_as_youtube_vis(path: Path):
    truth, predictions, recorded = read_case(path)
    expected = {name: percent(recorded[name]) for name in METRICS}
    for category in truth["categories"]:
        expected[f"AP/{category['name']}"] = percent(recorded["per_category"][str(category["id"])]["AP"])
    # in percent: both sides are averages of some thousand numbers in double precision
    assert evaluate_predictions(truth, predictions) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.name.split(".")[0])
def test_null_and_empty_masks_are_the_same(path: Path):
    truth, predictions, _ = read_case(path)
    sizes = {video["id"]: (video["height"], video["width"]) for video in truth["videos"]}
    with_empty_masks = [
        {
            **track,
            "segmentations": [
                mask or rle(np.zeros(sizes[track["video_id"]])) for mask in track["segmentations"]
            ],
        }
        for track in predictions
    ]
    assert evaluate_predictions(truth, with_empty_masks) == evaluate_predictions(truth, predictions)


def test_annotation_with_id_0_can_be_found():
    truth, predictions, _ = read_case(CASES[0])
    expected = evaluate_predictions(truth, predictions)
    for track in truth["annotations"]:
        track["id"] -= 1
    assert evaluate_predictions(truth, predictions) == expected

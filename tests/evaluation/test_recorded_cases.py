"""The numbers of other implementations (tests/recorded/metrics says where they come from)."""

from pathlib import Path

import pytest

from avis.evaluation.api import evaluate_detailed, evaluate_predictions
from avis.evaluation.metrics.hota import FIELDS
from avis.formats.ground_truth import load_ground_truth
from avis.formats.results import load_predictions
from tests.evaluation.recorded import CASES, case_name, percent, read_case, with_empty_masks

# In percent: both sides are averages of some thousand numbers in double precision.
TOLERANCE = 1e-9
RELEASED_AP = {
    "AP": "AP_all",
    "AP50": "AP50",
    "AP75": "AP75",
    "APs": "AP_area_s",
    "APm": "AP_area_m",
    "APl": "AP_area_l",
    "AR": "AR_all",
}
FSLA = ("FSLA", "FSLAn", "FSLAs", "FSLAm")

each_case = pytest.mark.parametrize("path", CASES, ids=case_name)
as_stored_and_dense = pytest.mark.parametrize("masks", ["as_is", "dense"])


def released(path: Path, masks: str) -> tuple[dict, list, dict]:
    """A case with the numbers of AVISM's release, as stored or with empty masks for null frames."""
    truth, predictions, recorded = read_case(path)
    numbers = recorded["aviseval"][masks]
    if numbers == "same as as_is":
        numbers = recorded["aviseval"]["as_is"]
    return truth, predictions if masks == "as_is" else with_empty_masks(truth, predictions), numbers


def names_by_id(truth: dict) -> dict[str, str]:
    return {str(category["id"]): category["name"] for category in truth["categories"]}


def test_all_cases_are_there():
    assert len(CASES) == 8


@each_case
def test_ap_and_ar_of_youtube_vis(path: Path):
    truth, predictions, recorded = read_case(path)
    numbers = recorded["ytvis"]
    metrics = evaluate_predictions(truth, predictions)
    names = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100")
    expected = {name: percent(numbers[name]) for name in names}
    for category_id, name in names_by_id(truth).items():
        expected[f"AP/{name}"] = percent(numbers["per_category"][category_id]["AP"])
    assert {name: metrics[name] for name in expected} == pytest.approx(expected, abs=TOLERANCE)


@each_case
@as_stored_and_dense
def test_all_numbers_of_the_released_evaluation(path: Path, masks: str):
    truth, predictions, numbers = released(path, masks)
    expected = {ours: percent(numbers["TrackMAP"][theirs]) for ours, theirs in RELEASED_AP.items()}
    expected |= {name: percent(numbers["HOTA"]["cls_averaged"][name]) for name in FIELDS}
    expected |= {name: percent((numbers["FSLA"] or {}).get(name)) for name in FSLA}
    for category_id, name in names_by_id(truth).items():
        expected[f"AP/{name}"] = percent(numbers["TrackMAP"]["per_category"][category_id]["AP_all"])
        expected[f"HOTA/{name}"] = percent(numbers["HOTA"]["per_category"][category_id]["HOTA"])
    assert evaluate_predictions(truth, predictions, "aviseg") == pytest.approx(expected, abs=TOLERANCE)


@each_case
@as_stored_and_dense
def test_right_frames_of_every_video_in_the_released_evaluation(path: Path, masks: str):
    content, entries, numbers = released(path, masks)
    truth = load_ground_truth(content)
    evaluation = evaluate_detailed(truth, load_predictions(entries, truth), ["aviseg"])["aviseg"]
    if numbers["FSLA"] is None:
        assert "IndexError" in numbers["FSLA_crash"]
        assert any(counts.failure for counts in evaluation.videos.values())
        return
    assert evaluation.remarks == []
    for video_id, video in truth.videos.items():
        frames = evaluation.videos[video_id].frames
        recorded = numbers["FSLA"]["per_video"][video.name]
        assert [frames.right.sum(1).tolist(), frames.total.tolist()] == [
            [recorded[kind][0] for kind in "nsm"],
            [recorded[kind][1] for kind in "nsm"],
        ]


@each_case
def test_null_frames_as_the_release_writes_them(path: Path):
    truth, predictions, _ = read_case(path)
    dense = with_empty_masks(truth, predictions)
    assert evaluate_predictions(truth, predictions, "aviseg-dense") == evaluate_predictions(
        truth, dense, "aviseg"
    )


@each_case
def test_null_and_empty_masks_are_the_same(path: Path):
    truth, predictions, _ = read_case(path)
    dense = with_empty_masks(truth, predictions)
    assert evaluate_predictions(truth, dense) == evaluate_predictions(truth, predictions)


def test_annotation_with_id_0_can_be_found():
    truth, predictions, _ = read_case(CASES[0])
    expected = evaluate_predictions(truth, predictions)
    for track in truth["annotations"]:
        track["id"] -= 1
    assert evaluate_predictions(truth, predictions) == expected

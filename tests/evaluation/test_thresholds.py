"""AP ranks all tracks; HOTA and FSLA are of the confident ones, and files state both thresholds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avis.evaluation import evaluate_predictions, load_ground_truth
from avis.evaluation.overlap import VideoOverlap
from avis.formats.results import load_predictions
from avis.inference import prediction_to_json
from avis.structures import Track, VideoPrediction
from tests.evaluation.builders import HEIGHT, LENGTH, WIDTH, annotation, columns, ground_truth, prediction

ROOT = Path(__file__).parents[2]
TRUTH = ground_truth(
    annotation(columns(0, 5)),
    annotation(columns(3, 9), category_id=5),
    annotation(columns(9, 19), video_id=2),
)
OF_ALL = ("AP", "AP50", "AP75", "AR1", "AR10", "AR100")
OF_CONFIDENT = ("HOTA", "DetA", "AssA", "LocA", "FSLA", "FSLAn", "FSLAs", "FSLAm")


def entries(*scores: float) -> list[dict]:
    """Right and wrong tracks in turn, one for each score."""
    masks = [columns(0, 5), columns(20, 29), columns(3, 9), columns(1, 4), columns(9, 19)]
    return [
        prediction(masks[i % 5], score, video_id=2 if i % 5 == 4 else 1, category_id=5 if i % 5 == 2 else 2)
        for i, score in enumerate(scores)
    ]


@given(st.lists(st.floats(0, 1), max_size=10), st.floats(0, 1))
def test_hota_and_fsla_are_of_the_confident_and_ap_of_all(scores, threshold):
    tracks = entries(*scores)
    metrics = evaluate_predictions(TRUTH, tracks, score_threshold=threshold)
    every = evaluate_predictions(TRUTH, tracks)
    confident = evaluate_predictions(TRUTH, tracks, min_score=threshold)
    assert [metrics[name] for name in OF_ALL] == [every[name] for name in OF_ALL]
    assert [metrics[name] for name in OF_CONFIDENT] == [confident[name] for name in OF_CONFIDENT]


def test_the_released_protocol_has_one_threshold_for_all():
    tracks = entries(0.9, 0.2, 0.8, 0.1, 0.7)
    one, other = (evaluate_predictions(TRUTH, tracks, "aviseg-dense", score_threshold=s) for s in (0.0, 0.5))
    assert one == other


def test_a_confident_part_of_an_overlap_is_what_it_would_be_alone():
    truth = load_ground_truth(TRUTH)
    tracks = load_predictions(entries(0.9, 0.2, 0.8, 0.1), truth)[1]
    part = VideoOverlap(truth.videos[1], tracks, truth.tracks[1]).above(0.5)
    alone = VideoOverlap(truth.videos[1], [tracks[0], tracks[2]], truth.tracks[1])
    assert part.predicted == alone.predicted
    for name in ("areas", "true_areas", "intersections", "frame_iou", "stored"):
        assert (getattr(part, name) == getattr(alone, name)).all()


def evaluate(tmp_path: Path, *arguments: str | Path) -> subprocess.CompletedProcess:
    (tmp_path / "gt.json").write_text(json.dumps(TRUTH))
    command = [sys.executable, ROOT / "tools/evaluate.py", "--gt", tmp_path / "gt.json", *arguments]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True)


def test_the_table_states_the_thresholds(tmp_path: Path):
    (tmp_path / "results.json").write_text(json.dumps(entries(0.9, 0.2)))
    done = evaluate(tmp_path, "--predictions", tmp_path / "results.json", "--score-threshold", "0.25")
    assert "AP and AR are of all predictions, HOTA and FSLA of those with a score above 0.25." in done.stdout


def test_ground_truth_without_annotations_is_refused(tmp_path: Path):
    (tmp_path / "empty.json").write_text(json.dumps({**TRUTH, "annotations": []}))
    (tmp_path / "results.json").write_text("[]")
    done = evaluate(tmp_path, "--gt", tmp_path / "empty.json", "--predictions", tmp_path / "results.json")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {tmp_path}/empty.json has no annotations")


def write_prediction(folder: Path, name: str, tracks: list[dict]) -> None:
    """What tools/predict.py writes of a video, in a model's own order of classes."""
    names = {5: (0, "cat"), 2: (1, "dog")}
    found = [Track(t["score"], names[t["category_id"]][0], t["segmentations"]) for t in tracks]
    content = prediction_to_json(
        VideoPrediction(name, HEIGHT, WIDTH, LENGTH, found),
        fps=1.0,
        categories=[{"id": 7, "name": "cat"}, {"id": 8, "name": "dog"}],
    )
    (folder / f"{name}.json").write_text(json.dumps(content))


def test_what_predict_writes_scores_as_the_results_file_does(tmp_path: Path):
    tracks, folder = entries(0.9, 0.2, 0.8, 0.1, 0.7), tmp_path / "predictions"
    folder.mkdir()
    for video in (1, 2):
        write_prediction(folder, str(video), [track for track in tracks if track["video_id"] == video])
    assert evaluate_predictions(TRUTH, folder) == evaluate_predictions(TRUTH, tracks)
    of_one = [track for track in tracks if track["video_id"] == 1]
    assert evaluate_predictions(TRUTH, folder / "1.json") == evaluate_predictions(TRUTH, of_one)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("3", {}, r"3\.json: 0 videos of the ground truth are called '3'"),
        ("1", {"tracks": [{}]}, r"1\.json: it is not what tools/predict\.py writes"),
        (
            "1",
            {"tracks": [{"category": "cow", "score": 1, "segmentations": []}]},
            r"categories \['cow'\] are not",
        ),
    ],
)
def test_predictions_that_belong_elsewhere_are_refused(tmp_path: Path, name: str, change: dict, message: str):
    write_prediction(tmp_path, name, entries(0.9))
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        evaluate_predictions(TRUTH, path)


def test_two_predictions_of_one_video_are_refused(tmp_path: Path):
    for part in ("a", "b"):
        (tmp_path / part).mkdir()
        write_prediction(tmp_path / part, "1", entries(0.9))
    with pytest.raises(ValueError, match=r"b/1\.json and .*a/1\.json are of one video"):
        evaluate_predictions(TRUTH, tmp_path)


def test_a_prediction_above_a_score():
    tracks = [Track(score, 0, [None]) for score in (0.9, 0.5, 0.1)]
    whole = VideoPrediction(1, HEIGHT, WIDTH, 1, tracks)
    assert whole.above(0.5).tracks == tracks[:1]
    assert whole.tracks == tracks

import json
import logging
import re
import signal
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from detectron2.evaluation import inference_on_dataset

from avis.data import get_categories
from avis.engine import launch
from avis.evaluation import AVISEvaluator, evaluate_predictions
from avis.evaluation.api import with_thresholds
from avis.structures import Categories, Track, VideoPrediction
from tests.evaluation.builders import HEIGHT, LENGTH, WIDTH, annotation, columns, ground_truth
from tests.evaluation.processes import evaluate_mortal, evaluate_share

METRICS = {
    *("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "AP/dog", "AP/cat"),
    *("HOTA", "DetA", "AssA", "LocA", "DetRe", "DetPr", "AssRe", "AssPr", "HOTA/dog", "HOTA/cat"),
    *("FSLA", "FSLAn", "FSLAs", "FSLAm"),
}


def video_prediction(video_id: int, *tracks: Track, length: int = LENGTH) -> VideoPrediction:
    return VideoPrediction(video_id, HEIGHT, WIDTH, length, list(tracks))


def in_bytes(mask: dict) -> dict:
    """An RLE as pycocotools encodes it."""
    return {**mask, "counts": mask["counts"].encode()}


@pytest.fixture
def json_file(tmp_path: Path) -> str:
    """Videos 3, 2 and 1, in this order."""
    content = ground_truth(
        annotation(columns(0, 5)),
        annotation(columns(9, 12), video_id=2, category_id=5),
        annotation(columns(9, 14), video_id=3, category_id=5),
        num_videos=3,
    )
    content["videos"].reverse()
    path = tmp_path / "val.json"
    path.write_text(json.dumps(content))
    return str(path)


@pytest.fixture
def predictions() -> list[VideoPrediction]:
    """Equal scores in all videos, so that the order of the videos matters."""
    return [
        video_prediction(1, Track(0.9, 0, [in_bytes(columns(0, 5))] * 3), Track(0.5, 1, [columns(0, 5)] * 3)),
        video_prediction(2, Track(0.5, 1, [in_bytes(columns(9, 12)), None, columns(9, 12)])),
        video_prediction(3, Track(0.5, 1, [None, columns(0, 5), None]), Track(0.5, 1, [columns(9, 14)] * 3)),
    ]


def evaluate(evaluator: AVISEvaluator, predictions: list[VideoPrediction]) -> dict:
    evaluator.reset()
    for prediction in predictions:
        evaluator.process([{"video_id": prediction.video_id}], [prediction])
    return evaluator.evaluate()


def test_metrics_and_files(json_file: str, predictions: list[VideoPrediction], tmp_path: Path):
    output_dir = tmp_path / "new" / "folder"
    returned = evaluate(AVISEvaluator(json_file, output_dir), predictions)
    assert list(returned) == ["avis"]
    assert returned["avis"].keys() == METRICS | {f"{name}_score_threshold" for name in ("AP", "HOTA", "FSLA")}
    assert all(type(value) is float for value in returned["avis"].values())
    expected = evaluate_predictions(json_file, output_dir / "results.json", score_threshold=0.5)
    assert returned["avis"] == with_thresholds(expected, score_threshold=0.5)
    assert json.loads((output_dir / "metrics.json").read_text()) == returned["avis"]
    assert {path.name for path in output_dir.iterdir()} == {"results.json", "metrics.json"}


def test_results_file_has_the_data_sets_categories(
    json_file: str, predictions: list[VideoPrediction], tmp_path: Path
):
    evaluate(AVISEvaluator(json_file, tmp_path), predictions)
    results = json.loads((tmp_path / "results.json").read_text())
    assert [track["video_id"] for track in results] == [1, 1, 2, 3, 3]
    masks = [columns(9, 12), None, columns(9, 12)]
    assert results[2] == {"video_id": 2, "score": 0.5, "category_id": 5, "segmentations": masks}


def test_classes_are_matched_with_the_data_sets_categories_by_name(
    json_file: str, predictions: list[VideoPrediction], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    expected = evaluate(AVISEvaluator(json_file, tmp_path / "same"), predictions)
    names = get_categories(json_file).names
    classes = Categories(("horse", *names[::-1], "lion"), (1, 2, 3, 4))
    places = {index: classes.names.index(name) for index, name in enumerate(names)}
    moved = [
        replace(p, tracks=[replace(t, category_id=places[t.category_id]) for t in p.tracks] + other_tracks())
        for p in predictions
    ]
    evaluator = AVISEvaluator(json_file, tmp_path / "moved")
    evaluator.match_classes(classes)
    with caplog.at_level(logging.INFO):
        assert evaluate(evaluator, moved) == expected
    assert "6 predicted tracks are left out" in caplog.text
    same, moved_file = ((tmp_path / name / "results.json").read_bytes() for name in ("same", "moved"))
    assert moved_file == same


def other_tracks() -> list[Track]:
    """Of a horse and a lion."""
    return [Track(0.7, index, [columns(0, 5)] * 3) for index in (0, 3)]


def test_categories_that_the_model_lacks_are_named(json_file: str):
    with pytest.raises(ValueError, match=r"val\.json' has categories that the model has not: cat\b"):
        AVISEvaluator(json_file).match_classes(Categories(("dog", "Cat"), (1, 2)))


def test_order_of_the_videos_does_not_matter(json_file: str, predictions: list[VideoPrediction]):
    evaluator = AVISEvaluator(json_file)
    assert evaluate(evaluator, predictions) == evaluate(evaluator, predictions[::-1])


@pytest.mark.slow
def test_number_of_processes_does_not_matter(
    json_file: str, predictions: list[VideoPrediction], tmp_path: Path
):
    # the second video is seen by both
    shares = [[predictions[2], predictions[1]], predictions[:2]]
    expected = evaluate(AVISEvaluator(json_file, tmp_path / "one"), predictions)
    (tmp_path / "two").mkdir()
    launch(evaluate_share, 2, args=(json_file, shares, str(tmp_path / "two")), device="cpu")
    assert json.loads((tmp_path / "two/returned0.json").read_text()) == expected
    assert json.loads((tmp_path / "two/returned1.json").read_text()) == {}
    one, two = ((tmp_path / name / "results.json").read_bytes() for name in ("one", "two"))
    assert one == two


def test_no_predictions_score_0(json_file: str, tmp_path: Path):
    nothing = [video_prediction(video_id) for video_id in (1, 2, 3)]
    assert evaluate(AVISEvaluator(json_file, tmp_path), nothing)["avis"]["AP"] == 0
    assert json.loads((tmp_path / "results.json").read_text()) == []


def test_reset_forgets(json_file: str, predictions: list[VideoPrediction]):
    evaluator = AVISEvaluator(json_file)
    assert evaluate(evaluator, predictions)["avis"]["AP"] > 0
    assert evaluate(evaluator, [])["avis"]["AP"] == 0


def test_videos_without_prediction_are_reported(json_file: str, caplog: pytest.LogCaptureFixture):
    evaluate(AVISEvaluator(json_file), [video_prediction(2)])
    assert "nothing was predicted for 2 videos" in caplog.text


def test_data_set_without_annotations(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    content = ground_truth()
    del content["annotations"]
    (tmp_path / "test.json").write_text(json.dumps(content))
    evaluator = AVISEvaluator(str(tmp_path / "test.json"), tmp_path)
    with caplog.at_level(logging.INFO):
        returned = evaluate(evaluator, [video_prediction(1, Track(0.5, 0, [columns(0, 5)] * 3))])
    assert returned == {"avis": {}}
    assert "has no annotations" in caplog.text
    assert len(json.loads((tmp_path / "results.json").read_text())) == 1


def test_table_is_logged(
    json_file: str, predictions: list[VideoPrediction], caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.INFO):
        evaluate(AVISEvaluator(json_file), predictions)
    assert re.search(r"\|\s+AP \|\s+AP50 \|", caplog.text)
    assert "| dog " in caplog.text


def test_prediction_that_does_not_fit_its_video(json_file: str):
    too_short = video_prediction(1, Track(0.5, 0, [columns(0, 5)]), length=1)
    with pytest.raises(ValueError, match="video 1: 1 segmentations for 3 frames"):
        evaluate(AVISEvaluator(json_file), [too_short])


def test_unknown_data_set():
    with pytest.raises(ValueError, match="unknown data set 'nowhere'"):
        AVISEvaluator("nowhere")


def test_under_detectron2s_inference_loop(json_file: str, predictions: list[VideoPrediction]):
    by_id = {prediction.video_id: prediction for prediction in predictions}
    loader = [[{"video_id": video_id}] for video_id in (3, 2, 1)]
    returned = inference_on_dataset(
        lambda batch: [by_id[item["video_id"]] for item in batch], loader, AVISEvaluator(json_file)
    )
    assert returned == evaluate(AVISEvaluator(json_file), predictions)


def predict(evaluator: AVISEvaluator, predictions: list[VideoPrediction]) -> None:
    for prediction in predictions:
        evaluator.process([{}], [prediction])


def test_run_that_was_interrupted_goes_on(
    json_file: str, predictions: list[VideoPrediction], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    expected = evaluate(AVISEvaluator(json_file), predictions)
    interrupted = AVISEvaluator(json_file, tmp_path)
    assert interrupted.identify("weights and config", resume=False) == set()
    interrupted.reset()
    predict(interrupted, predictions[:2])

    resumed = AVISEvaluator(json_file, tmp_path)
    with caplog.at_level(logging.INFO):
        assert resumed.identify("weights and config", resume=True) == {1, 2}
    assert "2 videos are predicted already" in caplog.text
    resumed.reset()
    predict(resumed, predictions[2:])
    assert resumed.evaluate() == expected


@pytest.mark.parametrize(("run", "resume"), [("other weights", True), ("weights", False)])
def test_other_run_starts_anew(
    json_file: str, predictions: list[VideoPrediction], tmp_path: Path, run: str, resume: bool
):
    interrupted = AVISEvaluator(json_file, tmp_path)
    interrupted.identify("weights", resume=False)
    interrupted.reset()
    predict(interrupted, predictions)

    other = AVISEvaluator(json_file, tmp_path)
    assert other.identify(run, resume) == set()
    other.reset()
    other.evaluate()
    assert json.loads((tmp_path / "results.json").read_text()) == []


def test_predictions_are_on_disk_as_soon_as_they_are_made(
    json_file: str, predictions: list[VideoPrediction], tmp_path: Path
):
    evaluator = AVISEvaluator(json_file, tmp_path)
    evaluator.reset()
    predict(evaluator, predictions[:1])
    assert len((tmp_path / "predictions.0.jsonl").read_text().splitlines()) == 2


def test_memory_does_not_grow_with_the_videos(json_file: str, tmp_path: Path):
    evaluator = AVISEvaluator(json_file, tmp_path)
    evaluator.reset()
    tracemalloc.start()
    for video_id in range(200):
        mask = {"size": [HEIGHT, WIDTH], "counts": f"{video_id:010}" * 1000}
        evaluator.process([{}], [video_prediction(video_id, Track(0.5, 0, [mask] * 3))])
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 1_000_000  # of 6 MB


def test_score_that_is_no_number_ends_the_run_at_once(json_file: str):
    evaluator = AVISEvaluator(json_file)
    evaluator.reset()
    with pytest.raises(ValueError, match="video 1: the model scores a track nan"):
        predict(evaluator, [video_prediction(1, Track(float("nan"), 0, [None] * 3))])


@pytest.mark.slow
def test_killed_run_on_two_processes_goes_on_where_it_ended(synthavis_root: Path, tmp_path: Path):
    """Of videos 1 to 4 process 1, which has 3 and 4, is killed at 4."""
    data, through, killed = str(synthavis_root / "train.json"), tmp_path / "through", tmp_path / "killed"
    through.mkdir()
    killed.mkdir()
    launch(evaluate_mortal, 2, args=(data, str(through), None, False), device="cpu")
    with pytest.raises(SystemExit, match=str(128 + signal.SIGKILL)):
        launch(evaluate_mortal, 2, args=(data, str(killed), 2, False), device="cpu")
    before = (killed / "seen.txt").read_text().split()
    assert "3" in before and "4" not in before
    assert not (killed / "inference/train/results.json").exists()

    launch(evaluate_mortal, 2, args=(data, str(killed), None, True), device="cpu")
    seen = (killed / "seen.txt").read_text().split()
    assert set(seen) == {"1", "2", "3", "4"}
    assert seen.count("3") == 1
    for name in ("returned0.json", "returned1.json", "inference/train/results.json"):
        assert (killed / name).read_bytes() == (through / name).read_bytes()
    files = {path.name for path in (killed / "inference/train").iterdir()}
    assert files == {"results.json", "metrics.json"}


def test_resume_after_all_is_predicted_only_scores(synthavis_root: Path, tmp_path: Path):
    data, results = str(synthavis_root / "val.json"), tmp_path / "inference/val/results.json"
    results.mkdir(parents=True)  # where a file should go
    with pytest.raises(OSError, match=r"results\.json"):
        evaluate_mortal(data, str(tmp_path), None, False)
    results.rmdir()
    evaluate_mortal(data, str(tmp_path), None, True)
    assert len((tmp_path / "seen.txt").read_text().split()) == 2
    assert len(json.loads(results.read_text())) == 2

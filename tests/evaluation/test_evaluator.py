import json
import logging
import re
from pathlib import Path

import pytest
from detectron2.evaluation import inference_on_dataset

from avis.engine import launch
from avis.evaluation import AVISEvaluator, evaluate_predictions
from avis.structures import Track, VideoPrediction
from tests.evaluation.builders import HEIGHT, LENGTH, WIDTH, annotation, columns, ground_truth
from tests.evaluation.processes import evaluate_share

METRICS = {"AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "AP/dog", "AP/cat"}


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
    assert returned["avis"].keys() == METRICS
    assert all(type(value) is float for value in returned["avis"].values())
    assert returned["avis"] == evaluate_predictions(json_file, output_dir / "results.json")
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
    launch(evaluate_share, 2, args=(json_file, shares, str(tmp_path / "two")))
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

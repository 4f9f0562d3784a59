"""AVTrack from the command line: a model of other classes predicts it, and is scored."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model

import avis.modeling  # noqa: F401  registers the models
from avis.config import get_avis_cfg
from avis.data import get_categories, get_dataset_records, is_class_agnostic
from avis.data.catalog import ensure_registered, json_file_of
from avis.evaluation import evaluate_predictions
from tests.avtrack_folder import recorded, video_id, write_avtrack

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs/quickstart.yaml"


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """$DETECTRON2_DATASETS with AVTrack."""
    root = tmp_path_factory.mktemp("datasets")
    (root / "avtrack").mkdir()
    write_avtrack(root / "avtrack", pictures=True)
    return root


def test_records_are_those_of_a_test_set(datasets: Path, caplog: pytest.LogCaptureFixture):
    meta = datasets / "avtrack/avtrack_meta.json"
    (datasets / "avtrack/Audios/silence.wav").rename(datasets / "avtrack/silence.wav")
    with caplog.at_level(logging.WARNING):
        records = get_dataset_records([str(meta)])
    (datasets / "avtrack/silence.wav").rename(datasets / "avtrack/Audios/silence.wav")
    assert "1 of 15 videos have no sound in" in caplog.text
    assert get_categories(str(meta)).names == ("speaker",)
    assert is_class_agnostic(str(meta))
    assert [record["video_id"] for record in records] == [video_id(index) for index in range(15)]
    for record, video in zip(records, recorded()["videos"], strict=True):
        assert record["length"] == len(record["file_names"]) == video["length"]
        assert all(Path(file).is_file() for file in record["file_names"])
        assert record["audio_file"] == (
            None if video["name"] == "silence" else str(datasets / f"avtrack/Audios/{video['name']}.wav")
        )
        assert (record["annotations"], record["audio_features_file"]) == ([], None)


def test_the_data_set_has_a_name():
    ensure_registered("avtrack_test")
    assert json_file_of("avtrack_test").endswith("avtrack/avtrack_meta.json")


@pytest.mark.slow
@pytest.mark.parametrize("named", [True, False], ids=["classes with names", "without"])
def test_eval_only(named: bool, datasets: Path, tmp_path: Path):
    torch.manual_seed(0)
    cfg = get_avis_cfg(CONFIG, ["MODEL.DEVICE", "cpu"])
    content: dict = {"model": build_model(cfg).state_dict()}
    if named:
        number = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
        content["categories"] = [{"id": index, "name": f"thing {index}"} for index in range(number)]
    torch.save(content, tmp_path / "model.pth")
    options = {
        "MODEL.WEIGHTS": tmp_path / "model.pth", "MODEL.DEVICE": "cpu", "INPUT.MIN_SIZE_TEST": 36,
        "MODEL.MASK_FORMER.TEST.SCORE_THRESHOLD": 0.0,
        "DATASETS.TEST": "('avtrack_test',)", "OUTPUT_DIR": tmp_path / "output",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, ROOT / "tools/train_net.py", "--config-file", CONFIG, "--eval-only",
         *(str(word) for pair in options.items() for word in pair)],
        capture_output=True, text=True, timeout=300,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT), "NO_COLOR": "1",
             "DETECTRON2_DATASETS": str(datasets)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    folder = tmp_path / "output/inference/avtrack_test"
    metrics, tracks = (json.loads((folder / f"{name}.json").read_text()) for name in ("metrics", "results"))
    # of 15 videos, whatever their classes; all are written down
    assert {track["video_id"] for track in tracks} == {video_id(index) for index in range(15)}
    assert {track["category_id"] for track in tracks} == {1}
    assert len(tracks) == 15 * cfg.MODEL.MASK_FORMER.TEST.TOPK
    expected = evaluate_predictions(datasets / "avtrack/avtrack_meta.json", tracks, score_threshold=0.0)
    assert expected.items() <= metrics.items()
    assert list(expected) == ["HOTA", "DetA", "AssA", "IDF1", "MOTA"]
    assert metrics["HOTA_score_threshold"] == 0.0
    assert "means over the videos" in done.stdout

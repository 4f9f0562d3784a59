"""Weights & Biases and MLflow, the real packages, offline; without them, that their absence is said.

They are optional: `pip install wandb mlflow-skinny`.
"""

import json
import math
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from detectron2.config import CfgNode
from detectron2.utils.events import EventStorage

from avis.engine import launch, trackers
from avis.engine.run_folder import clear_output_dir
from avis.engine.trackers import build_trackers
from tests.engine import processes
from tests.engine.small_model import SmallTrainer, small_cfg
from tests.engine.test_trainer import train

needs_wandb = pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is optional: not installed")
needs_mlflow = pytest.mark.skipif(find_spec("mlflow") is None, reason="mlflow is optional: not installed")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")


def tracked(folder: Path, section: str, **options: object) -> CfgNode:
    cfg = small_cfg(folder)
    cfg.LOGGING[section].ENABLED = True
    for name, value in options.items():
        cfg.LOGGING[section][name] = value
    return cfg


@pytest.mark.parametrize("section", ["WANDB", "MLFLOW"])
def test_a_package_that_is_missing_is_said_before_anything_is_written(
    tmp_path: Path, section: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    message = rf"LOGGING\.{section}\.ENABLED needs the package {section.lower()}, .*: pip install"
    with pytest.raises(ValueError, match=message):
        SmallTrainer(tracked(tmp_path, section))
    assert not list(tmp_path.iterdir())


def test_writers_that_cannot_be_opened_end_all_processes(tmp_path: Path, capfd: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as ended:
        launch(processes.open_no_writers, 2, args=(str(tmp_path),), device="cpu")
    assert ended.value.code == 2
    assert capfd.readouterr().err == "error: no run can be opened\n"


def test_nothing_is_tracked_unless_it_is_asked_for(tmp_path: Path):
    train(small_cfg(tmp_path))
    assert not (tmp_path / "trackers.json").exists()


def run_id(folder: Path, tracker: str) -> str:
    return json.loads((folder / "trackers.json").read_text())[tracker]


@needs_wandb
@pytest.mark.filterwarnings("ignore")  # of the package
def test_wandb_has_the_metrics_and_goes_on_with_its_run(tmp_path: Path):
    train(tracked(tmp_path, "WANDB", NAME="mine"))
    first = run_id(tmp_path, "wandb")
    (tmp_path / "model_final.pth").unlink()
    train(tracked(tmp_path, "WANDB"), resume=True)
    assert run_id(tmp_path, "wandb") == first
    files = sorted((tmp_path / "wandb").glob(f"offline-run-*/run-{first}.wandb"))
    assert len(files) == 2 and b"loss_square" in files[0].read_bytes()
    assert b"mine" in files[0].read_bytes()
    cfg = small_cfg(tmp_path)
    clear_output_dir(cfg)  # --overwrite
    assert not (tmp_path / "trackers.json").exists()


@needs_wandb
@pytest.mark.filterwarnings("ignore")
def test_wandb_gets_pictures(tmp_path: Path):
    (writer,) = build_trackers(tracked(tmp_path, "WANDB"))
    with EventStorage(7) as storage:
        storage.put_image("predictions/val", np.zeros((3, 4, 5), np.uint8))
        writer.write()
    writer.close()
    assert list((tmp_path / "wandb").rglob("media/images/predictions/*.png"))


def mlflow_uri(folder: Path) -> str:
    return f"file:{folder / 'mlruns'}" if find_spec("sqlalchemy") is None else f"sqlite:///{folder}/mlflow.db"


@pytest.fixture
def metric_history(tmp_path: Path) -> Iterator:
    from mlflow import MlflowClient

    client = MlflowClient(mlflow_uri(tmp_path))
    return lambda name: [
        (metric.step, metric.value)
        for metric in client.get_metric_history(run_id(tmp_path / "run", "mlflow"), name)
    ]


@needs_mlflow
@pytest.mark.filterwarnings("ignore")
def test_mlflow_has_the_metrics_and_goes_on_with_its_run(tmp_path: Path, metric_history):
    from mlflow import MlflowClient

    folder, uri = tmp_path / "run", mlflow_uri(tmp_path)
    cfg = tracked(folder, "MLFLOW", NAME="mine", EXPERIMENT="tests", TRACKING_URI=uri)
    train(cfg)
    first = run_id(folder, "mlflow")
    (step, value), *_ = metric_history("loss_square")
    lines = [json.loads(line) for line in (folder / "training_metrics.json").open()]
    assert value == pytest.approx(lines[-1]["loss_square"]) and step == 3
    (folder / "model_final.pth").unlink()
    train(cfg, resume=True)
    assert run_id(folder, "mlflow") == first and len(metric_history("loss_square")) == 2
    found = MlflowClient(uri).get_run(first)
    assert found.info.status == "FINISHED" and found.info.run_name == "mine"
    assert found.data.params["SOLVER.MAX_ITER"] == "4"


@needs_mlflow
@pytest.mark.filterwarnings("ignore")
def test_mlflow_gets_names_it_allows_and_ends_no_training(
    tmp_path: Path, metric_history, caplog: pytest.LogCaptureFixture
):
    cfg = tracked(tmp_path / "run", "MLFLOW", TRACKING_URI=mlflow_uri(tmp_path))
    (writer,) = build_trackers(cfg)
    writer.log(3, {"avis/AP": 6.0, "avis/AP/ca't": 5.0, "val/avis/AP/cat": 4.0, "lr": math.nan})
    assert metric_history("avis/AP") == [(3, 6.0)] and metric_history("lr") == []
    assert metric_history("avis/AP.ca_t") == [(3, 5.0)] and metric_history("val/avis.AP.cat") == [(3, 4.0)]
    writer._id = "0" * 32  # as if the server had lost it
    writer.log(4, {"lr": 1.0})
    writer.close()
    assert "MLflow has not got the metrics of iteration 4" in caplog.text


@needs_mlflow
@pytest.mark.filterwarnings("ignore")
def test_mlflow_that_cannot_be_reached_is_said(tmp_path: Path):
    with pytest.raises(ValueError, match=r"no run can be opened at TRACKING_URI 'nonsense://x'"):
        build_trackers(tracked(tmp_path, "MLFLOW", TRACKING_URI="nonsense://x"))

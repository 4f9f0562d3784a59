"""The loss on a test set: any number of processes has the same, and training does not notice."""

import json
from pathlib import Path

import pytest
import torch

from avis.config import get_avis_cfg
from avis.data import build_loss_loader
from avis.engine import AVISTrainer, launch
from avis.engine.evaluation_history import read_evaluations
from avis.engine.validation_loss import validation_loss
from avis.modeling import build_model
from tests.engine import processes
from tests.engine.processes import small_run
from tests.small_dataset import edit


def test_all_clips_are_measured_unchanged_and_the_same_each_time(train_json: Path, tmp_path: Path):
    cfg = small_run(train_json, tmp_path, 1)
    first, second = ([clips[0] for clips in build_loss_loader(cfg, str(train_json))] for _ in range(2))
    assert [clip["video_id"] for clip in first] == [1] * 4 + [2] * 4 + [3] * 4
    assert len({tuple(clip["frame_indices"]) for clip in first}) > 1
    for clip, again in zip(first, second, strict=True):
        assert clip["frame_indices"] == again["frame_indices"] and clip["seed"] == again["seed"]
        assert torch.equal(clip["image"], again["image"])
        assert tuple(clip["image"].shape[-2:]) == (48, 64)


def test_losses_are_the_means_over_the_clips(train_json: Path, tmp_path: Path):
    cfg = small_run(train_json, tmp_path, 1)
    torch.manual_seed(0)
    model = build_model(cfg)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    losses = validation_loss(cfg, model.eval(), str(train_json))["val_loss"]
    assert not model.training and not any(module.training for module in model.modules())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name

    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()
    with torch.no_grad():
        each = [model(clips) for clips in build_loss_loader(cfg, str(train_json))]
    for name in each[0]:
        assert losses[name] == pytest.approx(sum(clip[name].item() for clip in each) / 12, rel=1e-6)
    assert losses["total_loss"] == pytest.approx(sum(v for k, v in losses.items() if k != "total_loss"))


def test_data_without_annotations_have_no_loss(train_json: Path, tmp_path: Path):
    edit(train_json, lambda content: content.update(annotations=[]))
    cfg = small_run(train_json, tmp_path, 1)
    assert validation_loss(cfg, build_model(cfg), str(train_json)) == {}


def test_training_does_not_notice(train_json: Path, tmp_path: Path):
    weights = []
    for name, is_measured in (("plain", False), ("measured", True)):
        cfg = small_run(train_json, tmp_path / name, 2)
        cfg.TEST.LOSS, cfg.TEST.EVAL_PERIOD = is_measured, 1
        torch.manual_seed(0)
        trainer = AVISTrainer(cfg)
        trainer.train()
        weights.append(trainer.model.state_dict())
    torch.testing.assert_close(*weights, atol=0, rtol=0)
    lines = read_evaluations(tmp_path / "measured")
    assert [line["iteration"] for line in lines] == [0, 1]
    assert all(line["metrics"]["val_loss/total_loss"] > 0 for line in lines)
    metrics = (tmp_path / "measured" / "training_metrics.json").read_text()
    assert '"val_loss/loss_ce_0": ' in metrics


@pytest.mark.slow
def test_two_processes_have_the_loss_of_one(train_json: Path, tmp_path: Path):
    """Also of 9 clips, which cannot be shared evenly: one is computed twice, and counted once."""
    found = []
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        launch(processes.measure_loss, number, args=(str(train_json), str(folder)), device="cpu")
        found.append([json.loads(path.read_text()) for path in sorted(folder.glob("loss*.json"))])
    (alone,), (main, other) = found
    assert main == alone and other == [{}, {}]
    assert alone[0]["val_loss"]["total_loss"] != alone[1]["val_loss"]["total_loss"]


def test_the_key_is_off_by_default():
    assert get_avis_cfg().TEST.LOSS is False

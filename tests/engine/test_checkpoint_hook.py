"""When a run saves, what it keeps, and what is there after an error."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from detectron2.evaluation import DatasetEvaluator
from torch import nn

from avis.engine import checkpoint_hook
from tests.engine.small_model import SmallTrainer, small_cfg
from tests.engine.test_trainer import EvaluatingTrainer, evaluating_cfg, train, weights


def numbers(folder: Path) -> list[int]:
    return sorted(int(path.stem.removeprefix("model_")) for path in folder.glob("model_0*.pth"))


def test_the_last_checkpoints_are_kept(tmp_path: Path):
    train(small_cfg(tmp_path, MAX_ITER=9, CHECKPOINT_PERIOD=2, CHECKPOINT_KEEP=2))
    assert numbers(tmp_path) == [5, 7]
    assert (tmp_path / "model_final.pth").is_file()


def test_going_back_deletes_no_later_checkpoint_and_not_its_own(tmp_path: Path):
    train(small_cfg(tmp_path, MAX_ITER=9, CHECKPOINT_PERIOD=2))
    (tmp_path / "last_checkpoint").write_text("model_0000003.pth")

    class Ended(SmallTrainer):
        def before_step(self) -> None:
            if self.iter == 5:
                raise KeyboardInterrupt
            super().before_step()

    with pytest.raises(KeyboardInterrupt):
        train(small_cfg(tmp_path, MAX_ITER=9, CHECKPOINT_PERIOD=1, CHECKPOINT_KEEP=1), True, Ended)
    assert numbers(tmp_path) == [4, 5, 7]


def test_minutes_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    now = [0.0]

    class Slow(SmallTrainer):
        def run_step(self) -> None:
            super().run_step()
            now[0] += 30

    monkeypatch.setattr(checkpoint_hook.time, "monotonic", lambda: now[0])
    train(small_cfg(tmp_path, MAX_ITER=8, CHECKPOINT_PERIOD=5, CHECKPOINT_MINUTES=1.5), trainer_class=Slow)
    assert numbers(tmp_path) == [2, 4]  # the clock starts again at 4


@pytest.mark.parametrize("name", ["KEEP", "MINUTES", "PERIOD"])
def test_negative_values_are_named(tmp_path: Path, name: str):
    with pytest.raises(ValueError, match=rf"SOLVER\.CHECKPOINT_{name} is -1"):
        SmallTrainer(small_cfg(tmp_path, **{f"CHECKPOINT_{name}": -1}))


class Failing(SmallTrainer):
    """Fails in its iteration 3, after random numbers were drawn and statistics of the batch were taken."""

    fails = True

    @classmethod
    def build_model(cls, cfg: object) -> nn.Module:
        model = super().build_model(cfg)
        model.register_forward_hook(cls._fail)
        cls.calls = 0
        return model

    @classmethod
    def _fail(cls, *_: object) -> None:
        cls.calls += 1
        if cls.fails and cls.calls == 4:
            raise RuntimeError("CUDA out of memory")


def test_error_is_preceded_by_a_checkpoint_from_which_the_run_goes_on_to_the_same_bits(tmp_path: Path):
    straight = train(small_cfg(tmp_path / "straight", MAX_ITER=6))
    cfg = small_cfg(tmp_path / "failed", MAX_ITER=6, CHECKPOINT_PERIOD=0)
    with pytest.raises(RuntimeError, match="out of memory"):
        train(cfg, trainer_class=Failing)
    assert numbers(tmp_path / "failed") == [2]
    resumed = train(cfg, resume=True)
    assert resumed.start_iter == 3
    torch.testing.assert_close(weights(resumed), weights(straight), atol=0, rtol=0)


def test_error_after_a_checkpoint_leaves_that_one(tmp_path: Path):
    class Evaluator(DatasetEvaluator):
        def evaluate(self) -> dict:
            raise RuntimeError("no such metric")

    class FailsToEvaluate(EvaluatingTrainer):
        @classmethod
        def build_evaluator(cls, cfg: object, dataset_name: str) -> DatasetEvaluator:
            times.append((tmp_path / "model_0000001.pth").stat().st_mtime_ns if times else 0)
            return Evaluator()

    times: list[int] = []
    cfg = evaluating_cfg(tmp_path, CHECKPOINT_PERIOD=2)
    cfg.TEST.EVAL_PERIOD = 2
    with pytest.raises(RuntimeError, match="no such metric"):
        train(cfg, trainer_class=FailsToEvaluate)
    assert numbers(tmp_path) == [1]
    assert (tmp_path / "model_0000001.pth").stat().st_mtime_ns == times[-1]


def test_error_of_saving_does_not_hide_the_first_one(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    class Unwritable(Failing):
        def state_dict(self) -> dict:
            raise OSError("no space left")

    with pytest.raises(RuntimeError, match="out of memory"):
        train(small_cfg(tmp_path, MAX_ITER=6, CHECKPOINT_PERIOD=0), trainer_class=Unwritable)
    assert "could not be saved" in caplog.text and "no space left" in caplog.text


class RisingAndFalling(DatasetEvaluator):
    values = (10.0, 30.0, float("nan"), 20.0, 40.0, 35.0)
    runs = 0

    def process(self, inputs: list, outputs: list) -> None:
        pass

    def evaluate(self) -> dict:
        type(self).runs += 1
        return {"avis": {"AP": self.values[self.runs - 1]}}


class Rated(EvaluatingTrainer):
    @classmethod
    def build_evaluator(cls, cfg: object, dataset_name: str) -> DatasetEvaluator:
        return RisingAndFalling()


def rated_cfg(folder: Path, metric: str = "avis/AP", name: str = "val", **solver: object):
    cfg = evaluating_cfg(folder, MAX_ITER=5, CHECKPOINT_PERIOD=0, **solver)
    cfg.DATASETS.TEST = (name,)
    cfg.TEST.EVAL_PERIOD, cfg.TEST.BEST_METRIC = 1, metric
    return cfg


def best(folder: Path) -> tuple[int, float]:
    checkpoint = torch.load(folder / "model_best.pth", weights_only=True)
    return checkpoint["iteration"], checkpoint["best"]["value"]


def test_best_checkpoint_is_kept_also_over_a_resume(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    RisingAndFalling.runs = 0

    class Ended(Rated):
        def before_step(self) -> None:
            if self.iter == 3:
                raise KeyboardInterrupt
            super().before_step()

    with pytest.raises(KeyboardInterrupt):
        train(rated_cfg(tmp_path), trainer_class=Ended)
    assert best(tmp_path) == (1, 30.0)
    assert not (tmp_path / "last_checkpoint").exists()
    RisingAndFalling.runs = 3  # 20 is not better, 40 is, 35 is not
    cfg = rated_cfg(tmp_path)
    trainer = Rated(cfg)
    trainer.resume_or_load(resume=True)
    assert trainer.start_iter == 2
    trainer.max_iter = 3
    trainer.train()
    assert best(tmp_path) == (1, 30.0)
    again = train(rated_cfg(tmp_path), resume=True, trainer_class=Rated)
    assert again.start_iter == 3
    assert best(tmp_path) == (3, 40.0)
    assert "no test any more" not in caplog.text


def test_choosing_by_a_test_split_is_warned_of_and_an_unknown_metric_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    RisingAndFalling.runs = 0
    with caplog.at_level(logging.WARNING):
        train(rated_cfg(tmp_path, "avis/APs", "avis_test"), trainer_class=Rated)
    assert "TEST.BEST_METRIC chooses by avis_test: figures on it are then no test any more" in caplog.text
    assert "TEST.BEST_METRIC is 'avis/APs', but there are avis/AP" in caplog.text
    assert not (tmp_path / "model_best.pth").exists()


FULL_DISK = """
import resource, sys
from pathlib import Path
from avis.command_line import exit_on_bad_input
from tests.engine.small_model import small_cfg
from tests.engine.test_trainer import train

train(small_cfg(Path(sys.argv[1]), MAX_ITER=2, CHECKPOINT_PERIOD=0))
# As a full disk: a file stops to grow. SIGXFSZ is ignored by Python.
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
with exit_on_bad_input():
    train(small_cfg(Path(sys.argv[1]), MAX_ITER=4, CHECKPOINT_PERIOD=1), resume=True)
"""


def test_full_disk_is_said_and_the_last_checkpoint_stays(tmp_path: Path):
    ended = subprocess.run([sys.executable, "-c", FULL_DISK, tmp_path], capture_output=True, text=True)
    assert ended.returncode == 2, ended.stderr
    last_line = ended.stderr.strip().splitlines()[-1]
    assert last_line.startswith(
        f"error: no space left to write {tmp_path}/model_0000002.pth: the checkpoints"
    )
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"
    names = {path.name for path in tmp_path.iterdir() if not path.name.startswith("events")}
    assert names == {"last_checkpoint", "model_final.pth", "training_metrics.json"}
    assert all(json.loads(line) for line in (tmp_path / "training_metrics.json").read_text().splitlines())
    assert torch.load(tmp_path / "model_final.pth", weights_only=True)["iteration"] == 1

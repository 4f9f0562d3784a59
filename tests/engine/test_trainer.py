import json
import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.evaluation import DatasetEvaluator
from torch import nn

from tests.engine.small_model import SmallTrainer, small_cfg


def train(cfg: CfgNode, resume: bool = False, trainer_class: type = SmallTrainer) -> SmallTrainer:
    """What tools/train_net.py does, after seeding; a resumed run starts with other random numbers."""
    torch.manual_seed(int(resume))
    np.random.seed(int(resume))
    trainer = trainer_class(cfg)
    trainer.resume_or_load(resume)
    trainer.train()
    return trainer


def weights(trainer: SmallTrainer) -> dict[str, torch.Tensor]:
    return trainer.model.state_dict()


class CountingEvaluator(DatasetEvaluator):
    """Draws random numbers, as opening a loader does, and counts its own runs."""

    runs = 0

    def process(self, inputs: list, outputs: list) -> None:
        np.random.rand()
        torch.rand(1)

    def evaluate(self) -> dict:
        type(self).runs += 1
        return {"avis": {"AP": 40.0 + self.runs}}


class EvaluatingTrainer(SmallTrainer):
    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> list:
        return [[{"input": torch.zeros(3)}]] * 2

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        return CountingEvaluator()


def evaluating_cfg(output_dir: Path, **solver: object) -> CfgNode:
    CountingEvaluator.runs = 0
    cfg = small_cfg(output_dir, **solver)
    cfg.DATASETS.TEST = ("somewhere",)
    return cfg


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")  # float16 skips the first update
@pytest.mark.parametrize("precision", [None, "float16", "bfloat16"])
@pytest.mark.parametrize("optimizer", ["ADAMW", "SGD"])
def test_resumed_run_ends_with_the_same_bits(tmp_path: Path, optimizer: str, precision: str | None):
    def cfg(name: str) -> CfgNode:
        cfg = small_cfg(tmp_path / name, OPTIMIZER=optimizer)
        cfg.SOLVER.AMP.ENABLED = precision is not None
        cfg.SOLVER.AMP.PRECISION = precision or "unused"
        return cfg

    straight = train(cfg("straight"))

    class Killed(SmallTrainer):
        def run_step(self) -> None:
            if self.iter == 3:  # after the checkpoint at 2, with work that is lost
                raise KeyboardInterrupt
            super().run_step()

    with pytest.raises(KeyboardInterrupt):
        train(cfg("resumed"), trainer_class=Killed)
    resumed = train(cfg("resumed"), resume=True)
    assert resumed.start_iter == 2
    torch.testing.assert_close(weights(resumed), weights(straight), atol=0, rtol=0)
    assert resumed.scheduler.get_last_lr() == straight.scheduler.get_last_lr()


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")  # float16 skips the first update
@pytest.mark.parametrize("precisions", [("", "float16"), ("float16", ""), ("bfloat16", "float16")])
def test_run_goes_on_in_another_precision(tmp_path: Path, precisions: tuple[str, str]):
    for iterations, precision in zip((2, 4), precisions, strict=True):
        cfg = small_cfg(tmp_path, MAX_ITER=iterations)
        cfg.SOLVER.AMP.ENABLED, cfg.SOLVER.AMP.PRECISION = bool(precision), precision or "unused"
        trainer = train(cfg, resume=True)
    assert trainer.start_iter == 2
    assert trainer.step.grad_scaler.is_enabled() == (precisions[1] == "float16")


def test_evaluation_leaves_training_as_it_is(tmp_path: Path):
    plain = train(small_cfg(tmp_path / "plain"))
    cfg = evaluating_cfg(tmp_path / "evaluating")
    cfg.TEST.EVAL_PERIOD = 1
    evaluating = train(cfg, trainer_class=EvaluatingTrainer)
    torch.testing.assert_close(weights(evaluating), weights(plain), atol=0, rtol=0)
    assert CountingEvaluator.runs == 4
    assert evaluating.model.training


def test_finished_run_trains_no_more_but_evaluates(tmp_path: Path):
    finished = train(evaluating_cfg(tmp_path), trainer_class=EvaluatingTrainer)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.pth")}
    again = EvaluatingTrainer(evaluating_cfg(tmp_path))
    again.resume_or_load(resume=True)
    assert again.train() == {"avis": {"AP": 41.0}}
    torch.testing.assert_close(weights(again), weights(finished), atol=0, rtol=0)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.pth")} == files


def test_the_last_iteration_is_followed_by_an_evaluation(tmp_path: Path):
    train(evaluating_cfg(tmp_path), trainer_class=EvaluatingTrainer)
    assert CountingEvaluator.runs == 1


@pytest.mark.parametrize("iteration", [0, 3])
def test_training_that_fails_is_not_evaluated(tmp_path: Path, iteration: int):
    """Also not in its last iteration, 3, where Detectron2 evaluates, and waits for who has not failed."""

    class Failing(EvaluatingTrainer):
        def run_step(self) -> None:
            if self.iter == iteration:
                raise RuntimeError("out of memory")
            super().run_step()

    with pytest.raises(RuntimeError, match="out of memory"):
        train(evaluating_cfg(tmp_path), trainer_class=Failing)
    assert CountingEvaluator.runs == 0


def test_missing_test_set_shows_before_training(tmp_path: Path):
    cfg = small_cfg(tmp_path)
    cfg.DATASETS.TEST = (str(tmp_path / "absent.json"),)
    with pytest.raises(FileNotFoundError, match=r"absent\.json"):
        SmallTrainer(cfg).train()
    assert not list(tmp_path.iterdir())


def test_without_a_checkpoint_resume_starts_from_the_weights(tmp_path: Path):
    source = train(small_cfg(tmp_path / "source"))
    cfg = small_cfg(tmp_path / "target", MAX_ITER=1)
    cfg.MODEL.WEIGHTS = str(tmp_path / "source" / "model_final.pth")
    trainer = SmallTrainer(cfg)
    trainer.resume_or_load(resume=True)
    assert trainer.start_iter == 0
    torch.testing.assert_close(weights(trainer), weights(source), atol=0, rtol=0)
    assert not trainer.optimizer.state


def test_files_of_a_run(tmp_path: Path):
    cfg = evaluating_cfg(tmp_path, MAX_ITER=5, CHECKPOINT_PERIOD=2)
    cfg.TEST.EVAL_PERIOD = 3
    train(cfg, trainer_class=EvaluatingTrainer)
    names = {path.name for path in tmp_path.iterdir() if not path.name.startswith("events.")}
    assert names == {
        "last_checkpoint",
        "model_0000001.pth",
        "model_0000003.pth",
        "model_final.pth",
        "training_metrics.json",
    }
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 1
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"
    lines = [json.loads(line) for line in (tmp_path / "training_metrics.json").read_text().splitlines()]
    logged = {key: value for line in lines for key, value in line.items()}
    assert set(logged) >= {
        "loss_square", "loss_absolute", "total_loss", "grad_norm", "lr", "data_time", "time", "eta_seconds"
    }  # fmt: skip
    assert logged["avis/AP"] == 42.0
    assert "max_mem_mb" not in logged  # that is a GPU's


def test_console_shows_losses_and_eta(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    logging.getLogger("detectron2").propagate = True
    with caplog.at_level(logging.INFO):
        train(small_cfg(tmp_path))
    (line,) = [message for message in caplog.messages if "iter: 3" in message]
    for part in (
        "grad_norm: ",
        "eta: 0:00:00",
        "total_loss: ",
        "loss_square: ",
        "time: ",
        "data_time: ",
        "lr: 0.0001",
    ):
        assert part in line


@pytest.mark.parametrize("iteration", [0, 2])
def test_loss_that_is_not_finite_stops_the_run_and_keeps_its_checkpoints(tmp_path: Path, iteration: int):
    class Poisoned(SmallTrainer):
        def run_step(self) -> None:
            if self.iter == iteration:
                self.poisoned_from = {n: w.clone() for n, w in weights(self).items()}
                with torch.no_grad():
                    self.model.level_embed.fill_(math.inf)
            super().run_step()

    trainer = Poisoned(small_cfg(tmp_path, MAX_NONFINITE=1))
    with pytest.raises(
        FloatingPointError, match=rf"iteration {iteration}: loss_square is (nan|inf), .*total_loss"
    ):
        trainer.train()
    for name, value in trainer.poisoned_from.items():
        if not name.startswith("level_embed"):
            assert torch.equal(weights(trainer)[name], value)
    expected = set() if iteration == 0 else {"model_0000001.pth"}
    assert {path.name for path in tmp_path.glob("*.pth")} == expected


def test_checkpoint_of_another_model_cannot_be_resumed(tmp_path: Path):
    train(small_cfg(tmp_path))

    class Larger(SmallTrainer):
        @classmethod
        def build_model(cls, cfg: CfgNode) -> nn.Module:
            model = super().build_model(cfg)
            model.extra = nn.Linear(2, 2)
            return model

    with pytest.raises(
        ValueError, match=r"cannot resume from .*model_final\.pth: .*2 not in the file.*\(extra"
    ):
        Larger(small_cfg(tmp_path)).resume_or_load(resume=True)


def test_unknown_precision_is_named(tmp_path: Path):
    cfg = small_cfg(tmp_path)
    cfg.SOLVER.AMP.ENABLED = True
    cfg.SOLVER.AMP.PRECISION = "float8"
    with pytest.raises(ValueError, match=r"SOLVER\.AMP\.PRECISION is 'float8'"):
        SmallTrainer(cfg)

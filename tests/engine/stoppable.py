"""Trainings that are stopped and killed: slow enough to be met at work, on real processes."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from torch import nn
from torch.utils.data import DataLoader

from avis.command_line import exit_on_bad_input
from avis.engine import launch, listening, run_folder
from tests.engine.small_model import BATCH_SIZE, small_cfg
from tests.engine.test_trainer import EvaluatingTrainer

ITERATIONS = 40


class PatientTrainer(EvaluatingTrainer):
    """Says which iterations it does."""

    seconds = 0.05

    def run_step(self) -> None:
        super().run_step()
        with Path(self.cfg.OUTPUT_DIR, f"iterations{comm.get_rank()}.txt").open("a") as file:
            file.write(f"{self.iter}\n")
        time.sleep(self.seconds)


class LaunchedTrainer(PatientTrainer):
    """Does not end before somebody stops it, even on a busy machine."""

    seconds = 0.5


class StuckTrainer(PatientTrainer):
    seconds = 120.0


class AskedEarlyTrainer(PatientTrainer):
    """Is told to stop while it is built."""

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        signal.raise_signal(signal.SIGINT)
        return super().build_model(cfg)


class WorkersTrainer(PatientTrainer):
    """Has a loader with a worker."""

    @classmethod
    def build_train_loader(cls, cfg: CfgNode, start_iteration: int = 0) -> Iterator[list[dict]]:
        batches = [
            [{"input": row} for row in torch.randn(BATCH_SIZE, 3, generator=torch.Generator().manual_seed(i))]
            for i in range(start_iteration, ITERATIONS)
        ]
        return DataLoader(batches, batch_size=None, num_workers=1, collate_fn=list)


class SlowlyEvaluatingTrainer(PatientTrainer):
    """Evaluates every other iteration, for a long time."""

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> list:
        return SlowLoader(Path(cfg.OUTPUT_DIR))


class SlowLoader(list):
    def __init__(self, folder: Path) -> None:
        super().__init__([[{"input": torch.zeros(3)}]] * 100_000)
        self.folder = folder

    def __iter__(self) -> Iterator:
        for item in super().__iter__():
            time.sleep(0.05)
            (self.folder / "evaluating").touch()
            yield item


def patient_cfg(folder: Path, period: int = 0) -> CfgNode:
    cfg = small_cfg(folder, MAX_ITER=ITERATIONS, CHECKPOINT_PERIOD=period)
    cfg.SEED = 5
    return cfg


@exit_on_bad_input()
def train_patiently(
    folder: str,
    resume: bool = False,
    trainer_class: type = PatientTrainer,
    max_hours: float = 0.0,
    period: int = 0,
) -> None:
    torch.manual_seed(comm.get_rank())
    np.random.seed(comm.get_rank())
    cfg = patient_cfg(Path(folder), period)
    if trainer_class is SlowlyEvaluatingTrainer:
        cfg.DATASETS.TEST, cfg.TEST.EVAL_PERIOD = ("somewhere",), 2
    with listening(max_hours), run_folder(cfg, resume):
        trainer = trainer_class(cfg)
        trainer.resume_or_load(resume)
        trainer.train()


@exit_on_bad_input()
def launch_patiently(folder: str, resume: bool = False, trainer_class: type = PatientTrainer) -> None:
    number = 1 if "RANK" in os.environ else 2  # torchrun has started both already
    launch(train_patiently, number, args=(folder, resume, trainer_class), device="cpu")


if __name__ == "__main__":
    if "--background" in sys.argv:  # as a shell without job control starts it
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    launch_patiently(
        sys.argv[1], "--resume" in sys.argv, StuckTrainer if "--stuck" in sys.argv else LaunchedTrainer
    )

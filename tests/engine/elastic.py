"""A training under torchrun, of which a process is killed on the first attempt."""

import os
import signal
import sys
from pathlib import Path

from detectron2.utils import comm

from avis.engine import launch, was_restarted
from tests.engine.stoppable import PatientTrainer, train_patiently


class MortalTrainer(PatientTrainer):
    def run_step(self) -> None:
        was_killed = Path(self.cfg.OUTPUT_DIR, "killed")
        if self.iter == 5 and comm.get_rank() == 1 and not was_killed.exists():
            was_killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        super().run_step()


def train(folder: str) -> None:
    train_patiently(folder, was_restarted(), MortalTrainer, period=2)


if __name__ == "__main__":
    launch(train, 1, args=(sys.argv[1],), device="cpu")

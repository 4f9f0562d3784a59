"""A training under torchrun, of which a process is killed on the first attempt."""

import os
import signal
import sys

from avis.engine import is_restart, launch
from tests.engine.stoppable import PatientTrainer, train_patiently


class MortalTrainer(PatientTrainer):
    def run_step(self) -> None:
        if self.iter == 5 and os.environ["RANK"] == "1" and not is_restart(os.environ):
            os.kill(os.getpid(), signal.SIGKILL)
        super().run_step()


if __name__ == "__main__":
    launch(
        train_patiently, 1, args=(sys.argv[1], is_restart(os.environ), MortalTrainer, 0.0, 2), device="cpu"
    )

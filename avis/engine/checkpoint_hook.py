"""When a run saves: periodically, at its end, and where it fails; and which of its checkpoints it keeps."""

import logging
import sys
import time
from collections.abc import Callable

from detectron2.config import CfgNode, configurable
from detectron2.engine import HookBase
from detectron2.utils import comm

from avis.engine.checkpoint import AVISCheckpointer
from avis.engine.signals import agree, stop_if_asked
from avis.weights import numbered_checkpoints

logger = logging.getLogger(__name__)


class CheckpointHook(HookBase):
    """Saves ``model_<iteration>`` periodically, and ``model_final`` after the last iteration.

    Args:
        checkpointer: writes them.
        period: iterations between two of them; 0: no matter how many.
        minutes: time between two of them; 0: no matter how long.
        keep: the newest that are kept, 0: all. The final one and the best one stay beside them.

    Attributes:
        saved: the iteration of the newest, None before there is one.
    """

    @configurable
    def __init__(
        self, checkpointer: AVISCheckpointer, *, period: int = 0, minutes: float = 0.0, keep: int = 0
    ) -> None:
        for key, value in (("KEEP", keep), ("MINUTES", minutes), ("PERIOD", period)):
            if value < 0:
                raise ValueError(f"SOLVER.CHECKPOINT_{key} is {value}; it is 0 or more")
        self.checkpointer = checkpointer
        self.period = period or sys.maxsize
        self.seconds = minutes * 60
        self.keep = keep
        self.saved: int | None = None
        self._last_time = 0.0

    @classmethod
    def from_config(cls, cfg: CfgNode, checkpointer: AVISCheckpointer) -> dict:
        """SOLVER.CHECKPOINT_*."""
        return {
            "checkpointer": checkpointer,
            "period": cfg.SOLVER.CHECKPOINT_PERIOD,
            "minutes": cfg.SOLVER.CHECKPOINT_MINUTES,
            "keep": cfg.SOLVER.CHECKPOINT_KEEP,
        }

    def before_train(self) -> None:
        """Start the clock."""
        stop_if_asked()
        self._last_time = time.monotonic()

    def after_step(self) -> None:
        """Save if it is time; stop if a process is asked to, whose state the trainer then saves."""
        iteration = self.trainer.iter
        if iteration + 1 >= self.trainer.max_iter:
            self.checkpointer.save("model_final", iteration=iteration)
            self.saved = iteration
        elif self._is_due(iteration):
            self.save(iteration)
        stop_if_asked()

    def save(self, iteration: int, rng_states: list[dict] | None = None) -> None:
        """Save the state after an iteration, and delete the checkpoints before the last ones.

        Args:
            iteration: from 0.
            rng_states: as `AVISCheckpointer.save` takes them.
        """
        self.checkpointer.save(f"model_{iteration:07d}", rng_states, iteration=iteration)
        self.saved, self._last_time = iteration, time.monotonic()
        if self.keep and comm.is_main_process():
            self._delete_older(iteration)

    def _is_due(self, iteration: int) -> bool:
        if (iteration + 1) % self.period == 0:
            return True
        return bool(self.seconds) and agree(time.monotonic() - self._last_time >= self.seconds)

    def _delete_older(self, iteration: int) -> None:
        # Later ones are of a future that the user has left by going back to an earlier checkpoint.
        numbers = numbered_checkpoints(self.checkpointer.save_dir)
        reached = sorted((number, path) for path, number in numbers.items() if number <= iteration)
        for _, path in reached[: -self.keep]:
            logger.info("Deleting %s: SOLVER.CHECKPOINT_KEEP is %d", path, self.keep)
            path.unlink()


def try_to_save(save: Callable[[], None]) -> None:
    """Save after an error, which is more important than one of saving: that is logged alone."""
    try:
        save()
    except Exception:
        logger.exception("The state before the error could not be saved:")

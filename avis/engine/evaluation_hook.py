"""When a run evaluates, and the checkpoint that is best by a metric."""

import logging
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from detectron2.engine import hooks
from detectron2.utils import comm

from avis.engine.checkpoint import AVISCheckpointer
from avis.weights import read_checkpoint

logger = logging.getLogger(__name__)

BEST_CHECKPOINT = "model_best"
_TEST_SPLIT = re.compile(r"(^|[^a-z])test([^a-z]|$)", re.IGNORECASE)


class EvalHook(hooks.EvalHook):
    """Evaluates periodically, and after the last iteration unless that has failed.

    Detectron2's own evaluates then, too, which waits for ever if another process has not failed.

    Args:
        period: iterations between two evaluations; 0: only the last one.
        evaluate: returns the metrics, nested dicts of numbers; empty off the main process.
        checkpointer: saves the best model.
        best_metric: the higher, the better, such as "avis/AP"; "": no model is saved as the best.
        test_sets: on which `evaluate` evaluates.
    """

    def __init__(
        self,
        period: int,
        evaluate: Callable[[], dict],
        checkpointer: AVISCheckpointer,
        best_metric: str = "",
        test_sets: Sequence[str] = (),
    ) -> None:
        super().__init__(period, evaluate)
        self.checkpointer = checkpointer
        self.best_metric = best_metric
        self.test_sets = test_sets
        self._best = -math.inf

    def before_train(self) -> None:
        """Find the best model of the run that is resumed."""
        if not self.best_metric:
            return
        for name in filter(_TEST_SPLIT.search, self.test_sets):
            logger.warning("TEST.BEST_METRIC chooses by %s: figures on it are then no test any more", name)
        self._best = self._earlier_best()

    def after_train(self) -> None:
        """Evaluate if all iterations are done."""
        if self.trainer.iter == self.trainer.max_iter:
            super().after_train()

    def _do_eval(self) -> None:
        super()._do_eval()
        if self.best_metric:
            self._save_best()

    def _save_best(self) -> None:
        values = {name: value for name, (value, _) in self.trainer.storage.latest().items()}
        value = values.get(self.best_metric, math.nan)
        if comm.is_main_process() and self.best_metric not in values:
            known = ", ".join(sorted(name for name in values if "/" in name))
            logger.warning("TEST.BEST_METRIC is %r, but there are %s", self.best_metric, known)
        if not comm.all_gather(value > self._best)[0]:
            return
        self._best = value
        logger.info("The best so far: %s is %.3f", self.best_metric, value)
        # After the last iteration, the trainer's number is one more.
        iteration = min(self.trainer.iter, self.trainer.max_iter - 1)
        best = {"metric": self.best_metric, "value": value}
        self.checkpointer.save(BEST_CHECKPOINT, is_last=False, iteration=iteration, best=best)

    def _earlier_best(self) -> float:
        path = Path(self.checkpointer.save_dir, f"{BEST_CHECKPOINT}.pth")
        if not (comm.is_main_process() and path.is_file()):
            return -math.inf
        try:
            best = read_checkpoint(str(path)).get("best", {})
        except ValueError as error:
            logger.warning("%s; the next model is taken for the best", error)
            return -math.inf
        return best["value"] if best.get("metric") == self.best_metric else -math.inf

"""Where the time of a training step goes: a trace of some iterations, and a table of what took longest."""

import logging
from pathlib import Path

import torch
from detectron2.config import CfgNode, configurable
from detectron2.engine import HookBase
from detectron2.utils import comm
from torch.profiler import ProfilerActivity, profile

from avis.files import replacing

logger = logging.getLogger(__name__)

# In OUTPUT_DIR.
FOLDER = "profile"
TABLE = "operations.txt"
_ROWS, _NAME_WIDTH = 25, 60


class Profiler(HookBase):
    """Profiles the main process from one iteration up to another; the others are not disturbed.

    Args:
        folder: gets the trace and the table.
        iterations: the first one that is profiled, and the first one after them; (): none is.
    """

    @configurable
    def __init__(self, *, folder: Path, iterations: tuple[int, ...] = ()) -> None:
        if iterations and not (len(iterations) == 2 and 0 <= iterations[0] < iterations[1]):
            raise ValueError(f"PROFILE is {iterations}; give the first iteration and the one after the last")
        self.folder = folder
        self.iterations = iterations if comm.is_main_process() else ()
        self._profile: profile | None = None

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """PROFILE and OUTPUT_DIR."""
        return {"folder": Path(cfg.OUTPUT_DIR, FOLDER), "iterations": tuple(cfg.PROFILE)}

    def before_train(self) -> None:
        """Say so if there will be nothing to profile."""
        if self.iterations and not self.trainer.start_iter < self.iterations[1] <= self.trainer.max_iter:
            logger.warning(
                "PROFILE %s: the iterations of this run are %d to %d",
                self.iterations, self.trainer.start_iter, self.trainer.max_iter,
            )  # fmt: skip

    def before_step(self) -> None:
        """Start where it is time."""
        if self.iterations and self._profile is None and self.trainer.iter in range(*self.iterations):
            activities = [ProfilerActivity.CPU]
            if torch.cuda.is_available():
                activities.append(ProfilerActivity.CUDA)
            self._profile = profile(activities=activities, record_shapes=True, profile_memory=True)
            self._profile.start()

    def after_step(self) -> None:
        """Write after the last of the iterations."""
        if self._profile is not None and self.trainer.iter + 1 >= self.iterations[1]:
            self._write()

    def after_train(self) -> None:
        """Write what there is, where the training ends before the last of the iterations."""
        if self._profile is not None:
            self._write()

    def _write(self) -> None:
        assert self._profile is not None
        self._profile.stop()
        self.folder.mkdir(parents=True, exist_ok=True)
        first, last = self.iterations
        # The name by which TensorBoard's profiler plugin knows traces; Perfetto opens any.
        trace = self.folder / f"iterations_{first}_{last}.pt.trace.json"
        with replacing(trace) as unfinished:
            self._profile.export_chrome_trace(str(unfinished))
        key = "self_device_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        averages = self._profile.key_averages()
        table = averages.table(sort_by=key, row_limit=_ROWS, max_name_column_width=_NAME_WIDTH)
        with replacing(self.folder / TABLE) as unfinished:
            unfinished.write_text(table)
        logger.info("What took longest is in %s, what happened when in %s", self.folder / TABLE, trace)
        self._profile, self.iterations = None, ()

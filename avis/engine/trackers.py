"""Weights & Biases and MLflow: the metrics of a run on their pages, if LOGGING.* asks for them.

Which run it is there, OUTPUT_DIR/trackers.json remembers, so that a resumed training goes on with it.
"""

import logging
import math
import re
import sys
import time
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.events import EventWriter, get_event_storage

from avis.config.tree import leaves
from avis.files import read_json, write_json

logger = logging.getLogger(__name__)

# In OUTPUT_DIR: the identifier of the run by tracker.
TRACKED_RUNS = "trackers.json"
# Scalars are medians over as many iterations, as in the other files of metrics.
_WINDOW = 20
# By the section of LOGGING: the package, and what installs it.
_PACKAGES = {"WANDB": ("wandb", "wandb"), "MLFLOW": ("mlflow", "mlflow-skinny")}
# Of MLflow: what names of metrics may have, how long values of parameters may be, and how many go at once.
_FORBIDDEN = re.compile(r"[^\w\-. /:]")
_LONGEST_VALUE, _AT_ONCE = 500, 100


def check_trackers(cfg: CfgNode) -> None:
    """Make sure that what LOGGING asks for is there, before the training begins.

    Raises:
        ValueError: a package is not installed.
    """
    for section, (package, installed_by) in _PACKAGES.items():
        if cfg.LOGGING[section].ENABLED and find_spec(package) is None:
            raise ValueError(
                f"LOGGING.{section}.ENABLED needs the package {package}, which is not installed: "
                f"pip install {installed_by}, or set the key to False"
            )


def open_on_main(build: Callable[[], list[EventWriter]]) -> list[EventWriter]:
    """Open the writers of the main process; all processes call this, and end where that fails.

    Args:
        build: opens them.

    Returns:
        What it gives; [] on the other processes.

    Raises:
        SystemExit: in other processes than the main one, where that raises.
    """
    writers: list[EventWriter] = []
    if comm.is_main_process():
        try:
            writers = build()
        except Exception:
            comm.all_gather("refused")
            raise
    if comm.all_gather("")[0]:
        sys.exit(2)  # the main process has said why
    return writers


def build_trackers(cfg: CfgNode) -> list[EventWriter]:
    """The writers that LOGGING asks for; the main process calls this.

    Raises:
        ValueError: a package is not installed, or a run cannot be opened.
    """
    check_trackers(cfg)
    kinds = {"WANDB": WandbWriter, "MLFLOW": MLflowWriter}
    return [kind(cfg) for section, kind in kinds.items() if cfg.LOGGING[section].ENABLED]


class TrackerWriter(EventWriter):
    """Hands over each scalar once, by iteration."""

    def __init__(self) -> None:
        self._last_written = -1

    def write(self) -> None:
        """Hand over what came since the last time."""
        new: dict[int, dict[str, float]] = defaultdict(dict)
        for name, (value, iteration) in get_event_storage().latest_with_smoothing_hint(_WINDOW).items():
            if iteration > self._last_written:
                new[iteration][name] = value
        for iteration, scalars in sorted(new.items()):
            self.log(iteration, scalars)
        self._last_written = max(new, default=self._last_written)

    @abstractmethod
    def log(self, iteration: int, scalars: dict[str, float]) -> None:
        """Hand over the scalars of an iteration."""


class WandbWriter(TrackerWriter):
    """Writes to Weights & Biases; WANDB_MODE, WANDB_ENTITY and the other variables of its own count.

    Args:
        cfg: LOGGING.WANDB, OUTPUT_DIR, and all of it for the run's page.
    """

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__()
        import wandb

        self._wandb = wandb
        options = cfg.LOGGING.WANDB
        earlier = _tracked(cfg).get("wandb")
        try:
            self._run = wandb.init(
                project=options.PROJECT,
                name=options.NAME or None,
                dir=cfg.OUTPUT_DIR,
                id=earlier,
                resume="allow",
                config=yaml.safe_load(cfg.dump()),
            )
        except Exception as error:
            raise ValueError(
                f"LOGGING.WANDB: no run can be opened ({error}); log in by `wandb login`, or set "
                "WANDB_MODE=offline"
            ) from error
        _track(cfg, wandb=self._run.id)
        # What a resumed training does again may be handed over again, which W&B's own steps forbid.
        self._run.define_metric("iteration")
        self._run.define_metric("*", step_metric="iteration")

    def log(self, iteration: int, scalars: dict[str, float]) -> None:
        """Hand over scalars."""
        self._run.log({"iteration": iteration, **scalars})

    def write(self) -> None:
        """Hand over scalars and the pictures, which TensorBoard's writer removes after this one."""
        super().write()
        for name, picture, iteration in get_event_storage()._vis_data:
            image = self._wandb.Image(picture.transpose(1, 2, 0))
            self._run.log({"iteration": iteration, name: image})

    def close(self) -> None:
        """Wait until all is handed over."""
        self._run.finish()


class MLflowWriter(TrackerWriter):
    """Writes to MLflow; MLFLOW_TRACKING_URI and the other variables of its own count.

    A server that does not answer ends no training: what it misses is in OUTPUT_DIR, and the log says so.

    Args:
        cfg: LOGGING.MLFLOW, OUTPUT_DIR, and all of it as parameters.
    """

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__()
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param
        from mlflow.exceptions import MlflowException

        self._metric, self._error = Metric, MlflowException
        options = cfg.LOGGING.MLFLOW
        try:
            self._client = MlflowClient(options.TRACKING_URI or None)
            earlier = _tracked(cfg).get("mlflow")
            self._id = earlier or self._create_run(options)
            if earlier:
                self._client.update_run(earlier, status="RUNNING")
            else:
                values = [
                    Param(name, str(value)[:_LONGEST_VALUE])
                    for name, value in leaves(cfg).items()
                    if str(value) and not name.startswith("LOGGING.")
                ]
                for start in range(0, len(values), _AT_ONCE):
                    self._client.log_batch(self._id, params=values[start : start + _AT_ONCE])
        except Exception as error:
            raise ValueError(
                f"LOGGING.MLFLOW: no run can be opened at TRACKING_URI {options.TRACKING_URI!r}: {error}"
            ) from error
        _track(cfg, mlflow=self._id)

    def _create_run(self, options: CfgNode) -> str:
        known = self._client.get_experiment_by_name(options.EXPERIMENT)
        experiment = known.experiment_id if known else self._client.create_experiment(options.EXPERIMENT)
        return self._client.create_run(experiment, run_name=options.NAME or None).info.run_id

    def log(self, iteration: int, scalars: dict[str, float]) -> None:
        """Hand over scalars, those that are finite."""
        now = int(time.time() * 1000)
        metrics = [
            self._metric(_mlflow_name(name), value, now, iteration)
            for name, value in scalars.items()
            if math.isfinite(value)
        ]
        try:
            self._client.log_batch(self._id, metrics=metrics)
        except self._error as error:
            logger.warning("MLflow has not got the metrics of iteration %d: %s", iteration, error)

    def close(self) -> None:
        """Say that the run has ended."""
        try:
            self._client.set_terminated(self._id)
        except self._error as error:
            logger.warning("MLflow does not know that the run has ended: %s", error)


def _mlflow_name(name: str) -> str:
    """A name with at most one "/": MLflow's files cannot hold both a/b and a/b/c."""
    group, slash, rest = _FORBIDDEN.sub("_", name).partition("/")
    return group + slash + rest.replace("/", ".")


def _tracked(cfg: CfgNode) -> dict[str, Any]:
    path = Path(cfg.OUTPUT_DIR, TRACKED_RUNS)
    return read_json(path) if path.is_file() else {}


def _track(cfg: CfgNode, **runs: str) -> None:
    write_json(Path(cfg.OUTPUT_DIR, TRACKED_RUNS), {**_tracked(cfg), **runs})

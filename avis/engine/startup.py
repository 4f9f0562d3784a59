"""What every run starts with: config, log files, seeds, device, and errors that a user can act on."""

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from avis.config import get_avis_cfg, use_available_device
from avis.files import remove_leftovers
from avis.weights import LAST_CHECKPOINT, checkpoint_files

logger = logging.getLogger(__name__)

# Of the main process, one JSON object a line.
TRAINING_METRICS = "training_metrics.json"
# Likewise: the clips and iterations that training has skipped.
SKIPPED = "skipped.jsonl"
# Loggers of libraries, with the level from which on they have something to say to our users.
QUIET_LOGGERS = {
    "torch.utils.cpp_extension": logging.ERROR,
    "torch.fx._symbolic_trace": logging.ERROR,
    "detectron2.checkpoint.c2_model_loading": logging.WARNING,
    "detectron2.data.common": logging.WARNING,
}


def check_output_dir(cfg: CfgNode) -> None:
    """Make sure that a new training does not mix with an earlier one in OUTPUT_DIR.

    Raises:
        FileExistsError: OUTPUT_DIR holds one and OVERWRITE_OUTPUT is False, or the new one starts from it.
    """
    found = _earlier_training(cfg)
    if found and not cfg.OVERWRITE_OUTPUT:
        raise FileExistsError(
            f"OUTPUT_DIR {cfg.OUTPUT_DIR} holds a training already ({found[0].name}): go on with it by "
            "--resume, choose another OUTPUT_DIR, or delete it by OVERWRITE_OUTPUT True"
        )
    audio = cfg.MODEL.AUDIO
    needed = {Path(path).resolve() for path in (cfg.MODEL.WEIGHTS, audio.WEIGHTS, audio.PCA_WEIGHTS) if path}
    for path in found:
        if path.resolve() in needed:
            raise FileExistsError(f"OVERWRITE_OUTPUT True would delete {path}, from which training starts")


def clear_output_dir(cfg: CfgNode) -> None:
    """Delete what `check_output_dir` has found: nobody shall take it for the new training's."""
    if comm.is_main_process():
        for path in _earlier_training(cfg):
            logger.info("Deleting %s of an earlier training", path)
            path.unlink()


def _earlier_training(cfg: CfgNode) -> list[Path]:
    folder = Path(cfg.OUTPUT_DIR)
    paths = (
        *checkpoint_files(folder),
        *(folder / name for name in (LAST_CHECKPOINT, TRAINING_METRICS, SKIPPED)),
    )
    return [path for path in paths if path.is_file()]


def setup(args: argparse.Namespace) -> CfgNode:
    """Prepare a run from Detectron2's command-line arguments.

    OUTPUT_DIR/log.txt gets everything (environment, config, debug messages), the console what is of interest
    while it runs; OUTPUT_DIR/config.yaml gets the config. The generators are seeded from SEED and the rank.
    What killed runs have left half written in OUTPUT_DIR is removed.

    Args:
        args: with `config_file`, `opts` and `eval_only`.

    Returns:
        The frozen config.

    Raises:
        ConfigError: the config has a mistake.
    """
    # The log gets a copy of the file from default_setup, which does not know "~".
    args.config_file = os.path.expanduser(args.config_file)
    cfg = get_avis_cfg(args.config_file, args.opts)
    _quieten_libraries()
    with _console_level(cfg.OUTPUT_DIR, logging.WARNING):
        default_setup(cfg, args)
    if comm.is_main_process():
        for folder in (Path(cfg.OUTPUT_DIR), *Path(cfg.OUTPUT_DIR).glob("inference/*/")):
            remove_leftovers(folder)
    use_available_device(cfg)
    cfg.freeze()
    return cfg


def _quieten_libraries() -> None:
    for name, level in QUIET_LOGGERS.items():
        logging.getLogger(name).setLevel(level)
    # Comes up when float16's loss scaling skips the first update, as it may.
    warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step", category=UserWarning)


@contextmanager
def _console_level(output_dir: str, level: int) -> Iterator[None]:
    """Set up the loggers as Detectron2's default_setup does, consoles at `level` inside, then at INFO."""
    rank = comm.get_rank()
    # Called as default_setup will call it: it then finds these loggers instead of adding handlers.
    loggers = [
        setup_logger(output_dir, distributed_rank=rank),
        setup_logger(output_dir, distributed_rank=rank, name="fvcore"),
        setup_logger(output_dir, distributed_rank=rank, name="avis"),
    ]
    consoles = [h for log in loggers for h in log.handlers if getattr(h, "stream", None) is sys.stdout]
    for console in consoles:
        console.setLevel(level)
    yield
    for console in consoles:
        console.setLevel(logging.INFO)

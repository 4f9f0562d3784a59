"""What every run starts with: config, log files, seeds, device, and errors that a user can act on."""

import argparse
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from avis import configs
from avis.config import ConfigError, get_avis_cfg, use_available_device
from avis.engine.log_format import keep_colours_from_files
from avis.engine.seed import settle_seed
from avis.files import remove_leftovers, replacing

logger = logging.getLogger(__name__)

# Loggers of libraries, with the level from which on they have something to say to our users.
QUIET_LOGGERS = {
    "torch.utils.cpp_extension": logging.ERROR,
    "torch.fx._symbolic_trace": logging.ERROR,
    "detectron2.checkpoint.c2_model_loading": logging.WARNING,
    "detectron2.data.common": logging.WARNING,
}


def setup(args: argparse.Namespace) -> CfgNode:
    """Prepare a run from Detectron2's command-line arguments.

    OUTPUT_DIR/log.txt gets everything (environment, config, debug messages), the console what is of interest
    while it runs; OUTPUT_DIR/config.yaml gets the config. Those of an evaluation alone lie in
    OUTPUT_DIR/inference, beside what it gives. The generators are seeded from SEED and the rank; where SEED
    is -1, it is drawn and logged. What killed runs have left half written in OUTPUT_DIR is removed.

    Args:
        args: with `config_file`, `opts` and `eval_only`; and `resume`, if it goes on with a run.

    Returns:
        The frozen config.

    Raises:
        ConfigError: the config has a mistake.
    """
    # The log gets a copy of the file from default_setup, which knows neither "~" nor the names of configs.
    args.config_file = configs.find(args.config_file)
    cfg = get_avis_cfg(args.config_file, args.opts)
    _check_reference(cfg)
    _quieten_libraries()
    is_drawn = settle_seed(cfg, resume=getattr(args, "resume", False) and not args.eval_only)
    folder = Path(cfg.OUTPUT_DIR, "inference") if args.eval_only else Path(cfg.OUTPUT_DIR)
    with _console_level(str(folder), logging.WARNING):
        _set_up_in(folder, cfg, args)
    if is_drawn:
        logger.info("SEED %d was drawn; set it to train the same again", cfg.SEED)
    if comm.is_main_process():
        for folder in (Path(cfg.OUTPUT_DIR), *Path(cfg.OUTPUT_DIR).glob("inference/*/")):
            remove_leftovers(folder)
    use_available_device(cfg)
    cfg.freeze()
    return cfg


def _check_reference(cfg: CfgNode) -> None:
    size, batch = cfg.SOLVER.REFERENCE_WORLD_SIZE, cfg.SOLVER.IMS_PER_BATCH
    if size > 0 and batch % size:
        raise ConfigError(
            f"SOLVER.REFERENCE_WORLD_SIZE is {size}, over which SOLVER.IMS_PER_BATCH {batch} cannot be split"
        )


def _set_up_in(folder: Path, cfg: CfgNode, args: argparse.Namespace) -> None:
    there = cfg.clone()
    there.OUTPUT_DIR = str(folder)
    default_setup(there, args)
    if comm.is_main_process():
        with replacing(folder / "config.yaml") as unfinished:
            unfinished.write_text(cfg.dump())


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
    keep_colours_from_files(loggers)
    consoles = [h for log in loggers for h in log.handlers if getattr(h, "stream", None) is sys.stdout]
    for console in consoles:
        console.setLevel(level)
    yield
    for console in consoles:
        console.setLevel(logging.INFO)

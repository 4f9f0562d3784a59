"""run.json in the folder of a run: what it was started with, so that it can be started again.

One entry for each start: a run that is resumed adds one.
"""

import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager

from avis.command_names import invocation
from avis.config import RECORD, STARTS, WEIGHT_KEYS
from avis.config.tree import leaves
from avis.data.catalog import datasets_root
from avis.data.digest import digest_data, digest_file
from avis.engine.git_state import git_state
from avis.engine.surroundings import device_of, relevant_variables, versions
from avis.files import read_json, replacing, write_json

logger = logging.getLogger(__name__)

DIFFERENCE = "uncommitted"
# For the names and sizes of all data sets' frames and sounds.
_SECONDS = 20.0


def record_start(cfg: CfgNode, resume: bool) -> dict[str, Any]:
    """Write down in OUTPUT_DIR how a training was started; every process must call this.

    Args:
        cfg: of the run, with its seed.
        resume: it goes on with the run in OUTPUT_DIR, so earlier starts stay.

    Returns:
        The entry; empty off the main process.
    """
    processes = comm.gather(device_of(cfg))
    if not comm.is_main_process():
        return {}
    folder = Path(cfg.OUTPUT_DIR)
    folder.mkdir(parents=True, exist_ok=True)
    starts = _earlier_starts(folder / RECORD) if resume else []
    started, words = invocation()
    start = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "resumed": resume,
        "command": [sys.executable, *started, *words],
        "directory": os.getcwd(),
        "environment": relevant_variables(os.environ),
        "versions": versions(),
        "git": _record_git(folder, starts),
        "processes": processes,
        "threads": torch.get_num_threads(),
        "datasets": str(datasets_root().absolute()),
        "data": _digest_all(cfg),
        "weights": _digest_weights(cfg, resume),
        "config": yaml.safe_load(cfg.dump()),
    }
    write_json(folder / RECORD, {STARTS: [*starts, start]}, indent=2)
    return start


def _earlier_starts(path: Path) -> list[dict]:
    if not path.is_file():
        return []
    try:
        return read_json(path)[STARTS]
    except (KeyError, TypeError, ValueError) as error:
        logger.warning("%s cannot be read (%s): the earlier starts of the run are lost", path, error)
        return []


def _record_git(folder: Path, earlier: list[dict]) -> dict[str, Any]:
    """Which code runs; its difference to the commit is in a file for each start that has one."""
    state, difference = git_state()
    name = f"{DIFFERENCE}.diff" if not earlier else f"{DIFFERENCE}_{len(earlier) + 1}.diff"
    if not earlier:
        for path in folder.glob(f"{DIFFERENCE}*.diff"):
            path.unlink()
    if difference:
        with replacing(folder / name) as unfinished:
            unfinished.write_bytes(difference)
        state |= {"difference": name, "sha256": digest_file(folder / name)}
    return state


def _digest_all(cfg: CfgNode) -> dict[str, dict]:
    names = dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST))
    return {name: digest_data(name, cfg.INPUT.AUDIO.FEATURES_DIR, _SECONDS / len(names)) for name in names}


def _digest_weights(cfg: CfgNode, resume: bool) -> dict[str, dict]:
    """The files from which the training starts; a run that goes on needs them no more."""
    paths = {key: leaves(cfg)[key] for key in WEIGHT_KEYS}
    return {
        key: {"path": path, "sha256": digest_file(path if resume else PathManager.get_local_path(path))}
        for key, path in paths.items()
        if path
    }

"""One run, one folder: OUTPUT_DIR is locked, and no new training starts over the files of an earlier one."""

import logging
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.utils import comm

from avis.engine.run_lock import locked
from avis.files import remove_leftovers
from avis.weights import LAST_CHECKPOINT, checkpoint_files

logger = logging.getLogger(__name__)

# Of the main process, one JSON object a line.
TRAINING_METRICS = "training_metrics.json"
# Likewise: the clips and iterations that training has skipped.
SKIPPED = "skipped.jsonl"


@contextmanager
def run_folder(cfg: CfgNode, resume: bool) -> Iterator[None]:
    """Hold OUTPUT_DIR for a training, in all of its processes; the main one has the lock.

    What killed runs have left half written in it is removed, those of other hosts, too.

    Args:
        cfg: as `check_output_dir`.
        resume: whether the training goes on with what the folder holds.

    Raises:
        FileExistsError: another training holds it, or as `check_output_dir`.
        OSError: it cannot be written.
        SystemExit: in other processes than the main one, where that raises.
    """
    with ExitStack() as stack:
        if comm.is_main_process():
            try:
                stack.enter_context(locked(Path(cfg.OUTPUT_DIR)))
                if not resume:
                    check_output_dir(cfg)
            except OSError:
                comm.all_gather("refused")
                raise
            remove_leftovers(Path(cfg.OUTPUT_DIR), of_all_hosts=True)
        if comm.all_gather("")[0]:
            sys.exit(2)  # the main process has said why
        yield


def check_output_dir(cfg: CfgNode) -> None:
    """Make sure that a new training does not mix with an earlier one in OUTPUT_DIR.

    Raises:
        FileExistsError: OUTPUT_DIR holds one and OVERWRITE_OUTPUT is False, or the new one starts from it.
    """
    found = _earlier_training(cfg)
    if found and not cfg.OVERWRITE_OUTPUT:
        raise FileExistsError(
            f"OUTPUT_DIR {cfg.OUTPUT_DIR} holds a training already ({found[0].name}): go on with it by "
            "--resume, choose another OUTPUT_DIR, or delete it by --overwrite"
        )
    audio = cfg.MODEL.AUDIO
    needed = {Path(path).resolve() for path in (cfg.MODEL.WEIGHTS, audio.WEIGHTS, audio.PCA_WEIGHTS) if path}
    for path in found:
        if path.resolve() in needed:
            raise FileExistsError(f"--overwrite would delete {path}, from which training starts")


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

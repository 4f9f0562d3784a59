"""Evaluation without training, of one checkpoint or of several, each in a folder of its own."""

import glob
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm

from avis.data import get_metadata
from avis.engine.evaluation_history import by_data_set, read_evaluations, record_evaluations
from avis.engine.fingerprint import fingerprint
from avis.engine.inference_folders import distinct_names
from avis.engine.trainer import AVISTrainer
from avis.engine.validation_loss import PREFIX
from avis.evaluation.tables import SUMMARY, comparison_table
from avis.modeling import load_trained_model
from avis.weights import checkpoint_files, iteration_of, newest_checkpoint

logger = logging.getLogger(__name__)

# Instead of files: all checkpoints in OUTPUT_DIR.
ALL = "all"
# In OUTPUT_DIR; below it a folder for each checkpoint.
FOLDER = "evaluations"


def find_checkpoints(patterns: Sequence[str], output_dir: str | Path) -> list[Path]:
    """The files that patterns mean, each once, in the order of the patterns.

    Args:
        patterns: paths, patterns such as ``output/model_0*.pth``, or "all" for those in OUTPUT_DIR.
        output_dir: OUTPUT_DIR.

    Raises:
        FileNotFoundError: a pattern means no file.
    """
    found: dict[Path, Path] = {}
    for pattern in patterns:
        paths = checkpoint_files(output_dir) if pattern == ALL else _matching(pattern)
        if not paths:
            where = f"there is none in {output_dir}" if pattern == ALL else "there is no such file"
            raise FileNotFoundError(f"--checkpoints {pattern}: {where}")
        for path in paths:
            found.setdefault(path.resolve(), path)
    return list(found.values())


def evaluate_checkpoint(cfg: CfgNode, resume: bool = False) -> None:
    """Evaluate MODEL.WEIGHTS, or to resume the last checkpoint in OUTPUT_DIR, which wins.

    Args:
        cfg: of the model, with DATASETS.TEST.
        resume: also go on where an evaluation of the same was interrupted.
    """
    weights = (newest_checkpoint(cfg.OUTPUT_DIR) if resume else None) or cfg.MODEL.WEIGHTS
    model = load_trained_model(_changed(cfg, cfg.OUTPUT_DIR, weights), last_checkpoint=resume)
    results = by_data_set(cfg.DATASETS.TEST, AVISTrainer.test(cfg, model, resume=resume))
    _record(cfg, results, weights, _runs(cfg, model))


def evaluate_checkpoints(cfg: CfgNode, paths: Sequence[Path], resume: bool = False) -> None:
    """Evaluate several checkpoints, each into OUTPUT_DIR/evaluations/<checkpoint>, and compare them.

    Args:
        cfg: of all of them, with DATASETS.TEST.
        paths: of the files.
        resume: leave out what OUTPUT_DIR/evaluations.jsonl has of the same weights, config and annotations,
            and go on with one that was interrupted.

    Raises:
        ValueError: a checkpoint cannot be read or does not fit; the others are evaluated.
    """
    # What the main process reads holds for all: it writes while others may not have read yet.
    earlier = comm.all_gather(read_evaluations(cfg.OUTPUT_DIR) if resume else [])[0]
    names = distinct_names([str(path.absolute().with_suffix("")) for path in paths])
    compared, failed = {}, []
    for number, (path, name) in enumerate(zip(paths, names, strict=True), 1):
        logger.info("Checkpoint %d of %d: %s", number, len(paths), path)
        own = _changed(cfg, Path(cfg.OUTPUT_DIR, FOLDER, name), str(path))
        try:
            model = load_trained_model(own)
        except ValueError as error:
            logger.error("%s is left out: %s", path, error)
            failed.append(f"{path}: {error}")
            continue
        runs = _runs(own, model)
        compared[name] = _known(earlier, runs, str(path), cfg.TEST.LOSS)
        if compared[name]:
            logger.info("%s is evaluated already", path)
            continue
        results = by_data_set(own.DATASETS.TEST, AVISTrainer.test(own, model, resume=resume))
        _record(cfg, results, str(path), runs)
        compared[name] = {data_set: flatten_results_dict(result) for data_set, result in results.items()}
    if comm.is_main_process():
        for data_set in cfg.DATASETS.TEST:
            table = _table({name: of_sets[data_set] for name, of_sets in compared.items()})
            logger.info("%s:\n%s", data_set, table)
    if failed:
        raise ValueError(f"{len(failed)} of {len(paths)} checkpoints could not be evaluated: {failed[0]}")


def _matching(pattern: str) -> list[Path]:
    path = Path(os.path.expanduser(pattern))
    if path.is_file():
        return [path]
    return [match for match in map(Path, sorted(glob.glob(str(path)))) if match.is_file()]


def _changed(cfg: CfgNode, output_dir: str | Path, weights: str) -> CfgNode:
    changed = cfg.clone()
    changed.defrost()
    changed.OUTPUT_DIR, changed.MODEL.WEIGHTS = str(output_dir), weights
    changed.freeze()
    return changed


def _runs(cfg: CfgNode, model: object) -> dict[str, str]:
    """By data set, what stands for weights, config and annotations; the same in all processes."""
    names = cfg.DATASETS.TEST if comm.is_main_process() else ()
    return comm.all_gather({n: fingerprint(cfg, model, get_metadata(n).json_file) for n in names})[0]


def _record(cfg: CfgNode, results: Mapping[str, Mapping], checkpoint: str, runs: Mapping[str, str]) -> None:
    if comm.is_main_process():
        iteration = iteration_of(checkpoint)
        record_evaluations(cfg.OUTPUT_DIR, results, iteration=iteration, checkpoint=checkpoint, runs=runs)


def _known(
    earlier: Sequence[Mapping], runs: Mapping[str, str], checkpoint: str, with_loss: bool
) -> dict[str, dict]:
    """The metrics of the same evaluations by data set; {} unless there are those of all."""
    known = {
        entry["data_set"]: entry["metrics"]
        for entry in earlier
        if entry.get("run") == runs.get(entry["data_set"], "") and entry["checkpoint"] == checkpoint
        if not with_loss or any(name.startswith(PREFIX) for name in entry["metrics"])
    }
    return known if known.keys() == runs.keys() else {}


def _table(metrics: Mapping[str, Mapping[str, float]]) -> str:
    short = {
        label: {name.removeprefix("avis/"): value for name, value in of_one.items() if value is not None}
        for label, of_one in metrics.items()
    }
    columns = [n for n in (*SUMMARY, f"{PREFIX}/total_loss") if any(n in of_one for of_one in short.values())]
    return comparison_table(short, columns, "checkpoint")

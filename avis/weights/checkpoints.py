"""Which checkpoint in the folder of a training run is the newest that is whole."""

import logging
import re
from pathlib import Path

from avis.weights.reading import read_checkpoint

logger = logging.getLogger(__name__)

# Names the newest checkpoint of its folder.
LAST_CHECKPOINT = "last_checkpoint"
_NUMBERED = re.compile(r"model_(\d+)\.pth")


def checkpoint_files(folder: str | Path) -> list[Path]:
    """The checkpoints that a training run has left in a folder, without those of other names."""
    return sorted(Path(folder).glob("model_*.pth"))


def numbered_checkpoints(folder: str | Path) -> dict[Path, int]:
    """The checkpoints within a run, by the number of the last iteration before each."""
    matches = {path: _NUMBERED.fullmatch(path.name) for path in checkpoint_files(folder)}
    return {path: int(match[1]) for path, match in matches.items() if match}


def newest_checkpoint(folder: str | Path) -> str | None:
    """Find the newest whole checkpoint in a folder, with a warning if it is not what `last_checkpoint` names.

    Returns:
        Its path; None if the folder holds no checkpoint.

    Raises:
        FileNotFoundError: the checkpoint that `last_checkpoint` names is gone, and there is no other.
        ValueError: no checkpoint is whole.
    """
    record = Path(folder, LAST_CHECKPOINT)
    named = _named(record)
    damaged: list[str] = []
    if named is not None and _iteration(named, damaged) is not None:
        return str(named)
    newest = _newest_whole([path for path in checkpoint_files(folder) if path != named], damaged)
    if newest is not None:
        problem = f"names {named.name}" if named is not None else "is missing or empty"
        logger.warning("%s %s: %s is taken instead", record, problem, newest)
        return str(newest)
    if damaged:
        raise ValueError(f"no checkpoint in {folder} is whole, delete them to start anew: {damaged[0]}")
    if named is not None:
        raise FileNotFoundError(f"{record} names {named.name}, which is gone; delete {record} to start anew")
    return None


def _named(record: Path) -> Path | None:
    """The path that `last_checkpoint` names, None where it is missing or empty."""
    name = record.read_text(errors="replace").strip() if record.is_file() else ""
    return record.parent / name if name else None


def _newest_whole(paths: list[Path], damaged: list[str]) -> Path | None:
    """The one of most iterations. Reads from the highest number down, as checkpoints are large."""
    numbers = {path: int(match[1]) for path in paths if (match := _NUMBERED.fullmatch(path.name))}
    descending = sorted(numbers, key=numbers.__getitem__, reverse=True)
    iterations = {path: _iteration(path, damaged) for path in paths if path not in numbers}
    for path in descending:
        iterations[path] = _iteration(path, damaged)
        if iterations[path] not in (None, -1):
            break
    # Weights alone, which say no iteration, are no checkpoint of a run.
    whole = {path: number for path, number in iterations.items() if number not in (None, -1)}
    return max(whole, key=whole.__getitem__, default=None)


def _iteration(path: Path, damaged: list[str]) -> int | None:
    """The last iteration before a checkpoint, -1 if it has none; None if it is gone or (noted) damaged."""
    if not path.is_file():
        return None
    try:
        return read_checkpoint(str(path)).get("iteration", -1)
    except ValueError as error:
        logger.warning("%s", error)
        damaged.append(str(error))
        return None

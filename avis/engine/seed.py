"""SEED of a run: drawn where the config has none, the same in all processes, and kept when a run goes on."""

import re
import secrets
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.utils import comm

from avis.weights import newest_checkpoint, read_checkpoint

# Drawn are 0 … _SEEDS - 1. NumPy takes numbers below _LIMIT, and each process adds its own to SEED.
_SEEDS, _LIMIT = 2**31, 2**32
_SEED_LINE = re.compile(r"^SEED: (\d+)$", re.MULTILINE)


def settle_seed(cfg: CfgNode, resume: bool) -> bool:
    """Give a config with SEED -1 a seed; every process must call this.

    Args:
        cfg: gets it.
        resume: it is that of the run in OUTPUT_DIR, if there is one.

    Returns:
        Whether it was drawn.

    Raises:
        ValueError: a seed that NumPy does not take.
    """
    if cfg.SEED + comm.get_world_size() > _LIMIT:
        raise ValueError(f"SEED is {cfg.SEED}; it is -1, which draws one, or 0 to {_SEEDS - 1}")
    if cfg.SEED >= 0:
        return False
    earlier = _seed_of_run(Path(cfg.OUTPUT_DIR)) if resume else None
    # Also where nothing is drawn: nobody writes config.yaml before all have read it.
    drawn = comm.all_gather(secrets.randbelow(_SEEDS))[0]
    cfg.SEED = drawn if earlier is None else earlier
    return earlier is None


def _seed_of_run(folder: Path) -> int | None:
    """The seed of the run in a folder, by its config.yaml, or if that does not say by its checkpoint."""
    config = folder / "config.yaml"
    if config.is_file() and (match := _SEED_LINE.search(config.read_text())):
        return int(match[1])
    newest = newest_checkpoint(folder)
    return read_checkpoint(newest).get("trainer", {}).get("seed") if newest else None

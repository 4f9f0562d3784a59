"""The record that a run leaves in its folder, and the config that starts it again."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from avis.config.errors import ConfigError
from avis.config.tree import leaves
from avis.files import read_json

RECORD = "run.json"
STARTS = "starts"
# What another run has otherwise.
_OF_THE_FOLDER = ("OUTPUT_DIR", "OVERWRITE_OUTPUT")
WEIGHT_KEYS = ("MODEL.WEIGHTS", "MODEL.AUDIO.WEIGHTS", "MODEL.AUDIO.PCA_WEIGHTS")
_DATA_KEYS = ("DATASETS.TRAIN", "DATASETS.TEST")
_NEEDED = {
    "config": dict, "data": dict, "datasets": str, "directory": str, "git": dict, "processes": list,
    "versions": dict, "weights": dict,
}  # fmt: skip


@dataclass(frozen=True)
class RecordedRun:
    """A run as its record has it.

    Attributes:
        file: the record.
        start: how it was started first.
        last: how it was started last; the same if it was never resumed.
    """

    file: Path
    start: dict[str, Any]
    last: dict[str, Any]

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return self.file.parent

    def settings(self) -> dict[str, object]:
        """The config by dotted keys, without what is of the folder; relative paths as they were meant."""
        values = settings_of(self.start)
        for key in WEIGHT_KEYS:
            values[key] = self._found(values[key])
        for key in _DATA_KEYS:
            values[key] = tuple(self._found(name) if name.endswith(".json") else name for name in values[key])
        return values

    def options(self, opts: list[str]) -> list:
        """KEY, VALUE, … that start it again, in another folder beside it unless `opts` name one.

        Args:
            opts: KEY, VALUE, … of the command line, which win.

        Raises:
            ConfigError: these are no pairs.
        """
        if len(opts) % 2:
            raise ConfigError(f"command line: KEY VALUE pairs have an odd length: {' '.join(opts)}")
        pairs = [item for pair in self.settings().items() for item in pair]
        return [*pairs, "OUTPUT_DIR", f"{self.folder}_reproduced", *opts]

    def _found(self, path: str) -> str:
        """A path; a relative one of a file that is where the run was started, elsewhere, becomes absolute."""
        there = Path(self.start["directory"], path)
        is_elsewhere = self.start["directory"] != os.getcwd() and not os.path.isabs(path)
        return str(there) if is_elsewhere and there.is_file() else path


def read_run(run: str) -> RecordedRun:
    """Read the record of a run.

    Args:
        run: its folder, or the file.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, or another file.
    """
    path = Path(os.path.abspath(os.path.expanduser(run)))
    file = path / RECORD if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(
            f"{run} holds no record of a run: there is no {file}, which tools/train_net.py writes"
        )
    content = read_json(file)
    starts = content.get(STARTS) if isinstance(content, dict) else None
    if not (isinstance(starts, list) and starts and all(map(_is_start, starts))):
        raise ValueError(f"{file} is no record of a run as tools/train_net.py writes it")
    return RecordedRun(file, starts[0], starts[-1])


def settings_of(start: dict[str, Any]) -> dict[str, object]:
    """The config of a start by dotted keys, without what belongs to the folder."""
    values = leaves(CfgNode(start["config"]))
    return {key: value for key, value in values.items() if key not in _OF_THE_FOLDER}


def _is_start(start: object) -> bool:
    if not isinstance(start, dict):
        return False
    return all(isinstance(start.get(key), kind) for key, kind in _NEEDED.items())

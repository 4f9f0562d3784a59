"""The folders that evaluations write: OUTPUT_DIR/inference/<test set>, one for each test set."""

import os
from collections.abc import Sequence
from pathlib import Path

from detectron2.config import CfgNode

from avis.files import fit_name

_JSON = ".json"


def inference_dir(cfg: CfgNode, dataset_name: str) -> Path:
    """The folder of a data set's predictions and metrics.

    It is called as the data set is, or for one named by a JSON file as the file, without its suffix. Of test
    sets of one name, a/val.json and b/val.json, each has as many folders before it as tell them apart: a_val.

    Raises:
        ValueError: DATASETS.TEST names a data set in two ways.
    """
    # Each once; a data set that the config does not test on is told from those that it does.
    dataset_names = list(dict.fromkeys([*cfg.DATASETS.TEST, dataset_name]))
    folders = distinct_names(dataset_names)
    return Path(cfg.OUTPUT_DIR, "inference", folders[dataset_names.index(dataset_name)])


def distinct_names(dataset_names: Sequence[str]) -> list[str]:
    """A name of its own for each data set, made of as few parts of its path as possible.

    Raises:
        ValueError: two cannot be told apart.
    """
    parts = [_parts(name) for name in dataset_names]
    used = [1] * len(parts)
    while True:
        names = ["_".join(own[-number:]) for own, number in zip(parts, used, strict=True)]
        alike = [index for index, name in enumerate(names) if names.count(name) > 1]
        longer = [index for index in alike if used[index] < len(parts[index])]
        if not longer:
            break
        for index in longer:
            used[index] += 1
    if alike:
        same = ", ".join(dataset_names[index] for index in alike if names[index] == names[alike[0]])
        raise ValueError(f"DATASETS.TEST: {same} would write the same folder; leave one, or rename one")
    return [fit_name(name) for name in names]


def _parts(dataset_name: str) -> tuple[str, ...]:
    """What a name is made of: a registered one's parts between slashes, or the folders of a file's path."""
    if not dataset_name.endswith(_JSON):
        return tuple(filter(None, dataset_name.split("/")))
    path = Path(os.path.abspath(dataset_name))
    return (*path.parts[1:-1], path.name.removesuffix(_JSON))

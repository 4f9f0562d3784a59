"""The files in which a run keeps its numbers: one JSON object a line, appended as they come.

A process that is killed while it appends leaves a line half written, which readers pass over.
"""

import json
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path

from avis.files import replacing

logger = logging.getLogger(__name__)

# Losses, learning rate, times and evaluations of a training, by iteration.
TRAINING_METRICS = "training_metrics.json"
# Every evaluation, in training and by --eval-only.
EVALUATIONS = "evaluations.jsonl"

_LAYER = re.compile(r"_\d+$")
# What the last word of a loss's name says.
_KINDS = {"ce": "class", "mask": "mask", "dice": "dice"}


def read_json_lines(path: Path) -> list[dict]:
    """The objects in a file of one a line; lines that are none are passed over, with a warning.

    Raises:
        FileNotFoundError: there is no such file.
    """
    objects, broken = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        parsed = _parsed(line)
        if parsed is not None:
            objects.append(parsed)
        elif line.strip():
            broken.append(number)
    if broken:
        logger.warning("%s: %d lines are no JSON objects, the first is line %d", path, len(broken), broken[0])
    return objects


def end_last_line(path: Path) -> None:
    """Make a file of JSON lines one that can be appended to: a line left half written goes."""
    if not path.is_file():
        return
    with path.open("rb+") as file:
        content = file.read()
        start = content.rfind(b"\n") + 1
        last = content[start:]
        if not last:
            return
        if _parsed(last.decode("utf-8", errors="replace")) is not None:
            file.write(b"\n")
            return
        logger.warning("%s ends in a line that is half written, which is removed", path)
        file.truncate(start)


def append_json_line(path: Path, content: dict) -> None:
    """Add a line to a file of which all lines are whole; it is on the disk when this returns."""
    with path.open("a", encoding="utf-8") as file:
        file.write(_line(content))
        file.flush()
        os.fsync(file.fileno())


def write_json_lines(path: Path, contents: list[dict]) -> None:
    """Write a file of JSON lines in place of another."""
    with replacing(path) as unfinished:
        unfinished.write_text("".join(map(_line, contents)), encoding="utf-8")


def loss_sums(metrics: Mapping[str, float]) -> dict[str, float]:
    """Sum loss terms by kind over decoder layers, and over frame and clip predictions.

    Args:
        metrics: by name. What has no "loss" in its name, evaluations and the total are left out.

    Returns:
        "class", "mask" and "dice", and terms of other kinds by their own names.
    """
    sums: dict[str, float] = {}
    for name, value in metrics.items():
        if "loss" in name and name != "total_loss" and "/" not in name:
            term = _LAYER.sub("", name).removeprefix("loss_")
            kind = _KINDS.get(term.rpartition("_")[2], term)
            sums[kind] = sums.get(kind, 0.0) + value
    return sums


def _parsed(line: str) -> dict | None:
    try:
        parsed = json.loads(line)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _line(content: dict) -> str:
    return json.dumps(content, ensure_ascii=False) + "\n"

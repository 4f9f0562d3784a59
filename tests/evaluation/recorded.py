"""The recorded metric cases (tests/recorded/metrics says where they come from)."""

import gzip
import json
from pathlib import Path

import numpy as np

from tests.evaluation.builders import rle

CASES = sorted((Path(__file__).parents[1] / "recorded/metrics").glob("*.json.gz"))


def case_name(path: Path) -> str:
    return path.name.split(".")[0]


def read_case(path: Path) -> tuple[dict, list, dict]:
    """Annotations, predictions and what other implementations make of them."""
    case = json.loads(gzip.decompress(path.read_bytes()))
    return case["gt"], case["pred"], case["expected"]


def with_empty_masks(truth: dict, predictions: list[dict]) -> list[dict]:
    """The predictions with the RLE of an empty mask in each frame that has null."""
    empty = {video["id"]: rle(np.zeros((video["height"], video["width"]))) for video in truth["videos"]}
    return [
        {**track, "segmentations": [mask or empty[track["video_id"]] for mask in track["segmentations"]]}
        for track in predictions
    ]


def percent(fraction: float | None) -> float:
    """A recorded fraction as we give it; None is recorded for 0 / 0 and where the implementation fails."""
    return -1 if fraction in (-1, None) else 100 * fraction

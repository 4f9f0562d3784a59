"""The files of a comparison."""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from avis.evaluation.comparison.bootstrap import Comparison, Estimate
from avis.evaluation.comparison.figure import draw_comparison
from avis.evaluation.comparison.tables import comparison_text
from avis.files import replacing, write_json
from avis.formats.tracks import Video, VideoId


def write_comparison(
    folder: Path, comparison: Comparison, videos: Mapping[VideoId, Video], made_of: Mapping[str, Any]
) -> None:
    """Write comparison.md, .csv, .json and .png, and comparison_videos.csv.

    Args:
        folder: made where it is missing.
        comparison: what is written.
        videos: of the data set.
        made_of: what the numbers depend on, for comparison.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / "comparison.md") as unfinished:
        unfinished.write_text(comparison_text(comparison) + "\n", encoding="utf-8")
    _write_csv(folder / "comparison.csv", _METRIC_COLUMNS, _metric_rows(comparison))
    _write_csv(folder / "comparison_videos.csv", _VIDEO_COLUMNS, _video_rows(comparison, videos))
    write_json(folder / "comparison.json", {**made_of, **_to_json(comparison)}, indent=1)
    with replacing(folder / "comparison.png") as unfinished:
        draw_comparison(comparison).savefig(unfinished, dpi=120)


_METRIC_COLUMNS = (
    "model", "metric", "value", "low", "high",
    "difference", "difference_low", "difference_high", "contains_zero", "better", "equal", "worse",
)  # fmt: skip
_VIDEO_COLUMNS = ("video_id", "video", "model", "metric", "reference", "value", "difference")


def _metric_rows(comparison: Comparison) -> Iterable[Sequence]:
    for model, estimates in comparison.estimates.items():
        for metric, estimate in estimates.items():
            row = [model, metric, *_cells(estimate.value, estimate.low, estimate.high)]
            if model == comparison.reference:
                yield [*row, *[""] * 7]
                continue
            found = comparison.differences[model][metric]
            difference = found.estimate
            ends = _cells(difference.value, difference.low, difference.high)
            yield [*row, *ends, difference.contains_zero, found.better, found.equal, found.worse]


def _video_rows(comparison: Comparison, videos: Mapping[VideoId, Video]) -> Iterable[Sequence]:
    of_reference = comparison.by_video[comparison.reference]
    for video_id, reference in of_reference.items():
        for model in comparison.differences:
            for metric, value in comparison.by_video[model][video_id].items():
                numbers = _cells(reference[metric], value, value - reference[metric])
                yield [video_id, videos[video_id].name, model, metric, *numbers]


def _to_json(comparison: Comparison) -> dict[str, Any]:
    resampling = comparison.resampling
    return {
        "reference": comparison.reference,
        "num_videos": len(comparison.by_video[comparison.reference]),
        "resamples": resampling.number,
        "confidence": resampling.confidence,
        "seed": resampling.seed,
        "metrics": {
            model: {metric: _estimate(estimate) for metric, estimate in estimates.items()}
            for model, estimates in comparison.estimates.items()
        },
        "differences": {
            model: {
                metric: {
                    **_estimate(found.estimate),
                    "contains_zero": found.estimate.contains_zero,
                    "videos": {"better": found.better, "equal": found.equal, "worse": found.worse},
                }
                for metric, found in differences.items()
            }
            for model, differences in comparison.differences.items()
        },
    }


def _estimate(estimate: Estimate) -> dict[str, Any]:
    """An estimate for JSON, which has no NaN."""
    numbers = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    return {
        **{name: None if math.isnan(number) else number for name, number in numbers.items()},
        "resamples": estimate.num_defined,
    }


def _cells(*numbers: float) -> list[float | str]:
    """Numbers for CSV, empty where undefined."""
    return ["" if math.isnan(number) else number for number in numbers]


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence]) -> None:
    with replacing(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)

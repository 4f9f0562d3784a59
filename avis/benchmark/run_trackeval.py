"""Script: score predictions with TrackEval's HOTA and TrackMAP, the peer of tools/evaluate.py.

    python run_trackeval.py GT.json PREDICTIONS.json METRICS.json

GT.json must have uncompressed RLEs. The numbers are by category: TrackEval's own means are over all, but AVIS
takes those with ground truth.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import trackeval

SPLIT, TRACKER = "test", "predictions"
QUIET = {
    "PRINT_CONFIG": False,
    "PRINT_RESULTS": False,
    "OUTPUT_SUMMARY": False,
    "OUTPUT_DETAILED": False,
    "OUTPUT_EMPTY_CLASSES": False,
    "PLOT_CURVES": False,
    "TIME_PROGRESS": False,
    "BREAK_ON_ERROR": True,
}
# The area ranges of YouTube-VIS, and no others.
TRACK_MAP = {
    "AREA_RANGES": [[0, 128**2], [128**2, 256**2], [256**2, 1e10]],
    "USE_TIME_RANGES": False,
    "PRINT_CONFIG": False,
}


def evaluate(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """Run TrackEval on a folder as it wants it.

    Returns:
        By category, the fields of HOTA and TrackMAP.
    """
    folders = {"GT_FOLDER": f"{folder}/", "TRACKERS_FOLDER": f"{folder}/trackers_"}
    dataset = trackeval.datasets.YouTubeVIS({**folders, "SPLIT_TO_EVAL": SPLIT, "PRINT_CONFIG": False})
    metrics = [trackeval.metrics.HOTA(), trackeval.metrics.TrackMAP(TRACK_MAP)]
    results, _ = trackeval.Evaluator(QUIET).evaluate([dataset], metrics)
    pooled = results[dataset.get_name()][TRACKER]["COMBINED_SEQ"]
    return {name: {**pooled[name]["HOTA"], **pooled[name]["TrackMAP"]} for name in dataset.class_list}


def main() -> None:
    """Score the files of the command line."""
    ground_truth, predictions, output = map(Path, sys.argv[1:])
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for place, file in (
            (folder / f"youtube_vis_{SPLIT}", ground_truth),
            (folder / f"trackers_youtube_vis_{SPLIT}" / TRACKER / "data", predictions),
        ):
            place.mkdir(parents=True)
            (place / file.name).symlink_to(file.absolute())
        by_category = evaluate(folder)
    fields = ("HOTA", "DetA", "AssA", "LocA", "AP_all")
    means = {
        name: {field: 100 * float(np.mean(values[field])) for field in fields}
        for name, values in by_category.items()
    }
    output.write_text(json.dumps(means))


if __name__ == "__main__":
    main()

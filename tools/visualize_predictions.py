#!/usr/bin/env python
"""Draw the predictions for a data set: overlay videos, and a picture of predictions beside ground truth."""

import argparse
import json
import logging
import os
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from avis.data import get_dataset_records, get_metadata
from avis.engine import exit_on_bad_input, load_cfg
from avis.structures import VideoPrediction
from avis.visualization import (
    ComparedVideo,
    draw_comparison,
    ground_truth_tracks,
    predicted_tracks,
    read_frames,
    shown_frames,
    write_overlay_video,
)

EPILOG = """\
example:
  python tools/visualize_predictions.py --config-file configs/quickstart.yaml --dataset synthavis_val \\
      --predictions output/quickstart/inference/synthavis_val/results.json --output output/quickstart/pictures

OUTPUT receives <video>.mp4 with the video's sound for each video, and comparison.png.
"""

logger = logging.getLogger("avis.tools.visualize_predictions")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", default="", metavar="FILE", help="for INPUT.FPS and DATASETS.TEST")
    parser.add_argument("--predictions", required=True, metavar="RESULTS.json")
    parser.add_argument("--dataset", metavar="NAME|GT.json", help="default: the config's first test set")
    parser.add_argument("--output", required=True, metavar="DIR")
    parser.add_argument("--num-videos", type=int, default=4, help="spread over the set, default: %(default)s")
    parser.add_argument("--score-threshold", type=float, default=0.5, help="default: %(default)s")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config overrides")
    return parser.parse_args()


@exit_on_bad_input()
def main() -> None:
    args = parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cfg = load_cfg(args.config_file, args.opts)
    if args.num_videos < 1:
        raise ValueError(f"--num-videos must be positive, got {args.num_videos}")
    dataset = args.dataset or next(iter(cfg.DATASETS.TEST), None)
    if dataset is None:
        raise ValueError("give --dataset, or a config with DATASETS.TEST")
    records = spread(get_dataset_records([dataset]), args.num_videos)
    metadata = get_metadata(dataset)
    predictions = predicted_tracks(
        read_results(args.predictions),
        records,
        metadata.thing_dataset_id_to_contiguous_id,
        args.score_threshold,
    )
    output = Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    for record in tqdm(records, desc="drawing", unit=" videos", disable=None):
        draw_overlay(record, predictions[record["video_id"]], metadata.thing_classes, cfg.INPUT.FPS, output)
    compared = [compare(record, predictions[record["video_id"]]) for record in records]
    picture = draw_comparison(compared, metadata.thing_classes, cfg.INPUT.FPS)
    write_png(output / "comparison.png", picture)
    logger.info("%d videos and comparison.png written to %s", len(records), output)


def read_results(path: str) -> list[dict]:
    try:
        results = json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    needed = {"video_id", "score", "category_id", "segmentations"}
    if not isinstance(results, list) or not all(isinstance(r, dict) and needed <= r.keys() for r in results):
        raise ValueError(f"{path} is no results.json: a list of objects with {', '.join(sorted(needed))}")
    return results


def spread(records: list[dict], number: int) -> list[dict]:
    """Up to `number` records, evenly spread over all."""
    positions = np.linspace(0, len(records) - 1, min(number, len(records)))
    return [records[position] for position in positions.round().astype(int)]


def video_name(record: dict) -> str:
    return Path(record["file_names"][0]).parent.name


def draw_overlay(
    record: dict, prediction: VideoPrediction, class_names: list[str], fps: float, output: Path
) -> None:
    path = output / f"{video_name(record)}.mp4"
    write_overlay_video(path, read_frames(record), prediction, class_names, fps, record["audio_file"])


def compare(record: dict, prediction: VideoPrediction) -> ComparedVideo:
    shown = shown_frames(record["length"])
    frames = dict(zip(shown, read_frames(record, shown), strict=True))
    return ComparedVideo(video_name(record), frames, ground_truth_tracks(record), prediction)


def write_png(path: Path, picture: np.ndarray) -> None:
    unfinished = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        cv2.imwrite(str(unfinished), picture[..., ::-1])
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


if __name__ == "__main__":
    main()

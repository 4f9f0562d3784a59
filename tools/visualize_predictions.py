#!/usr/bin/env python
"""Draw the predictions for a data set: overlay videos, and a picture of predictions beside ground truth."""

import argparse
import logging
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from avis.command_line import exit_on_bad_input
from avis.evaluation import load_ground_truth, load_predictions
from avis.evaluation.overlap import VideoOverlap, found_tracks
from avis.files import replacing
from avis.formats.results import Predictions
from avis.formats.tracks import GroundTruth
from avis.media.pictures import read_pictures
from avis.structures import VideoPrediction
from avis.visualization import ComparedVideo, draw_comparison, shown_frames, write_overlay_video

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
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--num-videos", type=int, default=4, help="spread over the set, default: %(default)s")
    shown.add_argument(
        "--videos", nargs="+", metavar="NAME", help="rather these, by the names of their folders"
    )
    parser.add_argument("--score-threshold", type=float, default=0.5, help="default: %(default)s")
    parser.add_argument("--raw-frames", action="store_true", help="show the frames as they are, too")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config overrides")
    return parser.parse_args()


@exit_on_bad_input()
def main() -> None:
    args = parse_args()
    # here, as torch takes seconds to import, for which --help should not wait
    from avis.config import get_avis_cfg
    from avis.data import get_dataset_records, get_metadata

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cfg = get_avis_cfg(args.config_file, args.opts)
    if args.num_videos < 1:
        raise ValueError(f"--num-videos must be positive, got {args.num_videos}")
    dataset = args.dataset or next(iter(cfg.DATASETS.TEST), None)
    if dataset is None:
        raise ValueError("give --dataset, or a config with DATASETS.TEST")
    records = get_dataset_records([dataset])
    truth = load_ground_truth(get_metadata(dataset).json_file)
    records = select(records, args.videos, truth) if args.videos else spread(records, args.num_videos)
    predictions = load_predictions(args.predictions, truth)
    output, fps = Path(args.output), cfg.INPUT.FPS
    output.mkdir(parents=True, exist_ok=True)
    compared = [
        draw(record, truth, predictions, args.score_threshold, fps, output)
        for record in tqdm(records, desc="drawing", unit=" videos", disable=None)
    ]
    picture = draw_comparison(compared, list(truth.categories.values()), fps, args.raw_frames)
    write_png(output / "comparison.png", picture)
    logger.info("%d videos and comparison.png written to %s", len(records), output)


def spread(records: list[dict], number: int) -> list[dict]:
    """Up to `number` records, evenly spread over all."""
    positions = np.linspace(0, len(records) - 1, min(number, len(records)))
    return [records[position] for position in positions.round().astype(int)]


def select(records: list[dict], names: list[str], truth: GroundTruth) -> list[dict]:
    """The records of the named videos.

    Raises:
        ValueError: there is no such video.
    """
    by_name = {truth.videos[record["video_id"]].name: record for record in records}
    missing = [name for name in names if name not in by_name]
    if missing:
        raise ValueError(f"there is no video {missing[0]!r}; there are {', '.join(list(by_name)[:3])}, …")
    return [by_name[name] for name in names]


def draw(
    record: dict, truth: GroundTruth, predictions: Predictions, threshold: float, fps: float, output: Path
) -> ComparedVideo:
    """Write the overlay video of the predictions for a video; what the comparison draws of it."""
    video = truth.videos[record["video_id"]]
    true = [track for track in truth.tracks[video.id] if not track.is_crowd]
    predicted = [track for track in predictions[video.id] if track.score > threshold]
    predicted.sort(key=lambda track: track.score, reverse=True)
    prediction = truth.to_prediction(video, predicted)
    write_overlay(record, video.name, prediction, list(truth.categories.values()), fps, output)
    shown = shown_frames(video.length)
    pictures = read_pictures([record["file_names"][t] for t in shown])
    return ComparedVideo(
        title=video.name,
        frames=dict(zip(shown, pictures, strict=True)),
        ground_truth=truth.to_prediction(video, true),
        prediction=prediction,
        found=found_tracks(VideoOverlap(video, predicted, true)),
    )


def write_overlay(
    record: dict, name: str, prediction: VideoPrediction, class_names: list[str], fps: float, output: Path
) -> None:
    path = output / f"{name}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = read_pictures(record["file_names"])
    write_overlay_video(path, frames, prediction, class_names, fps, record["audio_file"])


def write_png(path: Path, picture: np.ndarray) -> None:
    with replacing(path) as unfinished:
        cv2.imwrite(str(unfinished), picture[..., ::-1])


if __name__ == "__main__":
    main()

"""Draw the predictions for a data set: overlay videos, and a picture of predictions beside ground truth."""

import argparse
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from avis.command_line import command_parser, exit_on_bad_input
from avis.evaluation import load_ground_truth, load_predictions
from avis.evaluation.overlap import VideoOverlap, found_tracks
from avis.files import fit_name, replacing
from avis.formats.results import Predictions
from avis.formats.tracks import GroundTruth, VideoId
from avis.media.origin import Origin, check_replaceable
from avis.media.pictures import read_pictures
from avis.media.shown import at_rate
from avis.media.video import has_audio_stream, read_peaks, write_shown
from avis.structures import VideoPrediction
from avis.visualization import PEAKS, ComparedVideo, draw_comparison, draw_video, shown_frames

EPILOG = """\
example:
  python tools/visualize_predictions.py --config-file configs/quickstart.yaml --dataset synthavis_val \\
      --predictions output/quickstart/inference/synthavis_val/results.json --output output/quickstart/pictures

OUTPUT receives <video>.mp4 with the video's sound for each video, and comparison.png. A video file of that
name that was not drawn from the same frames is refused, unless --overwrite is given.
"""

PROGRAM = "tools/visualize_predictions.py"

logger = logging.getLogger("avis.commands.visualize")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments of the command line."""
    parser = command_parser(__doc__, EPILOG)
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
    parser.add_argument(
        "--overwrite", action="store_true", help="replace video files that are no overlays of these videos"
    )
    parser.add_argument("--raw-frames", action="store_true", help="show the frames as they are, too")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config overrides")
    return parser.parse_args(arguments)


@exit_on_bad_input()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = parse(arguments)
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
    paths = overlay_paths(records, truth, output)
    for path, record in zip(paths, records, strict=True):
        check_replaceable(path, PROGRAM, frames_folder(record), args.overwrite)
    output.mkdir(parents=True, exist_ok=True)
    drawing = tqdm(records, desc="drawing", unit=" videos", disable=None)
    compared = [
        draw(record, truth, predictions, args.score_threshold, fps, path)
        for record, path in zip(drawing, paths, strict=True)
    ]
    picture = draw_comparison(compared, list(truth.categories.values()), fps, args.raw_frames)
    write_png(output / "comparison.png", picture)
    logger.info("%d videos and comparison.png written to %s", len(records), output)


def spread(records: list[dict], number: int) -> list[dict]:
    """Up to `number` records, evenly spread over all."""
    positions = np.linspace(0, len(records) - 1, min(number, len(records)))
    return [records[position] for position in positions.round().astype(int)]


def select(records: list[dict], names: list[str], truth: GroundTruth) -> list[dict]:
    """The records of the named videos, each once; of a name that several videos have all of them.

    Raises:
        ValueError: there is no such video.
    """
    by_name: dict[str, list[dict]] = {}
    for record in records:
        by_name.setdefault(truth.videos[record["video_id"]].name, []).append(record)
    missing = [name for name in names if name not in by_name]
    if missing:
        raise ValueError(f"there is no video {missing[0]!r}; there are {', '.join(list(by_name)[:3])}, …")
    return [record for name in dict.fromkeys(names) for record in by_name[name]]


def overlay_paths(records: list[dict], truth: GroundTruth, output: Path) -> list[Path]:
    """The overlay of each video: <video>.mp4, numbered where several videos have one folder of frames.

    Raises:
        ValueError: two videos have the same.
    """
    sharing: dict[str, list[VideoId]] = {}
    for video in truth.videos.values():
        sharing.setdefault(video.name, []).append(video.id)
    paths = []
    for video in (truth.videos[record["video_id"]] for record in records):
        folder, name = os.path.split(video.name)
        ids = sharing[video.name]
        number = f"_{ids.index(video.id) + 1}" if len(ids) > 1 else ""
        paths.append(output / folder / fit_name(f"{name}{number}", ".mp4"))
    if same := [path for path in paths if paths.count(path) > 1]:
        raise ValueError(f"several videos would be drawn to {same[0]}; rename one's folder of frames")
    return paths


def frames_folder(record: dict) -> str:
    """The folder of a video that its overlay is said to be made of."""
    return os.path.realpath(os.path.dirname(record["file_names"][0]))


def draw(
    record: dict, truth: GroundTruth, predictions: Predictions, threshold: float, fps: float, path: Path
) -> ComparedVideo:
    """Write the overlay video of the predictions for a video; what the comparison draws of it."""
    video = truth.videos[record["video_id"]]
    true = [track for track in truth.tracks[video.id] if not track.is_crowd]
    predicted = [track for track in predictions[video.id] if track.score > threshold]
    predicted.sort(key=lambda track: track.score, reverse=True)
    prediction = truth.to_prediction(video, predicted)
    write_overlay(record, path, prediction, list(truth.categories.values()), fps)
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
    record: dict, path: Path, prediction: VideoPrediction, class_names: list[str], fps: float
) -> None:
    """Write the overlay video of a prediction."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = at_rate(read_pictures(record["file_names"]), fps)
    drawn = draw_video(pictures, prediction, class_names, fps, read_sound(record, prediction.length / fps))
    sound = {"audio_from": record["audio_file"], "audio_start": record["sound_start"]}
    comment = Origin(PROGRAM, frames_folder(record)).to_comment()
    write_shown(path, drawn, **sound, comment=comment)


def read_sound(record: dict, seconds: float) -> np.ndarray | None:
    """How loud the video is, for the strip below it."""
    file = record["audio_file"]
    if file is None or not has_audio_stream(file):
        return None
    return read_peaks(file, PEAKS, record["sound_start"], seconds)


def write_png(path: Path, picture: np.ndarray) -> None:
    """Write an RGB picture (H, W, 3)."""
    with replacing(path) as unfinished:
        cv2.imwrite(str(unfinished), picture[..., ::-1])

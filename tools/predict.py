#!/usr/bin/env python
"""Find the sounding objects of videos: an overlay video with the original sound, and a JSON, for each."""

import argparse
import logging
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from avis.command_line import exit_on_bad_input
from avis.files import write_json
from avis.visualization import write_overlay_video

if TYPE_CHECKING:
    from avis.inference import VideoPredictor, VideoSource

EPILOG = """\
examples:
  python tools/predict.py --config-file configs/avis_R50.yaml --weights model_final.pth \\
      --input concert.mp4 street.mov --output predictions
  python tools/predict.py --config-file configs/quickstart.yaml --weights output/quickstart/model_final.pth \\
      --input datasets/synthavis/val/JPEGImages/val_00000 --output predictions

An input is a video file, or a folder of pictures with one .wav in it, or a video's folder in a data set,
whose sound lies in WAVAudios. Numbers in the pictures' names are time: gaps are filled. For each input,
OUTPUT receives <name>.mp4 and <name>.json: size, frame rate, categories, and tracks with score, category,
the intervals in which they sound (seconds) and one RLE mask per frame. An input that cannot be read is
reported and the others are done; the exit code is then 1.
"""

logger = logging.getLogger("avis.tools.predict")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="FILE", help="the model's config")
    parser.add_argument("--weights", required=True, metavar="FILE", help="its trained weights")
    parser.add_argument("--input", required=True, nargs="+", metavar="VIDEO|DIR")
    parser.add_argument("--output", required=True, metavar="DIR")
    parser.add_argument("--score-threshold", type=float, default=0.5, help="default: %(default)s")
    parser.add_argument(
        "--fps", type=float, help="frames per second to look at, default: the config's INPUT.FPS"
    )
    parser.add_argument(
        "--audio-track", type=int, metavar="N",
        help="of several audio tracks, counted from 0, default: the first that is not silent",
    )  # fmt: skip
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config overrides")
    return parser.parse_args()


@exit_on_bad_input()
def main() -> None:
    args = parse_args()
    # here, as torch takes seconds to import, for which --help should not wait
    from torch import OutOfMemoryError

    from avis.config import get_avis_cfg
    from avis.inference import VideoPredictor, get_categories, open_video

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    overrides = [
        "MODEL.WEIGHTS",
        args.weights,
        "MODEL.MASK_FORMER.TEST.SCORE_THRESHOLD",
        args.score_threshold,
    ]
    cfg = get_avis_cfg(args.config_file, [*overrides, *args.opts])
    fps = args.fps if args.fps is not None else cfg.INPUT.FPS
    if fps <= 0:
        raise ValueError(f"--fps must be positive, got {fps}")
    outputs = output_paths(args.input, Path(args.output))
    predictor, categories = VideoPredictor(cfg), get_categories(cfg)
    Path(args.output).mkdir(parents=True, exist_ok=True)
    failures = 0
    for number, (path, output) in enumerate(zip(args.input, outputs, strict=True), start=1):
        logger.info("[%d/%d] %s", number, len(outputs), path)
        try:
            predict(predictor, open_video(path, fps, args.audio_track), categories, output)
        except (OSError, OutOfMemoryError, ValueError) as error:
            logger.error("%s failed: %s", path, error)
            failures += 1
    if failures:
        sys.exit(1)


def output_paths(inputs: list[str], folder: Path) -> list[Path]:
    """The overlay video of each input; no two inputs may have the same, and none may be its own input."""
    outputs = [folder / f"{_name(Path(path).resolve())}.mp4" for path in inputs]
    for path, output in zip(inputs, outputs, strict=True):
        if outputs.count(output) > 1:
            raise ValueError(f"several inputs would be written to {output}; give them in separate calls")
        if output.resolve() == Path(path).resolve():
            raise ValueError(f"{path} would be overwritten by its prediction; choose another --output")
    return outputs


def _name(path: Path) -> str:
    return path.name if path.is_dir() else path.stem


def predict(predictor: "VideoPredictor", video: "VideoSource", categories: list[dict], output: Path) -> None:
    from avis.inference import prediction_to_json

    decoding = replace(video, frames=lambda: progress(video.frames(), desc="decoding"))
    prediction = predictor.predict(decoding)
    frames = progress(video.frames(), desc="drawing", total=prediction.length)
    class_names = [category["name"] for category in categories]
    sound = video.audio_file, video.audio_track
    write_overlay_video(output, frames, prediction, class_names, video.fps, *sound)
    write_json(output.with_suffix(".json"), prediction_to_json(prediction, video.fps, categories))
    logger.info("%d frames, %d tracks: %s", prediction.length, len(prediction.tracks), output)


# A bar on terminals only.
progress = partial(tqdm, unit=" frames", leave=False, disable=None)


if __name__ == "__main__":
    main()

#!/usr/bin/env python
"""Find the sounding objects of videos: an overlay video with the original sound, and a JSON, for each."""

import argparse
import logging
import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from avis.command_line import exit_on_bad_input, is_about_input
from avis.files import fit_name, remove_leftovers, write_json
from avis.media.origin import Origin, check_replaceable, read_origin
from avis.media.video import write_video
from avis.visualization import draw_video

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

Both files say what made them. An earlier prediction for the same input is made anew, or with --resume kept
if weights, settings and input are the same. Any other file in its place is refused before the model runs,
unless --overwrite is given. Inputs are never overwritten.
"""

PROGRAM = "tools/predict.py"

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
    parser.add_argument("--resume", action="store_true", help="keep predictions that are finished")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace files that are no predictions for the input"
    )
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config overrides")
    return parser.parse_args()


@exit_on_bad_input()
def main() -> None:
    args = parse_args()
    # here, as torch takes seconds to import, for which --help should not wait
    from torch import OutOfMemoryError

    from avis.config import get_avis_cfg
    from avis.engine.fingerprint import fingerprint_model
    from avis.inference import VideoPredictor, open_video

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
    for path, output in zip(args.input, outputs, strict=True):
        for file in (output, output.with_suffix(".json")):
            check_replaceable(file, PROGRAM, os.path.realpath(path), args.overwrite)
    predictor = VideoPredictor(cfg)
    run = partial(predict, predictor, fingerprint_model(cfg, predictor.model), args.resume)
    open_folder(Path(args.output))
    failures = 0
    for number, (path, output) in enumerate(zip(args.input, outputs, strict=True), start=1):
        logger.info("[%d/%d] %s", number, len(outputs), path)
        try:
            run(open_video(path, fps, args.audio_track), path, output)
        except (OSError, OutOfMemoryError, ValueError) as error:
            expected = isinstance(error, OutOfMemoryError) or is_about_input(error)
            logger.error("%s failed: %s", path, error, exc_info=not expected)
            failures += 1
    if failures:
        sys.exit(1)


def output_paths(inputs: list[str], folder: Path) -> list[Path]:
    """The overlay video of each input; no two inputs may have the same, and none may overwrite an input."""
    stems = [fit_name(_name(path), ".json").removesuffix(".json") for path in inputs]
    outputs = [folder / f"{stem}.mp4" for stem in stems]
    taken = {identity: path for path in inputs for identity in _identities(Path(path))}
    for output in outputs:
        same = [path for path, other in zip(inputs, outputs, strict=True) if other == output]
        if len(same) > 1:
            raise ValueError(
                f"several inputs would be written to {output}: {', '.join(same)}; give them other --output"
            )
        for identity in (*_identities(output), *_identities(output.with_suffix(".json"))):
            if identity in taken:
                raise ValueError(
                    f"{taken[identity]} would be overwritten by a prediction; choose another --output"
                )
    return outputs


def _name(path: str) -> str:
    """The name of a video: not of what a link leads to, but of what was given."""
    named = Path(os.path.abspath(path))
    return named.name if named.is_dir() else named.stem


def _identities(path: Path) -> list[object]:
    """What tells a file from others, there or not, also by another spelling, through links and hard links."""
    there = [(path.stat().st_dev, path.stat().st_ino)] if path.exists() else []
    return [os.path.realpath(path), *there]


def open_folder(folder: Path) -> None:
    """Make a folder, remove what killed runs have left there, and make sure that it can be written to."""
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"{folder}: no permission to write there; choose another --output")
    remove_leftovers(folder)


def predict(
    predictor: "VideoPredictor", model_key: str, resume: bool, video: "VideoSource", path: str, output: Path
) -> None:
    """Write what is found in a video; with `resume`, unless that is there already."""
    from avis.inference import run_key

    run = run_key(model_key, path, video, predictor.categories.to_json())
    origin = Origin(PROGRAM, os.path.realpath(path), run)
    if resume and all(read_origin(file) == origin for file in (output, output.with_suffix(".json"))):
        logger.info("finished already: %s", output)
        return
    write(predictor, video, output, origin)


def write(predictor: "VideoPredictor", video: "VideoSource", output: Path, origin: Origin) -> None:
    from avis.inference import prediction_to_json

    decoding = replace(video, frames=lambda: progress(video.frames(), desc="decoding"))
    prediction = predictor.predict(decoding)
    frames = progress(video.frames(), desc="drawing", total=prediction.length)
    drawn = draw_video(frames, prediction, predictor.categories.names, video.fps)
    write_video(output, drawn, video.fps, video.audio_file, video.audio_track, comment=origin.to_comment())
    content = origin.to_json() | prediction_to_json(prediction, video.fps, predictor.categories.to_json())
    write_json(output.with_suffix(".json"), content)
    logger.info("%d frames, %d tracks: %s", prediction.length, len(prediction.tracks), output)


# A bar on terminals only.
progress = partial(tqdm, unit=" frames", leave=False, disable=None)


if __name__ == "__main__":
    main()

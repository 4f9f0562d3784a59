"""Find the sounding objects of videos: an overlay video with the original sound, and a JSON, for each."""

import argparse
import logging
import math
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from avis.command_line import (
    COUNT,
    SHARE,
    WHOLE,
    command_parser,
    exit_on_bad_input,
    is_about_input,
    number_type,
)
from avis.files import fit_name, remove_leftovers

if TYPE_CHECKING:
    from detectron2.config import CfgNode

    from avis.inference import VideoPredictor, VideoSource
    from avis.inference.prediction_files import PredictionFiles

EPILOG = """\
examples:
  python tools/predict.py --weights model_final.pth --input concert.mp4 street.mov --output predictions
  python tools/predict.py --weights model_final.pth --input holiday '2026/**/*.mp4' --output predictions \\
      --resume --num-gpus 4
  python tools/predict.py --weights model_final.pth --input concert.mp4 --output predictions \\
      --start 1:30 --end 2:00 --fps 5 --save-masks --format csv
  python tools/predict.py --config-file configs/avis_R50.yaml --weights weights.pth --input concert.mp4 \\
      --output predictions MODEL.AUDIO.WEIGHTS vggish.pth

Checkpoints of a training hold their config. --config-file is for weights that do not, or for another config.

An input is one of
  a video file
  a folder of videos; thumbnails and covers are left out, and so are overlays that avis has made
  a folder of pictures with one .wav in it, the frames of a video; numbers in their names are time
  a split of a data set, whose sound lies in WAVAudios
  a pattern such as '*.mp4'

For each input, OUTPUT receives
  <name>.mp4     the overlay, at the video's own rate; masks are predicted at --fps and held in between
  <name>.json    size, frame rate, categories and tracks; tools/evaluate.py reads it
A track has a score, a category, the seconds in which it sounds, and one RLE mask per predicted frame. Marks
in the strip below the overlay, and "frame_times" in the JSON, say which frames were predicted.

An earlier prediction for the same input is made anew. With --resume it is kept if weights, settings and input
are the same. Any other file in its place is refused, unless --overwrite is given. Inputs are never
overwritten.

Exit code 1 if an input cannot be read; the others are done nevertheless.
"""

PROGRAM = "tools/predict.py"
RATE = number_type("a number from 0.001 to 1000", lambda fps: 0.001 <= fps <= 1000)

logger = logging.getLogger("avis.commands.predict")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line, by default that of this process."""
    parser = command_parser(__doc__, EPILOG)
    parser.add_argument(
        "--config-file", metavar="FILE", help="the model's config, default: the one that the weights hold"
    )
    parser.add_argument("--weights", required=True, metavar="FILE", help="its trained weights")
    parser.add_argument("--input", required=True, nargs="+", metavar="VIDEO|DIR|PATTERN")
    parser.add_argument("--output", required=True, type=_folder, metavar="DIR")
    parser.add_argument("--score-threshold", type=SHARE, default=0.5, help="default: %(default)s")
    parser.add_argument(
        "--fps", type=RATE, metavar="N",
        help="frames per second to look at, and of folders of frames, default: the config's INPUT.FPS",
    )  # fmt: skip
    parser.add_argument(
        "--overlay-fps", type=RATE, metavar="N", help="of the overlay, default: the video's own rate"
    )
    parser.add_argument(
        "--start", type=_seconds, default=0.0, metavar="TIME", help="begin there: seconds or h:m:s"
    )
    parser.add_argument("--end", type=_seconds, metavar="TIME", help="stop there, default: at the end")
    parser.add_argument(
        "--audio-track", type=WHOLE, metavar="N",
        help="of several audio tracks, counted from 0, default: the first that is not silent",
    )  # fmt: skip
    parser.add_argument(
        "--format", action="append", nargs="+", default=[], metavar="json|coco|csv",
        help="one or more; json: the readable one, always; coco: <name>.coco.json, results of YouTube-VIS in "
        "a list; csv: <name>.csv, a row for each track and frame in which it sounds",
    )  # fmt: skip
    parser.add_argument(
        "--save-masks", action="store_true",
        help="<name>_masks/00000.png …: for each predicted frame the number of the track that is seen; the "
        "better score where tracks overlap, 0 elsewhere",
    )  # fmt: skip
    parser.add_argument("--device", help="cpu, cuda, cuda:1 …, default: the config's MODEL.DEVICE")
    parser.add_argument("--num-gpus", type=COUNT, metavar="N", help="share the inputs among so many GPUs")
    parser.add_argument("--jobs", type=COUNT, metavar="N", help="processes, default: one, or one a GPU")
    parser.add_argument("--resume", action="store_true", help="keep predictions that are finished")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace files that are no predictions for the input"
    )
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config overrides")
    args = parser.parse_args(arguments)
    given = [name for words in args.format for word in words for name in word.split(",")]
    args.format = tuple(sorted(set(given)))
    if unknown := set(args.format) - {"json", "coco", "csv"}:
        parser.error(f"--format {unknown.pop()}: it is one or more of json, coco and csv")
    if len(args.opts) % 2:
        parser.error(
            f"{' '.join(args.opts)}: KEY VALUE pairs follow the options, and all inputs follow one --input"
        )
    if args.end is not None and args.end <= args.start:
        parser.error(f"--end ({args.end:g} s) must be later than --start ({args.start:g} s)")
    if args.num_gpus and (args.device or "cuda") != "cuda":
        parser.error(f"--num-gpus takes the GPUs from cuda:0 on, and --device says {args.device}: leave one")
    return args


def _folder(text: str) -> Path:
    return Path(os.path.expanduser(text))


def _seconds(text: str) -> float:
    if not re.fullmatch(r"(\d+:){0,2}\d*\.?\d+|(\d+:){0,2}\d+\.", text):
        raise argparse.ArgumentTypeError(f"{text} is no time: give seconds, m:s or h:m:s, such as 1:02:03.5")
    return math.fsum(float(part) * 60**place for place, part in enumerate(reversed(text.split(":"))))


@exit_on_bad_input()
def main(arguments: Sequence[str] | None = None) -> None:
    """Predict all inputs."""
    args = parse(arguments)
    _open_log()
    # here, as torch takes seconds to import, for which --help should not wait
    from avis.config import get_avis_cfg
    from avis.inference import cfg_of_checkpoint
    from avis.inference.many_videos import spread
    from avis.inference.prediction_files import PredictionFiles
    from avis.media.inputs import find_videos

    overrides = [
        "MODEL.WEIGHTS",
        args.weights,
        "MODEL.MASK_FORMER.TEST.SCORE_THRESHOLD",
        args.score_threshold,
    ]
    if args.device:
        overrides += ["MODEL.DEVICE", args.device]
    overrides += args.opts
    if args.config_file:
        cfg = get_avis_cfg(args.config_file, overrides)
    else:
        cfg = cfg_of_checkpoint(args.weights, overrides)
    args.fps = args.fps or cfg.INPUT.FPS
    inputs = find_videos(args.input)
    outputs = [PredictionFiles(path) for path in output_paths(inputs, args.output)]
    for path, output in zip(inputs, outputs, strict=True):
        output.check_replaceable(PROGRAM, os.path.realpath(path), args.overwrite)
    open_folder(args.output)
    processes = min(args.jobs or _count_gpus(args) or 1, len(inputs))
    work = partial(predict_videos, args, cfg, list(zip(inputs, outputs, strict=True)), processes)
    failures = spread(work, len(inputs), processes)
    if failures:
        logger.error("%d of %d inputs failed", failures, len(inputs))
        sys.exit(1)


def _open_log() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")


def _count_gpus(args: argparse.Namespace) -> int:
    """How many GPUs are asked for.

    Raises:
        ValueError: the machine has some, but fewer.
    """
    import torch

    found = torch.cuda.device_count()
    if args.num_gpus and 0 < found < args.num_gpus:
        raise ValueError(f"--num-gpus {args.num_gpus}: this machine has {found} GPUs")
    return args.num_gpus or 0


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
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file, and --output a folder: choose another")
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"{folder}: no permission to write there; choose another --output")
    remove_leftovers(folder)


def predict_videos(
    args: argparse.Namespace,
    cfg: "CfgNode",
    videos: list[tuple[str, "PredictionFiles"]],
    processes: int,
    rank: int,
    indices: Iterator[int],
) -> int:
    """Predict some of the videos, in one of several processes; how many failed."""
    _open_log()
    import torch

    from avis.engine.fingerprint import fingerprint_model
    from avis.inference import VideoPredictor, open_video
    from avis.modeling.progress import show_no_bars

    if processes > 1:
        show_no_bars()
        torch.set_num_threads(max(1, torch.get_num_threads() // processes))
    if args.num_gpus and torch.cuda.is_available():
        cfg = cfg.clone()
        cfg.defrost()
        cfg.MODEL.DEVICE = f"cuda:{rank % args.num_gpus}"
    predictor = VideoPredictor(cfg)
    run = PredictionRun(predictor, fingerprint_model(cfg, predictor.model), args)
    failures = 0
    for index in indices:
        path, output = videos[index]
        logger.info("[%d/%d] %s", index + 1, len(videos), path)
        try:
            run(path, open_video(path, args.fps, args.audio_track, args.start, args.end), output)
        except Exception as error:  # whatever it is, it is said, and the other videos are done
            is_named = isinstance(error, OSError | ValueError) and is_about_input(error)
            expected = is_named or isinstance(error, torch.OutOfMemoryError)
            logger.error("%s failed: %s", path, error, exc_info=not expected)
            failures += 1
    return failures


@dataclass(frozen=True)
class PredictionRun:
    """Writes the files of videos.

    Attributes:
        predictor: with the model.
        model_key: stands for the model, its weights and settings.
        options: of the command line.
    """

    predictor: "VideoPredictor"
    model_key: str
    options: argparse.Namespace

    def __call__(self, path: str, video: "VideoSource", output: "PredictionFiles") -> None:
        """Write what is found in a video; with --resume, only what is not there already."""
        from avis.files import read_json
        from avis.inference import run_key
        from avis.media.origin import Origin, read_origin

        run = run_key(self.model_key, path, video, self.predictor.categories.to_json())
        origin = Origin(PROGRAM, os.path.realpath(path), run)
        drawn = replace(origin, run=f"{run} {self.options.overlay_fps or 'own'}")
        resume = self.options.resume
        is_drawn = resume and read_origin(output.video) == drawn
        if resume and read_origin(output.json) == origin:
            content = read_json(output.json)
        else:
            content = self._predict(video)
            output.write_json(content, origin)
        output.write_others(content, self.options.format, self.options.save_masks)
        if is_drawn:
            logger.info("finished already: %s", output.video)
        else:
            self._draw(video, content, output.video, drawn.to_comment())

    def _predict(self, video: "VideoSource") -> dict:
        """The readable JSON."""
        from avis.inference import prediction_to_json
        from avis.media.shown import at_rate

        frames = at_rate(video.frames(), video.fps)
        decoding = (frame for frame, _, _ in _with_progress(frames, video, "decoding"))
        prediction = self.predictor.predict(replace(video, frames=lambda: decoding))
        return prediction_to_json(prediction, video.fps, self.predictor.categories.to_json(), video.start)

    def _draw(self, video: "VideoSource", content: dict, path: Path, comment: str) -> None:
        """Write the overlay."""
        from avis.inference.prediction_json import prediction_from_json
        from avis.media.video import read_peaks, write_shown
        from avis.visualization import PEAKS, draw_video

        prediction = prediction_from_json(content)
        sound = video.audio_file, video.audio_track
        seconds = prediction.length / video.fps
        peaks = read_peaks(sound[0], PEAKS, video.start, seconds, sound[1]) if sound[0] else None
        shown = _with_progress(video.shown(self.options.overlay_fps), video, "writing")
        drawn = draw_video(shown, prediction, self.predictor.categories.names, video.fps, peaks)
        write_shown(path, drawn, *sound, audio_start=video.start, comment=comment)
        logger.info("%d frames, %d tracks: %s", prediction.length, len(prediction.tracks), path)


def _with_progress(shown: Iterator, video: "VideoSource", doing: str) -> Iterator:
    """The same, while it is said how much of the video is done."""
    from avis.modeling.progress import Progress

    is_known = video.seconds is not None and video.seconds > 0  # some files do not say how long they last
    with Progress(f"{video.name}: {doing}", video.seconds if is_known else None) as progress:
        for each in shown:
            yield each
            progress.reach(float(each.end))

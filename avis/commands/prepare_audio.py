"""Compute the features of a frozen audio backbone, once, for whole data sets: FEATAudios/<video>.npy."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from tqdm.contrib.logging import logging_redirect_tqdm

from avis.command_line import add_launch_options, command_parser, exit_on_bad_input

if TYPE_CHECKING:
    from avis.config import CfgNode
    from avis.data.clip_audio import VideoSound
    from avis.dataset_tools.audio_features import Summary

EPILOG = """\
examples:
  python tools/prepare_audio.py --dataset avis_train avis_val --weights vggish.pth
  python tools/prepare_audio.py --json my_data/train.json --videos my_videos --weights vggish.pth
  python tools/prepare_audio.py --json my_data/train.json --config-file my_model.yaml --weights audio.pth \\
      MODEL.DEVICE cpu
  python tools/prepare_audio.py --dataset avis_train avis_val --config-file configs/h2s_R50.yaml \\
      --weights vggish.pth
  torchrun --nproc-per-node 6 tools/prepare_audio.py --dataset avis_train --weights vggish.pth

FEATAudios appears beside a data set's JPEGImages. A file has one row for each frame of the video: what the
audio backbone makes of the sound from that frame on. It is VGGish if no config is given. A video without
sound gets features of silence, and a warning.

Files say which backbone, weights and frame rate made them. Those that are whole and made by the same are
kept, others are made anew. AVISeg's own files do not say. They are taken for VGGish's, and kept unless
--overwrite is given. A run can be ended at any time and started again.

With --num-gpus N, or under torchrun, srun or Open MPI (docs/clusters.md), processes share the sounds. The
files are the same as with one process. When a process fails, all end.

separated sources:
  A config whose INPUT.AUDIO.NUM_SOURCES is S > 1 takes WAVAudios_sep/<video>/source_01.wav, … of S sources.
  Then FEATURES_DIR/<video>/source_01.npy, … appear. This program does not separate sounds. H2S's eight
  sources are MixIT's (TensorFlow, YFCC100M checkpoint model.ckpt-3547330), of the first channel at 16 kHz,
  scaled to a peak of 0.99. datasets/README.md says which programs make them, and how to use other separators.

exit codes:
  0    all is written
  1    the sound of some videos, listed at the end, could not be read
  2    nothing could be done with the arguments
"""

logger = logging.getLogger("avis.commands.prepare_audio")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments of the command line."""
    parser = command_parser(__doc__, EPILOG)
    parser.add_argument("--json", nargs="+", default=[], metavar="FILE", help="annotation files")
    parser.add_argument("--dataset", nargs="+", default=[], metavar="NAME", help="registered data sets")
    parser.add_argument(
        "--weights",
        required=True,
        metavar="FILE",
        help="weights of the audio backbone, for VGGish vggish.pth",
    )
    parser.add_argument(
        "--videos", metavar="DIR", help="hear video files, DIR/<video>.mp4 or the like, not WAVAudios"
    )
    parser.add_argument("--config-file", default="", metavar="FILE", help="whose MODEL.AUDIO is used")
    parser.add_argument("--fps", type=float, help="frames per second of the data, default: INPUT.FPS (1)")
    parser.add_argument("--batch-size", type=int, default=64, help="rows computed at once (%(default)s)")
    parser.add_argument(
        "--workers", type=int, metavar="N",
        help="processes that read sound (default: all cores, shared by the processes of a machine)",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="make files anew that are in order, too")
    add_launch_options(parser)
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config overrides")
    args = parser.parse_args(arguments)
    if not args.json and not args.dataset:
        parser.error("give --json FILE or --dataset NAME")
    if args.batch_size < 1 or (args.workers or 0) < 0:
        parser.error("--batch-size is 1 or more, --workers 0 or more")
    return args


def read_config(args: argparse.Namespace) -> "CfgNode":
    """The config that the command line asks for, whose audio backbone makes the features."""
    from avis.config import get_avis_cfg

    fps = [] if args.fps is None else ["INPUT.FPS", args.fps]
    cfg = get_avis_cfg(args.config_file, ["MODEL.AUDIO.WEIGHTS", args.weights, *fps, *args.opts])
    if not cfg.MODEL.AUDIO.NAME:
        raise ValueError(f"{args.config_file}: MODEL.AUDIO.NAME is empty, so there is nothing to prepare")
    if args.videos and cfg.INPUT.AUDIO.NUM_SOURCES > 1:
        raise ValueError("--videos: a video file has no separated sources; INPUT.AUDIO.NUM_SOURCES must be 1")
    if cfg.INPUT.FPS <= 0:
        raise ValueError(f"INPUT.FPS must be positive, got {cfg.INPUT.FPS}")
    return cfg


def find(args: argparse.Namespace, cfg: "CfgNode") -> "list[VideoSound]":
    """The sounds of the data sets."""
    from avis.data.catalog import json_file_of
    from avis.dataset_tools.sound_files import find_sounds, find_sources

    json_files = [*args.json, *map(json_file_of, args.dataset)]
    audio = cfg.INPUT.AUDIO
    if audio.NUM_SOURCES > 1:
        return find_sources(json_files, audio.NUM_SOURCES, audio.FEATURES_DIR)
    return find_sounds(json_files, args.videos, audio.FEATURES_DIR)


def report(summary: "Summary") -> None:
    """Say how many files were written, and what failed."""
    logger.info(
        "%d files written, %d of them of silence; %d kept; %d videos failed",
        summary.written, summary.silent, summary.kept, len(summary.failed),
    )  # fmt: skip
    for failure in summary.failed:
        logger.error("failed: %s", failure)


@exit_on_bad_input()
def run(args: argparse.Namespace) -> None:
    """What every process does."""
    from detectron2.utils import comm

    from avis.audio import build_audio_backbone
    from avis.config import use_available_device
    from avis.dataset_tools.audio_features import prepare_features

    is_main = comm.is_main_process()
    logging.basicConfig(level=logging.INFO if is_main else logging.WARNING, format="%(message)s")
    cfg = read_config(args)
    use_available_device(cfg)
    workers = args.workers
    if workers is None:
        workers = max((os.cpu_count() or 1) // comm.get_local_size(), 1)
    with logging_redirect_tqdm():
        summary = prepare_features(
            find(args, cfg),
            build_audio_backbone(cfg),
            fps=cfg.INPUT.FPS,
            device=cfg.MODEL.DEVICE,
            batch_size=args.batch_size,
            workers=workers,
            overwrite=args.overwrite,
            timeout=timedelta(minutes=cfg.TIMEOUT_MINUTES),
        )
    if is_main:
        report(summary)
    sys.exit(int(bool(summary.failed)))


@exit_on_bad_input()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = parse(arguments)
    # here, as torch takes seconds to import, for which --help should not wait
    from avis.engine import launch_command

    cfg = read_config(args)  # a mistake in it ends here, before processes start
    launch_command(run, args, cfg)

"""Measure speed and memory: of training steps, whole videos, parts, the loader and evaluation."""

import argparse
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from avis.benchmark.clone import check_clone
from avis.benchmark.clone import note as note_of_clone
from avis.benchmark.random_tracks import Scale
from avis.benchmark.tables import Table
from avis.command_line import COUNT, command_parser, exit_on_bad_input
from avis.files import write_json

if TYPE_CHECKING:
    from avis.config import CfgNode

EPILOG = """\
examples:
  python tools/benchmark.py parts --frames 2 5
  python tools/benchmark.py train --config-file configs/avis_R50.yaml --frames 2 5 10 --clips 1 2
  python tools/benchmark.py inference --video-frames 160 --repeats 1 MODEL.MASK_FORMER.TEST.FEATURE_STORE file
  python tools/benchmark.py data --peer ../Mask2Former
  python tools/benchmark.py evaluation --predictions 10 100 --jobs 1 2
  python tools/benchmark.py all --peer ../Mask2Former --output speed.json --plot growth.svg

It prints the machine, then tables in Markdown: medians of --repeats after a warm-up, with the fastest and
the slowest, and memory. Weights, clips and tracks are random with a fixed seed. Rows of train and inference
run in fresh processes: a peak is that of its row alone. --peer measures Mask2Former's own code beside ours.
"""
CONFIGS = ("video_maskformer_R50", "avis_R50")
# The smallest sizes, by which `all --quick` sees in a minute or two that everything works.
TINY_MODEL = ("--config-file", "quickstart", "--size", "64", "64", "--repeats", "1")
QUICK = {
    "parts": ("--frames", "1", "--size", "4", "6", "--channels", "16"),
    "train": (*TINY_MODEL, "--frames", "1", "2", "--clips", "1"),
    "inference": (*TINY_MODEL, "--video-frames", "2", "3"),
    "data": ("--size", "48", "64", "--video-frames", "6", "--clips", "2", "INPUT.MIN_SIZE_TRAIN", "(48,)"),
    "evaluation": (
        "--videos",
        "4",
        "--frames",
        "5",
        "--size",
        "90",
        "160",
        "--predictions",
        "6",
        "--repeats",
        "1",
    ),
}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments of the command line."""
    parser = command_parser(__doc__, EPILOG)
    commands = parser.add_subparsers(required=True, dest="command")
    parts = commands.add_parser("parts", help="what is computed otherwise than it is defined: both forms")
    parts.add_argument("--frames", type=COUNT, nargs="+", default=[2, 5], help="default: 2 5")
    parts.add_argument("--size", **pair((45, 80), "h w", "of the features at stride 8"))
    parts.add_argument("--channels", type=COUNT, default=256, help="default: %(default)s")
    parts.set_defaults(measure=measure_parts)
    train = commands.add_parser("train", help="a training step: ours, plain, and the original's")
    add_config_files(train)
    train.add_argument("--frames", type=COUNT, nargs="+", default=[2, 5], help="of a clip, default: 2 5")
    train.add_argument(
        "--clips", type=COUNT, nargs="+", default=[1, 2],
        help="of a batch, default: 1 2; the first of --frames with each, and each of --frames with the first",
    )  # fmt: skip
    train.add_argument("--size", **pair((360, 640), "H W", "of frames"))
    train.add_argument("--no-plain", action="store_true", help="do not compute models as they are defined")
    train.set_defaults(measure=measure_train)
    inference = commands.add_parser("inference", help="whole videos: seconds a frame, and peak memory")
    add_config_files(inference)
    inference.add_argument(
        "--video-frames", type=COUNT, nargs="+", default=[5, 15, 30], help="default: 5 15 30"
    )
    inference.add_argument("--size", **pair((360, 640), "H W", "of frames"))
    inference.set_defaults(measure=measure_inference)
    data = commands.add_parser("data", help="loading of training clips, against plain mappers")
    data.add_argument("--config-file", default="avis_R50", metavar="FILE", help="%(default)s")
    data.add_argument("--size", **pair((360, 640), "H W", "of frames on disk"))
    data.add_argument("--video-frames", type=COUNT, default=30, help="of a video, default: %(default)s")
    data.add_argument("--clips", type=COUNT, default=40, help="in each case, default: %(default)s")
    data.set_defaults(measure=measure_data)
    evaluation = commands.add_parser("evaluation", help="scoring of a results file, against TrackEval")
    default = Scale()
    evaluation.add_argument("--videos", type=COUNT, default=default.videos, help="default: %(default)s")
    evaluation.add_argument("--frames", type=COUNT, default=default.length, help="default: %(default)s")
    evaluation.add_argument("--size", **pair(default.size, "H W", "of frames"))
    evaluation.add_argument(
        "--predictions", type=COUNT, nargs="+", default=[10, 100], help="for each video, default: 10 100"
    )
    evaluation.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    evaluation.add_argument(
        "--jobs", type=COUNT, nargs="+", default=[1], metavar="N", help="processes of ours, default: 1"
    )
    evaluation.set_defaults(measure=measure_evaluation)
    everything = commands.add_parser("all", help="all of these, as they are by default")
    everything.add_argument("--quick", action="store_true", help="at the smallest sizes, to try it out")
    for command in (parts, train, inference, evaluation):
        command.add_argument("--repeats", type=COUNT, default=3, help="default: %(default)s")
    for command in (train, inference, data, everything):
        command.add_argument(
            "--peer", type=Path, metavar="PATH", help="a clone of Mask2Former to compare with"
        )
    for command in (train, inference, everything):
        command.add_argument(
            "--plot", type=Path, metavar="FILE", help="gets a figure of growth, .png or .svg"
        )
    for command in (parts, train, inference, data, evaluation, everything):
        command.add_argument("--output", metavar="FILE.json", help="gets the numbers")
    for command in (train, inference, data):
        command.add_argument(
            "opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config overrides, last"
        )
    return parser.parse_args(arguments)


def add_config_files(command: argparse.ArgumentParser) -> None:
    """Add --config-file, of which there may be several."""
    command.add_argument(
        "--config-file",
        action="append",
        metavar="FILE",
        help=f"may be repeated, default: {', '.join(CONFIGS)}",
    )


def pair(default: tuple[int, int], names: str, what: str) -> dict:
    """An option of two numbers."""
    shown = f"{what}, default: {default[0]} {default[1]}"
    return {"type": COUNT, "nargs": 2, "default": default, "metavar": tuple(names.split()), "help": shown}


def measure_parts(args: argparse.Namespace) -> Table:
    """Compare parts of the model with their definitions."""
    # here, as torch takes seconds to import, for which --help should not wait
    import torch

    from avis.benchmark.parts import COLUMNS, NOTES, compare_parts

    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = [
        row
        for frames in args.frames
        for row in compare_parts(frames, tuple(args.size), args.channels, device, args.repeats)
    ]
    return Table(rows, COLUMNS, NOTES)


def measure_train(args: argparse.Namespace) -> Table:
    """Measure training steps, of the original as well where its clone is given."""
    from avis.benchmark.train import COLUMNS, NOTES, cases, compare_training

    configs, peer = model_options(args)
    sizes = cases(args.frames, args.clips)
    rows = compare_training(
        configs, args.opts, sizes, args.size, args.repeats, plain=not args.no_plain, peer=peer
    )
    num_rows = len(sizes) * (len(configs) * (1 if args.no_plain else 2) + bool(peer))
    return Table(follow(rows, num_rows, "training steps"), COLUMNS, (*NOTES, *peer_notes(args)))


def measure_inference(args: argparse.Namespace) -> Table:
    """Measure predictions of whole videos, of the original as well where its clone is given."""
    from avis.benchmark.inference import COLUMNS, NOTES, compare_inference

    configs, peer = model_options(args)
    rows = compare_inference(configs, args.opts, args.video_frames, args.size, args.repeats, peer)
    num_rows = len(args.video_frames) * (len(configs) + bool(peer))
    return Table(follow(rows, num_rows, "whole videos"), COLUMNS, (*NOTES, *peer_notes(args)))


def measure_data(args: argparse.Namespace) -> Table:
    """Measure the loader, and that of the original where its clone is given."""
    from avis.benchmark.data import COLUMNS, NOTES, PEER_COLUMNS, PEER_NOTE, compare_loading
    from avis.benchmark.synthetic_videos import make_videos

    cfg = read_config(args.config_file, args.opts)
    peer = args.peer and check_clone(args.peer)
    with tempfile.TemporaryDirectory() as folder:
        videos = make_videos(Path(folder), 4, args.video_frames, tuple(args.size))
        rows = list(compare_loading(cfg, videos, args.clips, peer))
    return Table(
        rows, {**COLUMNS, **(PEER_COLUMNS if peer else {})}, (*NOTES, *([PEER_NOTE] if peer else []))
    )


def measure_evaluation(args: argparse.Namespace) -> Table:
    """Measure evaluations, of TrackEval as well where it is installed."""
    from avis.benchmark.evaluation import COLUMNS, NOTES, compare_evaluation, has_trackeval

    scale, rows = Scale(args.videos, args.frames, tuple(args.size)), []
    for number in args.predictions:
        with tempfile.TemporaryDirectory() as folder:
            rows += compare_evaluation(Path(folder), number, scale, args.seed, args.repeats, args.jobs)
    missing = "TrackEval is not installed and is left out; pip install --no-deps trackeval"
    return Table(rows, COLUMNS, NOTES if has_trackeval() else (*NOTES, missing))


def model_options(args: argparse.Namespace) -> tuple[list[str], tuple[Path, int] | None]:
    """The configs of our models, which are read for their mistakes; the clone, and its number of classes."""
    configs = args.config_file or list(CONFIGS)
    read = [read_config(config, args.opts) for config in configs]
    num_classes = read[0].MODEL.SEM_SEG_HEAD.NUM_CLASSES
    return configs, (check_clone(args.peer), num_classes) if args.peer else None


def read_config(config_file: str, opts: list[str]) -> "CfgNode":
    """The config of a file with overrides."""
    from avis.config import get_avis_cfg

    return get_avis_cfg(config_file, opts)


def peer_notes(args: argparse.Namespace) -> list[str]:
    """What is said below tables that have rows of the original."""
    return [note_of_clone()] if args.peer else []


def follow(rows: Iterable[dict], number: int, what: str) -> list[dict]:
    """The rows, with a bar on terminals."""
    return list(tqdm(rows, desc=what, total=number, unit=" rows", disable=None))


def measure(args: argparse.Namespace) -> Iterator[tuple[str, Table]]:
    """The table of a command, or those of all, with the name of the command."""
    if args.command != "all":
        yield args.command, args.measure(args)
        return
    for command, tiny in QUICK.items():
        peer = ["--peer", str(args.peer)] if args.peer and command not in ("parts", "evaluation") else []
        of_command = parse([command, *peer, *(tiny if args.quick else ())])
        yield command, of_command.measure(of_command)


@exit_on_bad_input()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = parse(arguments)
    if getattr(args, "peer", None):
        check_clone(args.peer)
    if plot := getattr(args, "plot", None):
        from avis.benchmark.plot import check_suffix, plot_growth

        check_suffix(plot)
    from avis.benchmark.machine import as_line, describe_run

    run = describe_run()
    print(as_line(run), flush=True)
    rows = {}
    for command, table in measure(args):
        print(f"\n**{command}**\n\n{table.as_markdown()}", flush=True)
        rows[command] = table.rows
    if args.output:
        write_json(args.output, {"run": run, "rows": rows}, indent=2)
    if plot:
        plot_growth(rows, plot)

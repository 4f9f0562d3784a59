#!/usr/bin/env python
"""Measure speed and memory: of a model, a long video, parts and loader against definitions, of evaluation."""

import argparse
import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tabulate import tabulate

from avis.benchmark.evaluation import Cost, compare_evaluation, has_trackeval
from avis.benchmark.random_tracks import Scale
from avis.command_line import exit_on_bad_input
from avis.files import write_json
from avis.synthetic import SynthOptions, make_synthavis

if TYPE_CHECKING:
    from torch import Tensor

    from avis.config import CfgNode

EPILOG = """\
examples:
  python tools/benchmark.py model --config-file configs/avis_R50.yaml SOLVER.IMS_PER_BATCH 2
  python tools/benchmark.py model --config-file configs/avis_SwinB.yaml --video-frames 60
  python tools/benchmark.py video --config-file configs/avis_R50.yaml --video-frames 1440
  python tools/benchmark.py parts --frames 2 5
  python tools/benchmark.py data --config-file configs/avis_R50.yaml
  python tools/benchmark.py evaluation --predictions 10 100 --jobs 1 2

Weights are random; the model's data are a small SynthAVIS made for the occasion, loaded by one process.
Times are medians of --repeats after a warm-up. Memory is the peak: of the GPU, or else of this process.
The loader is measured beside a plain mapper, which works as Detectron2's, by one thread and on equal clips.
Evaluation is measured on random tracks, about as many as AVISeg's test split has, in fresh processes; with
TrackEval (pip install --no-deps trackeval) in the same run.
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    model = commands.add_parser("model", help="loading, training step and whole-video inference")
    model.add_argument("--config-file", required=True, metavar="FILE")
    model.add_argument("--size", type=int, nargs=2, default=(360, 640), metavar=("H", "W"))
    model.add_argument("--video-frames", type=int, default=8, help="for inference, default: %(default)s")
    model.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config overrides")
    model.set_defaults(run=benchmark_model)
    video = commands.add_parser("video", help="a long video alone: seconds a frame, and peak memory")
    video.add_argument("--config-file", required=True, metavar="FILE")
    video.add_argument("--size", type=int, nargs=2, default=(360, 640), metavar=("H", "W"))
    video.add_argument("--video-frames", type=int, default=60, help="default: %(default)s")
    video.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config overrides")
    video.set_defaults(run=benchmark_video)
    parts = commands.add_parser("parts", help="what is computed otherwise than it is defined: both forms")
    parts.add_argument("--frames", type=int, nargs="+", default=[2, 5], help="default: %(default)s")
    parts.add_argument("--size", type=int, nargs=2, default=(45, 80), metavar=("h", "w"), help="at stride 8")
    parts.add_argument("--channels", type=int, default=256, help="default: %(default)s")
    parts.set_defaults(run=benchmark_parts)
    data = commands.add_parser("data", help="loading of training clips, against a plain mapper")
    data.add_argument("--config-file", default="configs/avis_R50.yaml", metavar="FILE", help="%(default)s")
    data.add_argument("--size", type=int, nargs=2, default=(360, 640), metavar=("H", "W"))
    data.add_argument("--video-frames", type=int, default=30, help="of a video, default: %(default)s")
    data.add_argument("--clips", type=int, default=40, help="in each case, default: %(default)s")
    data.add_argument("--output", metavar="FILE.json", help="gets the numbers")
    data.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config overrides")
    data.set_defaults(run=benchmark_data)
    evaluation = commands.add_parser("evaluation", help="scoring of a results file, against TrackEval")
    default = Scale()
    evaluation.add_argument("--videos", type=int, default=default.videos, help="default: %(default)s")
    evaluation.add_argument("--frames", type=int, default=default.length, help="default: %(default)s")
    evaluation.add_argument("--size", type=int, nargs=2, default=default.size, metavar=("H", "W"))
    evaluation.add_argument(
        "--predictions", type=int, nargs="+", default=[10, 100], help="for each video, default: 10 100"
    )
    evaluation.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    evaluation.add_argument(
        "--jobs", type=int, nargs="+", default=[1], metavar="N", help="processes of ours, default: 1"
    )
    evaluation.add_argument("--output", metavar="FILE.json", help="gets the numbers")
    evaluation.set_defaults(run=benchmark_evaluation)
    for command, repeats in ((model, 3), (parts, 3), (evaluation, 1)):
        command.add_argument("--repeats", type=int, default=repeats, help="default: %(default)s")
    return parser.parse_args()


def benchmark_model(args: argparse.Namespace) -> None:
    # here, as torch takes seconds to import, for which --help should not wait
    import torch

    from avis.benchmark.timing import median_time, peak_memory
    from avis.config import get_avis_cfg, use_available_device
    from avis.engine import AVISTrainer

    cfg = get_avis_cfg(args.config_file, args.opts)
    use_available_device(cfg)
    cfg.DATALOADER.NUM_WORKERS = 0  # to measure loading itself, not the wait for what others have loaded
    with tempfile.TemporaryDirectory() as folder:
        make_data(Path(folder), cfg, args)
        cfg.OUTPUT_DIR = folder
        trainer = AVISTrainer(cfg)
        batches = iter(trainer.build_train_loader(cfg))
        loading = median_time(lambda: next(batches), args.repeats)
        batch = next(batches)
        training = median_time(lambda: trainer.step(batch), args.repeats)
        training_memory = peak_memory()
        model, video = trainer.model.eval(), next(iter(trainer.build_test_loader(cfg, cfg.DATASETS.TEST[0])))
        with torch.inference_mode():
            inference = median_time(lambda: model(video), args.repeats)
    clips = f"{len(batch)} clips of {cfg.INPUT.SAMPLING_FRAME_NUM} frames"
    rows = [
        (f"loading {clips}", loading, ""),
        (f"training step, {clips}", training, training_memory),
        (f"inference, a video of {args.video_frames} frames", inference, peak_memory()),
    ]
    print(tabulate(rows, headers=("on " + cfg.MODEL.DEVICE, "seconds", "GiB"), floatfmt=".3f"))


def benchmark_video(args: argparse.Namespace) -> None:
    """Once, as the peak of this process shall be that of the video."""
    import torch

    from avis.benchmark.timing import peak_memory
    from avis.config import get_avis_cfg, use_available_device
    from avis.data import build_test_loader
    from avis.modeling import build_model

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cfg = get_avis_cfg(args.config_file, args.opts)
    use_available_device(cfg)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        make_data(Path(folder), cfg, args, num_train=0)
        cfg.DATASETS.TRAIN = cfg.DATASETS.TEST
        model = build_model(cfg).eval()
        memory_before = peak_memory()
        start = time.perf_counter(), time.process_time()
        model(next(iter(build_test_loader(cfg, cfg.DATASETS.TEST[0]))))
        end = time.perf_counter(), time.process_time()
    seconds = [(after - before) / args.video_frames for before, after in zip(start, end, strict=True)]
    row = (args.video_frames, *seconds, memory_before, peak_memory())
    headers = ("frames", "s a frame", "s of CPU a frame", "GiB before", "GiB at most")
    print(tabulate([row], headers=headers, floatfmt=("d", ".3f", ".3f", ".3f", ".3f")))


def make_data(folder: Path, cfg: "CfgNode", args: argparse.Namespace, num_train: int = 4) -> None:
    """Make videos of the wanted size and length, of as many classes as the model has, and test on them."""
    height, width = args.size
    options = SynthOptions(train=num_train, val=1, test=0, width=width, height=height)
    classes = options.categories[: cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES]
    seconds = (args.video_frames / cfg.INPUT.FPS,) * 2
    objects = (1, min(4, len(classes)))
    given = {"categories": classes, "seconds": seconds, "objects": objects, "fps": cfg.INPUT.FPS}
    make_synthavis(folder / "data", SynthOptions(**{**vars(options), **given}), progress=False)
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (
        (str(folder / "data" / f"{split}.json"),) for split in ("train", "val")
    )


def benchmark_parts(args: argparse.Namespace) -> None:
    import torch

    from avis.benchmark.parts import make_parts
    from avis.benchmark.timing import median_time

    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = []
    for frames in args.frames:
        for part in make_parts(frames, tuple(args.size), args.channels, device):
            ours, plain = (
                median_time(partial(run_and_differentiate, function, part.inputs), args.repeats)
                for function in (part.ours, part.plain)
            )
            rows.append((part.name, frames, ours, plain, plain / ours, part.difference()))
    headers = (f"forward and backward on {device}", "frames", "ours, s", "plain, s", "ratio", "difference")
    print(tabulate(rows, headers=headers, floatfmt=("", "d", ".3f", ".3f", ".1f", ".1e")))


def run_and_differentiate(function: "Callable[..., Tensor]", inputs: "tuple[Tensor, ...]") -> None:
    output = function(*inputs)
    output.backward(output.detach())


def benchmark_data(args: argparse.Namespace) -> None:
    from avis.benchmark.data import compare_loading
    from avis.config import get_avis_cfg
    from avis.data import load_aviseg_json

    if min(args.clips, args.video_frames, *args.size) < 1:
        raise ValueError("numbers of clips, frames and pixels must be positive")
    cfg = get_avis_cfg(args.config_file, args.opts)
    with tempfile.TemporaryDirectory() as folder:
        make_data(Path(folder), cfg, args)
        records = load_aviseg_json(cfg.DATASETS.TRAIN[0])
        costs = list(compare_loading(cfg, records, args.clips, seed=0))
    rows = [
        (
            f"{cost.size}: {cost.case}",
            *(1e3 * cost.ours, 1e3 * cost.plain, cost.plain / cost.ours),
            *(cost.pixel_difference, cost.different_masks, cost.sound_difference),
        )
        for cost in costs
    ]
    height, width = args.size
    case = f"{cfg.INPUT.SAMPLING_FRAME_NUM} frames of {height}×{width} to a shorter edge of, ms of CPU"
    headers = (case, "ours", "plain", "ratio", "levels apart", "mask pixels apart", "sound apart")
    print(tabulate(rows, headers=headers, floatfmt=("", ".1f", ".1f", ".1f", "d", "d", ".0e")))
    if args.output:
        write_json(args.output, [vars(cost) for cost in costs], indent=2)


def benchmark_evaluation(args: argparse.Namespace) -> None:
    if min(args.videos, args.frames, *args.size, *args.predictions, *args.jobs, args.repeats) < 1:
        raise ValueError("numbers of videos, frames, pixels, predictions, jobs and repeats must be positive")
    if not has_trackeval():
        print("TrackEval is not installed and is left out; pip install --no-deps trackeval")
    scale, rows, numbers = Scale(args.videos, args.frames, tuple(args.size)), [], []
    for num_predictions in args.predictions:
        with tempfile.TemporaryDirectory() as folder:
            compared = compare_evaluation(
                Path(folder), num_predictions, scale, args.seed, args.repeats, args.jobs
            )
        numbers.append(asdict(compared))
        case = f"{num_predictions} predictions a video, {compared.megabytes:.0f} MB"
        alone = compared.ours[args.jobs[0]]
        for jobs, cost in compared.ours.items():
            rows.append(cost_row(case if cost is alone else "", f"AVIS, {jobs} jobs", cost, alone))
        if compared.trackeval is not None:
            rows.append(cost_row("", "TrackEval", compared.trackeval, alone))
            rows.append(("", f"largest difference of AP and HOTA: {compared.difference:.1e} %"))
    headers = ("", "program", "s", "s of CPU", "ratio", "MiB", "ratio")
    print(tabulate(rows, headers=headers, floatfmt=("", "", ".2f", ".2f", ".1f", ".0f", ".1f")))
    if args.output:
        write_json(args.output, numbers, indent=2)


def cost_row(case: str, program: str, cost: Cost, unit: Cost) -> tuple:
    """A program's cost, also in relation to another's."""
    time_ratio, memory_ratio = cost.cpu_seconds / unit.cpu_seconds, cost.peak_mib / unit.peak_mib
    return case, program, cost.seconds, cost.cpu_seconds, time_ratio, cost.peak_mib, memory_ratio


@exit_on_bad_input()
def main() -> None:
    args = parse_args()
    args.run(args)


if __name__ == "__main__":
    main()

"""Whole videos to predict: made on disk by one process, read and measured by another.

Dimensions: T frames, H×W images.
"""

import time
from collections.abc import Callable
from dataclasses import asdict

import torch
from detectron2.config import CfgNode

from avis.benchmark.times import Times
from avis.benchmark.timing import now, peak_memory, reset_peak
from avis.config import get_avis_cfg
from avis.data import build_test_loader

# Frames that warm up.
_FIRST = 2


def load_video(json_file: str, cfg: CfgNode | None = None) -> dict:
    """The first video of a data set as a model takes it, at its own size; frames wait on disk.

    Args:
        json_file: the data set.
        cfg: of a model of ours, by which the video is heard; None: pictures alone.
    """
    if cfg is None:
        cfg = get_avis_cfg(opts=["MODEL.AUDIO.NAME", ""])
    cfg = cfg.clone()
    cfg.defrost()
    cfg.INPUT.MIN_SIZE_TEST, cfg.DATALOADER.NUM_WORKERS = 0, 0
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = (json_file,)
    (video,) = next(iter(build_test_loader(cfg, json_file)))
    return video


def measure_videos(predict: Callable[[dict], object], load: Callable[[], dict], repeats: int) -> dict:
    """Predict a video several times, after its first frames, which warm up.

    Returns:
        "seconds" and "cpu_seconds", times a frame; GiB: "before", with the model alone, and "peak".
    """
    with torch.inference_mode():
        before = peak_memory()
        predict(_beginning(load()))
        reset_peak()
        spent = [_spent(predict, load) for _ in range(repeats)]
    seconds, cpu_seconds = (asdict(Times.of(each)) for each in zip(*spent, strict=True))
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "before": before, "peak": peak_memory()}


def _spent(predict: Callable[[dict], object], load: Callable[[], dict]) -> tuple[float, float]:
    """Seconds a frame, of the clock and of the processor, loading included."""
    start = now(), time.process_time()
    video = load()
    predict(video)
    end = now(), time.process_time()
    seconds, cpu_seconds = (
        (after - before) / len(video["image"]) for before, after in zip(start, end, strict=True)
    )
    return seconds, cpu_seconds


def _beginning(video: dict) -> dict:
    per_frame = video.keys() & {"image", "audio_examples", "audio_features"}
    return {**video, **{key: video[key][:_FIRST] for key in per_frame}}

"""Whole videos, predicted by a model of ours in a fresh process."""

import logging
from collections.abc import Sequence

import torch

from avis.benchmark.random_clips import SEED
from avis.benchmark.videos import load_video, measure_videos
from avis.config import get_avis_cfg, use_available_device
from avis.modeling import build_model


def measure_video(config_file: str, opts: Sequence[str], json_file: str, repeats: int) -> dict:
    """Predict the first video of a data set with random weights; see `measure_videos`."""
    cfg = get_avis_cfg(config_file, opts)
    use_available_device(cfg)
    torch.manual_seed(SEED)
    model = build_model(cfg).eval()
    logger = logging.getLogger("avis.modeling")  # it tells how far a long video is
    logger.setLevel(logging.INFO)
    logger.addHandler(logging.StreamHandler())
    return measure_videos(lambda video: model([video]), lambda: load_video(json_file, cfg), repeats)

"""Training steps of a model of ours, as the trainer makes them, in a fresh process.

Dimensions: T frames, S audio sources, A audio channels.
"""

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from detectron2.config import CfgNode

from avis.benchmark.definitions import as_defined
from avis.benchmark.random_clips import SEED, random_clips
from avis.benchmark.timing import Mark, measure_steps
from avis.config import get_avis_cfg, use_available_device
from avis.engine import AVISTrainer


def measure_step(
    form: str,
    config_file: str,
    opts: Sequence[str],
    frames: int,
    clips: int,
    size: Sequence[int],
    repeats: int,
) -> dict:
    """Steps of training; see `avis.benchmark.timing.measure_steps`.

    Args:
        form: "ours", or "plain" for the model as it is defined.
        config_file: of the model.
        opts: config overrides.
        frames: of a clip.
        clips: of a batch.
        size: height and width of frames.
        repeats: steps that count.
    """
    cfg = get_avis_cfg(config_file, opts)
    use_available_device(cfg)
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ()
    batch = random_clips(clips, frames, tuple(size), cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES)
    batch = [_with_sources(clip, cfg) for clip in batch]
    with as_defined() if form == "plain" else nullcontext():
        torch.manual_seed(SEED)
        return measure_steps(_Step(AVISTrainer(cfg), batch), repeats)


class _Step:
    """A trainer's step, which tells when a part of it is over."""

    def __init__(self, trainer: AVISTrainer, batch: list[dict]) -> None:
        self.step, self.batch = trainer.step, batch
        self._clip = trainer.step.clip_gradients  # what comes after the backward pass
        self.mark: Mark
        trainer.step.clip_gradients = self._clip_gradients
        trainer.model.register_forward_hook(lambda *_: self.mark())

    def __call__(self, mark: Mark) -> None:
        self.mark = mark
        self.step(self.batch)

    def _clip_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> torch.Tensor:
        self.mark()
        return self._clip(parameters)


def _with_sources(clip: dict, cfg: CfgNode) -> dict:
    """A clip with features (T, S, A) instead of log-mel examples, for a model that takes nothing else."""
    num_sources = cfg.INPUT.AUDIO.NUM_SOURCES
    if num_sources == 1 and cfg.MODEL.AUDIO.NAME != "PrecomputedFeatures":
        return clip
    features = torch.randn(clip["length"], num_sources, cfg.MODEL.AUDIO.FEATURE_DIM)
    return {**{k: v for k, v in clip.items() if k != "audio_examples"}, "audio_features": features}

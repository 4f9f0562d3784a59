"""What the processes of the evaluator's tests run."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import torch
from detectron2.utils import comm
from pycocotools import mask as coco_mask
from torch import nn

from avis.config import get_avis_cfg
from avis.engine import AVISTrainer
from avis.evaluation import AVISEvaluator
from avis.structures import Track, VideoPrediction


def evaluate_share(json_file: str, shares: list[list[VideoPrediction]], output_dir: str) -> None:
    """Evaluate the predictions of this process's share, and write down what the evaluator returns."""
    evaluator = AVISEvaluator(json_file, output_dir)
    evaluator.reset()
    for prediction in shares[comm.get_rank()]:
        evaluator.process([{}], [prediction])
    results = evaluator.evaluate()
    Path(output_dir, f"returned{comm.get_rank()}.json").write_text(json.dumps(results))


class Mortal(nn.Module):
    """Predicts one track a video, notes the videos it has seen, and dies at the `last` one of a process."""

    def __init__(self, log: Path, last: int | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.log, self.last, self.seen = log, last, 0

    def forward(self, batch: list[dict]) -> list[VideoPrediction]:
        self.seen += 1
        if self.seen == self.last:
            os.kill(os.getpid(), signal.SIGKILL)
        (video,) = batch
        with self.log.open("a") as log:
            log.write(f"{video['video_id']}\n")
        height, width, length = (video[key] for key in ("height", "width", "length"))
        mask = coco_mask.encode(np.ones((height, width), np.uint8, order="F"))
        return [VideoPrediction(video["video_id"], height, width, length, [Track(0.5, 0, [mask] * length)])]


def evaluate_mortal(data: str, output_dir: str, last: int | None, resume: bool) -> None:
    """Evaluate a model that dies in the process of rank 1; what is returned goes to returned<rank>.json."""
    cfg = get_avis_cfg("configs/quickstart.yaml")
    cfg.OUTPUT_DIR, cfg.DATASETS.TEST, cfg.DATALOADER.NUM_WORKERS = output_dir, (data,), 0
    model = Mortal(Path(output_dir, "seen.txt"), last if comm.get_rank() == 1 else None)
    results = AVISTrainer.test(cfg, model, resume=resume)
    Path(output_dir, f"returned{comm.get_rank()}.json").write_text(json.dumps(results))

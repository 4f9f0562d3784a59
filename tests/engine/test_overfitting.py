"""Whether everything together learns: data, model, losses, optimizer, inference and metrics."""

from pathlib import Path

import numpy as np
import pytest
import torch

from avis.config import get_avis_cfg
from avis.engine import AVISTrainer

ROOT = Path(__file__).parents[2]
STEPS = 100


@pytest.mark.slow
def test_four_videos_are_learnt_by_heart(synthavis_root: Path, tmp_path: Path):
    data = f"('{synthavis_root}/train.json',)"
    overrides = {
        "DATALOADER.FILTER_EMPTY_ANNOTATIONS": False,  # the silent video belongs to it
        "DATASETS.TEST": data,
        "DATASETS.TRAIN": data,
        "INPUT.MIN_SIZE_TEST": 64,
        "INPUT.MIN_SIZE_TRAIN": "(64,)",
        "INPUT.RANDOM_FLIP": "none",
        "OUTPUT_DIR": tmp_path,
        "SOLVER.CHECKPOINT_PERIOD": STEPS,
        "SOLVER.MAX_ITER": STEPS,
    }
    pairs = [str(item) for pair in overrides.items() for item in pair]
    torch.manual_seed(0)
    np.random.seed(0)
    trainer = AVISTrainer(get_avis_cfg(str(ROOT / "configs" / "quickstart.yaml"), pairs))
    metrics = trainer.train()["avis"]
    assert metrics["AP"] >= 90

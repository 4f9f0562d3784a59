"""A small model, its data and its trainer: all that the engine meets, in milliseconds a step."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor, nn

from avis.config import get_avis_cfg
from avis.engine import AVISTrainer

BATCH_SIZE = 4


@META_ARCH_REGISTRY.register()
class SmallModel(nn.Module):
    """Has dropout (random numbers), batch normalisation (buffers), an embedding and a backbone."""

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8))
        self.backbone_like = nn.Linear(8, 8)
        self.query_embed = nn.Embedding(1, 8)
        self.level_embed = nn.Parameter(torch.zeros(8))
        self.dropout = nn.Dropout(0.5)
        self.class_embed = nn.Linear(8, 1)

    def forward(self, batch: list[dict]) -> dict[str, Tensor] | list[float]:
        inputs = torch.stack([item["input"] for item in batch])
        hidden = self.backbone_like(self.backbone(inputs)) + self.query_embed.weight + self.level_embed
        outputs = self.class_embed(self.dropout(hidden))
        if not self.training:
            return outputs.flatten().tolist()
        return {"loss_square": (outputs - 1).square().mean(), "loss_absolute": outputs.abs().mean()}


class SmallTrainer(AVISTrainer):
    """Trains `SmallModel` on endless data that SEED, the iteration and the global generators determine."""

    @classmethod
    def build_train_loader(cls, cfg: CfgNode, start_iteration: int = 0) -> Iterator[list[dict]]:
        np.random.rand(7)  # as opening a DataLoader does
        return cls._batches_from(cfg.SEED, start_iteration)

    @staticmethod
    def _batches_from(seed: int, iteration: int) -> Iterator[list[dict]]:
        while True:
            generator = torch.Generator().manual_seed(seed + iteration)
            data = torch.randn(BATCH_SIZE, 3, generator=generator)
            augmentation = np.random.rand()
            yield [{"input": row * augmentation} for row in data]
            iteration += 1


def small_cfg(output_dir: Path, **solver: object) -> CfgNode:
    """The config of `SmallModel`, with keys of SOLVER as given."""
    cfg = get_avis_cfg()
    cfg.MODEL.META_ARCHITECTURE = "SmallModel"
    cfg.MODEL.DEVICE = "cpu"
    cfg.OUTPUT_DIR = str(output_dir)
    cfg.SOLVER.MAX_ITER = 4
    cfg.SOLVER.STEPS = (3,)
    cfg.SOLVER.WARMUP_ITERS = 0
    cfg.SOLVER.CHECKPOINT_PERIOD = 2
    for key, value in solver.items():
        cfg.SOLVER[key] = value
    return cfg


def build_small_model() -> nn.Module:
    torch.manual_seed(0)
    return SmallModel(get_avis_cfg())

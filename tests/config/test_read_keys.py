"""Every key of Detectron2 that counts as read is read indeed, by a training and what it can be made of."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.engine import DefaultTrainer
from detectron2.modeling import build_backbone
from yacs.config import CfgNode as Node

from avis.config import get_avis_cfg
from avis.config.tree import leaves
from avis.data.build import build_train_loader
from avis.engine import AVISTrainer
from avis.engine.optimizer import build_gradient_clipper, build_lr_scheduler, build_optimizer
from avis.inference.predictor import VideoPredictor
from tests.config.test_unread import FREE, READ_BY_AVIS, READ_BY_DETECTRON2, is_in
from tests.modeling.test_avis_mask_former import SMALL
from tests.small_dataset import write_split

# Detectron2's default_setup reads them from what the config is as text.
BY_SETUP = ("CUDNN_BENCHMARK", "FLOAT32_PRECISION")
# What is read where another key has a certain value.
CHOICES = (
    ["SOLVER.OPTIMIZER", "SGD"],
    ["SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR"],
    ["SOLVER.LR_SCHEDULER_NAME", "WarmupStepWithFixedGammaLR", "SOLVER.WARMUP_ITERS", 0],
    ["SOLVER.CLIP_GRADIENTS.ENABLED", True],
    ["DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler"],
    ["INPUT.CROP.ENABLED", True, "INPUT.CROP.SIZE", (8, 8)],
    ["SOLVER.REFERENCE_WORLD_SIZE", 2],
    ["SOLVER.AMP.ENABLED", True],
)
BACKBONES = (
    ["MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone", "MODEL.FPN.IN_FEATURES", ["res4", "res5"]],
    ["MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.RESNETS.DEFORM_ON_PER_STAGE", [False] * 4],
)


def label(cfg: CfgNode, prefix: str = "") -> CfgNode:
    """Note in each section where it is; copies of it then know, too."""
    cfg.__dict__["path"] = prefix
    for name, value in cfg.items():
        if isinstance(value, CfgNode):
            label(value, f"{prefix}{name}.")
    return cfg


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """The keys that are read as attributes of labelled configs."""
    names: set[str] = set()
    get = Node.__getattr__

    def note(section: CfgNode, name: str) -> object:
        names.add(f"{section.__dict__.get('path', '?')}{name}")
        return get(section, name)

    monkeypatch.setattr(Node, "__getattr__", note)
    yield names


def config(tmp_path: Path, opts: list = ()) -> CfgNode:
    json_file = str(tmp_path / "train.json")
    data = [
        "DATASETS.TRAIN",
        (json_file,),
        "DATASETS.TEST",
        (json_file,),
        "OUTPUT_DIR",
        str(tmp_path / "out"),
    ]
    sizes = ["INPUT.MIN_SIZE_TRAIN", (32,), "INPUT.MIN_SIZE_TEST", 32, "MODEL.SEM_SEG_HEAD.NUM_CLASSES", 2]
    run = ["SOLVER.MAX_ITER", 1, "SOLVER.IMS_PER_BATCH", 2, "DATALOADER.NUM_WORKERS", 0]
    return label(get_avis_cfg("configs/avis_R50.yaml", [*SMALL, *data, *sizes, *run, *opts]))


def test_every_key_that_counts_as_read_is_read(tmp_path: Path, read: set[str]):
    write_split(tmp_path)
    trainer = AVISTrainer(config(tmp_path))
    trainer.resume_or_load(resume=False)
    trainer.train()
    VideoPredictor(config(tmp_path, ["MODEL.WEIGHTS", str(tmp_path / "out" / "model_final.pth")]))
    parameters = torch.nn.Linear(1, 1)
    for opts in CHOICES:
        cfg = DefaultTrainer.auto_scale_workers(config(tmp_path, opts), 1)
        build_lr_scheduler(cfg, build_optimizer(cfg, parameters))
        build_gradient_clipper(cfg)
        build_train_loader(cfg)
    for opts in BACKBONES:
        build_backbone(config(tmp_path, opts))
    claimed = [key for key in leaves(get_cfg()) if is_in(key, (*READ_BY_AVIS, *READ_BY_DETECTRON2))]
    unread = {key for key in claimed if not is_in(key, (*BY_SETUP, *FREE))} - read
    assert unread == set()

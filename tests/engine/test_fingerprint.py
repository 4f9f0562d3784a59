"""The text that tells whether an interrupted evaluation is of the same model and data."""

import copy
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from torch import nn

from avis.config import get_avis_cfg
from avis.engine.fingerprint import fingerprint


@pytest.fixture
def case(tmp_path: Path) -> tuple[CfgNode, nn.Module, Path]:
    torch.manual_seed(0)
    annotations = tmp_path / "val.json"
    annotations.write_text("{}")
    return get_avis_cfg(), nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4).bfloat16()), annotations


def test_same_for_the_same_contents(case: tuple[CfgNode, nn.Module, Path], tmp_path: Path):
    cfg, model, annotations = case
    moved = annotations.rename(tmp_path / "elsewhere.json")
    other = copy.deepcopy(cfg)
    other.MODEL.WEIGHTS, other.OUTPUT_DIR, other.SOLVER.MAX_ITER = "copy.pth", "elsewhere", 1
    other.freeze()
    annotations.write_text("{}")
    assert fingerprint(other, copy.deepcopy(model), moved) == fingerprint(cfg, model, annotations)
    assert other.MODEL.WEIGHTS == "copy.pth"


@pytest.mark.parametrize("part", ["weight", "buffer", "model key", "input key", "precision", "annotations"])
def test_other_for_other_contents(case: tuple[CfgNode, nn.Module, Path], part: str):
    cfg, model, annotations = case
    cfg.TEST.AMP = part == "precision"
    before = fingerprint(cfg, model, annotations)
    if part == "weight":
        model[0].weight.data[1, 2] += 1e-7
    elif part == "buffer":
        model[1].num_batches_tracked += 1
    elif part == "model key":
        cfg.MODEL.MASK_FORMER.TEST.SCORE_THRESHOLD = 0.123
    elif part == "precision":
        cfg.SOLVER.AMP.PRECISION = "float16"
    elif part == "input key":
        cfg.INPUT.MIN_SIZE_TEST = 17
    else:
        annotations.write_text("{} ")
    assert fingerprint(cfg, model, annotations) != before

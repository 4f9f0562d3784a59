"""Every config of the model zoo builds its model."""

from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model

import avis.modeling  # noqa: F401  (registers the models)
from avis.config import get_avis_cfg

CONFIGS = sorted(path for path in Path("configs").glob("*.yaml") if not path.name.startswith("Base"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_builds_its_model(path):
    cfg = get_avis_cfg(path, ["MODEL.DEVICE", "meta"])
    with torch.device("meta"):
        model = build_model(cfg)
    queries = model.sem_seg_head.predictor.query_feat.weight
    assert queries.shape == (cfg.MODEL.MASK_FORMER.NUM_OBJECT_QUERIES, cfg.MODEL.MASK_FORMER.HIDDEN_DIM)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_head_of_a_config_states_the_command_that_trains_it(path):
    head = [line for line in path.read_text().split("_BASE_")[0].splitlines() if line.startswith("#")]
    command = "tools/quickstart.sh" if path.stem == "quickstart" else f"train_net.py --config-file {path}"
    assert any(command in line for line in head)

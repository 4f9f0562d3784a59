import pytest
import torch
from detectron2.modeling import build_model

import avis.modeling  # noqa: F401  (registers the model)
from avis.config import get_avis_cfg
from avis.inference import VideoPredictor
from tests.small_dataset import CATEGORIES, write_split

CONFIG = "configs/quickstart.yaml"
# A quarter of the quickstart's size; 0: an untrained model's scores are low.
OVERRIDES = (
    "MODEL.MASK_FORMER.TEST.SCORE_THRESHOLD", "0.0",
    "MODEL.MASK_FORMER.TEST.TOPK", "3",
    "MODEL.SEM_SEG_HEAD.NUM_CLASSES", "2",
    "INPUT.MIN_SIZE_TEST", "64",
)  # fmt: skip


@pytest.fixture(scope="session")
def json_file(tmp_path_factory):
    return write_split(tmp_path_factory.mktemp("inference"), "val", num_videos=1)


@pytest.fixture(scope="session")
def cfg(json_file, tmp_path_factory, request):
    """A config with weights, drawn at random, whose file names the classes."""
    cfg = get_avis_cfg(request.config.rootpath / CONFIG, [*OVERRIDES, "DATASETS.TEST", (str(json_file),)])
    torch.manual_seed(0)
    cfg.MODEL.WEIGHTS = str(tmp_path_factory.mktemp("weights") / "model.pth")
    torch.save({"model": build_model(cfg).state_dict(), "categories": CATEGORIES}, cfg.MODEL.WEIGHTS)
    return cfg


@pytest.fixture(scope="session")
def predictor(cfg):
    return VideoPredictor(cfg)


@pytest.fixture(scope="session")
def folder(json_file):
    return json_file.with_suffix("") / "JPEGImages" / "clip1"

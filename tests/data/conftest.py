import shutil

import pytest
from detectron2.config import CfgNode

from avis.config import get_avis_cfg
from tests.data.small_dataset import write_split


@pytest.fixture(scope="session")
def pristine_dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pristine")
    write_split(folder)
    return folder


@pytest.fixture
def train_json(pristine_dataset, tmp_path):
    """A copy of the small data set that a test may break."""
    shutil.copytree(pristine_dataset, tmp_path / "data")
    return tmp_path / "data" / "train.json"


@pytest.fixture
def cfg(train_json) -> CfgNode:
    cfg = get_avis_cfg()
    cfg.INPUT.FORMAT = "RGB"
    cfg.INPUT.MIN_SIZE_TRAIN = (48,)
    cfg.INPUT.MIN_SIZE_TEST = 0
    cfg.INPUT.SAMPLING_FRAME_NUM = 3
    cfg.INPUT.RANDOM_FLIP = "none"
    cfg.DATASETS.TRAIN = (str(train_json),)
    cfg.DATASETS.TEST = (str(train_json),)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 2
    cfg.SOLVER.IMS_PER_BATCH = 2
    cfg.SEED = 1
    return cfg

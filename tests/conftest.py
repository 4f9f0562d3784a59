"""Fixtures that several parts share, and one thread for each process that tests."""

import os
import shutil
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: also for the processes that tests start

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode

from avis.config import get_avis_cfg
from avis.synthetic import PRESETS, make_synthavis
from tests.small_dataset import write_split

torch.set_num_threads(1)
# Ignored under nohup and in the background of scripts, and then by the processes that tests start, too.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # before Triton: kernels then run on the CPU


@pytest.fixture(scope="session")
def synthavis_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SynthAVIS of 4 training, 2 validation and 2 test videos: 6 classes, 4 frames in 4 s, 64×96 pixels.

    Training video 3 has nothing that sounds; all others have.
    """
    root = tmp_path_factory.mktemp("datasets") / "synthavis"
    size = {"train": 4, "val": 2, "test": 2, "seconds": (4, 4), "width": 96, "height": 64, "seed": 1}
    much_sounds = {"activity": 0.8, "inactive_probability": 0.0, "decoy_probability": 0.2}
    options = replace(PRESETS["quickstart"], **size, **much_sounds)
    make_synthavis(root, options, workers=1, progress=False)
    return root


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
    """A config for the small data set."""
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

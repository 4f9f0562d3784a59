"""Fixtures that several parts share, and one thread for each process that tests."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: also for the processes that tests start

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from avis.synthetic import PRESETS, make_synthavis

torch.set_num_threads(1)


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

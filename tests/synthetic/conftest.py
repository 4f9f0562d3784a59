"""A tiny SynthAVIS without background noise, shared by the tests of its format."""

from dataclasses import replace
from pathlib import Path

import pytest

from avis.synthetic import PRESETS, SynthOptions, make_synthavis


@pytest.fixture(scope="session")
def tiny_options() -> SynthOptions:
    """6 videos of 3 to 5 frames, 64×48 pixels, in which much happens."""
    size = {"train": 4, "val": 2, "test": 0, "seconds": (3.0, 5.0), "width": 64, "height": 48}
    events = {
        "objects": (3, 3),
        "leave_probability": 0.5,
        "overlap_probability": 0.8,
        "decoy_probability": 0.1,
    }
    return replace(PRESETS["quickstart"], sound_noise=0.0, **size, **events)


@pytest.fixture(scope="session")
def tiny_root(tiny_options: SynthOptions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("synthavis")
    make_synthavis(root, tiny_options, workers=1, progress=False)
    return root

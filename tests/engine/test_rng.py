import io
import random

import numpy as np
import pytest
import torch

from avis.engine.rng import get_rng_state, preserved_rng, set_rng_state


def draw() -> tuple:
    return random.random(), random.gauss(0, 1), np.random.randn(), torch.rand(1).item()


def test_state_survives_a_safe_file():
    random.gauss(0, 1), np.random.randn()  # leaves the second of a pair of normal numbers in each state
    file = io.BytesIO()
    torch.save(get_rng_state(), file)
    expected = draw()
    file.seek(0)
    set_rng_state(torch.load(file, weights_only=True))
    assert draw() == expected


def test_preserved_rng_also_after_an_error():
    state = get_rng_state()
    expected = draw()
    set_rng_state(state)
    with pytest.raises(KeyError), preserved_rng():
        draw()
        raise KeyError
    assert draw() == expected

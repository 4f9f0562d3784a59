"""The state of the random number generators (Python, NumPy, PyTorch), for exact resume."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def get_rng_state() -> dict:
    """The state of this process's generators, in tensors and plain containers that load safely."""
    name, keys, *position = np.random.get_state()
    return {
        "python": random.getstate(),
        # int64, because unsigned tensors do not travel between processes
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), *position),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def set_rng_state(state: dict) -> None:
    """Set the generators to a state from `get_rng_state`."""
    random.setstate(state["python"])
    name, keys, *position = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *position))
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


@contextmanager
def preserved_rng() -> Iterator[None]:
    """Leave the generators as they were, whatever is drawn inside."""
    state = get_rng_state()
    try:
        yield
    finally:
        set_rng_state(state)

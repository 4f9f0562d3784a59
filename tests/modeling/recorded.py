"""Reading the recorded numbers of the reference implementations (tests/recorded/reference/README.md)."""

import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

REFERENCE = Path(__file__).parents[1] / "recorded" / "reference"


def recording(name: str) -> dict[str, np.ndarray]:
    """The arrays of one recorded case."""
    with np.load(REFERENCE / f"{name}.npz") as arrays:
        return dict(arrays)


def fill_parameters(module: nn.Module, skip: tuple[str, ...] = ()) -> None:
    """Give every floating entry of a state dict the value that its key seeds, as in the recordings."""
    with torch.no_grad():
        for key, tensor in module.state_dict().items():
            if not tensor.is_floating_point() or key in skip:
                continue
            generator = np.random.default_rng(zlib.crc32(key.encode()))
            value = generator.standard_normal(tuple(tensor.shape), dtype=np.float32) * np.float32(0.05)
            if key.endswith("running_var"):
                value = np.abs(value) + np.float32(0.5)
            elif tensor.dim() == 1 and key.endswith(".weight"):
                value = 1 + value
            tensor.copy_(torch.from_numpy(value))


class RecordedRand:
    """Stands for torch.rand: the uniform numbers that the recordings used, in the order of the calls."""

    def __init__(self, seed: int) -> None:
        self.generator = np.random.default_rng(seed + 1)

    def __call__(self, *shape: int, device: torch.device | None = None) -> Tensor:
        return torch.from_numpy(self.generator.random(shape, dtype=np.float32)).to(device)


def assert_recorded(actual: Tensor, arrays: dict[str, np.ndarray], name: str, **tolerance) -> None:
    """Compare with a recorded array, stored whole or as 2,000 of its numbers and three statistics."""
    actual = actual.detach().double().numpy()
    if name in arrays:
        np.testing.assert_allclose(actual, arrays[name], err_msg=name, **tolerance)
        return
    flat = actual.reshape(-1)
    indices = np.linspace(0, flat.size - 1, 2000).astype(np.int64)
    np.testing.assert_allclose(flat[indices], arrays[f"{name}__sub"], err_msg=name, **tolerance)
    statistics = [flat.mean(), flat.std(), np.abs(flat).sum()]
    np.testing.assert_allclose(statistics, arrays[f"{name}__stat"], err_msg=name, rtol=1e-4, atol=1e-6)


def normal(generator: np.random.Generator, *shape: int) -> Tensor:
    """Standard normal float32 numbers from a NumPy generator."""
    return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))

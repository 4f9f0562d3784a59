"""TF32: products of float32 with 10 instead of 23 bits, for which NVIDIA's GPUs have much faster units."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# The first generation of GPUs (Ampere) that has TF32.
_FIRST_CAPABILITY = 8


def check_tf32(device: str) -> None:
    """Refuse SOLVER.TF32 where it would do nothing.

    Raises:
        ValueError: the device has no TF32.
    """
    if torch.device(device).type != "cuda":
        found = f"MODEL.DEVICE is {device!r}"
    elif (capability := torch.cuda.get_device_capability(device))[0] < _FIRST_CAPABILITY:
        found = f"{torch.cuda.get_device_name(device)} has compute capability {capability[0]}.{capability[1]}"
    else:
        return
    raise ValueError(
        f"SOLVER.TF32 is True, which needs an NVIDIA GPU of compute capability {_FIRST_CAPABILITY}.0 or "
        f"newer, but {found}; set it to False"
    )


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Let matrix products and convolutions in float32 take TF32; afterwards all is as before.

    False leaves torch's own settings: exact matrix products, and convolutions in TF32.
    """
    if not allowed:
        yield
        return
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "tf32"
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision

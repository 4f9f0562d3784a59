"""How long a call takes, and how much memory was in use, on a GPU or without."""

import resource
import statistics
import time
from collections.abc import Callable

import torch


def median_time(function: Callable[[], object], repeats: int) -> float:
    """Seconds that a call takes, work on the GPU included."""
    function()
    times = []
    for _ in range(repeats):
        _synchronize()
        start = time.perf_counter()
        function()
        _synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def peak_memory() -> float:
    """GiB since the last call on a GPU, or of this process since it began."""
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        return peak / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda._synchronize()

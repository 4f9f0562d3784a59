"""How long calls take, and how much memory is in use, on a GPU or without."""

import ctypes
import gc
import resource
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path

import torch

from avis.benchmark.times import Times

_STATUS = Path("/proc/self/status")

# Ends a part of a step that is measured.
Mark = Callable[[], None]


def measure_times(function: Callable[[], object], repeats: int) -> Times:
    """Seconds that a call takes, work on the GPU included, after one that warms up."""
    function()
    seconds = []
    for _ in range(repeats):
        start = now()
        function()
        seconds.append(now() - start)
    return Times.of(seconds)


def measure_steps(step: Callable[[Mark], None], repeats: int) -> dict:
    """Measure training steps, after one that warms up.

    Args:
        step: trains once; it calls its argument after the forward and after the backward pass.
        repeats: steps that count.

    Returns:
        "forward", "backward", "update" and "step": times; "cpu", those of the processor for a step; "kept",
        GiB that the forward pass leaves for the backward pass, None where nothing tells; "peak", GiB.
    """
    steps = [_measure_step(step) for _ in range(repeats + 1)][1:]
    times = {name: asdict(Times.of([s[name] for s in steps])) for name in steps[0] if name != "kept"}
    return {**times, "kept": steps[-1]["kept"], "peak": peak_memory()}


def _measure_step(step: Callable[[Mark], None]) -> dict[str, float | None]:
    """Seconds and GiB of one step, without those of looking at memory."""
    held = allocated_memory()
    laps, in_use, begins = [], [], [_clocks()]

    def mark() -> None:
        laps.append([end - begin for begin, end in zip(begins[-1], _clocks(), strict=True)])
        in_use.append(allocated_memory())
        begins.append(_clocks())

    step(mark)
    mark()
    seconds, cpu_seconds = zip(*laps, strict=True)
    of_parts = dict(zip(("forward", "backward", "update"), seconds, strict=True))
    kept = None if held is None else in_use[0] - held
    return {**of_parts, "step": sum(seconds), "cpu": sum(cpu_seconds), "kept": kept}


def _clocks() -> tuple[float, float]:
    return now(), time.process_time()


def now() -> float:
    """The clock, once the GPU has done what it was told to."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def peak_memory() -> float:
    """GiB at most: of tensors on a GPU since `reset_peak`, or else of this process since it began."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    if _STATUS.exists():  # unlike getrusage's number, not at least that of the process that has started this
        lines = _STATUS.read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def reset_peak() -> None:
    """Let the peak of a GPU begin anew; that of a process cannot."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def allocated_memory() -> float | None:
    """GiB that are in use now: of tensors on a GPU, or else of this process, if glibc is there to tell."""
    gc.collect()
    if torch.cuda.is_available():
        return torch.cuda.memory_allocated() / 2**30
    mallinfo2 = _mallinfo2()
    if mallinfo2 is None:
        return None
    numbers = mallinfo2()
    return (numbers.uordblks + numbers.hblkhd) / 2**30


class _MallInfo(ctypes.Structure):
    """`struct mallinfo2` of glibc."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd",
            "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    ]  # fmt: skip


@cache
def _mallinfo2() -> Callable[[], _MallInfo] | None:
    function = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if function is not None:
        function.restype = _MallInfo
    return function

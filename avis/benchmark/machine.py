"""On what machine, when and by which command figures were measured."""

import datetime
import os
import platform
import shlex
from pathlib import Path

import torch

from avis.command_names import as_typed, invocation

_CPUINFO = Path("/proc/cpuinfo")


def describe_run() -> dict:
    """The machine, the date and the command.

    Returns:
        "cpu", "cores" that this process may use, "threads" of torch, "load" (processes that ran or waited
        during the last minute, without this one's work), "torch", "gpu" or None, "date", "command".
    """
    return {
        "cpu": _cpu_model(),
        "cores": _num_cores(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1),
        "torch": torch.__version__,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "date": datetime.date.today().isoformat(),
        "command": as_typed(f"tools/benchmark.py {shlex.join(invocation()[1])}"),
    }


def as_line(run: dict) -> str:
    """One line of Markdown."""
    return (
        f"Measured {run['date']} by `{run['command']}`: {run['gpu'] or 'no GPU'}, {run['cpu']}, cores "
        f"{run['cores']}, threads {run['threads']}, torch {run['torch']}, load {run['load']} at the start."
    )


def _cpu_model() -> str:
    lines = _CPUINFO.read_text().splitlines() if _CPUINFO.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

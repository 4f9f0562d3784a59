"""What the processes of the launch tests run."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from detectron2.utils import comm


def report(output_dir: str) -> None:
    """Write what this process knows of its group."""
    values = torch.tensor([comm.get_rank() + 1.0])
    if comm.get_world_size() > 1:
        dist.all_reduce(values)
    facts = (comm.get_world_size(), comm.get_local_rank(), comm.get_local_size(), values.item())
    Path(output_dir, f"rank{comm.get_rank()}").write_text(repr(facts))


def report_and_exit(output_dir: str, code: int) -> None:
    report(output_dir)
    comm.synchronize()
    sys.exit(code)

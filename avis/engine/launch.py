"""Starting the processes of a run: one per GPU, or N gloo processes on a machine without one.

Takes Detectron2's arguments, and joins the group that torchrun has made where there is one.
"""

import gc
import os
import socket
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from detectron2.utils import comm

from avis.engine.ranks import run_ranks
from avis.engine.signals import end_at_once

DEFAULT_TIMEOUT = timedelta(minutes=30)


def launch(
    main_func: Callable[..., Any],
    num_gpus_per_machine: int,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str = "auto",
    args: Sequence = (),
    device: str = "cuda",
    timeout: timedelta = DEFAULT_TIMEOUT,
) -> None:
    """Run ``main_func(*args)`` in every process of a run, on this machine.

    Under torchrun (RANK and WORLD_SIZE are set) this process is one of them and the numbers given here do not
    count. One process alone runs without a process group.

    Args:
        main_func: a function of a module, so that new processes find it.
        num_gpus_per_machine: processes on this machine; 0 is 1.
        num_machines: machines of the run.
        machine_rank: this machine's number, 0 … num_machines - 1.
        dist_url: where the processes meet, as tcp://HOST:PORT; "auto" takes a free port of this machine.
        args: the arguments of `main_func`.
        device: where the model computes, MODEL.DEVICE: "cpu" takes gloo also on a machine with GPUs.
        timeout: how long a process waits for the others.

    Raises:
        ValueError: more processes than GPUs, or several machines without a `dist_url`.
        SystemExit: a process has failed; with its exit code, or 128 + the signal that has killed it.
    """
    use_cuda = device.startswith("cuda") and torch.cuda.is_available()
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        _run_under_torchrun(main_func, args, use_cuda, timeout)
        return
    num_local = max(num_gpus_per_machine, 1)
    if num_local * num_machines == 1:
        main_func(*args)
        return
    if use_cuda and num_local > torch.cuda.device_count():
        raise ValueError(f"--num-gpus {num_local}: this machine has {torch.cuda.device_count()} GPUs")
    if dist_url == "auto":
        dist_url = _local_url(num_machines)
    meeting = (dist_url, machine_rank * num_local, num_machines * num_local)
    run_ranks(_run_spawned, num_local, (main_func, args, num_local, meeting, use_cuda, timeout))


def _run_spawned(
    local_rank: int,
    main_func: Callable[..., Any],
    args: Sequence,
    num_local: int,
    meeting: tuple[str, int, int],
    use_cuda: bool,
    timeout: timedelta,
) -> None:
    if not use_cuda:
        torch.set_num_threads(max(1, torch.get_num_threads() // num_local))
    url, first_rank, world_size = meeting
    group = {"init_method": url, "rank": first_rank + local_rank, "world_size": world_size}
    _run_in_group(main_func, args, local_rank, num_local, use_cuda, timeout, **group)


def _run_under_torchrun(
    main_func: Callable[..., Any], args: Sequence, use_cuda: bool, timeout: timedelta
) -> None:
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    num_local = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    _run_in_group(main_func, args, local_rank, num_local, use_cuda, timeout, init_method="env://")


def _run_in_group(
    main_func: Callable[..., Any],
    args: Sequence,
    local_rank: int,
    num_local: int,
    use_cuda: bool,
    timeout: timedelta,
    **meeting: Any,
) -> None:
    backend = "gloo"
    if use_cuda:
        backend = "nccl"
        torch.cuda.set_device(local_rank)
    dist.init_process_group(backend, timeout=timeout, **meeting)
    comm.create_local_process_group(num_local)
    comm.synchronize()
    try:
        main_func(*args)
    except SystemExit as ended:
        if isinstance(ended.code, int):
            end_at_once(ended.code)
        raise
    # Only after success: with a process that failed, this could wait for ever.
    _leave_group()


def _leave_group() -> None:
    """End the process group and its threads, which can abort a process whose interpreter ends before them.

    They live as long as anything refers to a group: variables of Detectron2, a model in a reference cycle.
    """
    dist.destroy_process_group()
    comm._LOCAL_PROCESS_GROUP = None
    comm.create_local_process_group.cache_clear()
    comm._get_global_gloo_group.cache_clear()
    gc.collect()


def _local_url(num_machines: int) -> str:
    if num_machines > 1:
        raise ValueError("--num-machines > 1 needs --dist-url tcp://HOST:PORT, the same on every machine")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"

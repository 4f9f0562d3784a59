"""Starting the processes of a run: one per GPU, or N gloo processes on a machine without one.

Takes Detectron2's arguments, and joins the processes that torchrun, srun or Open MPI has started, if one has.
"""

import gc
import os
import socket
from argparse import Namespace
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from detectron2.config import CfgNode
from detectron2.utils import comm

from avis.command_line import parent_at_start
from avis.engine.meeting import meet
from avis.engine.members import Member, find_member, is_restart
from avis.engine.ranks import end_with, run_ranks
from avis.engine.signals import end_at_once, heed_interrupts

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

    Where torchrun, srun or Open MPI has started this process as one of several, it is one of them (see
    `avis.engine.members`). One process alone runs without a process group. SIGINT is heeded from here on,
    even if a shell lets this process ignore it.

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
        ValueError: more processes than GPUs, several machines without a `dist_url`, or numbers that
            contradict each other or what has started this process.
        SystemExit: a process has failed; with its exit code, or 128 + the signal that has killed it.
    """
    heed_interrupts()
    use_cuda = device.startswith("cuda") and torch.cuda.is_available()
    _check_numbers(num_gpus_per_machine, num_machines, machine_rank)
    num_local = max(num_gpus_per_machine, 1)
    if member := find_member(os.environ, dist_url):
        if num_local * num_machines > 1:
            raise ValueError(
                f"this is process {member.rank} of {member.world_size} already: leave --num-gpus and "
                "--num-machines to the program that has started it"
            )
        end_with(parent_at_start())
        _run_in_group(member, main_func, args, use_cuda, timeout)
        return
    if num_local * num_machines == 1:
        main_func(*args)
        return
    if use_cuda and num_local > torch.cuda.device_count():
        raise ValueError(f"--num-gpus {num_local}: this machine has {torch.cuda.device_count()} GPUs")
    url = _local_url(num_machines) if dist_url == "auto" else dist_url
    members = [
        Member(machine_rank * num_local + rank, num_machines * num_local, rank, num_local, url)
        for rank in range(num_local)
    ]
    run_ranks(_run_spawned, num_local, (members, main_func, args, use_cuda, timeout))


def launch_command(main_func: Callable[[Namespace], Any], args: Namespace, cfg: CfgNode) -> None:
    """Run ``main_func(args)`` in every process that a command line and a config ask for.

    Args:
        main_func: a function of a module.
        args: has what `avis.command_line.add_launch_options` adds.
        cfg: MODEL.DEVICE and TIMEOUT_MINUTES.

    Raises:
        ValueError, SystemExit: as `launch`.
    """
    launch(
        main_func,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args,),
        device=cfg.MODEL.DEVICE,
        timeout=timedelta(minutes=cfg.TIMEOUT_MINUTES),
    )


def was_restarted() -> bool:
    """Whether torchrun or SLURM has started this run again, so that it goes on with what is there.

    Every process of the run must call this: torchrun tells it on some machines alone.
    """
    return any(comm.all_gather(is_restart(os.environ)))


def _check_numbers(num_gpus: int, num_machines: int, machine_rank: int) -> None:
    if num_gpus < 0 or num_machines < 1 or not 0 <= machine_rank < num_machines:
        raise ValueError(
            f"--num-gpus {num_gpus} --num-machines {num_machines} --machine-rank {machine_rank}: "
            "machines are counted from 0 to --num-machines - 1"
        )


def _run_spawned(
    local_rank: int,
    members: Sequence[Member],
    main_func: Callable[..., Any],
    args: Sequence,
    use_cuda: bool,
    timeout: timedelta,
) -> None:
    if not use_cuda:
        torch.set_num_threads(max(1, torch.get_num_threads() // len(members)))
    _run_in_group(members[local_rank], main_func, args, use_cuda, timeout)


def _run_in_group(
    member: Member, main_func: Callable[..., Any], args: Sequence, use_cuda: bool, timeout: timedelta
) -> None:
    backend = "gloo"
    if use_cuda:
        backend = "nccl"
        # Of machines that show each process its own GPU alone, that is number 0.
        torch.cuda.set_device(member.local_rank if torch.cuda.device_count() > 1 else 0)
    dist.init_process_group(
        backend,
        store=meet(member, timeout),
        rank=member.rank,
        world_size=member.world_size,
        timeout=timeout,
    )
    comm.create_local_process_group(member.local_size)
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

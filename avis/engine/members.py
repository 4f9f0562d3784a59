"""Whether another program has started this process as one of a run's, and which one it is.

torchrun, Open MPI and SLURM's srun say so in environment variables. What is half set is refused: processes
that take themselves for the only one would all write to one folder.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

# What each program sets for every process: rank, number of processes, and both on this machine.
_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
_OPEN_MPI = tuple(f"OMPI_COMM_WORLD_{name}" for name in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE"))
_SRUN = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE")
# What old versions, and programs that stand in for srun, set instead: the same of the whole job.
_OF_JOB = {
    "SLURM_STEP_NUM_TASKS": ("SLURM_NTASKS", "SLURM_NPROCS"),
    "SLURM_STEP_TASKS_PER_NODE": ("SLURM_TASKS_PER_NODE", "SLURM_NTASKS_PER_NODE"),
    "SLURM_STEP_NUM_NODES": ("SLURM_NNODES", "SLURM_JOB_NUM_NODES"),
    "SLURM_STEP_NODELIST": ("SLURM_JOB_NODELIST", "SLURM_NODELIST"),
    "SLURM_JOB_ID": ("SLURM_JOBID",),
}
# Set by srun alone.
_SRUN_STEP = "SLURM_STEP_ID"
# Ports for processes that srun starts, apart from those that systems give to connections.
_FIRST_PORT, _NUM_PORTS = 15000, 15000


@dataclass(frozen=True)
class Member:
    """A process of a run.

    Attributes:
        rank: 0 … world_size - 1.
        world_size: processes of the run.
        local_rank: of this machine's processes, 0 … local_size - 1.
        local_size: processes on this machine, as many as on every other one.
        url: where the processes meet, tcp://HOST:PORT.
        meets_at_agent: whether a process of the launcher keeps the meeting point, not rank 0.
    """

    rank: int
    world_size: int
    local_rank: int
    local_size: int
    url: str
    meets_at_agent: bool = False

    def __post_init__(self) -> None:
        local = 0 <= self.local_rank < self.local_size <= self.world_size
        if not (local and 0 <= self.rank < self.world_size and self.world_size % self.local_size == 0):
            raise ValueError(
                f"process {self.rank} of {self.world_size}, on its machine {self.local_rank} of "
                f"{self.local_size}: every machine needs the same number of processes, counted from 0"
            )
        if self.rank % self.local_size != self.local_rank:
            raise ValueError(
                f"process {self.rank} is number {self.local_rank} of {self.local_size} on its machine: give "
                "each machine neighbouring ranks (srun: --distribution=block)"
            )


def find_member(environment: Mapping[str, str], url: str = "auto") -> Member | None:
    """Find out what other programs say that this process is.

    Args:
        environment: the variables of this process.
        url: where the processes meet; "auto" takes MASTER_ADDR and MASTER_PORT, or under srun the first
            machine and a port that follows from the job.

    Returns:
        None where nothing has started it, or as the only process.

    Raises:
        ValueError: variables are missing, or contradict each other.
    """
    if any(name in environment for name in _TORCHRUN):
        numbers = _numbers(environment, "torchrun", _TORCHRUN)
        at_agent = environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        return Member(*numbers, _meeting(environment, "auto"), at_agent)
    if any(name in environment for name in _OPEN_MPI):
        numbers = _numbers(environment, "Open MPI", _OPEN_MPI)
        return Member(*numbers, _meeting(environment, url)) if numbers[1] > 1 else None
    if _is_task(environment):
        step = _step(environment)
        numbers = _numbers(step, "srun", _SRUN)
        meeting = _srun_meeting(step, url, is_local=numbers[1] == numbers[3])
        return Member(*numbers, meeting) if numbers[1] > 1 else None
    return None


def is_restart(environment: Mapping[str, str]) -> bool:
    """Whether torchrun or SLURM says that it has started this process again."""
    return environment.get("TORCHELASTIC_RESTART_COUNT", "0") != "0" or restarts_of_job(environment) != "0"


def restarts_of_job(environment: Mapping[str, str]) -> str:
    """How often SLURM has started this job again."""
    return environment.get("SLURM_RESTART_COUNT", "0")


def _is_task(environment: Mapping[str, str]) -> bool:
    """Whether srun has started this process, alone or as one of several.

    The batch script of a job has most of srun's variables, and is no task.
    """
    if _SRUN_STEP in environment:
        return _of_step(environment, "SLURM_STEP_NUM_TASKS") != "1"
    return "SLURM_PROCID" in environment and environment.get("ENVIRONMENT") != "BATCH"


def _step(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables with those that follow from others."""
    known = {name: value for name in _OF_JOB if (value := _of_step(environment, name))}
    tasks, nodes = known.get("SLURM_STEP_NUM_TASKS", ""), known.get("SLURM_STEP_NUM_NODES", "1")
    if tasks.isdigit() and nodes.isdigit() and int(tasks) % max(int(nodes), 1) == 0:
        known.setdefault("SLURM_STEP_TASKS_PER_NODE", str(int(tasks) // max(int(nodes), 1)))
    return {**environment, **known}


def _of_step(environment: Mapping[str, str], name: str) -> str:
    return next((environment[each] for each in (name, *_OF_JOB[name]) if environment.get(each)), "")


def _numbers(environment: Mapping[str, str], program: str, names: tuple[str, ...]) -> list[int]:
    if missing := [name for name in names if not environment.get(name)]:
        there = ", ".join(name for name in names if name not in missing)
        raise ValueError(
            f"{there} are set, {', '.join(missing)} not: {program} sets all of them. Start the processes by "
            "it, or unset them"
        )
    # srun's number of processes on each machine: "8", "8(x2)" of two machines, "8(x2),4" of unlike ones.
    texts = [re.sub(r"\(x\d+\)$", "", environment[name]) for name in names]
    for name, text in zip(names, texts, strict=True):
        if not text.isdigit():
            raise ValueError(
                f"{name} is {environment[name]!r}; every machine needs the same number of processes"
            )
    return [int(text) for text in texts]


def _meeting(environment: Mapping[str, str], url: str) -> str:
    if url != "auto":
        return url
    if missing := [name for name in ("MASTER_ADDR", "MASTER_PORT") if not environment.get(name)]:
        raise ValueError(
            f"{' and '.join(missing)} not set: the processes need a place to meet. Set both to the first "
            "machine's name and a free port of it, the same for all processes"
        )
    return f"tcp://{environment['MASTER_ADDR']}:{environment['MASTER_PORT']}"


def _srun_meeting(step: Mapping[str, str], url: str, is_local: bool) -> str:
    host = first_node(step.get("SLURM_STEP_NODELIST", "")) or ("127.0.0.1" if is_local else "")
    numbers = step.get("SLURM_JOB_ID", "0"), step.get(_SRUN_STEP, "0")
    if not (host and all(number.isdigit() for number in numbers)):
        return _meeting(step, url)
    port = _FIRST_PORT + (int(numbers[0]) * 31 + int(numbers[1])) % _NUM_PORTS
    return _meeting({"MASTER_ADDR": host, "MASTER_PORT": str(port), **step}, url)


def first_node(nodes: str) -> str:
    """The first of a list as SLURM writes it: a, "a,b", "gpu[03-07,9]" or "gpu[1-2]-ib"."""
    match = re.match(r"([^,\[]+)(?:\[(\d+)[^\]]*\]([^,\[]*))?", nodes)
    return "".join(part or "" for part in match.groups()) if match else nodes

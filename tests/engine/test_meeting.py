"""Processes that find each other, or do not; each is a fork of this one, which has everything imported."""

import logging
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from multiprocessing.context import ForkProcess
from pathlib import Path

import pytest
import torch
from torch.distributed import Store, TCPStore

from avis.command_line import exit_on_bad_input
from avis.engine import heartbeat, launch, meeting
from avis.engine.members import Member
from tests.docs.markdown import code_blocks
from tests.engine import processes
from tests.engine.stoppable import PatientTrainer, train_patiently
from tests.engine.test_signals import LAUNCH_SECONDS

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run_as(environment: Mapping[str, str], output: Path, target: Callable, args: Sequence) -> None:
    os.environ.update(environment)
    sys.stdout = sys.stderr = output.open("w", buffering=1)
    logging.basicConfig(stream=sys.stderr, force=True)
    exit_on_bad_input()(target)(*args)


def fork(
    environments: Sequence[Mapping[str, str]], folder: Path, target: Callable, *args: object
) -> list[ForkProcess]:
    """Processes with these variables, whose output goes to output0, output1, … of a folder."""
    context = multiprocessing.get_context("fork")
    started = [
        context.Process(target=run_as, args=(environment, folder / f"output{number}", target, args))
        for number, environment in enumerate(environments)
    ]
    for process in started:
        process.start()
    return started


def exit_codes(started: Sequence[ForkProcess], seconds: float = 100) -> list[int | None]:
    for process in started:
        process.join(seconds)
    codes = [process.exitcode for process in started]
    for process in started:
        process.kill()
        process.join()
    return codes


def report(folder: str, machine: int | None, url: str) -> None:
    """As one of two machines, or as the variables say."""
    machines = {} if machine is None else {"num_machines": 2, "machine_rank": machine}
    launch(processes.report, 1, args=(folder,), device="cpu", dist_url=url, **machines)


def torchrun(rank: int, port: int) -> dict[str, str]:
    numbers = {"RANK": rank, "WORLD_SIZE": 2, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": 2}
    return {
        name: str(value)
        for name, value in {**numbers, "MASTER_ADDR": "localhost", "MASTER_PORT": port}.items()
    }


def srun(rank: int, port: int) -> dict[str, str]:
    step = {"SLURM_STEP_ID": 0, "SLURM_JOB_ID": 7, "SLURM_STEP_NODELIST": "elsewhere[1-2]"}
    numbers = {"SLURM_PROCID": rank, "SLURM_STEP_NUM_TASKS": 2, "SLURM_LOCALID": 0}
    where = {"SLURM_STEP_TASKS_PER_NODE": "1(x2)", "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    return {name: str(value) for name, value in {**step, **numbers, **where}.items()}


def open_mpi(rank: int, port: int) -> dict[str, str]:
    numbers = dict(zip(("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE"), (rank, 2, rank, 2), strict=True))
    ours = {f"OMPI_COMM_WORLD_{name}": value for name, value in numbers.items()}
    return {
        name: str(value) for name, value in {**ours, "MASTER_ADDR": "localhost", "MASTER_PORT": port}.items()
    }


@pytest.mark.parametrize(("program", "local"), [(torchrun, (1, 2)), (srun, (0, 1)), (open_mpi, (1, 2))])
def test_processes_of_other_programs_are_a_group(tmp_path: Path, program: Callable, local: tuple[int, int]):
    port = free_port()
    started = fork([program(rank, port) for rank in (0, 1)], tmp_path, report, str(tmp_path), None, "auto")
    assert exit_codes(started) == [0, 0], (tmp_path / "output0").read_text()
    assert (tmp_path / "facts1").read_text() == f"(2, {local[0]}, {local[1]}, 3.0)"
    assert (tmp_path / "facts0").read_text() == f"(2, 0, {local[1]}, 3.0)"


@pytest.mark.parametrize("numbers", [(2, 1, 1), (1, 1, 1), (-1, 1, 0), (1, 0, 0)])
def test_numbers_that_contradict_each_other_are_refused(
    numbers: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
):
    if numbers[0] == 2:
        for name, value in torchrun(1, 1).items():
            monkeypatch.setenv(name, value)
        numbers, message = (2, 1, 0), "this is process 1 of 2 already"
    else:
        message = "machines are counted from 0"
    with pytest.raises(ValueError, match=message):
        launch(processes.report, *numbers, device="cpu")


def test_machine_that_does_not_come_is_said_and_not_waited_for_for_ever(tmp_path: Path):
    def alone(rank: int) -> None:
        meeting.SAY_SECONDS = 0.3
        launch(processes.report, 1, args=(str(tmp_path),), device="cpu", timeout=timedelta(seconds=2))

    (process,) = fork([torchrun(0, free_port())], tmp_path, alone, 0)
    assert exit_codes([process]) == [2]
    said = (tmp_path / "output0").read_text()
    assert "waiting: 1 of 2 processes have not come: ranks 1 (machines 0)\n" in said
    assert "error: 1 of 2 processes have not come: ranks 1 (machines 0) within 0:00:02\n" in said
    (process,) = fork([srun(1, free_port())], tmp_path, alone, 1)
    assert exit_codes([process]) == [2]
    said = (tmp_path / "output0").read_text()
    assert "nobody answers at localhost:" in said and "does not answer" in said


def test_address_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="--dist-url is tcp://HOST:PORT"):
        meeting.meet(Member(0, 2, 0, 1, "file:///tmp/x"), timedelta(seconds=1))


@pytest.fixture
def members() -> Iterator[list[Member]]:
    """Of torchrun, which keeps the store from one start of the processes to the next."""
    agent = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    yield [Member(rank, 3, rank, 3, f"tcp://localhost:{agent.port}", True) for rank in range(3)]


def meet_all(members: Sequence[Member], first: int) -> list[Store]:
    """All meet, one of them earlier than the others."""
    with ThreadPoolExecutor(3) as pool:
        early = pool.submit(meeting.meet, members[first], timedelta(seconds=20))
        time.sleep(0.3)
        others = [each for each in members if each.rank != first]
        stores = pool.map(lambda each: meeting.meet(each, timedelta(seconds=20)), others)
        return [early.result(), *stores]


@pytest.mark.parametrize("first", range(3))
def test_what_an_earlier_start_has_left_is_not_taken_for_this_one(members: list[Member], first: int):
    for store in meet_all(members, first):
        store.set("promise", "old")
    stores = meet_all(members, first)
    assert not any(store.check(["promise"]) for store in stores)
    stores[0].set("promise", "new")
    assert all(store.get("promise") == b"new" for store in stores)


@pytest.mark.parametrize("missing", range(3))
def test_who_was_there_at_an_earlier_start_is_missed(members: list[Member], missing: int):
    meet_all(members, 0)

    def fails(member: Member) -> None:
        with pytest.raises(TimeoutError, match=rf"of 3 processes have not come: ranks .*{missing}"):
            meeting.meet(member, timedelta(seconds=1))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(fails, members[:missing] + members[missing + 1 :]))


@pytest.mark.slow
def test_two_machines_of_one_process_each_meet(tmp_path: Path):
    url, context = f"tcp://localhost:{free_port()}", multiprocessing.get_context("fork")
    started = [context.Process(target=report, args=(str(tmp_path), machine, url)) for machine in (0, 1)]
    for process in started:
        process.start()
    assert exit_codes(started, LAUNCH_SECONDS) == [0, 0]
    assert (tmp_path / "facts1").read_text() == "(2, 0, 1, 3.0)"


class StuckTrainer(PatientTrainer):
    """Whose last process loads for a long time."""

    seconds = 0.0

    def run_step(self) -> None:
        if self.iter == 2 and int(os.environ["RANK"]) == 1:
            time.sleep(7)
        super().run_step()


def train_stuck(folder: str) -> None:
    heartbeat.HANG_SECONDS, heartbeat.ANSWER_SECONDS, heartbeat.POLL_SECONDS = 2.0, 1.0, 0.2
    launch(train_patiently, 1, args=(folder, False, StuckTrainer), device="cpu")


def test_process_that_hangs_is_named(tmp_path: Path):
    folder, port = tmp_path / "run", free_port()
    started = fork([torchrun(rank, port) for rank in (0, 1)], tmp_path, train_stuck, str(folder))
    assert exit_codes(started) == [0, 0]
    said = (tmp_path / "output0").read_text()
    assert "Iteration 2 has not ended in " in said
    assert f"rank 1 is on {socket.gethostname()}, test_meeting.py:" in said and "time.sleep(7)" in said
    assert said.count("has not ended") == 1


FAKE_SRUN = """#!/bin/bash
# Starts two tasks on two machines, as srun does; its code is the highest of theirs.
while [[ $1 == --* ]]; do shift; done
export SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=2 SLURM_STEP_TASKS_PER_NODE="1(x2)" SLURM_LOCALID=0
export SLURM_STEP_NODELIST=localhost,other
SLURM_PROCID=0 "$@" & first=$!
SLURM_PROCID=1 "$@" & second=$!
wait $first; a=$?; wait $second; b=$?
exit $(( a > b ? a : b ))
"""
FAKE_PYTHON = f"""#!/bin/bash
exec {sys.executable} -m tests.engine.cluster_member "$@"
"""


@pytest.mark.slow
def test_script_for_slurm_as_printed(tmp_path: Path):
    """Under programs of SLURM's names; what it trains says what it is, and ends as stopped."""
    ended = run_slurm_script(tmp_path, FAKE_SRUN)
    assert ended.returncode == 75, ended.stderr
    for rank in (0, 1):
        assert (tmp_path / f"facts{rank}").read_text() == "(2, 0, 1, 3.0)"
        words = (tmp_path / f"words{rank}").read_text()
        assert words.startswith("tools/train_net.py --config-file configs/avis_R50.yaml --resume OUTPUT_DIR")
    assert (tmp_path / "requeued").read_text() == f"requeue {os.getpid()}\n"


def test_script_for_slurm_ends_as_a_training_that_fails(tmp_path: Path):
    assert run_slurm_script(tmp_path, "#!/bin/bash\nexit 2\n").returncode == 2
    assert not (tmp_path / "requeued").exists()


def run_slurm_script(tmp_path: Path, srun: str) -> subprocess.CompletedProcess:
    blocks = code_blocks(ROOT / "docs/clusters.md")
    (script,) = (block.text for block in blocks if block.section == "slurm" and block.language == "bash")
    programs = {
        "srun": srun,
        "python": FAKE_PYTHON,
        "scontrol": f'#!/bin/bash\necho "$@" > {tmp_path}/requeued\n',
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    environment |= {"SLURM_JOB_ID": str(os.getpid()), "FACTS": str(tmp_path), "CODE": "75"}
    return subprocess.run(["bash", "-c", script], env=environment, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("num_machines", [1, 2])
def test_torchrun_starts_a_run_again_that_goes_on(tmp_path: Path, num_machines: int):
    """One process is killed on the first attempt; that is not the same restart on each machine."""
    machines = ["--nnodes", num_machines, "--nproc-per-node", 2 // num_machines, "--max-restarts", 1]
    where = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{free_port()}", "--rdzv-id", "avis"]
    words = [*machines, *where, "-m", "tests.engine.elastic", tmp_path / "run"]
    command = [sys.executable, "-m", "torch.distributed.run", *map(str, words)]
    outputs = [tmp_path / f"output{machine}" for machine in range(num_machines)]
    started = []
    for output in outputs:
        with output.open("w") as file:
            started.append(subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT))
    codes = [process.wait(900) for process in started]
    assert codes == [0] * num_machines, "".join(output.read_text() for output in outputs)
    lines = (tmp_path / "run" / "iterations0.txt").read_text().split()
    iterations = list(map(int, lines))
    assert iterations.count(0) == 1 and set(iterations) == set(range(40))
    assert torch.load(tmp_path / "run" / "model_final.pth", weights_only=True)["iteration"] == 39

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from avis.engine import launch
from tests.engine import processes
from tests.modeling.test_whole_batch import assert_same_gradients
from tests.small_dataset import write_split


@pytest.mark.parametrize("number", [0, 1])
def test_one_process_runs_here(tmp_path: Path, number: int):
    launch(processes.report, number, args=(str(tmp_path),))
    assert (tmp_path / "facts0").read_text() == "(1, 0, 1, 1.0)"


@pytest.mark.slow
def test_two_processes_set_up_log_and_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("NO_COLOR", "1")
    output_dir = tmp_path / "new" / "out put"
    with pytest.raises(SystemExit) as ended:
        launch(processes.set_up_and_fail, 2, args=(str(output_dir),), device="cpu")
    assert ended.value.code == 2

    # They are a group.
    for rank in (0, 1):
        assert (output_dir / f"facts{rank}").read_text() == f"(2, {rank}, 2, 3.0)"

    # The main process alone, and briefly, writes to the console; SEED + rank decides the random numbers.
    console, errors = capfd.readouterr()
    random_numbers = [random.Random(5 + rank).random() for rank in (0, 1)]
    assert [line.split("]: ")[1] for line in console.splitlines()] == [
        "No CUDA device: running on the CPU",
        f"on cpu, frozen: True, random: {random_numbers[0]}",
    ]
    assert f"error: bad clip 7 [traceback in {output_dir}/log.txt]\n" in errors
    assert "Traceback" not in errors

    # The files have everything.
    log = (output_dir / "log.txt").read_text()
    for content in ("Environment info", "BACKBONE_MULTIPLIER", "for the file only", "Traceback (most"):
        assert content in log
    assert f"random: {random_numbers[1]}" in (output_dir / "log.txt.rank1").read_text()
    assert yaml.safe_load((output_dir / "config.yaml").read_text())["SEED"] == 5


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_and_share_its_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Though the clips differ in size and tracks. Sums in another order differ by rounding."""
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    launch(processes.train_on_four_clips, 1, args=(str(folders[0]),), device="cpu")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    launch(processes.train_on_four_clips, 2, args=(str(folders[1]),), device="cpu")
    files = folders[0] / "steps0.pt", *sorted(folders[1].glob("steps*.pt"))
    alone, *shared = (torch.load(file) for file in files)

    code = "import torch; print(torch.get_num_threads())"
    all_threads = int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    assert [seen["threads"] for seen in shared] == [max(1, all_threads // 2)] * 2
    for name in processes.STEPS:
        for seen in shared:
            assert seen[name]["metrics"] == pytest.approx(alone[name]["metrics"], rel=1e-5)
            torch.testing.assert_close(seen[name]["buffers"], alone[name]["buffers"])
            # The rounding of a norm's other sums can move a number across the kink of a ReLU.
            tolerance = 2e-2 if name == "batch norms" else 1e-5
            assert_same_gradients(seen[name]["gradients"], alone[name]["gradients"], tolerance)
    whole, *parts = (seen["norm"] for seen in (alone, *shared))
    for name in ("output", "gradient"):
        torch.testing.assert_close(torch.cat([part[name] for part in parts]), whole[name])
    for part in parts:
        torch.testing.assert_close(
            {n: part[n] for n in part if "running" in n}, {n: whole[n] for n in part if "running" in n}
        )


@pytest.mark.slow
def test_loaders_of_several_processes_fork_their_workers(tmp_path: Path):
    """A fresh interpreter for each would take many seconds, and its own copy of all libraries."""
    json_file = write_split(tmp_path / "data")
    launch(processes.report_workers, 2, args=(str(json_file), str(tmp_path)), device="cpu")
    for rank in (0, 1):
        own, *workers = json.loads((tmp_path / f"commands{rank}.json").read_text())
        assert "spawn_main" in own
        assert workers == [own, own]


def test_no_thread_of_a_group_outlives_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """One that does aborts the process at its end, once in a while."""
    for _ in range(2):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}
        numbers = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
        for name, value in {**numbers, **meeting}.items():
            monkeypatch.setenv(name, value)
        launch(processes.leave_a_cycle, 1, args=(str(tmp_path),), device="cpu")
        assert "gloo" in (tmp_path / "threads0").read_text()
        assert "gloo" not in processes.threads()


@pytest.mark.slow
def test_predictions_of_one_process_that_are_not_finite_are_skipped_by_all_or_end_all(tmp_path: Path):
    """Each with the same message and code: the others do not wait for it."""
    program = "import sys; from tests.engine import processes; processes.launch_flawed(sys.argv[1])"
    command = [sys.executable, "-c", program, tmp_path]
    ended = [subprocess.Popen(command, text=True, stderr=subprocess.PIPE, env=env) for env in members(2)]
    for process in ended:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 2
        assert "\nerror: iteration 2: the predictions are not finite" in f"\n{errors}"
        assert "video 7 frames None, of which audio_examples is not finite. The weights are finite" in errors
    first, second = (torch.load(tmp_path / f"weights{rank}.pt") for rank in range(2))
    assert all(torch.isfinite(value).all() for value in first.values())
    parameters = [name for name in first if "running" not in name]
    assert all(torch.equal(first[name], second[name]) for name in parameters)
    (line,) = (tmp_path / "once" / "skipped.jsonl").read_text().splitlines()
    incident = json.loads(line)
    assert (incident["iteration"], incident["skipped"], len(incident["videos"])) == (1, "iteration", 2)


def members(number: int) -> list[dict[str, str]]:
    """The environments of a group's processes, as torchrun makes them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}
    shared = {**os.environ, **meeting, "WORLD_SIZE": str(number), "LOCAL_WORLD_SIZE": str(number)}
    return [shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(number)]


@pytest.mark.slow
def test_decoders_of_few_layers_train_on_several_processes(tmp_path: Path):
    launch(processes.train_shallow, 2, args=(str(tmp_path),), device="cpu")
    assert {path.name for path in tmp_path.glob("trained*")} == {"trained0", "trained1"}


def test_several_machines_need_an_address():
    with pytest.raises(ValueError, match=r"--num-machines > 1 needs --dist-url"):
        launch(processes.report, 1, num_machines=2)


@pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a GPU: without one any number of processes may start"
)
def test_more_processes_than_gpus_are_an_error():
    with pytest.raises(ValueError, match=r"--num-gpus 99: this machine has"):
        launch(processes.report, 99)


@pytest.mark.slow
def test_processes_end_with_the_program_and_leave_nothing_half_written(tmp_path: Path):
    program = subprocess.Popen([sys.executable, "-m", "tests.engine.processes", tmp_path])
    try:
        deadline = time.monotonic() + 120
        while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert len(list(tmp_path.iterdir())) == 2
        program.terminate()
        assert program.wait(timeout=30) == 128 + signal.SIGTERM
    finally:
        program.kill()
    assert list(tmp_path.iterdir()) == []

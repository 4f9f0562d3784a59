"""tools/prepare_audio.py on several processes: each file by one of them, with the bytes of one process."""

import os
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from tqdm import tqdm

from avis.audio import AudioCNN
from avis.dataset_tools.audio_features import prepare_features
from avis.dataset_tools.shared_work import SharedWork
from avis.dataset_tools.sound_files import find_sounds
from tests.small_dataset import write_split

ROOT = Path(__file__).parents[2]
NUM_VIDEOS = 12


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "audio.pth"
    torch.save(AudioCNN(output_dim=24).state_dict(), path)
    return path


def command(json_file: Path, weights: Path, *options: object) -> list[str]:
    script = ROOT / "tools" / "prepare_audio.py"
    words = ["--json", json_file, "--weights", weights, "--workers", 1, *options]
    keys = ["MODEL.DEVICE", "cpu", "MODEL.AUDIO.NAME", "AudioCNN", "MODEL.AUDIO.FEATURE_DIM", 24]
    return list(map(str, [script, *words, *keys]))


def run(words: list[str], *launcher: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *launcher, *words], capture_output=True, text=True, timeout=240, cwd=ROOT
    )


def files_of(json_file: Path) -> dict[str, bytes]:
    folder = json_file.with_suffix("") / "FEATAudios"
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
def test_two_processes_write_the_bytes_of_one_and_go_on(tmp_path: Path, weights: Path):
    alone, shared = (write_split(tmp_path / name, num_videos=NUM_VIDEOS, length=2) for name in ("a", "b"))
    broken = shared.with_suffix("") / "WAVAudios" / "clip3.wav"
    good, bad = broken.read_bytes(), b"RIFF of nothing"
    broken.write_bytes(bad)
    ended = run(command(alone, weights))
    assert ended.returncode == 0, ended.stderr

    # A sound that cannot be read fails alone, and the summary is of both processes.
    ended = run(command(shared, weights, "--num-gpus", 2))
    assert ended.returncode == 1, ended.stderr
    assert "11 files written, 0 of them of silence; 0 kept; 1 videos failed" in ended.stderr
    assert f"{NUM_VIDEOS * 2}/{NUM_VIDEOS * 2}" in ended.stderr  # the bar counts the frames of both
    assert ended.stderr.count("failed: ") == 1 and "clip3.wav" in ended.stderr

    broken.write_bytes(good)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    ended = run(command(shared, weights), *torchrun)
    assert ended.returncode == 0, ended.stderr
    assert "1 files written, 0 of them of silence; 11 kept; 0 videos failed" in ended.stderr
    assert files_of(shared) == files_of(alone)


@pytest.mark.slow
def test_process_that_cannot_write_ends_all(tmp_path: Path, weights: Path):
    """Two processes that nothing but themselves can end: as srun starts them, on two machines."""
    json_file = write_split(tmp_path, num_videos=NUM_VIDEOS, length=2)
    folder = json_file.with_suffix("") / "FEATAudios"
    (folder / "clip5.npy").mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    step = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_TASKS_PER_NODE": "1(x2)"}
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "SLURM_LOCALID": "0"}
    processes = [
        subprocess.Popen(
            [sys.executable, *command(json_file, weights)],
            env={**os.environ, **step, **meeting, "SLURM_PROCID": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for rank in range(2)
    ]
    printed = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [2, 2], "".join(printed)
    errors = [line for text in printed for line in text.splitlines() if "error: " in line]
    assert len(errors) == 2 and all("clip5.npy" in line for line in errors)
    assert sum("error: the process of rank" in line for line in errors) == 1
    assert not list(folder.glob(".unfinished*"))


def test_bytes_of_a_file_do_not_depend_on_what_else_is_made(tmp_path: Path):
    together, apart = (write_split(tmp_path / name, num_videos=3, length=2) for name in ("a", "b"))
    torch.manual_seed(0)
    backbone = AudioCNN()
    prepare_features(find_sounds([together]), backbone)
    for sound in reversed(find_sounds([apart])):
        prepare_features([sound], backbone)
    assert files_of(together) == files_of(apart)


def test_one_process_takes_all_tasks_in_their_order():
    work = SharedWork(3, "test", timedelta(minutes=1))
    with tqdm(total=6, disable=True) as bar, work.ending_together(bar):
        for task in work:
            work.advance(task + 1)
    assert work.advanced() == 6
    assert list(SharedWork(3, "test", timedelta(minutes=1))) == [0, 1, 2]


def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch):
    work = SharedWork(0, "test", timedelta(seconds=0.2))
    monkeypatch.setattr("avis.dataset_tools.shared_work.NOTICE_SECONDS", 0)
    monkeypatch.setattr("detectron2.utils.comm.get_world_size", lambda: 2)
    with (
        tqdm(disable=True) as bar,
        pytest.raises(TimeoutError, match=r"1 other processes have done nothing for 0:00:00\.2"),
        work.ending_together(bar),
    ):
        pass

"""The command line, end to end: real processes that train a tiny model on a tiny SynthAVIS."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
SIZES = {
    "INPUT.MIN_SIZE_TRAIN": "(48,)",
    "INPUT.MIN_SIZE_TEST": "48",
    "INPUT.SAMPLING_FRAME_NUM": "2",
    "MODEL.DEVICE": "cpu",
    "MODEL.MASK_FORMER.TRAIN_NUM_POINTS": "64",
    "SOLVER.CHECKPOINT_PERIOD": "2",
    "SOLVER.IMS_PER_BATCH": "2",
    "SOLVER.MAX_ITER": "4",
}

pytestmark = pytest.mark.slow


def command(launcher: list[str], flags: list[str], overrides: dict[str, object]) -> list[str]:
    pairs = [str(item) for pair in {**SIZES, **overrides}.items() for item in pair]
    config_file = ROOT / "configs" / "quickstart.yaml"
    return [
        *launcher,
        str(ROOT / "tools" / "train_net.py"),
        "--config-file",
        str(config_file),
        *flags,
        *pairs,
    ]


def run(arguments: list[str], datasets: Path) -> subprocess.CompletedProcess:
    environment = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "",
        "DETECTRON2_DATASETS": str(datasets),
        "PYTHONPATH": str(ROOT),
        "NO_COLOR": "1",
    }
    return subprocess.run(arguments, capture_output=True, text=True, timeout=300, env=environment)


def assert_succeeded(process: subprocess.CompletedProcess) -> None:
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""


@pytest.fixture(scope="module")
def datasets(synthavis_root: Path) -> Path:
    """The folder that holds the folder synthavis."""
    return synthavis_root.parent


@pytest.fixture(scope="module")
def straight(datasets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of four iterations on two processes."""
    output_dir = tmp_path_factory.mktemp("straight")
    process = run(command([sys.executable], ["--num-gpus", "2"], {"OUTPUT_DIR": output_dir}), datasets)
    assert_succeeded(process)
    return output_dir


def metrics(output_dir: Path) -> dict[str, float]:
    lines = (output_dir / "training_metrics.json").read_text().splitlines()
    return {key: value for line in lines for key, value in json.loads(line).items()}


def test_two_processes_train_evaluate_and_write_their_files(straight: Path):
    for name in ("config.yaml", "log.txt", "log.txt.rank1", "model_0000001.pth", "model_final.pth"):
        assert (straight / name).is_file()
    logged = metrics(straight)
    assert {
        "total_loss",
        "loss_ce",
        "loss_mask_0",
        "grad_norm",
        "lr",
        "avis/AP",
        "avis/AR10",
    } <= logged.keys()
    assert isinstance(
        json.loads((straight / "inference" / "synthavis_val" / "results.json").read_text()), list
    )


def test_resumed_run_under_torchrun_ends_with_the_same_bits(straight: Path, datasets: Path, tmp_path: Path):
    shutil.copy(straight / "model_0000001.pth", tmp_path)
    (tmp_path / "last_checkpoint").write_text("model_0000001.pth")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    assert_succeeded(run(command(torchrun, ["--resume"], {"OUTPUT_DIR": tmp_path}), datasets))
    expected, found = (
        torch.load(folder / "model_final.pth", weights_only=True) for folder in (straight, tmp_path)
    )
    torch.testing.assert_close(found["model"], expected["model"], atol=0, rtol=0)
    assert found["iteration"] == expected["iteration"] == 3


def test_evaluation_on_one_process_gives_what_two_gave(straight: Path, datasets: Path, tmp_path: Path):
    overrides = {"OUTPUT_DIR": tmp_path, "MODEL.WEIGHTS": straight / "model_final.pth"}
    process = run(command([sys.executable], ["--eval-only"], overrides), datasets)
    assert_succeeded(process)
    assert "AP50" in process.stdout
    results = [
        json.loads((folder / "inference/synthavis_val/results.json").read_text())
        for folder in (straight, tmp_path)
    ]
    by_video = [sorted(tracks, key=lambda t: (t["video_id"], -t["score"])) for tracks in results]
    assert by_video[0] == by_video[1]


def test_mistake_ends_with_one_line_and_leaves_no_files(datasets: Path, tmp_path: Path):
    overrides = {"OUTPUT_DIR": tmp_path / "new", "SOLVER.MAX_ITERS": 3}
    process = run(command([sys.executable], ["--num-gpus", "2"], overrides), datasets)
    assert process.returncode == 2
    assert process.stderr == (
        "error: command line: there is no config key 'SOLVER.MAX_ITERS'; did you mean 'SOLVER.MAX_ITER'?\n"
    )
    assert not list(tmp_path.iterdir())

"""The command line, end to end: real processes train the quickstart's model on a tiny SynthAVIS."""

import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import yaml

from avis.engine.run_lock import locked
from tests import preloaded

ROOT = Path(__file__).parents[2]
OVERRIDES = {
    "INPUT.MIN_SIZE_TRAIN": "(48,)",
    "INPUT.MIN_SIZE_TEST": "48",
    "INPUT.SAMPLING_FRAME_NUM": "2",
    "MODEL.DEVICE": "cpu",
    "MODEL.MASK_FORMER.TRAIN_NUM_POINTS": "64",
    "SOLVER.BACKBONE_MULTIPLIER": "0.5",
    "SOLVER.BASE_LR": "0.001",
    "SOLVER.CHECKPOINT_PERIOD": "2",
    "SOLVER.IMS_PER_BATCH": "2",
    "SOLVER.MAX_ITER": "4",
}


def train_net(
    data: Path, flags: Sequence[str] = (), launcher: Sequence[str] = (), **overrides: object
) -> subprocess.CompletedProcess:
    """Run tools/train_net.py; in the overrides' names, "__" stands for a dot."""
    keys = {name.replace("__", "."): value for name, value in overrides.items()}
    keys["DATASETS.TRAIN"], keys["DATASETS.TEST"] = f"('{data}/train.json',)", f"('{data}/val.json',)"
    pairs = [str(item) for pair in {**OVERRIDES, **keys}.items() for item in pair]
    script, config_file = ROOT / "tools" / "train_net.py", ROOT / "configs" / "quickstart.yaml"
    words = [script, "--config-file", config_file, *flags, *pairs]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    if not launcher:
        return preloaded.run([sys.executable, *words], env=environment)
    return subprocess.run([*launcher, *words], capture_output=True, text=True, timeout=300, env=environment)


def assert_succeeded(process: subprocess.CompletedProcess) -> None:
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""  # no warnings either


@pytest.fixture(scope="module")
def straight(synthavis_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of four iterations on two processes."""
    output_dir = tmp_path_factory.mktemp("straight")
    assert_succeeded(train_net(synthavis_root, ["--num-gpus", "2"], OUTPUT_DIR=output_dir))
    return output_dir


def metrics(output_dir: Path) -> dict[str, float]:
    lines = (output_dir / "training_metrics.json").read_text().splitlines()
    return {key: value for line in lines for key, value in json.loads(line).items()}


def results(output_dir: Path) -> list[dict]:
    tracks = json.loads((output_dir / "inference" / "val" / "results.json").read_text())
    return sorted(tracks, key=lambda track: (track["video_id"], -track["score"]))


@pytest.mark.slow
def test_two_processes_train_evaluate_and_write_their_files(straight: Path):
    for name in ("config.yaml", "log.txt", "log.txt.rank1", "model_0000001.pth", "model_final.pth"):
        assert (straight / name).is_file()
    expected = {"total_loss", "loss_ce", "loss_mask_0", "grad_norm", "lr", "avis/AP", "avis/AR10"}
    assert expected <= metrics(straight).keys()
    assert results(straight)
    checkpoint = torch.load(straight / "model_final.pth", weights_only=True)
    groups = checkpoint["trainer"]["optimizer"]["param_groups"]
    assert {group["initial_lr"] for group in groups} == {0.001, 0.0005}  # the backbone's, too


@pytest.mark.slow
def test_resumed_run_under_torchrun_ends_with_the_same_bits(
    straight: Path, synthavis_root: Path, tmp_path: Path
):
    shutil.copy(straight / "model_0000001.pth", tmp_path)
    (tmp_path / "last_checkpoint").write_text("model_0000001.pth")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    assert_succeeded(train_net(synthavis_root, ["--resume"], torchrun, OUTPUT_DIR=tmp_path))
    expected, found = (
        torch.load(folder / "model_final.pth", weights_only=True) for folder in (straight, tmp_path)
    )
    torch.testing.assert_close(found["model"], expected["model"], atol=0, rtol=0)
    assert found["iteration"] == expected["iteration"] == 3


@pytest.mark.slow
def test_evaluation_on_one_process_gives_what_two_gave(straight: Path, synthavis_root: Path, tmp_path: Path):
    weights = straight / "model_final.pth"
    for name in ("config.yaml", "log.txt"):  # a training's, which an evaluation leaves alone
        (tmp_path / name).write_text("of the training")
    process = train_net(synthavis_root, ["--eval-only"], OUTPUT_DIR=tmp_path, MODEL__WEIGHTS=weights)
    assert_succeeded(process)
    for name in ("config.yaml", "log.txt"):
        assert (tmp_path / name).read_text() == "of the training"
    config = yaml.safe_load((tmp_path / "inference" / "config.yaml").read_text())
    assert config["OUTPUT_DIR"] == str(tmp_path)
    assert "AP50" in process.stdout
    assert results(tmp_path) == results(straight)


TORCHRUN = ("torch.distributed.run", "--nproc-per-node", "2", "--standalone")
# Starts a program twice, as srun does on two machines.
SRUN = """
import os, subprocess, sys
step = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_TASKS_PER_NODE": "1(x2)"}
step |= {"SLURM_STEP_NODELIST": "localhost,other", "SLURM_JOB_ID": str(os.getpid()), "SLURM_LOCALID": "0"}
tasks = [
    subprocess.Popen([sys.executable, *sys.argv[1:]], env={**os.environ, **step, "SLURM_PROCID": str(rank)})
    for rank in range(2)
]
sys.exit(max(task.wait() for task in tasks))
"""


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [("-m", *TORCHRUN), ("-c", SRUN)], ids=["torchrun", "srun"])
def test_evaluation_under_any_launcher_gives_the_same_bytes(
    straight: Path, synthavis_root: Path, tmp_path: Path, launcher: tuple[str, ...]
):
    given, folder = {"MODEL__WEIGHTS": straight / "model_final.pth"}, Path("inference", "val")
    for name, start in (("one", ()), ("two", launcher)):
        options = given | {"OUTPUT_DIR": tmp_path / name}
        assert_succeeded(train_net(synthavis_root, ["--eval-only"], (sys.executable, *start), **options))
    for name in ("results.json", "metrics.json"):
        one, two = ((tmp_path / run / folder / name).read_bytes() for run in ("one", "two"))
        assert one == two
    logs = {path.name for path in (tmp_path / "two" / "inference").glob("log.txt*")}
    assert logs == {"log.txt", "log.txt.rank1"}  # both have taken part


@pytest.mark.slow
def test_training_in_pieces_and_parts(straight: Path, synthavis_root: Path, tmp_path: Path):
    """With what a training in copies has learned, and found."""
    options = {"SOLVER__FSDP": True, "SOLVER__CHECKPOINT_SHARDED": True, "OUTPUT_DIR": tmp_path}
    assert_succeeded(train_net(synthavis_root, ["--num-gpus", "2"], **options))
    found, expected = metrics(tmp_path), metrics(straight)
    assert found["total_loss"] == pytest.approx(expected["total_loss"], rel=1e-4)
    assert results(tmp_path)
    weights = tmp_path / "weights.pth"
    command = [ROOT / "tools" / "convert_weights.py", tmp_path / "model_0000001", weights]
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    converted, of_copies = (
        torch.load(path, weights_only=True)["model"] for path in (weights, straight / "model_0000001.pth")
    )
    torch.testing.assert_close(converted, of_copies, atol=1e-3, rtol=1e-3)


def test_mistake_in_the_config_ends_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    arguments = ["--num-gpus", "2", "OUTPUT_DIR", str(tmp_path / "new"), "SOLVER.MAX_ITERS", "3"]
    assert run_here(monkeypatch, capsys, *arguments) == (
        "error: command line: there is no config key 'SOLVER.MAX_ITERS'; did you mean 'SOLVER.MAX_ITER'?\n"
    )
    assert not list(tmp_path.iterdir())


def run_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, *arguments: object) -> str:
    """What tools/train_net.py writes to stderr, in this process, before it ends with code 2."""
    monkeypatch.setattr(sys, "argv", ["train_net.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "tools" / "train_net.py"), run_name="__main__")
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("name", ["model_0000001.pth", "model_final.pth", "training_metrics.json"])
def test_new_training_in_the_folder_of_another_is_refused(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    (tmp_path / name).touch()
    errors = run_here(monkeypatch, capsys, "OUTPUT_DIR", tmp_path)
    assert errors == (
        f"error: OUTPUT_DIR {tmp_path} holds a training already ({name}): go on with it by --resume, "
        "choose another OUTPUT_DIR, or delete it by --overwrite\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_training_does_not_delete_what_it_starts_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    weights = tmp_path / "model_final.pth"
    weights.touch()
    options = ["--overwrite", "OUTPUT_DIR", tmp_path, "MODEL.WEIGHTS", weights]
    errors = run_here(monkeypatch, capsys, *options)
    assert errors == f"error: --overwrite would delete {weights}, from which training starts\n"
    assert weights.exists()


def test_folder_in_which_a_training_runs_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    for flag in ("--resume", "--overwrite"):
        with locked(tmp_path):
            before = (tmp_path / "run.lock").read_text()
            errors = run_here(monkeypatch, capsys, flag, "OUTPUT_DIR", tmp_path, "MODEL.DEVICE", "cpu")
            assert errors.startswith(f"error: OUTPUT_DIR {tmp_path} is in use by process {os.getpid()} on ")
            assert [path.name for path in tmp_path.iterdir()] == ["run.lock"]
            assert (tmp_path / "run.lock").read_text() == before


@pytest.mark.slow
def test_training_that_overwrites_another_leaves_nothing_of_it(synthavis_root: Path, tmp_path: Path):
    for name in ("model_0000007.pth", "last_checkpoint", "training_metrics.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "notes.txt").touch()
    options = {"OUTPUT_DIR": tmp_path, "SOLVER.CHECKPOINT_PERIOD": 0}
    assert_succeeded(train_net(synthavis_root, ["--overwrite"], **options))
    assert {path.name for path in tmp_path.glob("*.pth")} == {"model_final.pth"}
    assert "{}" not in (tmp_path / "training_metrics.json").read_text()
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"
    assert (tmp_path / "notes.txt").exists()

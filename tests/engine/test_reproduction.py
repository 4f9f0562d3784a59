"""tools/train_net.py --reproduce: real trainings, started again."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests import preloaded
from tests.engine.test_train_net import ROOT, assert_succeeded, run_here, train_net


def reproduce(run: Path, *words: object) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "tools" / "train_net.py", "--reproduce", run, *words]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    return preloaded.run(command, env=environment)


def assert_same_weights(*folders: Path) -> None:
    first, second = (torch.load(folder / "model_final.pth", weights_only=True) for folder in folders)
    for key in ("model", "ema_model"):
        torch.testing.assert_close(second[key], first[key], atol=0, rtol=0)


@pytest.fixture(scope="module")
def data(synthavis_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("data") / "synthavis"
    shutil.copytree(synthavis_root, copy)
    return copy


@pytest.mark.slow
def test_run_of_a_drawn_seed_gives_the_same_bits_again(data: Path, tmp_path: Path):
    flags, run = ["--num-gpus", "2"], tmp_path / "run"
    options = {"SEED": -1, "SOLVER__EMA_DECAY": 0.5, "SOLVER__CHECKPOINT_PERIOD": 0}
    first = train_net(data, flags, OUTPUT_DIR=run, **options)
    assert_succeeded(first)
    (seed,) = re.findall(r"SEED (\d+) was drawn; set it to train the same again$", first.stdout, re.MULTILINE)
    assert f"\nSEED: {seed}\n" in (run / "config.yaml").read_text()

    again = reproduce(run)  # with the seed that was logged
    assert_succeeded(again)
    assert "was drawn" not in again.stdout
    assert f"\nSEED: {seed}\n" in (tmp_path / "run_reproduced" / "config.yaml").read_text()
    assert f"Code, versions, data, weights and devices are those of {run / 'run.json'}" in again.stdout
    assert_same_weights(run, tmp_path / "run_reproduced")
    starts = json.loads((tmp_path / "run_reproduced" / "run.json").read_text())["starts"]
    assert len(starts[0]["processes"]) == 2


@pytest.mark.slow
def test_resumed_run_keeps_its_seed_and_adds_a_start(data: Path, tmp_path: Path):
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    options = {"SOLVER__EMA_DECAY": 0.5, "SOLVER__CHECKPOINT_PERIOD": 2}
    assert_succeeded(train_net(data, OUTPUT_DIR=straight, **options, SEED=-1))
    shutil.copytree(straight, stopped)
    (stopped / "model_final.pth").unlink()
    (stopped / "last_checkpoint").write_text("model_0000001.pth")
    resumed = train_net(data, ["--resume"], OUTPUT_DIR=stopped, **options, SEED=-1)
    assert_succeeded(resumed)
    assert "was drawn" not in resumed.stdout
    assert_same_weights(straight, stopped)
    starts = json.loads((stopped / "run.json").read_text())["starts"]
    assert [start["resumed"] for start in starts] == [False, True]
    assert starts[0]["config"]["SEED"] == starts[1]["config"]["SEED"] >= 0

    # The annotations change, and a run that is started again says so.
    json_file = data / "train.json"
    json_file.write_text(json_file.read_text() + "\n")
    again = reproduce(stopped / "run.json", "OUTPUT_DIR", tmp_path / "again")
    assert_succeeded(again)
    (line,) = [line for line in again.stdout.splitlines() if "Not as in" in line]
    assert f"the annotations of {json_file} ({json_file}) are others" in line
    assert_same_weights(straight, tmp_path / "again")

    json_file.rename(data / "gone.json")
    missing = reproduce(stopped, "OUTPUT_DIR", tmp_path / "missing")
    (data / "gone.json").rename(json_file)
    assert missing.returncode == 2
    assert missing.stderr == (
        f"error: data set {json_file} is missing; the run had its annotations in {json_file}\n"
    )
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{run}"], "error: {run} holds no record of a run: there is no {run}/run.json, which "),
        (["{run}/nothing"], "error: {run}/nothing holds no record of a run: there is no {run}/nothing, "),
        (["{run}", "--config-file", "configs/quickstart.yaml"], "takes the config of RUN, and trains: leave"),
        (
            ["{run}", "--eval-only"],
            "takes the config of RUN, and trains: leave --config-file and --eval-only",
        ),
    ],
)
def test_nonsense_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    words: list[str],
    message: str,
):
    words = [word.format(run=tmp_path) for word in words]
    assert message.format(run=tmp_path) in run_here(monkeypatch, capsys, "--reproduce", *words)
    assert not list(tmp_path.iterdir())

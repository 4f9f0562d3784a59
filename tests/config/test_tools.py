"""How tools end on a mistake in a config: one line a mistake, exit code 2, no traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import preloaded

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "configs" / "quickstart.yaml"


def run(tool: str, *arguments: object) -> subprocess.CompletedProcess:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, ROOT / "tools" / tool, *map(str, arguments)]
    return preloaded.run(command, env=environment)


def assert_refused(process: subprocess.CompletedProcess, *beginnings: str) -> None:
    lines = process.stderr.splitlines()
    assert process.returncode == 2, process.stderr
    assert len(lines) == len(beginnings), process.stderr
    for line, beginning in zip(lines, beginnings, strict=True):
        assert line.startswith(beginning)


def test_all_mistakes_of_a_command_line(tmp_path: Path):
    opts = ["SOLVER.MAX_ITERS", 3, "TEST.DETECTIONS_PER_IMAGE", 5, "OUTPUT_DIR", tmp_path]
    assert_refused(
        run("train_net.py", "--config-file", QUICKSTART, *opts),
        "error: command line: there is no config key 'SOLVER.MAX_ITERS'; did you mean 'SOLVER.MAX_ITER'?",
        "command line: TEST.DETECTIONS_PER_IMAGE is 5, but nothing reads it: set MODEL.MASK_FORMER.TEST.TOPK",
    )


def test_a_device_that_is_not_there(tmp_path: Path):
    opts = ["MODEL.DEVICE", "cuda:1", "OUTPUT_DIR", tmp_path]
    process = run("train_net.py", "--config-file", QUICKSTART, *opts)
    assert_refused(process, "error: MODEL.DEVICE is 'cuda:1', but this machine has cpu")


@pytest.mark.parametrize(
    ("content", "problem"),
    [("_BASE_: c.yaml", "includes itself through _BASE_ ("), ("A: " + "[" * 5000, "it is nested too deep")],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, content: str, problem: str):
    path = tmp_path / "c.yaml"
    path.write_text(content)
    process = run("ablate.py", "--plan", path, "--output", tmp_path / "out")
    assert_refused(process, f"error: {path}")
    assert problem in process.stderr


def test_a_config_file_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "c.yaml").write_text(f"_BASE_: {QUICKSTART}\nOUTPUT_DIR: ~/out\nMODEL: {{DEVICE: gpu}}")
    assert_refused(run("train_net.py", "--config-file", "~/c.yaml"), "error: MODEL.DEVICE is 'gpu'")
    assert (tmp_path / "out" / "config.yaml").is_file()

"""tools/gpu_checks.sh, with an interpreter that notes what it should run; --rehearse runs the real one."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from avis.commands.benchmark import parse
from avis.config import get_avis_cfg

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "tools" / "gpu_checks.sh"
CHECKS = ["environment", "tests", "kernels", "steps", "long video", "data", "training"]
# Notes its arguments as a line of JSON, and fails where they hold a word.
NOTING = """#!/usr/bin/env python3
import json, sys
with open({notes!r}, "a") as file:
    print(json.dumps(sys.argv[1:]), file=file)
sys.exit(3 if {failing!r} in sys.argv else 0)
"""


@pytest.fixture
def noted(tmp_path: Path):
    """Runs the script; its end, and the words of each call of the interpreter."""

    def run(*arguments: str, failing: str = "") -> tuple[subprocess.CompletedProcess, list[list[str]]]:
        notes, python = tmp_path / "notes.jsonl", tmp_path / "python"
        notes.write_text("")
        python.write_text(NOTING.format(notes=str(notes), failing=failing))
        python.chmod(0o755)
        done = subprocess.run(
            ["bash", SCRIPT, *arguments, tmp_path / "output"],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHON": str(python)},
        )
        return done, [json.loads(line) for line in notes.read_text().splitlines()]

    return run


def test_every_command_is_one_that_its_tool_takes(noted):
    done, (_, *calls) = noted()  # the first asks whether there is a GPU
    assert done.returncode == 0, done.stderr
    by_tool = {
        name: [words[1:] for words in calls if words[0] == f"tools/{name}.py"]
        for name in ("benchmark", "train_net", "make_synthetic")
    }
    parts, train, inference = map(parse, by_tool["benchmark"])
    assert parts.size == [45, 80]
    assert [Path(file).stem for file in train.config_file] == ["avis_R50", "avis_SwinB", "avism_R50"]
    assert inference.video_frames == [1440] and inference.size == [360, 640]
    ((_, config, *opts),) = by_tool["train_net"]
    assert get_avis_cfg(ROOT / config, opts).SOLVER.MAX_ITER == 300
    assert len(by_tool["make_synthetic"]) == 1 and len(calls) == len(CHECKS)
    for name in CHECKS:
        assert f"{name:<12} passed" in done.stdout


def test_a_failure_is_counted_and_the_others_go_on(noted):
    done, calls = noted(failing="parts")
    assert done.returncode == 1 and len(calls) == 1 + len(CHECKS)
    assert "kernels      failed with exit code 3" in done.stdout
    assert "1 of 7 checks failed" in done.stdout


def test_without_a_gpu_it_says_what_to_do(noted):
    done, calls = noted(failing="import sys, torch; sys.exit(not torch.cuda.is_available())")
    assert (done.returncode, len(calls)) == (64, 1)
    assert done.stderr == "error: torch finds no CUDA GPU here; --rehearse runs the checks on the CPU\n"


def test_a_rehearsal_asks_for_no_gpu_and_is_small(noted):
    done, calls = noted("--rehearse")
    assert done.returncode == 0 and len(calls) == len(CHECKS)
    assert calls[4][calls[4].index("--video-frames") :][:2] == ["--video-frames", "6"]


@pytest.mark.parametrize("arguments", [["--unknown"], ["a", "b"]])
def test_unknown_arguments_are_refused(arguments: list[str], noted):
    done, calls = noted(*arguments)
    assert (done.returncode, calls) == (64, []) and "usage: bash tools/gpu_checks.sh" in done.stderr

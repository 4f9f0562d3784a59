"""tools/make_synthetic.py as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).parents[2] / "tools" / "make_synthetic.py"


def run(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, TOOL, *map(str, arguments)], capture_output=True, text=True)


def test_makes_a_data_set_then_refuses_another_in_its_place(tmp_path: Path) -> None:
    root = tmp_path / "a folder"
    size = ("--train", 2, "--val", 0, "--seconds", 3, "--width", 64, "--height", 48)
    made = run("--output", root, "--preset", "quickstart", *size, "--categories", "cat", "dog", "car")
    assert made.returncode == 0, made.stderr
    content = json.loads((root / "train.json").read_text())
    assert [video["length"] for video in content["videos"]] == [3, 3]
    assert [category["name"] for category in content["categories"]] == ["cat", "dog", "car"]

    refused = run("--output", root, "--preset", "quickstart", *size, "--seed", 3)
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].startswith("error: ") and "seed 0, not 3" in refused.stderr


def test_bad_input_is_one_line_and_an_exit_code(tmp_path: Path) -> None:
    failed = run("--output", tmp_path, "--decoy-probability", 3)
    assert failed.returncode == 2
    assert failed.stderr == "error: decoy_probability must lie within [0, 1], got 3.0\n"
    assert not list(tmp_path.iterdir())

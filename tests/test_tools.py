"""The command lines: their help comes without a wait for torch, and some tools do without it altogether."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest
from detectron2.engine import default_argument_parser

from avis.command_line import training_parser
from tests.small_dataset import write_split

ROOT = Path(__file__).parents[1]
TOOLS = sorted((ROOT / "tools").glob("*.py"))
HEAVY = ("torch", "detectron2")

HELP = f"""
import runpy, sys
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print("imported:", *[name for name in {HEAVY} if name in sys.modules])
"""


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.stem)
def test_help_comes_without_torch(tool: Path):
    code = f"import sys; sys.argv = [{str(tool)!r}, '--help']{HELP}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ") and done.stderr == ""
    assert done.stdout.endswith("imported:\n")


@pytest.fixture
def without_torch(tmp_path: Path) -> dict[str, str]:
    """An environment in which neither torch nor Detectron2 can be imported, also by further processes."""
    for name in HEAVY:
        (tmp_path / "broken" / name).mkdir(parents=True)
        (tmp_path / "broken" / name / "__init__.py").write_text(f"raise ImportError('{name} is broken')")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "broken"), str(ROOT)])}


def run(environment: dict[str, str], tool: str, *arguments: str | Path) -> None:
    command = [sys.executable, ROOT / "tools" / tool, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_data_are_made_and_described_without_torch(without_torch: dict[str, str], tmp_path: Path):
    size = ("--train", 2, "--val", 1, "--test", 0, "--seconds", 2, "--width", 64, "--height", 48)
    run(
        without_torch, "make_synthetic.py", "--output", tmp_path / "data", "--preset", "quickstart", *size,
        "--workers", 2,
    )  # fmt: skip
    files = [tmp_path / "data" / f"{split}.json" for split in ("train", "val")]
    run(without_torch, "dataset_stats.py", "--json", *files, "--output", tmp_path / "statistics")
    assert (tmp_path / "statistics" / "overview.png").is_file()


def test_results_are_scored_without_torch(without_torch: dict[str, str], tmp_path: Path):
    (tmp_path / "results.json").write_text("[]")
    files = ("--gt", write_split(tmp_path), "--predictions", tmp_path / "results.json")
    run(without_torch, "evaluate.py", *files, "--report", tmp_path / "report")
    assert "data:image/jpeg" in (tmp_path / "report" / "index.html").read_text()


def options(parser: argparse.ArgumentParser) -> dict[str, tuple]:
    return {a.dest: (a.option_strings, a.default, a.type, a.nargs) for a in parser._actions}


def test_training_takes_the_options_of_detectron2():
    ours, theirs = options(training_parser("", "")), options(default_argument_parser(""))
    assert {"overwrite", "max_hours"} <= ours.keys()
    ours = {name: option for name, option in ours.items() if name not in ("overwrite", "max_hours")}
    assert ours.pop("dist_url") == (["--dist-url"], "auto", None, None)
    theirs.pop("dist_url")
    assert ours == theirs

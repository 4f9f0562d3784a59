"""The tutorial notebook runs from its first cell to its last."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.examples import ROOT

NOTEBOOK = ROOT / "docs/tutorial.ipynb"
CODE = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
SMALL = 'ITERATIONS, TRAIN_VIDEOS, VAL_VIDEOS, FOLDER, WEIGHTS = 2, 4, 2, "{folder}", "none.pth"'


def test_the_notebook_is_small_and_without_outputs():
    assert NOTEBOOK.stat().st_size < 100_000
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in CODE)


@pytest.mark.slow
def test_every_cell_runs(tmp_path: Path):
    """In order and in one process, as a notebook does it, with small numbers in the cell of parameters."""
    (parameters,) = (cell for cell in CODE if "parameters" in cell["metadata"].get("tags", ()))
    small = SMALL.format(folder=tmp_path)
    cells = [small if cell is parameters else "".join(cell["source"]) for cell in CODE]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-W", "ignore:FigureCanvasAgg is non-interactive", "-c", "\n".join(cells)]
    done = subprocess.run(command, cwd=ROOT / "docs", env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]
    assert re.search(r"sounds in the frames \[\d", done.stdout)
    assert re.search(r"^FSLA +\d+\.\d$", done.stdout, re.MULTILINE)
    made = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    wanted = {"curves.png", "model/model_final.pth", "listening.json", "pictures/comparison.png"}
    assert wanted <= made
    assert len([name for name in made if re.fullmatch(r"predictions/.+\.mp4", name)]) == 1

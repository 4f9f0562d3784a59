"""Command lines that no other test runs, on a tiny data set; every tool runs in some test."""

import json
import os
import sys
from pathlib import Path

import pytest
import torch

from avis.config import get_avis_cfg
from avis.modeling import build_model
from tests import preloaded

ROOT = Path(__file__).parents[1]
QUICKSTART = ROOT / "configs" / "quickstart.yaml"
SMALL = [
    *("INPUT.MIN_SIZE_TRAIN", "(48,)", "INPUT.MIN_SIZE_TEST", "48", "INPUT.SAMPLING_FRAME_NUM", "2"),
    *("SOLVER.IMS_PER_BATCH", "2", "MODEL.MASK_FORMER.TRAIN_NUM_POINTS", "64"),
]


def run(tool: str, *arguments: object) -> str:
    """What a tool prints when it succeeds without a word on stderr."""
    done = preloaded.run(
        [sys.executable, ROOT / "tools" / tool, *arguments],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.slow
def test_check_listening_compares_three_sounds(synthavis_root: Path, tmp_path: Path):
    torch.manual_seed(0)
    torch.save(build_model(get_avis_cfg(QUICKSTART)).state_dict(), tmp_path / "model.pth")
    printed = run(
        "check_listening.py", "--config-file", QUICKSTART, "--weights", tmp_path / "model.pth", *SMALL,
        "DATASETS.TEST", f"('{synthavis_root}/val.json',)", "OUTPUT_DIR", tmp_path,
    )  # fmt: skip
    table = [line for line in printed.splitlines() if line.startswith("|")]
    metrics = json.loads((tmp_path / "listening" / "metrics.json").read_text())
    assert list(metrics) == ["own", "silent", "shuffled"]
    for sound, name in zip(metrics, ("own sound", "silence", "another video's sound"), strict=True):
        assert (tmp_path / "listening" / sound / "inference" / "val" / "results.json").is_file()
        assert any(name in line and f"{metrics[sound]['AP']:.1f}" in line for line in table)

"""The walk-through from a folder of videos to a fine-tuned model, walked through."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from avis.config import get_avis_cfg
from avis.modeling import build_model
from tests.docs.examples import ROOT
from tests.docs.markdown import code_blocks
from tests.formats.foreign_files import HEIGHT, WIDTH, cvat, write, write_ms3
from tests.media.recordings import record, tone
from tests.small_dataset import CATEGORIES

PAGE = ROOT / "docs/own_data.md"
BLOCKS = [block for block in code_blocks(PAGE) if block.language == "bash"]
SPLITS = {"concert": "train", "street": "train", "park": "val"}
SMALL_MODEL = f"""
_BASE_: {ROOT}/configs/quickstart.yaml
MODEL:
  SEM_SEG_HEAD: {{NUM_CLASSES: 2}}
  MASK_FORMER: {{TRAIN_NUM_POINTS: 50, TEST: {{SCORE_THRESHOLD: 0.0}}}}
INPUT: {{MIN_SIZE_TRAIN: [48], MIN_SIZE_TEST: 48}}
SOLVER: {{IMS_PER_BATCH: 2}}
DATALOADER: {{NUM_WORKERS: 0}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three videos, what CVAT has exported of them, and a trained model that fits a test."""
    path = tmp_path_factory.mktemp("user")
    (path / "tools").symlink_to(ROOT / "tools")
    write(path / "configs/avis_R50.yaml", SMALL_MODEL)
    (path / "my_videos").mkdir()
    for number, (name, split) in enumerate(SPLITS.items()):
        video = path / f"my_videos/{name}.mp4"
        record(video, 2, first=2 * number, sounds=(tone(2),), size=(HEIGHT, WIDTH))
        # Of a task whose frames were uploaded as pictures: it has no source, but the name of their folder.
        text = cvat(labels=("violin", "dog")).replace("<source>concert.mp4</source>", "")
        write(path / f"annotations/{split}/{name}.xml", text.replace("my task", name))
    model = build_model(get_avis_cfg(str(path / "configs/avis_R50.yaml"), ["MODEL.DEVICE", "cpu"]))
    torch.save({"model": model.state_dict(), "categories": CATEGORIES}, path / "model_final.pth")
    return path


def test_every_step_of_the_page_runs(folder: Path):
    walk = [block for block in BLOCKS if not block.section.startswith("avsbench")]
    assert [block.section[:1] for block in walk] == ["1", "3", "4", "5", "6", "7"]
    for block in walk:
        text = block.text.replace(".venv/bin/python", sys.executable)
        text = text.replace("SOLVER.MAX_ITER 2000", "SOLVER.MAX_ITER 1").replace("(1300,)", "()")
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(
            ["bash", "-ec", text], cwd=folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-2000:]
    content = json.loads((folder / "my_data/train.json").read_text())
    assert [video["length"] for video in content["videos"]] == [2, 2]
    assert (folder / "output/my_model/model_final.pth").is_file()
    assert (folder / "predictions/park.mp4").is_file()
    names = {
        entry["name"] for entry in json.loads((folder / "predictions/park.json").read_text())["categories"]
    }
    assert names == {"violin", "dog"}


def test_avsbench_goes_from_its_folder_to_its_metrics(folder: Path):
    write_ms3(folder / "AVSBench/Multi-sources")
    (block,) = (block for block in BLOCKS if block.section.startswith("avsbench"))
    text = block.text.replace(".venv/bin/python", sys.executable)
    few = "SOLVER.MAX_ITER 2 SOLVER.STEPS '()' TEST.EVAL_PERIOD 0 OUTPUT_DIR output/ms3"
    text = text.replace("OUTPUT_DIR output/ms3", few)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(["bash", "-ec", text], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    metrics = json.loads((folder / "output/ms3/inference/avsbench_ms3_test/metrics.json").read_text())
    assert set(metrics) == {"J", "F"} and 0 <= metrics["J"] <= 100
    assert f"{metrics['F']:.2f}" in done.stdout
    maps = sorted(path.relative_to(folder / "maps").as_posix() for path in folder.glob("maps/**/*.png"))
    assert maps == [f"duet/duet.mp4_{second}.png" for second in range(1, 6)]

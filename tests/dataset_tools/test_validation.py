import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avis.dataset_tools.validation import validate_dataset
from tests.small_dataset import HEIGHT, LENGTH, WIDTH, edit, tones, write_wav

TOOL = Path(__file__).parents[2] / "tools" / "validate_dataset.py"


def test_a_sound_data_set_has_no_problems(train_json):
    assert validate_dataset(train_json) == []


def test_all_violations_of_the_format_are_listed(train_json):
    edit(train_json, lambda content: [annotation.pop("id") for annotation in content["annotations"]])
    problems = validate_dataset(train_json)
    assert len(problems) == 7 and all("'id' is missing" in problem for problem in problems[:6])
    assert "frames, masks and sound are checked once the above is mended" in problems[6]


@pytest.fixture
def broken_json(train_json):
    """One problem of each kind, and the expected messages."""
    split = train_json.parent / "train"
    frames = split / "JPEGImages" / "clip1"
    (frames / "00001.png").unlink()
    (frames / "00002.png").write_bytes((frames / "00002.png").read_bytes()[:60])
    Image.new("RGB", (WIDTH, HEIGHT - 1)).save(frames / "00003.png")
    content = (split / "WAVAudios" / "clip1.wav").read_bytes()
    (split / "WAVAudios" / "clip1.wav").write_bytes(content[: len(content) // 2])
    write_wav(split / "WAVAudios" / "clip2.wav", tones(2, LENGTH - 2))
    (split / "WAVAudios" / "clip3.wav").unlink()
    (split / "FEATAudios").mkdir()
    np.save(split / "FEATAudios" / "clip2.npy", np.zeros((LENGTH - 1, 128)))

    def break_a_mask(content):
        content["annotations"][2]["segmentations"][4] = {"size": [HEIGHT, WIDTH], "counts": "0d0"}

    return edit(train_json, break_a_mask)


EXPECTED = [
    ("video 1 frame 1", "00001.png cannot be read"),
    ("video 1 frame 2", "00002.png cannot be read"),
    ("video 1 frame 3", "is 47×64, the annotations say 48×64"),
    ("clip1.wav lasts 2.999", "the last frame is at 5 s"),
    ("video 2 annotation 3 frame 4", "RLE covers 20 pixels"),
    ("video 2", "clip2.wav lasts 4 s, the last frame is at 5 s"),
    ("video 2", "shape (5, 128), not (6, 128)"),
    ("video 3", "neither a file in WAVAudios nor one in FEATAudios"),
]


def test_all_broken_files_are_listed(broken_json):
    problems = validate_dataset(broken_json)
    assert len(problems) == len(EXPECTED)
    for problem, parts in zip(problems, EXPECTED, strict=True):
        assert all(part in problem for part in parts), problem


def run_tool(*arguments):
    return subprocess.run([sys.executable, TOOL, *arguments], capture_output=True, text=True)


def test_the_tool_prints_all_problems_and_fails(broken_json, tmp_path):
    result = run_tool("--json", broken_json, tmp_path / "none.json")
    assert result.returncode == 1, result.stderr
    assert "no annotations at" in result.stdout and "none.json: 1 problem\n" in result.stdout
    assert all(part in result.stdout for parts in EXPECTED for part in parts)
    assert "8 problems" in result.stdout
    assert "3/3" in result.stderr  # the progress bar

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from avis.dataset_tools.statistics import NO_SCENARIO, read_statistics
from tests.small_dataset import HEIGHT, LENGTH, WIDTH, edit, tracks, write_split

TOOL = Path(__file__).parents[2] / "tools" / "dataset_stats.py"


@pytest.fixture
def splits(tmp_path: Path) -> list[Path]:
    """Three videos with a violin and a dog each, and one of two violins in the scenario "music"."""

    def two_violins(content: dict) -> None:
        content["videos"][0]["scenario"] = "music"
        content["annotations"][1]["category_id"] = content["annotations"][0]["category_id"]

    train, val = write_split(tmp_path, "train"), write_split(tmp_path, "val", num_videos=1)
    return [train, edit(val, two_violins)]


def run(*arguments: str | Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, TOOL, *arguments], capture_output=True, text=True)


def test_numbers_of_a_data_set_that_can_be_counted_by_hand(splits: list[Path]):
    statistics = read_statistics(splits)
    # the first track sounds in frames 0, 2 and 4 of 6, the second in 0 … 3
    assert [video.sources.tolist() for video in statistics.videos] == [[2, 1, 2, 1, 1, 0]] * 4
    summary = statistics.summary()
    assert summary.pop("% of a frame that a mask covers") == pytest.approx(100 * 16 * 20 / (HEIGHT * WIDTH))
    assert summary.pop("% of the frames in which a track sounds") == pytest.approx(100 * 7 / 12)
    assert {name: round(value, 6) for name, value in summary.items()} == {
        "videos": 4,
        "frames": 4 * LENGTH,
        "tracks": 8,
        "masks": 4 * 7,
        "categories": 2,
        "frames a video": LENGTH,
        "tracks a video": 2,
        "% of videos with two tracks of a category": 25,
        "% of videos in which nothing sounds": 0,
        "% of frames without a source": round(100 / 6, 6),
        "% of frames with one source": 50,
        "% of frames with several sources": round(100 / 3, 6),
    }


def test_videos_by_category_split_and_scenario(splits: list[Path]):
    statistics = read_statistics(splits)
    assert statistics.categories == ("violin", "dog")
    assert statistics.videos_by_category.tolist() == [4, 3]
    assert [statistics.of_split(name).videos_by_category.tolist() for name in ("train", "val")] == [
        [3, 3],
        [1, 0],
    ]
    assert statistics.scenarios == ["music", NO_SCENARIO]  # though most videos have none
    assert statistics.videos_by_category_and_scenario.tolist() == [[1, 3], [0, 3]]
    assert statistics.videos_by_pair.tolist() == [[4, 3], [3, 3]]
    assert read_statistics(splits[:1]).scenarios == []


def test_areas_are_those_of_the_masks(splits: list[Path]):
    video = read_statistics(splits[:1]).videos[0]
    expected = [[0 if mask is None else mask.sum() for mask in track] for track in tracks(1)]
    np.testing.assert_array_equal(video.areas, np.transpose(expected))


def test_videos_without_annotations_are_silent(splits: list[Path]):
    edit(splits[0], lambda content: content.pop("annotations"))
    summary = read_statistics(splits[:1]).summary()
    assert (summary["tracks"], summary["masks"]) == (0, 0)
    assert summary["% of frames without a source"] == summary["% of videos in which nothing sounds"] == 100
    assert np.isnan(summary["% of a frame that a mask covers"])


def test_splits_of_one_name_are_told_apart_by_their_folders(tmp_path: Path):
    files = [write_split(tmp_path / folder, "train", num_videos=1) for folder in ("one", "two")]
    assert read_statistics(files).splits == [str(file.with_suffix("")) for file in files]
    with pytest.raises(ValueError, match="given twice"):
        read_statistics([files[0], files[0]])


def test_bad_mask_is_named(splits: list[Path]):
    def break_a_mask(content: dict) -> None:
        content["annotations"][2]["segmentations"][4] = {"size": [HEIGHT, WIDTH], "counts": "0d0"}

    edit(splits[0], break_a_mask)
    with pytest.raises(
        ValueError, match=r"train\.json: annotation 3 of video 2: frame 4: .* covers 20 pixels"
    ):
        read_statistics(splits)


def test_tool_writes_tables_and_figures(splits: list[Path], tmp_path: Path):
    output = tmp_path / "my statistics"
    ended = run("--json", *splits, "--output", output)
    assert ended.returncode == 0, ended.stderr
    tables = (output / "statistics.md").read_text()
    assert tables in ended.stdout
    assert "| category   |   videos |   music |   not given |" in tables
    content = json.loads((output / "statistics.json").read_text())
    assert content["summary"]["train"]["videos"] == 3 and content["summary"]["all"]["videos"] == 4
    assert content["videos_by_category"] == {"violin": 4, "dog": 3}
    for name in ("videos_by_category", "dependency", "overview"):
        picture = cv2.imread(str(output / f"{name}.png"))
        assert picture.std() > 10, f"{name}.png is blank"


def test_tool_draws_a_data_set_without_masks_and_scenarios(splits: list[Path], tmp_path: Path):
    edit(splits[0], lambda content: content.update(annotations=[]))
    ended = run("--json", splits[0], "--output", tmp_path / "empty")
    assert ended.returncode == 0, ended.stderr
    assert json.loads((tmp_path / "empty" / "statistics.json").read_text())["summary"]["train"]["masks"] == 0


def test_tool_refuses_splits_of_other_categories(splits: list[Path], tmp_path: Path):
    edit(splits[1], lambda content: content["categories"][1].update(name="wolf"))
    ended = run("--json", *splits, "--output", tmp_path / "none")
    assert ended.returncode == 2
    problem = f"{splits[1]} has other categories than {splits[0]}: look at each by itself"
    assert ended.stderr == f"error: {problem}\n"
    assert not (tmp_path / "none").exists()

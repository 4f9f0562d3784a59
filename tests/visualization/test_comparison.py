"""Predictions beside ground truth: colours, and the tool that draws both for a data set."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_utils

from avis.media.video import decode_video, has_audio_stream
from avis.structures import Track, VideoPrediction
from avis.visualization import (
    ComparedVideo,
    draw_comparison,
    shown_frames,
)
from avis.visualization.comparison import FRAME_HEIGHT
from avis.visualization.drawing import track_color
from tests import preloaded
from tests.small_dataset import HEIGHT, LENGTH, WIDTH, edit, tracks, write_split

TOOL = Path(__file__).parents[2] / "tools" / "visualize_predictions.py"


@pytest.fixture(scope="module")
def json_file(tmp_path_factory):
    return write_split(tmp_path_factory.mktemp("visualization") / "my data")


def results_of(json_file, score=0.9):
    """Predictions that equal the ground truth."""
    annotations = json.loads(json_file.read_text())["annotations"]
    keys = ("video_id", "category_id", "segmentations")
    return [{"score": score} | {key: annotation[key] for key in keys} for annotation in annotations]


def track(masks, score=0.9):
    return Track(score, 0, [mask_utils.encode(np.asfortranarray(m)) if m.any() else None for m in masks])


def test_matched_tracks_share_a_colour_in_the_picture():
    blank = np.zeros((HEIGHT, WIDTH), np.uint8)
    objects = [[blank if mask is None else mask for mask in masks] for masks in tracks(video_id=1)]
    truth = VideoPrediction(1, HEIGHT, WIDTH, LENGTH, [track(masks) for masks in objects])
    truth.tracks[1].category_id = 1
    predicted = VideoPrediction(1, HEIGHT, WIDTH, LENGTH, truth.tracks[::-1])
    frames = {t: np.zeros((HEIGHT, WIDTH, 3), np.uint8) for t in shown_frames(LENGTH)}
    video = ComparedVideo("clip1", frames, truth, predicted, found={0: 1, 1: 0})
    picture = draw_comparison([video], ["violin", "dog"], fps=1.0)
    timeline = picture[-160:]
    pixels = [int((timeline == track_color(index)).all(axis=-1).sum()) for index in range(3)]
    # Two rows in each of the two colours, none in a third; 3 and 4 of the 6 frames sound.
    assert pixels[0] == pytest.approx(pixels[1] * 3 / 4, rel=0.05)
    assert pixels[0] > 10_000 and pixels[2] == 0


def test_videos_of_different_widths_stand_one_under_the_other():
    def video(width, length):
        nothing = VideoPrediction("clip", 20, width, length)
        frames = {t: np.zeros((20, width, 3), np.uint8) for t in shown_frames(length)}
        return ComparedVideo("clip", frames, nothing, nothing, found={})

    alone = [draw_comparison([video(*size)], [], fps=1.0) for size in ((20, 1), (40, 9))]
    together = draw_comparison([video(20, 1), video(40, 9)], [], fps=1.0)
    assert together.shape == (sum(map(len, alone)), max(p.shape[1] for p in alone), 3)


def test_the_frames_as_they_are_stand_above_the_rest():
    video = ComparedVideo(
        "clip",
        frames={0: np.full((FRAME_HEIGHT, FRAME_HEIGHT, 3), 77, np.uint8)},
        ground_truth=VideoPrediction(
            1, FRAME_HEIGHT, FRAME_HEIGHT, 1, [track([np.ones((FRAME_HEIGHT, FRAME_HEIGHT), np.uint8)])]
        ),
        prediction=VideoPrediction(1, FRAME_HEIGHT, FRAME_HEIGHT, 1, []),
        found={},
    )
    plain = draw_comparison([video], ["dog"], fps=1.0)
    picture = draw_comparison([video], ["dog"], fps=1.0, raw_frames=True)
    untouched = [int((image == 77).all(axis=-1).sum()) // FRAME_HEIGHT**2 for image in (plain, picture)]
    # One untouched frame is the empty prediction, the other the raw frame.
    assert untouched == [1, 2]
    assert len(picture) > len(plain)


def run_tool(json_file, output, *flags):
    results = json_file.parent / "results.json"
    results.write_text(json.dumps(results_of(json_file)))
    command = [sys.executable, TOOL, "--predictions", results, "--dataset", json_file, "--output", output]
    return preloaded.run([*command, *flags])


def test_the_tool_draws_a_data_set(json_file, tmp_path):
    output = tmp_path / "pictures"
    done = run_tool(json_file, output, "--num-videos", "2")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in output.iterdir()) == ["clip1.mp4", "clip3.mp4", "comparison.png"]
    assert len(list(decode_video(output / "clip3.mp4", fps=1))) == LENGTH
    assert has_audio_stream(output / "clip3.mp4")
    assert cv2.imread(str(output / "comparison.png")).shape[0] > 1000


def test_the_tool_draws_the_videos_that_are_named(json_file, tmp_path):
    done = run_tool(json_file, tmp_path / "pictures", "--videos", "clip2", "--raw-frames")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["clip2.mp4", "comparison.png"]
    missing = run_tool(json_file, tmp_path / "none", "--videos", "clip2", "clip9")
    assert missing.returncode == 2
    assert "there is no video 'clip9'; there are clip1, clip2, clip3, …" in missing.stderr
    assert not (tmp_path / "none").exists()


def test_videos_of_nested_folders_go_to_nested_folders(tmp_path):
    json_file = write_split(tmp_path / "data", num_videos=1)
    split = json_file.with_suffix("")
    for room in ("JPEGImages", "WAVAudios"):
        (split / room / "music").mkdir()
        for entry in (split / room).glob("clip1*"):
            entry.rename(split / room / "music" / entry.name)

    def nest(content):
        content["videos"][0]["file_names"] = [f"music/clip1/{t:05d}.png" for t in range(LENGTH)]

    done = run_tool(edit(json_file, nest), tmp_path / "pictures", "--videos", "music/clip1")
    assert done.returncode == 0, done.stderr
    assert has_audio_stream(tmp_path / "pictures" / "music" / "clip1.mp4")


def test_videos_of_one_folder_have_an_overlay_each(tmp_path):
    json_file = write_split(tmp_path / "data", num_videos=2)

    def share(content):
        for video in content["videos"]:
            video["file_names"] = content["videos"][0]["file_names"]

    done = run_tool(edit(json_file, share), tmp_path / "pictures", "--videos", "clip1")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "pictures").glob("*.mp4")) == [
        "clip1_1.mp4",
        "clip1_2.mp4",
    ]


def test_only_its_own_overlays_are_replaced(json_file, tmp_path):
    (tmp_path / "clip2.mp4").write_text("mine")
    done = run_tool(json_file, tmp_path, "--videos", "clip1", "clip2")
    assert done.returncode == 2 and f"{tmp_path / 'clip2.mp4'} was not made by" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["clip2.mp4"]
    assert (tmp_path / "clip2.mp4").read_text() == "mine"
    for flags in (("--overwrite",), ()):
        done = run_tool(json_file, tmp_path, "--videos", "clip2", *flags)
        assert done.returncode == 0, done.stderr
    other = write_split(tmp_path / "other data", num_videos=2)
    done = run_tool(other, tmp_path, "--videos", "clip2")
    assert done.returncode == 2 and "clip2.mp4 was made of" in done.stderr


def test_names_as_long_as_folders_can_have_become_overlays(tmp_path):
    json_file, name = write_split(tmp_path / "data", num_videos=1), "é" * 127
    frames = json_file.with_suffix("") / "JPEGImages"
    (frames / "clip1").rename(frames / name)

    def rename(content):
        content["videos"][0]["file_names"] = [f"{name}/{t:05d}.png" for t in range(LENGTH)]

    done = run_tool(edit(json_file, rename), tmp_path / "pictures")
    assert done.returncode == 0, done.stderr
    (overlay,) = (tmp_path / "pictures").glob("*.mp4")
    assert overlay.name.startswith("é" * 120)

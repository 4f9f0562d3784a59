"""The data that evaluation is measured on."""

import json
from pathlib import Path

import numpy as np
import pytest

from avis.benchmark.random_tracks import Scale, write_random_tracks
from avis.evaluation import evaluate_predictions, load_ground_truth, load_predictions

SCALE = Scale(videos=4, length=5, size=(90, 160), objects=3)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    return write_random_tracks(tmp_path_factory.mktemp("tracks"), 6, SCALE, seed=1)


def test_numbers_are_as_asked_for(files: tuple[Path, Path, Path]):
    truth = load_ground_truth(files[0])
    assert [(v.height, v.width, v.length) for v in truth.videos.values()] == [(90, 160, 5)] * 4
    assert all(1 <= len(tracks) <= 3 for tracks in truth.tracks.values())
    predictions = load_predictions(files[2], truth)
    assert [len(tracks) for tracks in predictions.values()] == [6] * 4
    dense = [all(track.areas.all() for track in tracks) for tracks in predictions.values()]
    assert dense == [True, True, True, False]  # the fourth video has been understood


def test_some_predictions_are_good_and_others_are_not(files: tuple[Path, Path, Path]):
    metrics = evaluate_predictions(files[0], files[2])
    assert 5 < metrics["AP50"] < 95
    assert 5 < metrics["HOTA"] < 95


@pytest.mark.parametrize("num_predictions", [6, 30])
def test_some_frames_are_right_and_others_are_not(tmp_path: Path, num_predictions: int):
    scale = Scale(videos=8, length=10, size=(180, 320), objects=3)
    truth, _, predictions = write_random_tracks(tmp_path, num_predictions, scale, seed=1)
    metrics = evaluate_predictions(truth, predictions)
    # A fourth of the videos has been understood, from a fifth of their frames on, up to some threshold.
    assert 5 < metrics["FSLA"] < 20


def test_both_forms_of_the_ground_truth_say_the_same(files: tuple[Path, Path, Path]):
    one, two = (load_ground_truth(path) for path in files[:2])
    assert one.videos == two.videos
    for track, same in zip(
        *([t for ts in truth.tracks.values() for t in ts] for truth in (one, two)), strict=True
    ):
        assert list(track.masks) == list(same.masks)
        np.testing.assert_array_equal(track.areas, same.areas)
        assert track.mean_area == same.mean_area > 0


def test_seed_decides_all(files: tuple[Path, Path, Path], tmp_path: Path):
    again = write_random_tracks(tmp_path / "again", 6, SCALE, seed=1)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in files]
    other = write_random_tracks(tmp_path / "other", 6, SCALE, seed=2)
    assert json.loads(other[2].read_text()) != json.loads(files[2].read_text())

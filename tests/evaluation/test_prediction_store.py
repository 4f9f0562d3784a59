"""Predictions on disk: what is kept of a run that was killed, and what is not."""

import json
from pathlib import Path

import pytest

from avis.evaluation.prediction_store import PredictionStore, WrittenFile

TRACKS = [{"video_id": 1, "score": 0.5}, {"video_id": 1, "score": 0.25}]


@pytest.fixture
def store(tmp_path: Path) -> PredictionStore:
    """Two processes have written videos 1 and 7, and "b"."""
    store = PredictionStore(tmp_path / "folder", "run")
    first, second = store.writer(0), store.writer(1)
    first.write(7, [])
    first.write(1, TRACKS)
    second.write("b", TRACKS[:1])
    return store


def results(store: PredictionStore, *videos: int | str) -> list[dict]:
    path = store.folder / "results.json"
    number = store.write_results(path, videos)
    entries = json.loads(path.read_text())
    assert len(entries) == number
    return entries


def test_results_are_in_the_order_asked_for(store: PredictionStore):
    assert store.videos() == {1, 7, "b"}
    assert results(store, "b", 5, 7, 1) == [TRACKS[0], *TRACKS]
    assert results(store, 7) == results(store) == []


def test_first_prediction_of_a_video_counts(store: PredictionStore):
    store.writer(1).write(1, [])
    assert results(store, 1) == TRACKS


@pytest.mark.parametrize("cut", [1, 10, len('{"video_id":1,"tracks":[{"video_id":1,"score":0.5}') + 30])
def test_line_cut_off_is_written_again(store: PredictionStore, cut: int):
    file = store.folder / "predictions.0.jsonl"
    file.write_bytes(file.read_bytes()[:-cut])
    assert store.videos() == {7, "b"}
    writer = store.writer(0)
    assert store.videos() == {7, "b"}
    writer.write(1, TRACKS)
    assert store.videos() == {1, 7, "b"}
    assert results(store, 1) == TRACKS


@pytest.mark.parametrize("size", [0, 3, 12])
def test_file_cut_off_in_its_header_begins_anew(store: PredictionStore, size: int):
    file = store.folder / "predictions.0.jsonl"
    file.write_bytes(file.read_bytes()[:size])
    assert store.videos() == {"b"}
    store.writer(0).write(2, [])
    assert store.videos() == {2, "b"}


def test_files_of_other_runs_do_not_count_and_are_cleared(store: PredictionStore):
    (store.folder / "metrics.json").write_text("{}")
    other = PredictionStore(store.folder, "other")
    assert other.videos() == set()
    store.clear(keep_own=True)
    assert store.videos() == {1, 7, "b"}
    other.clear(keep_own=True)
    assert [path.name for path in store.folder.iterdir()] == ["metrics.json"]


def test_own_files_are_cleared_where_nothing_is_to_be_kept(store: PredictionStore):
    store.clear(keep_own=False)
    assert store.videos() == set()


def test_folder_that_is_not_shared_is_an_error(store: PredictionStore, tmp_path: Path):
    written = store.writer(0).written()
    written.check()
    message = r"OUTPUT_DIR must be in a file system that all machines"
    with pytest.raises(FileNotFoundError, match=message):
        WrittenFile(tmp_path / "elsewhere", written.size, "host2").check()
    with pytest.raises(FileNotFoundError, match=message):
        written._replace(size=written.size + 1).check()

"""Videos compared by several processes give the numbers, and the errors, of one."""

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avis.evaluation.api import PROTOCOL_NAMES, evaluate_detailed
from avis.evaluation.diagnosis.analysis import analyze
from avis.evaluation.diagnosis.breakdown import break_down
from avis.evaluation.overlap import VideoOverlap
from avis.evaluation.spreading import MASKS_A_JOB, choose_jobs, over_videos
from avis.formats.ground_truth import load_ground_truth
from avis.formats.results import load_predictions
from tests.evaluation.builders import annotation, columns, ground_truth, prediction
from tests.evaluation.test_properties import ANNOTATIONS, predictions


def load(annotations: list[dict], tracks: list[dict]):
    truth = load_ground_truth(ground_truth(*annotations))
    return truth, load_predictions(tracks, truth)


# Processes are forked for each example.
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(annotations=ANNOTATIONS, tracks=predictions(), jobs=st.integers(2, 4))
def test_numbers_do_not_depend_on_the_number_of_processes(
    annotations: list[dict], tracks: list[dict], jobs: int
):
    truth, loaded = load(annotations, tracks)
    alone = evaluate_detailed(truth, loaded, PROTOCOL_NAMES, 0.5)
    spread = evaluate_detailed(truth, loaded, PROTOCOL_NAMES, 0.5, jobs)
    for name in PROTOCOL_NAMES:
        assert list(spread[name].videos) == list(alone[name].videos) == list(truth.videos)
        assert spread[name].metrics() == alone[name].metrics()
        assert spread[name].remarks == alone[name].remarks
    findings = [analyze(truth, loaded, 0.5, number) for number in (1, jobs)]
    assert repr(break_down(findings[1])) == repr(break_down(findings[0]))
    np.testing.assert_array_equal(findings[1].confusion, findings[0].confusion)


def test_other_processes_do_the_work_and_keep_the_order():
    truth, loaded = load([annotation(columns(0, 5))], [])

    def who(overlap: VideoOverlap) -> tuple[int, int]:
        return overlap.video.id, os.getpid()

    results = list(over_videos(who, truth, loaded, "asking", jobs=2))
    assert [video_id for video_id, _ in results] == [id for _, (id, _) in results] == list(truth.videos)
    assert os.getpid() not in {process for _, (_, process) in results}


@pytest.mark.parametrize("jobs", [1, 3])
def test_the_first_malformed_video_is_the_error(jobs: int):
    broken = prediction(columns(0, 5), video_id=2)
    broken["segmentations"][1] = {**broken["segmentations"][1], "counts": "0d0"}
    truth, loaded = load([annotation(columns(0, 5))], [prediction(columns(0, 5)), broken])
    with pytest.raises(ValueError, match=r"predictions: entry 1: video 2: frame 1: the RLE covers 20 pixels"):
        evaluate_detailed(truth, loaded, jobs=jobs)


def test_small_files_get_no_processes_and_large_ones_as_many_as_cores(monkeypatch: pytest.MonkeyPatch):
    _, loaded = load([annotation(columns(0, 5))], [prediction(columns(0, 5))] * 3)
    assert loaded.num_masks == 9
    assert choose_jobs(loaded) == 1
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1, 2})
    monkeypatch.setattr("avis.evaluation.spreading.MASKS_A_JOB", 4)
    assert choose_jobs(loaded) == 2
    monkeypatch.setattr("avis.evaluation.spreading.MASKS_A_JOB", 1)
    assert choose_jobs(loaded) == 3
    assert MASKS_A_JOB > 1000


def test_a_number_of_jobs_is_positive():
    truth, loaded = load([annotation(columns(0, 5))], [])
    with pytest.raises(ValueError, match="the number of jobs is 0"):
        evaluate_detailed(truth, loaded, jobs=0)

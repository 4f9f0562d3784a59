"""Analysis of an evaluation: parts of the data set, confusion of classes, quality of videos, tables."""

import numpy as np
import pytest

from avis.evaluation import evaluate_predictions
from avis.evaluation.diagnosis.analysis import Analysis, analyze
from avis.evaluation.diagnosis.breakdown import METRICS, break_down
from avis.evaluation.diagnosis.mistakes import Mistake
from avis.evaluation.diagnosis.tables import breakdown_tables
from avis.formats.ground_truth import load_ground_truth
from avis.formats.results import load_predictions
from tests.evaluation.builders import annotation, columns, ground_truth, perfect, prediction


def analysis_of(truth: dict, entries: list[dict], score_threshold: float = 0.5) -> Analysis:
    loaded = load_ground_truth(truth)
    return analyze(loaded, load_predictions(entries, loaded), score_threshold)


@pytest.fixture
def truth() -> dict:
    """Three videos: two dogs at once, a dog and then a cat, nothing. The second has 20 frames."""
    content = ground_truth(annotation(columns(0, 10)), annotation(columns(15, 20)), num_videos=3)
    content["videos"][1] |= {"length": 20, "file_names": [f"2/{t}.jpg" for t in range(20)]}
    early = [columns(0, 10) if t < 8 else None for t in range(20)]
    late = [columns(12, 20) if t >= 8 else None for t in range(20)]
    content["annotations"] += [
        {"id": 3, **annotation(early, 2)},
        {"id": 4, **annotation(late, 2, 5)},
        {"id": 5, **annotation(columns(0, 30), 3, iscrowd=1)},
    ]
    return content


def parts(breakdown: dict, title: str) -> dict[str, tuple[int, int, float]]:
    return {
        part.name: (part.num_videos, part.num_tracks, round(part.metrics["AP"], 6))
        for part in breakdown[title]
    }


def test_parts_of_a_data_set(truth: dict):
    # Perfect but for the missing second dog.
    entries = [entry for entry in perfect(truth) if entry["segmentations"][0] != columns(15, 20)]
    for video, scenario in zip(truth["videos"], ("animal", "music", None), strict=True):
        video["scenario"] = scenario
    breakdown = break_down(analysis_of(truth, entries))
    half = round(100 * 51 / 101, 6)
    assert list(breakdown) == ["category", "scenario", "sources", "length"]
    # two of the three dogs are found: 67 of 101 recalls
    assert parts(breakdown, "category") == {"dog": (2, 3, round(100 * 67 / 101, 6)), "cat": (1, 1, 100)}
    assert parts(breakdown, "scenario") == {
        "animal": (1, 2, half), "music": (1, 2, 100), "not given": (1, 0, -1),
    }  # fmt: skip
    assert parts(breakdown, "sources") == {
        "0": (1, 0, -1),
        "1": (1, 2, 100),
        "2": (1, 2, half),
    }
    assert parts(breakdown, "length") == {
        "short (up to 15)": (2, 2, half), "medium (16 to 60)": (1, 2, 100),
    }  # fmt: skip


def test_a_part_scores_as_its_videos_alone(truth: dict):
    entries = [*perfect(truth), prediction(columns(2, 12), 0.9), prediction([columns(0, 12)] * 20, 0.8, 2)]
    (part,) = [part for part in break_down(analysis_of(truth, entries))["length"] if "medium" in part.name]
    alone = {
        **truth,
        "videos": truth["videos"][1:2],
        "annotations": [track for track in truth["annotations"] if track["video_id"] == 2],
    }
    expected = evaluate_predictions(alone, [entry for entry in entries if entry["video_id"] == 2])
    assert part.metrics == {name: pytest.approx(expected[name]) for name in METRICS}


def test_without_scenarios_there_is_no_such_part(truth: dict):
    assert list(break_down(analysis_of(truth, []))) == ["category", "sources", "length"]


def test_a_scenario_that_is_no_text_is_refused(truth: dict):
    truth["videos"][2]["scenario"] = 7
    analysis = analysis_of(truth, [])
    with pytest.raises(ValueError, match="ground truth: video 3: scenario is 7, not a text"):
        break_down(analysis)


def test_metrics_of_the_analysis_are_those_of_the_evaluation(truth: dict):
    entries = [*perfect(truth), prediction(columns(2, 12), 0.9)]
    expected = evaluate_predictions(truth, entries, score_threshold=0.5)
    assert analysis_of(truth, entries).evaluation.metrics() == expected


def test_confusion_of_classes(truth: dict):
    entries = [
        prediction(columns(0, 10), 0.9, category_id=5),  # dog taken for a cat
        prediction(columns(0, 10), 0.8),  # right, but taken already: a false dog
        prediction(columns(15, 20), 0.4),  # below the threshold: the second dog is missed
        prediction([columns(0, 10) if t < 8 else None for t in range(20)], 0.9, 2),  # right
        prediction(columns(0, 30), 0.9, 3),  # a crowd: does not count
    ]
    # rows: dog, cat, false positive; columns: dog, cat, missed
    assert analysis_of(truth, entries).confusion.tolist() == [[1, 1, 1], [0, 0, 1], [1, 0, 0]]


def test_quality_and_pairs_of_a_video(truth: dict):
    entries = [
        prediction(columns(0, 8), 0.9),  # IoU 0.8
        prediction(columns(25, 30), 0.8),  # wrong; the second dog is missing
        prediction(columns(15, 20), 0.2),  # below the threshold
    ]
    findings = analysis_of(truth, entries).findings
    assert findings[1].quality == pytest.approx(0.8 / (1 + 1 / 2 + 1 / 2))
    assert findings[1].found == {0: 0}
    assert findings[2].quality == 0
    assert np.isnan(findings[3].quality)
    assert [found.num_sources for found in findings.values()] == [2, 1, 0]


def test_a_perfect_video_has_quality_1(truth: dict):
    findings = analysis_of(truth, perfect(truth, score=0.9)).findings
    assert [findings[1].quality, findings[2].quality] == [1, 1]


def test_tables_show_parts_and_mistakes(truth: dict):
    analysis = analysis_of(truth, [prediction(columns(0, 10), 0.9)])
    text = breakdown_tables(break_down(analysis), analysis.mistakes)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line]
    assert ["category", "videos", "tracks", *METRICS] in rows
    assert ["0", "1", "0", "–", "–", "–", "–", "–"] in rows
    gain = analysis.mistakes[Mistake.MISSED].gain
    assert ["missed", "3", f"{gain:+.2f}", "100.0 %"] in rows
    assert rows[-1][0] == "false positive"


def test_empty_data_set_has_no_numbers():
    analysis = analysis_of(ground_truth(), [])
    text = breakdown_tables(break_down(analysis), analysis.mistakes)
    assert "nan" not in text
    assert analysis.confusion.sum() == 0

"""AVTrack's metrics: the numbers of TrackEval, as AVTrack's release runs it, and how the tools show them."""

import csv
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from avis.evaluation import evaluate_predictions
from avis.evaluation.api import evaluate_detailed
from avis.evaluation.protocols.avtrack import FIELDS, AVTrackEvaluation, paint
from avis.formats.ground_truth import load_ground_truth
from avis.formats.results import load_predictions
from tests.avtrack_folder import recorded, results, video_id, write_avtrack
from tests.evaluation.builders import annotation, columns, ground_truth, prediction, rle

ROOT = Path(__file__).parents[2]
# In percent: both sides are means of some dozen numbers in double precision.
TOLERANCE = 1e-9
NAMES = [video["name"] for video in recorded()["videos"]]


@pytest.fixture(scope="module")
def meta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_avtrack(tmp_path_factory.mktemp("avtrack"))


@pytest.fixture(scope="module")
def evaluation(meta: Path) -> AVTrackEvaluation:
    truth = load_ground_truth(meta)
    return evaluate_detailed(truth, load_predictions(results(), truth), ["avtrack"])["avtrack"]


def as_released(expected: dict[str, float]) -> dict[str, float]:
    """The release has no number of a video below 0."""
    return {name: 100 * max(0.0, expected[name]) for name in FIELDS}


@pytest.mark.parametrize("index", range(len(NAMES)), ids=NAMES)
def test_every_video_has_the_numbers_of_trackeval(index: int, evaluation: AVTrackEvaluation):
    expected = as_released(recorded()["videos"][index]["expected"])
    assert evaluation.metrics([video_id(index)]) == pytest.approx(expected, abs=TOLERANCE)


def test_cases_tell_mistakes_apart():
    expected = [video["expected"] for video in recorded()["videos"]]
    assert sum(numbers["MOTA"] < 0 for numbers in expected) >= 3
    assert sum(numbers.get("IDSW", 0) > 0 for numbers in expected) >= 3


def test_numbers_are_means_over_videos(meta: Path):
    metrics = evaluate_predictions(meta, results())
    per_video = [as_released(video["expected"]) for video in recorded()["videos"]]
    expected = {name: np.mean([numbers[name] for numbers in per_video]) for name in FIELDS}
    assert metrics == pytest.approx(expected, abs=TOLERANCE)


def test_classes_do_not_matter(meta: Path):
    assert evaluate_predictions(meta, results(category_id=17)) == evaluate_predictions(meta, results())


def test_low_scores_do_not_count(meta: Path):
    masks = [track["segmentations"] for track in results()]
    later = [[*mask[-1:], *mask[:-1]] for mask in masks]
    weak = [
        track | {"score": 0.4, "segmentations": moved} for track, moved in zip(results(), later, strict=True)
    ]
    more = [*results(), *weak]
    assert evaluate_predictions(meta, more, score_threshold=0.5) == evaluate_predictions(meta, results())
    assert evaluate_predictions(meta, more) != evaluate_predictions(meta, results())


def test_videos_without_masks_are_left_out(tmp_path: Path):
    meta = write_avtrack(tmp_path)
    folder = tmp_path / "Instance_Masks_merged" / NAMES[0]
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    truth = load_ground_truth(meta)
    evaluation = evaluate_detailed(truth, load_predictions(results(), truth), ["avtrack"])["avtrack"]
    assert evaluation.counted_videos == [video_id(index) for index in range(1, len(NAMES))]
    per_video = [as_released(video["expected"]) for video in recorded()["videos"][1:]]
    expected = {name: np.mean([numbers[name] for numbers in per_video]) for name in FIELDS}
    assert evaluation.metrics() == pytest.approx(expected, abs=TOLERANCE)
    assert "1 videos are left out: they have no masks" in evaluation.remarks


def test_void_is_told(evaluation: AVTrackEvaluation):
    (remark,) = evaluation.remarks
    assert remark.startswith("2 videos have a track that is void (grey level 255, or a crowd)")
    assert repr(video_id(NAMES.index("one_void"))) in remark


def test_a_video_that_is_named_twice_counts_twice(evaluation: AVTrackEvaluation):
    one, other = (evaluation.metrics([video_id(index)]) for index in (0, 1))
    expected = {name: (2 * one[name] + other[name]) / 3 for name in FIELDS}
    chosen = [video_id(index) for index in (0, 1, 0)]
    assert evaluation.metrics(chosen) == pytest.approx(expected, abs=TOLERANCE)
    assert set(evaluation.metrics([]).values()) == {-1}


def test_other_data_sets_can_be_scored_so_too():
    truth = ground_truth(annotation(columns(0, 5)), annotation(columns(9, 12), category_id=5), num_videos=1)
    found = [prediction(columns(0, 5), 0.9, category_id=5), prediction(columns(9, 12), 0.8)]
    metrics = evaluate_predictions(truth, found, "avtrack")
    assert metrics == pytest.approx(dict.fromkeys(FIELDS, 100.0))
    assert evaluate_predictions(truth, found)["HOTA"] == 0


def test_the_best_scored_track_is_seen():
    truth = ground_truth(annotation(columns(0, 10)), num_videos=1)

    def idf1(*tracks: dict) -> float:
        return evaluate_predictions(truth, list(tracks), "avtrack")["IDF1"]

    right, wrong = columns(0, 10), columns(0, 20)
    # what is left of the wrong one, beside the right one, is found nowhere: 2 · 3 / (3 + 6)
    assert idf1(prediction(right, 0.9), prediction(wrong, 0.6)) == pytest.approx(100 * 2 / 3)
    # the wrong one alone is seen: half of it is right, which is enough
    assert idf1(prediction(right, 0.6), prediction(wrong, 0.9)) == pytest.approx(100)
    # of equal scores the later one
    assert idf1(prediction(wrong), prediction(right)) == pytest.approx(100 * 2 / 3)


def test_one_visible_pixel_is_a_detection():
    mask = np.zeros((20, 30), np.uint8)
    mask[7, 11] = 1
    truth = ground_truth(annotation(rle(mask)), num_videos=1)
    found = evaluate_predictions(truth, [prediction(rle(mask))], "avtrack")
    assert found == pytest.approx(dict.fromkeys(FIELDS, 100.0))


INTERVALS = st.lists(st.tuples(st.integers(0, 25), st.integers(0, 12)), min_size=3, max_size=3)


@settings(max_examples=50, deadline=None)
@given(st.lists(INTERVALS, min_size=1, max_size=4))
def test_painting_hides_what_comes_before(tracks: list[list[tuple[int, int]]]):
    masks = [[columns(a, a + w) if w else None for a, w in track] for track in tracks]
    truth = load_ground_truth(ground_truth(*map(annotation, masks), num_videos=1))
    painted = paint(truth.videos[1], truth.tracks[1])
    for frame in range(3):
        canvas = np.zeros((20, 30), int)
        for number, track in enumerate(tracks, start=1):
            first, width = track[frame]
            canvas[:, first : first + width] = number
        for number, track in enumerate(painted, start=1):
            mask = track.masks[frame]
            visible = np.zeros((20, 30), int) if mask is None else coco_mask.decode(mask)
            assert (visible == (canvas == number)).all()
            assert track.areas[frame] == visible.sum()
            assert track.stored[frame] == visible.any() == (mask is not None)


def run_tool(tool: str, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", [tool, *map(str, arguments)])
    runpy.run_path(str(ROOT / "tools" / tool), run_name="__main__")


def table_of(printed: str) -> dict[str, list[str]]:
    """The rows of all tables by their first cell."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines() if "|" in line
    ]
    return {row[0]: row[1:] for row in rows}


@pytest.fixture
def predictions_file(tmp_path: Path) -> Path:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results()))
    return path


def mean_of(name: str, indices: list[int]) -> str:
    return f"{np.mean([as_released(recorded()['videos'][index]['expected'])[name] for index in indices]):.2f}"


def test_evaluate_knows_the_data_set_by_its_file(
    meta: Path, predictions_file: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture,
):  # fmt: skip
    output = tmp_path / "metrics.json"
    options = ("--gt", meta, "--predictions", predictions_file, "--breakdown", "--output", output)
    run_tool("evaluate.py", monkeypatch, *options)
    printed = capsys.readouterr()
    assert printed.err.startswith("warning: protocol avtrack: 2 videos have a track that is void")
    metrics = json.loads(output.read_text())
    thresholds = {f"{name}_score_threshold": 0.5 for name in ("HOTA", "IDF1", "MOTA")}
    assert metrics == evaluate_predictions(meta, results(), score_threshold=0.5) | thresholds
    rows, everything = table_of(printed.out), list(range(len(NAMES)))
    assert next(iter(rows)) == "HOTA"
    assert rows["HOTA"] == ["DetA", "AssA", "IDF1", "MOTA"]
    assert rows[mean_of("HOTA", everything)] == [mean_of(name, everything) for name in FIELDS[1:]]
    # of three attributes, one has two videos of which one is the other's, too
    moving = [NAMES.index("two_good"), NAMES.index("five_switch")]
    assert rows["camera motion"] == ["2", "7", *(mean_of(name, moving) for name in FIELDS)]
    assert rows["overlapping speech"][:2] == ["1", "2"]  # the third track is void
    assert rows["none"][0] == str(len(NAMES) - 4)


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_attributes_from_a_file(
    kind: str, predictions_file: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture,
):  # fmt: skip
    (tmp_path / "data").mkdir()
    meta, path = write_avtrack(tmp_path / "data", attributes=False), tmp_path / f"attributes.{kind}"
    pairs = [(NAMES[0], "dark"), (video_id(1), "dark"), (NAMES[0], "loud")]
    if kind == "csv":
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([("video", "attribute"), *pairs])
    else:
        path.write_text(json.dumps({NAMES[0]: ["dark", "loud"], video_id(1): {"dark": True, "loud": 0}}))
    options = ("--gt", meta, "--predictions", predictions_file, "--breakdown")
    run_tool("evaluate.py", monkeypatch, *options, "--attributes", path)
    rows = table_of(capsys.readouterr().out)
    assert rows["dark"] == ["2", "7", *(mean_of(name, [0, 1]) for name in FIELDS)]
    assert rows["loud"] == ["1", "2", *(mean_of(name, [0]) for name in FIELDS)]
    with pytest.raises(SystemExit):
        run_tool("evaluate.py", monkeypatch, *options)
    assert 'no video has "attributes"; give them with --attributes' in capsys.readouterr().err


def test_report_is_refused(
    meta: Path, predictions_file: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture,
):  # fmt: skip
    options = ("--gt", meta, "--predictions", predictions_file, "--report", tmp_path / "report")
    with pytest.raises(SystemExit):
        run_tool("evaluate.py", monkeypatch, *options)
    assert capsys.readouterr().err.startswith("error: --report is of data sets in the AVISeg format")


def test_standard_metrics_of_avtrack(meta: Path, predictions_file: Path):
    metrics = evaluate_predictions(meta, predictions_file, "standard")
    assert metrics["AP/speaker"] == metrics["AP"] > 0
    assert metrics["FSLA"] > 0


def test_models_are_compared_by_the_data_set_s_metrics(
    meta: Path, predictions_file: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture,
):  # fmt: skip
    fewer = tmp_path / "fewer.json"
    fewer.write_text(json.dumps([track for track in results(3) if track["score"] > 0.6]))
    models = (f"all={predictions_file}", f"fewer={fewer}")
    run_tool(
        "compare_models.py", monkeypatch, "--gt", meta, "--allow-missing", "--resamples", 50,
        "--results", *models, "--output", tmp_path / "out",
    )  # fmt: skip
    content = json.loads((tmp_path / "out/comparison.json").read_text())
    assert content["protocol"] == "avtrack"
    assert list(content["metrics"]["all"]) == list(FIELDS)
    first, second = (
        evaluate_predictions(meta, path, score_threshold=0.5)["IDF1"] for path in (predictions_file, fewer)
    )
    assert content["differences"]["fewer"]["IDF1"]["value"] == pytest.approx(second - first)
    assert content["num_videos"] == len(NAMES)
    assert "| fewer" in capsys.readouterr().out

"""Models compared on the same videos: resamples are exact, and the tool says what they do not show."""

import csv
import json
import runpy
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from avis.evaluation import evaluate_predictions
from avis.evaluation.api import evaluate_detailed
from avis.evaluation.comparison.bootstrap import Comparison, Estimate, Resampling, compare
from avis.evaluation.counts import Evaluation
from avis.formats.ground_truth import load_ground_truth
from avis.formats.results import load_predictions
from tests.evaluation.builders import annotation, columns, ground_truth, prediction
from tests.evaluation.recorded import CASES, case_name, read_case

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools/compare_models.py"
THRESHOLD = 0.4


def evaluation_of(truth: dict, entries: list[dict]) -> Evaluation:
    loaded = load_ground_truth(truth)
    return evaluate_detailed(loaded, load_predictions(entries, loaded), score_threshold=THRESHOLD)["standard"]


def with_copies(truth: dict, entries: list[dict], times: list[int]) -> tuple[dict, list[dict]]:
    """A data set in which each video is there so many times, one copy after the other."""
    ids = {video["id"]: [100 * video["id"] + copy for copy in range(number)]
           for video, number in zip(truth["videos"], times, strict=True)}  # fmt: skip
    videos = [video | {"id": new} for video in truth["videos"] for new in ids[video["id"]]]
    tracks = [track | {"video_id": new} for track in truth["annotations"] for new in ids[track["video_id"]]]
    numbered = [track | {"id": number} for number, track in enumerate(tracks, start=1)]
    found = [entry | {"video_id": new} for entry in entries for new in ids[entry["video_id"]]]
    return {**truth, "videos": videos, "annotations": numbered}, found


PLACES = {"video_id": st.integers(1, 3), "category_id": st.sampled_from((2, 5))}
MASKS = st.lists(
    st.builds(lambda first, width: columns(first, first + width) if width else None,
              st.integers(0, 20), st.integers(0, 8)),
    min_size=3, max_size=3,
)  # fmt: skip
ANNOTATIONS = st.lists(st.builds(annotation, MASKS, **PLACES, iscrowd=st.integers(0, 1)), max_size=6)
# few values, so that scores are often equal
PREDICTIONS = st.lists(st.builds(prediction, MASKS, st.sampled_from((0.3, 0.5, 0.7)), **PLACES), max_size=8)
TIED = [  # of one video, a right and a wrong one, so that the order of the copies matters
    prediction(columns(0, 5), 0.7),
    prediction(columns(20, 25), 0.7),
    prediction(columns(0, 5), 0.7, video_id=2),
]


@settings(max_examples=60, deadline=None)
@example([annotation(columns(0, 5)), annotation(columns(0, 5), video_id=2)], TIED, [3, 2, 0])
@given(ANNOTATIONS, PREDICTIONS, st.lists(st.integers(0, 3), min_size=3, max_size=3).filter(any))
def test_a_resample_is_a_data_set_with_real_copies(
    annotations: list[dict], entries: list[dict], times: list[int]
):
    truth = ground_truth(*annotations, num_videos=3)
    chosen = [video for video, number in zip((1, 2, 3), times, strict=True) for _ in range(number)]
    copied, found = with_copies(truth, entries, times)
    expected = evaluate_predictions(copied, found, score_threshold=THRESHOLD)
    evaluation = evaluation_of(truth, entries)
    assert evaluation.metrics(chosen) == evaluation.metrics(chosen[::-1]) == expected


@pytest.mark.parametrize("path", CASES, ids=case_name)
def test_every_video_once_gives_the_numbers_of_the_evaluation(path: Path):
    truth, entries, _ = read_case(path)
    evaluation = evaluation_of(truth, entries)
    expected = evaluate_predictions(truth, entries, score_threshold=THRESHOLD)
    assert evaluation.metrics(evaluation.counted_videos) == expected


@pytest.mark.parametrize("path", CASES, ids=case_name)
def test_resamples_of_recorded_cases_are_exact(path: Path):
    truth, entries, _ = read_case(path)
    truth = {**truth, "annotations": truth["annotations"] or []}
    order = sorted(range(len(truth["videos"])), key=lambda index: truth["videos"][index]["id"])
    truth["videos"] = [truth["videos"][index] for index in order]
    times = np.random.default_rng(3).integers(0, 3, len(order)).tolist()
    ids = [video["id"] for video in truth["videos"]]
    chosen = [id for id, number in zip(ids, times, strict=True) for _ in range(number)]
    copied, found = with_copies(truth, entries, times)
    expected = evaluate_predictions(copied, found, score_threshold=THRESHOLD)
    assert evaluation_of(truth, entries).metrics(chosen) == expected


def two_models(num_videos: int = 8) -> tuple[dict, list[dict], list[dict]]:
    """Two objects a video, in every third one three.

    The better model finds the first two, the other one in even videos the first one alone.
    """
    videos = range(1, num_videos + 1)
    objects = [(video, a) for video, a in product(videos, (0, 10, 20)) if a < 20 or video % 3 == 0]
    truth = ground_truth(
        *(annotation(columns(a, a + 5), video) for video, a in objects), num_videos=num_videos
    )
    better = [prediction(columns(a, a + 5), 0.9 - a / 100, video) for video, a in objects if a < 20]
    worse = [entry for entry in better if entry["video_id"] % 2 or entry["score"] > 0.85]
    return truth, worse, better


def compared(num_videos: int = 8, **options: float) -> Comparison:
    truth, worse, better = two_models(num_videos)
    evaluations = {name: evaluation_of(truth, entries) for name, entries in (("a", worse), ("b", better))}
    return compare(evaluations, "a", Resampling(**{"number": 200, **options}))


def test_intervals_are_of_paired_differences():
    truth, worse, better = two_models()
    evaluations = [evaluation_of(truth, entries) for entries in (worse, better)]
    found = compared(number=60, confidence=80.0, seed=5).differences["b"]["HOTA"].estimate
    draws = np.random.default_rng(5).integers(8, size=(60, 8)) + 1
    first, second = ([e.metrics(draw.tolist())["HOTA"] for draw in draws] for e in evaluations)
    low, high = np.percentile(np.subtract(second, first), (10, 90))
    assert (found.low, found.high, found.num_defined) == (low, high, 60)
    assert found.value == evaluations[1].metrics()["HOTA"] - evaluations[0].metrics()["HOTA"]
    # unpaired intervals would be wider than the paired one by what the videos have in common
    assert 0 < found.low < found.value < found.high
    assert not found.contains_zero


def test_videos_are_counted_as_better_equal_and_worse():
    found = compared().differences["b"]
    counts = {
        name: (found[name].better, found[name].equal, found[name].worse) for name in ("AP", "HOTA", "FSLA")
    }
    # in video 6 either misses an object, so that no frame is right
    assert counts == {"AP": (4, 4, 0), "HOTA": (4, 4, 0), "FSLA": (3, 5, 0)}


def test_undefined_metrics_have_no_interval():
    found = compared()
    assert np.isnan([found.estimates["a"]["FSLAn"].value, found.differences["b"]["FSLAn"].estimate.low]).all()
    assert found.differences["b"]["FSLAn"].estimate.num_defined == 0
    assert not found.differences["b"]["FSLAn"].estimate.contains_zero


@pytest.mark.parametrize(
    ("ends", "contains"), [((-1, 1), True), ((0, 2), True), ((1, 2), False), ((-2, -1), False)]
)
def test_zero_in_the_interval(ends: tuple[float, float], contains: bool):
    assert Estimate(0.0, *ends, 9).contains_zero == contains


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"number": 39}, "an interval of 95 % needs 40 resamples or more, not 39"),
        ({"confidence": 100.0}, "the confidence is between 0 and 100 %, not 100"),
        ({"seed": -1}, "the seed is 0 or more, not -1"),
        ({"num_videos": 1}, "intervals need two videos or more"),
    ],
)
def test_intervals_that_cannot_be_are_refused(options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        compared(**options)


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    """The annotations, and what two models predict, one of them as an evaluation leaves it."""
    truth, worse, better = two_models()
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    (tmp_path / "worse.json").write_text(json.dumps(worse))
    folder = tmp_path / "inference/test"
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(better))
    (folder / "metrics.json").write_text(json.dumps({"AP": 1.0}))
    return {"gt": tmp_path / "gt.json", "worse": tmp_path / "worse.json", "better": folder}


def run_tool(monkeypatch: pytest.MonkeyPatch, gt: Path, *arguments: object) -> None:
    words = ["compare_models.py", "--gt", gt, "--resamples", 60, *arguments]
    monkeypatch.setattr(sys, "argv", [str(word) for word in words])
    runpy.run_path(str(TOOL), run_name="__main__")


def test_tool_writes_what_evaluation_says(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    models = (f"worse={inputs['worse']}", f"same={inputs['worse']}", f"better={inputs['better']}")
    run_tool(monkeypatch, inputs["gt"], "--results", *models, "--output", tmp_path / "out")
    printed = capsys.readouterr()
    assert printed.err == ""
    expected = {
        name: evaluate_predictions(inputs["gt"], path, score_threshold=0.5)
        for name, path in (("worse", inputs["worse"]), ("better", inputs["better"]))
    }
    content = json.loads((tmp_path / "out/comparison.json").read_text())
    for name, metrics in expected.items():
        shown = content["metrics"][name]
        assert {key: shown[key]["value"] for key in ("AP", "HOTA", "FSLA", "AR10")} == {
            key: metrics[key] for key in ("AP", "HOTA", "FSLA", "AR10")
        }
        assert shown["FSLAn"]["value"] is None
    difference = content["differences"]["better"]["HOTA"]
    assert difference["value"] == expected["better"]["HOTA"] - expected["worse"]["HOTA"]
    assert not difference["contains_zero"]
    assert content["differences"]["same"]["HOTA"]["contains_zero"]
    assert content["num_videos"] == 8 and content["results"]["better"] == str(inputs["better"])
    text = (tmp_path / "out/comparison.md").read_text()
    assert text.strip() in printed.out
    assert "same − worse: the interval contains 0 for all of them." in text
    assert "better − worse: the interval contains 0" not in text


def test_tool_writes_tables_of_videos_and_a_figure(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    models = (f"worse={inputs['worse']}", f"better={inputs['better']}")
    run_tool(monkeypatch, inputs["gt"], "--results", *models, "--reference", "better", "--output", tmp_path)
    with (tmp_path / "comparison_videos.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "HOTA"]
    assert [(row["video_id"], row["video"], row["model"]) for row in rows] == [
        (str(video), str(video), "worse") for video in range(1, 9)
    ]
    truth, worse, _ = two_models()
    of_second = {
        "videos": truth["videos"][1:2],
        "annotations": [track for track in truth["annotations"] if track["video_id"] == 2],
    }
    alone = evaluate_predictions(truth | of_second, [entry for entry in worse if entry["video_id"] == 2])
    assert float(rows[1]["value"]) == alone["HOTA"] < float(rows[1]["reference"]) == pytest.approx(100)
    assert float(rows[1]["difference"]) == float(rows[1]["value"]) - float(rows[1]["reference"])
    with (tmp_path / "comparison.csv").open() as file:
        metrics = {(row["model"], row["metric"]): row for row in csv.DictReader(file)}
    assert float(metrics["worse", "HOTA"]["difference_high"]) < 0
    assert metrics["better", "HOTA"]["difference"] == metrics["better", "FSLAn"]["value"] == ""
    assert np.asarray(Image.open(tmp_path / "comparison.png").convert("RGB")).std() > 0


def test_the_seed_decides_the_numbers(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    models = (f"worse={inputs['worse']}", f"better={inputs['better']}")
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run_tool(
            monkeypatch, inputs["gt"], "--results", *models, "--seed", seed, "--output", tmp_path / name
        )  # fmt: skip
    files = ("comparison.md", "comparison.csv", "comparison.json", "comparison_videos.csv", "comparison.png")
    first, second, other = (
        [(tmp_path / name / file).read_bytes() for file in files] for name in ("a", "b", "c")
    )
    assert first == second
    assert first[1] != other[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a={worse}", "a={better}"], "--results: two models are called 'a': {worse} and {better}"),
        (["a={worse}"], "--results: give two models or more"),
        (["{worse}", "b={better}"], "--results {worse}: give each model a name"),
        (["a={worse}", "b={better}", "--reference", "c"], "--reference c: the models are a, b"),
        (["a={worse}", "b={empty}"], "{empty}: 'b' has no track for 8 of the 8 videos of {gt}, one is 1"),
        (["a={worse}", "b={foreign}"], "{foreign}: entry 0: video 77 is not in the ground truth"),
        (["a={worse}", "b={gone}"], "file not found: {gone}"),
        (["a={worse}", "b={better}", "--resamples", "5"], "an interval of 95 % needs 40 resamples"),
    ],
)
def test_tool_refuses_what_cannot_be_compared(
    arguments: list[str], message: str, inputs: dict[str, Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture,
):  # fmt: skip
    paths = {**inputs, **{name: tmp_path / f"{name}.json" for name in ("empty", "foreign", "gone")}}
    paths["empty"].write_text("[]")
    paths["foreign"].write_text(json.dumps([prediction(columns(0, 5), video_id=77)]))
    with pytest.raises(SystemExit) as exit_info:
        run_tool(monkeypatch, inputs["gt"], "--results", *(text.format(**paths) for text in arguments))
    printed = capsys.readouterr()
    assert (exit_info.value.code, printed.out) == (2, "")
    assert printed.err.startswith(f"error: {message.format(**paths)}")


def test_missing_videos_may_be_allowed(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    (tmp_path / "empty.json").write_text("[]")
    models = (f"a={inputs['worse']}", f"b={tmp_path / 'empty.json'}")
    run_tool(monkeypatch, inputs["gt"], "--allow-missing", "--results", *models)
    assert "| b       |  0.00 |" in capsys.readouterr().out


def test_the_folder_of_an_evaluation_is_of_all_videos(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    folder = tmp_path / "evaluated"
    folder.mkdir()
    (folder / "results.json").write_text("[]")
    models = (f"a={inputs['worse']}", f"b={folder}")
    with pytest.raises(SystemExit):
        run_tool(monkeypatch, inputs["gt"], "--results", *models)
    assert "has no track for" in capsys.readouterr().err
    (folder / "metrics.json").write_text("{}")
    run_tool(monkeypatch, inputs["gt"], "--results", *models)
    assert "| b       |  0.00 |" in capsys.readouterr().out


def test_a_track_that_is_left_out_is_not_missing(inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch):
    models = (f"a={inputs['worse']}", f"b={inputs['better']}")
    run_tool(monkeypatch, inputs["gt"], "--min-score", "0.95", "--results", *models)


def test_evaluation_reads_the_folder_that_it_has_written(inputs: dict[str, Path]):
    file = inputs["better"] / "results.json"
    assert evaluate_predictions(inputs["gt"], inputs["better"]) == evaluate_predictions(inputs["gt"], file)


def test_help_and_tables_need_neither_torch_nor_matplotlib():
    code = (
        f"import runpy, sys; runpy.run_path({str(TOOL)!r}); "
        "print(*[name for name in ('torch', 'detectron2', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avis.formats.run_curves import Curve, matching, read_curves
from avis.formats.run_metrics import loss_sums


def write(folder: Path, *lines: dict | str, name: str = "training_metrics.json") -> Path:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (folder / name).write_text("\n".join(texts))
    return folder


def points(curve: Curve) -> list[tuple]:
    return list(zip(curve.iterations, curve.values, strict=True))


def test_of_iterations_done_twice_the_later_ones_count(tmp_path: Path):
    """Also those that the first attempt alone has reached are gone."""
    first = [{"iteration": i, "lr": 1.0} for i in (19, 39, 47, 59, 79, 99)]
    again = [{"iteration": i, "lr": 2.0} for i in (49, 59)]
    curves = read_curves(write(tmp_path, *first, *again))
    assert points(curves["lr"]) == [(19, 1), (39, 1), (47, 1), (49, 2), (59, 2)]


@given(st.lists(st.integers(0, 9)))
def test_iterations_ascend_and_the_last_point_is_kept(iterations: list[int]):
    curve = Curve()
    for place, iteration in enumerate(iterations):
        curve.add(iteration, place)
        assert points(curve)[-1] == (iteration, place)
    assert curve.iterations == sorted(set(curve.iterations))


def test_lines_may_be_written_in_any_order_within_an_iteration(tmp_path: Path):
    """An evaluation of before is written after the iteration's losses."""
    curves = read_curves(
        write(
            tmp_path, {"iteration": 19, "lr": 1.0}, {"iteration": 9, "avis/AP": 5}, {"iteration": 39, "lr": 3}
        )
    )
    assert points(curves["lr"]) == [(19, 1), (39, 3)] and points(curves["avis/AP"]) == [(9, 5)]


def test_what_is_no_number_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    line = (
        '{"iteration": 1, "lr": NaN, "a": "x", "b": null, "c": Infinity, "d": [1], "avis/APs": -1, "e": -1}'
    )
    curves = read_curves(write(tmp_path, line, "{broken", "", "[1]", {"iteration": "7", "lr": 1}, '{"iterat'))
    assert sorted(curves) == ["avis/APs", "c", "e", "lr"]
    assert points(curves["e"]) == [(1, -1)]
    assert all(math.isnan(curves[name].values[0]) for name in ("lr", "c", "avis/APs"))
    assert "3 lines are no JSON objects, the first is line 2" in caplog.text


def evaluation(iteration: int | None, ap: float, data_set: str = "val") -> dict:
    return {"iteration": iteration, "data_set": data_set, "metrics": {"avis/AP": ap, "x_score_threshold": 1}}


def test_the_history_has_the_evaluations(tmp_path: Path):
    write(tmp_path, {"iteration": 1, "avis/AP": 7, "lr": 1})
    lines = [evaluation(5, 2), evaluation(1, 1), evaluation(5, 3), evaluation(None, 9)]
    curves = read_curves(write(tmp_path, *lines, name="evaluations.jsonl"))
    assert {name: points(curve) for name, curve in curves.items()} == {
        "lr": [(1, 1)], "avis/AP": [(1, 1), (5, 3)]
    }  # fmt: skip
    curves = read_curves(write(tmp_path, *lines, evaluation(1, 4, "test"), name="evaluations.jsonl"))
    assert points(curves["test/avis/AP"]) == [(1, 4)] and "val/avis/AP" in curves
    assert read_curves(tmp_path / "evaluations.jsonl").keys() == {"val/avis/AP", "test/avis/AP"}


def test_sums_are_of_kinds(tmp_path: Path):
    losses = {"loss_ce": 1, "loss_ce_12": 2, "loss_clip_mask": 4, "loss_frame_mask_0": 8, "loss_count": 16}
    assert loss_sums({**losses, "total_loss": 31, "val_loss/loss_ce": 5, "lr": 1}) == {
        "class": 3, "mask": 12, "count": 16
    }  # fmt: skip
    assert points(read_curves(write(tmp_path, {"iteration": 0, **losses}))["sum/mask"]) == [(0, 12)]


@pytest.mark.parametrize("content", ["", "\n", "{}", '{"iteration": 3}', "\0\0"])
def test_files_without_metrics_are_said_to_be_so(tmp_path: Path, content: str):
    with pytest.raises(ValueError, match=rf"{tmp_path}.* has no metrics"):
        read_curves(write(tmp_path, content))


def test_runs_that_are_not_there_are_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"is no run: it has neither training_metrics\.json nor eval"):
        read_curves(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"there is no run .*absent"):
        read_curves(tmp_path / "absent")


def test_smoothing_is_a_mean_that_starts_at_the_first_point():
    curve = Curve([0, 1, 2, 3], [4.0, 0.0, math.nan, 2.0])
    assert points(curve.smoothed(0.0)) == [(0, 4), (1, 0), (3, 2)]
    smoothed = curve.smoothed(0.5)
    assert smoothed.values == pytest.approx([4, (1 + 0) / 0.75, (0.5 + 0 + 1) / 0.875])


def test_patterns_match_in_their_order():
    assert matching({"b", "a", "ab"}, ["b", "a*", "*b"]) == ["b", "a", "ab"]

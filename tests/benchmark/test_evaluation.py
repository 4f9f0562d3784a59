"""The measurement of evaluation, with real processes."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from avis.benchmark.evaluation import compare_evaluation
from avis.benchmark.random_tracks import Scale
from tests.benchmark.command import benchmark

ROOT = Path(__file__).parents[2]
SCALE = Scale(videos=4, length=5, size=(90, 160), objects=2)


def test_cost_of_a_run(tmp_path: Path):
    ours, *_ = compare_evaluation(tmp_path, 2, SCALE, seed=0, repeats=2)
    seconds = ours["cpu_seconds"]
    assert 0 < seconds["lowest"] <= seconds["median"] <= seconds["highest"] < 60
    assert 20 < ours["peak_mib"] < 200  # without torch: that alone takes more
    assert ours["megabytes"] == (tmp_path / "predictions.json").stat().st_size / 1e6
    assert ours["fsla"] > 0


def test_memory_measured_is_that_of_the_program_not_of_who_starts_it(tmp_path: Path):
    ballast = bytearray(300_000_000)
    ballast[::4096] = b"x" * len(ballast[::4096])
    script = ROOT / "avis/benchmark/measure_process.py"
    done = subprocess.run(
        [sys.executable, script, tmp_path / "out.txt", sys.executable, "-c", "print('hello')"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert '"exit_code": 0' in done.stdout
    assert float(done.stdout.split('"peak_mib": ')[1].rstrip("}\n")) < 100
    assert (tmp_path / "out.txt").read_text() == "hello\n"


@pytest.mark.skipif(find_spec("trackeval") is None, reason="needs TrackEval: pip install --no-deps trackeval")
def test_same_numbers_as_trackeval(tmp_path: Path):
    _, trackeval = compare_evaluation(tmp_path, 4, SCALE, seed=0, repeats=1)
    assert trackeval["difference"] < 1e-9


def test_table_and_numbers(tmp_path: Path):
    scale = ["--videos", "2", "--frames", "3", "--size", "60", "80", "--predictions", "2", "3"]
    run = benchmark(tmp_path, "evaluation", *scale, "--jobs", "1", "2", "--repeats", "1")
    ours = [row for row in run.rows["evaluation"] if row["program"] != "TrackEval"]
    cases = [(row["num_predictions"], row["program"]) for row in ours]
    assert cases == [(n, program) for n in (2, 3) for program in ("AVIS, 1 job", "AVIS, 2 jobs")]
    assert len(run.cells) == len(run.rows["evaluation"])
    assert ("pip install --no-deps trackeval" in run.printed) == (find_spec("trackeval") is None)


def test_scale_of_nothing_is_refused(tmp_path: Path):
    run = benchmark(tmp_path, "evaluation", "--videos", "0", code=2)
    assert "'0' must be a whole number of 1 or more" in run.errors

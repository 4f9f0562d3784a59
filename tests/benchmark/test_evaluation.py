"""The measurement of evaluation, with real processes."""

import json
import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from avis.benchmark.evaluation import compare_evaluation
from avis.benchmark.random_tracks import Scale

ROOT = Path(__file__).parents[2]
SCALE = Scale(videos=3, length=4, size=(60, 80), objects=2)


def run_benchmark(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, *arguments: str
) -> tuple[str, str, int | None]:
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "evaluation", *arguments])
    code = None
    try:
        runpy.run_path(str(ROOT / "tools/benchmark.py"), run_name="__main__")
    except SystemExit as ended:
        code = ended.code
    return *capsys.readouterr(), code


def test_cost_of_a_run(tmp_path: Path):
    comparison = compare_evaluation(tmp_path, 2, SCALE, seed=0, repeats=1)
    assert 0 < comparison.ours[1].cpu_seconds < 60
    assert 20 < comparison.ours[1].peak_mib < 200  # without torch: that alone takes more
    assert comparison.megabytes == (tmp_path / "predictions.json").stat().st_size / 1e6


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
    comparison = compare_evaluation(tmp_path, 4, SCALE, seed=0, repeats=1)
    assert comparison.trackeval is not None
    assert comparison.difference < 1e-9


def test_table_and_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    scale = ["--videos", "2", "--frames", "3", "--size", "60", "80", "--predictions", "2", "3"]
    output = tmp_path / "costs.json"
    arguments = [*scale, "--jobs", "1", "2", "--output", str(output)]
    out, _, code = run_benchmark(monkeypatch, capsys, *arguments)
    assert code is None
    assert "2 predictions a video" in out and "3 predictions a video" in out
    assert out.count("AVIS, 1 jobs") == out.count("AVIS, 2 jobs") == 2
    assert ("pip install --no-deps trackeval" in out) == (find_spec("trackeval") is None)
    numbers = json.loads(output.read_text())
    assert [costs["num_predictions"] for costs in numbers] == [2, 3]
    assert all(costs["ours"].keys() == {"1", "2"} for costs in numbers)


def test_scale_of_nothing_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    _, err, code = run_benchmark(monkeypatch, capsys, "--videos", "0")
    assert code == 2
    assert err.startswith("error: numbers of videos")

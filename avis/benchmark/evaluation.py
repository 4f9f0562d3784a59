"""Time and memory of scoring a results file, against TrackEval where it is installed.

Every program runs in a process of its own, which starts, loads and scores, with one thread a process. Ours
may start others (--jobs). TrackEval computes HOTA and AP; ours FSLA and AR too.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

from avis.benchmark.random_tracks import Scale, write_random_tracks
from avis.benchmark.tables import Columns, number, spread
from avis.benchmark.times import Times
from avis.files import read_json

_SCRIPTS = Path(__file__).parent
_EVALUATE = ("-m", "avis", "evaluate")

COLUMNS: Columns = {
    "predictions a video": lambda row: f"{row['num_predictions']} ({row['megabytes']:.0f} MB)",
    "program": lambda row: row["program"],
    "s": lambda row: spread(row["seconds"]),
    "s of CPU": lambda row: spread(row["cpu_seconds"]),
    "ratio": lambda row: number(row["ratio"]),
    "MiB": lambda row: number(row["peak_mib"]),
    "FSLA": lambda row: number(row["fsla"]),
    "difference of AP and HOTA, %": lambda row: (
        "–" if row["difference"] is None else f"{row['difference']:.0e}"
    ),
}
NOTES = (
    "Seconds include the start of Python and loading. The ratio is of seconds of CPU, to those of the first "
    "program.",
)


def has_trackeval() -> bool:
    """Whether TrackEval can be compared with."""
    return find_spec("trackeval") is not None


def compare_evaluation(
    folder: Path, num_predictions: int, scale: Scale, seed: int, repeats: int, jobs: Sequence[int] = (1,)
) -> list[dict]:
    """Generate a data set and score it. All predictions count, as in TrackEval, whatever their score.

    Args:
        folder: gets the files.
        num_predictions: for each video.
        scale: of the data set.
        seed: of the data set.
        repeats: runs of each program.
        jobs: numbers of processes of ours, one after the other.

    Returns:
        A row for `COLUMNS` of each program: ours, then TrackEval where it is installed.

    Raises:
        RuntimeError: a program fails, or the numbers depend on the jobs.
    """
    truth, uncompressed, predictions = write_random_tracks(
        folder, num_predictions, scale, seed, progress=True
    )
    options = ["--gt", truth, "--predictions", predictions, "--score-threshold", "0", "--output"]
    outputs = [folder / f"metrics.{number}.json" for number in jobs]
    rows = [
        {
            "program": f"AVIS, {jobs_of_row} job{'s' * (jobs_of_row > 1)}",
            **_cost([*_EVALUATE, *options, output, "--jobs", str(jobs_of_row)], folder, repeats),
            "difference": None,
        }
        for jobs_of_row, output in zip(jobs, outputs, strict=True)
    ]
    if len({output.read_text() for output in outputs}) > 1:
        raise RuntimeError(f"the metrics in {folder} depend on the number of jobs, of {list(jobs)}")
    metrics = read_json(outputs[0])
    for row in rows:
        row["fsla"] = metrics["FSLA"]
    if has_trackeval():
        theirs = folder / "trackeval.json"
        script = [_SCRIPTS / "run_trackeval.py", uncompressed, predictions, theirs]
        cost = _cost(script, folder, repeats)
        difference = max(_differences(metrics, read_json(theirs)))
        rows.append({"program": "TrackEval", **cost, "difference": difference, "fsla": None})
    data = {"num_predictions": num_predictions, "megabytes": predictions.stat().st_size / 1e6}
    return [{**data, **row, "ratio": _median(row) / _median(rows[0])} for row in rows]


def _median(row: dict) -> float:
    return row["cpu_seconds"]["median"]


def _cost(command: list[str | Path], folder: Path, repeats: int) -> dict:
    """Times by the clock and of the processor, and MiB at the peak, of several runs."""
    runs = [_measure(command, folder / "output.txt") for _ in range(repeats)]
    times = {name: asdict(Times.of([run[name] for run in runs])) for name in ("seconds", "cpu_seconds")}
    return {**times, "peak_mib": max(run["peak_mib"] for run in runs)}


def _measure(command: list[str | Path], output: Path) -> dict:
    """The cost of a Python script with its arguments."""
    measured = subprocess.run(
        [sys.executable, _SCRIPTS / "measure_process.py", output, sys.executable, *command],
        stdout=subprocess.PIPE,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    cost = json.loads(measured.stdout)
    if cost.pop("exit_code"):
        raise RuntimeError(f"{command[0]} has failed:\n{output.read_text()}")
    return cost


def _differences(ours: Mapping[str, float], theirs: Mapping[str, Mapping[str, float]]) -> Iterator[float]:
    """Of AP and HOTA of the categories that have ground truth."""
    for category, values in theirs.items():
        for name, field in (("AP", "AP_all"), ("HOTA", "HOTA")):
            if ours[f"{name}/{category}"] != -1:
                yield abs(ours[f"{name}/{category}"] - values[field])

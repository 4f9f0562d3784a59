"""Time and memory of scoring a results file, against TrackEval where it is installed.

Every program runs in a process of its own, which starts, loads and scores, with one thread a process. Ours
may start others (--jobs). TrackEval computes HOTA and AP; ours FSLA and AR too.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from avis.benchmark.random_tracks import Scale, write_random_tracks
from avis.files import read_json

_SCRIPTS = Path(__file__).parent
_EVALUATE = _SCRIPTS.parents[1] / "tools" / "evaluate.py"


@dataclass(frozen=True)
class Cost:
    """What a program has taken: seconds of the clock and of the processor, and MiB at the peak."""

    seconds: float
    cpu_seconds: float
    peak_mib: float


@dataclass(frozen=True)
class Comparison:
    """One data set scored by both.

    Attributes:
        num_predictions: for each video.
        megabytes: size of the results file.
        ours: the cost of tools/evaluate.py by its number of jobs.
        trackeval: the cost of TrackEval; None where it is not installed.
        difference: the largest between the two in AP or HOTA of any category, in percent; None likewise.
    """

    num_predictions: int
    megabytes: float
    ours: dict[int, Cost]
    trackeval: Cost | None = None
    difference: float | None = None


def has_trackeval() -> bool:
    """Whether TrackEval can be compared with."""
    return find_spec("trackeval") is not None


def compare_evaluation(
    folder: Path, num_predictions: int, scale: Scale, seed: int, repeats: int, jobs: Sequence[int] = (1,)
) -> Comparison:
    """Generate a data set and score it.

    Args:
        folder: gets the files.
        num_predictions: for each video.
        scale: of the data set.
        seed: of the data set.
        repeats: runs of each program, of which the medians count.
        jobs: numbers of processes of ours, one after the other.

    Raises:
        RuntimeError: a program fails, or the numbers depend on the jobs.
    """
    truth, uncompressed, predictions = write_random_tracks(
        folder, num_predictions, scale, seed, progress=True
    )
    megabytes = predictions.stat().st_size / 1e6
    evaluate = [_EVALUATE, "--gt", truth, "--predictions", predictions, "--output"]
    outputs = [folder / f"metrics.{number}.json" for number in jobs]
    ours = {
        number: _median_cost([*evaluate, output, "--jobs", str(number)], folder, repeats)
        for number, output in zip(jobs, outputs, strict=True)
    }
    if len({output.read_text() for output in outputs}) > 1:
        raise RuntimeError(f"the metrics in {folder} depend on the number of jobs, of {list(jobs)}")
    if not has_trackeval():
        return Comparison(num_predictions, megabytes, ours)
    theirs = folder / "trackeval.json"
    script = [_SCRIPTS / "run_trackeval.py", uncompressed, predictions, theirs]
    cost = _median_cost(script, folder, repeats)
    difference = max(_differences(read_json(outputs[0]), read_json(theirs)))
    return Comparison(num_predictions, megabytes, ours, cost, difference)


def _median_cost(command: list[str | Path], folder: Path, repeats: int) -> Cost:
    costs = [_measure(command, folder / "output.txt") for _ in range(repeats)]
    return Cost(*(statistics.median(vars(cost)[name] for cost in costs) for name in vars(costs[0])))


def _measure(command: list[str | Path], output: Path) -> Cost:
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
    return Cost(**cost)


def _differences(ours: Mapping[str, float], theirs: Mapping[str, Mapping[str, float]]) -> Iterator[float]:
    """Of AP and HOTA of the categories that have ground truth."""
    for category, values in theirs.items():
        for name, field in (("AP", "AP_all"), ("HOTA", "HOTA")):
            if ours[f"{name}/{category}"] != -1:
                yield abs(ours[f"{name}/{category}"] - values[field])

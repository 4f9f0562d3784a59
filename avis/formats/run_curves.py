"""The numbers of a run over its iterations, as training and evaluations have left them in its folder."""

import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from avis.formats.run_metrics import EVALUATIONS, TRAINING_METRICS, loss_sums, read_json_lines

logger = logging.getLogger(__name__)

# Before the sums of losses over decoder layers, which no file has.
SUM = "sum/"


@dataclass
class Curve:
    """A metric over iterations, which ascend.

    Attributes:
        iterations: of its points.
        values: NaN where it was not finite.
    """

    iterations: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, iteration: int, value: float) -> None:
        """Add a point; those that are not before it were of a run that was resumed before them."""
        while self.iterations and self.iterations[-1] >= iteration:
            self.iterations.pop()
            self.values.pop()
        self.iterations.append(iteration)
        self.values.append(value)

    def smoothed(self, weight: float) -> "Curve":
        """The exponential moving average of the finite points, each with `weight` on what was before."""
        finite = [(x, y) for x, y in zip(self.iterations, self.values, strict=True) if math.isfinite(y)]
        average = Curve()
        mean = total = 0.0
        for iteration, value in finite:
            mean, total = weight * mean + (1 - weight) * value, weight * total + (1 - weight)
            average.add(iteration, mean / total)  # so that the first points are not drawn to 0
        return average


Curves = dict[str, Curve]


def read_curves(path: str | Path) -> Curves:
    """Read the metrics of a run.

    Args:
        path: the folder of a run, or one of its files of metrics.

    Returns:
        Curves by name. Of evaluations the names are as in training ("avis/AP"), with the data set before
        them where there are several. Sums of losses over decoder layers are "sum/class" and so on.

    Raises:
        FileNotFoundError: there is no such file or folder, or the folder has no metrics.
        ValueError: the files have no metrics by iteration.
    """
    path = Path(path)
    files = [path / name for name in (TRAINING_METRICS, EVALUATIONS)] if path.is_dir() else [path]
    present = [file for file in files if file.is_file()]
    if not present:
        names = f"is no run: it has neither {TRAINING_METRICS} nor {EVALUATIONS}"
        raise FileNotFoundError(f"{path} {names}" if path.is_dir() else f"there is no run {path}")
    lines = [line for file in present for line in read_json_lines(file) if _is_iteration(line)]
    evaluations = [line for line in lines if isinstance(line.get("metrics"), dict)]
    training = [line for line in lines if "metrics" not in line]
    curves = _of_training(training, with_evaluations=not evaluations) | _of_evaluations(evaluations)
    if not any(curve.iterations for curve in curves.values()):
        raise ValueError(f"{path} has no metrics: no line with an 'iteration' and numbers")
    return curves


def matching(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    """The names that fit any of the patterns, as file names do, in the order of the patterns."""
    names = sorted(names)
    return list(dict.fromkeys(n for pattern in patterns for n in names if fnmatchcase(n, pattern)))


def _of_training(lines: Iterable[Mapping], with_evaluations: bool) -> Curves:
    curves: Curves = {}
    for line in lines:
        numbers = _numbers(line)
        if not with_evaluations:
            numbers = {name: value for name, value in numbers.items() if "/" not in name}
        sums = {f"{SUM}{kind}": value for kind, value in loss_sums(numbers).items()}
        _add(curves, line["iteration"], numbers | sums)
    return curves


def _of_evaluations(lines: list[dict]) -> Curves:
    curves: Curves = {}
    data_sets = {str(line.get("data_set")) for line in lines}
    # Evaluations come in any order, as those of checkpoints do; the last one of an iteration counts.
    latest = {(line["iteration"], str(line.get("data_set"))): line for line in lines}
    for (iteration, data_set), line in sorted(latest.items()):
        prefix = f"{data_set}/" if len(data_sets) > 1 else ""
        numbers = _numbers(line["metrics"])
        _add(curves, iteration, {f"{prefix}{name}": value for name, value in numbers.items()})
    return curves


def _add(curves: Curves, iteration: int, numbers: Mapping[str, float]) -> None:
    for name, value in numbers.items():
        curves.setdefault(name, Curve()).add(iteration, value)


def _numbers(line: Mapping) -> dict[str, float]:
    return {
        name: _number(name, value)
        for name, value in line.items()
        if isinstance(value, int | float) and name != "iteration" and not name.endswith("score_threshold")
    }


def _number(name: str, value: float) -> float:
    """A metric as it is drawn: not at all where it is undefined, which evaluations call -1."""
    is_undefined = value == -1 and "avis/" in name
    return float(value) if math.isfinite(value) and not is_undefined else math.nan


def _is_iteration(line: Mapping) -> bool:
    iteration = line.get("iteration")
    return isinstance(iteration, int) and not isinstance(iteration, bool)

"""Every evaluation of a run in OUTPUT_DIR/evaluations.jsonl: nothing that was measured is overwritten."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from detectron2.evaluation.testing import flatten_results_dict

from avis.formats.run_metrics import (
    EVALUATIONS,
    append_json_line,
    end_last_line,
    read_json_lines,
    write_json_lines,
)


def read_evaluations(folder: str | Path) -> list[dict]:
    """The evaluations in a folder, as `record_evaluations` has written them; none where there are none."""
    path = Path(folder, EVALUATIONS)
    return read_json_lines(path) if path.is_file() else []


def record_evaluations(
    folder: str | Path,
    results: Mapping[str, Mapping],
    *,
    iteration: int | None,
    checkpoint: str | None,
    runs: Mapping[str, str] | None = None,
) -> None:
    """Add evaluations of one model on several data sets; the main process calls this.

    An evaluation that is there already gives place to this one: of the same iteration of a training that was
    resumed before it, or of the same `runs`.

    Args:
        folder: OUTPUT_DIR.
        results: by data set, nested dicts of numbers. Data sets without any are left out.
        iteration: the last one that the model has learnt from; None: not known.
        checkpoint: its file; None: there is none.
        runs: by data set, what `fingerprint` gives; None: the evaluation is part of a training.
    """
    entries = [
        {
            "iteration": iteration,
            "data_set": data_set,
            "checkpoint": checkpoint,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            **({"run": runs[data_set]} if runs else {}),
            "metrics": _plain(flatten_results_dict(result)),
        }
        for data_set, result in results.items()
        if result
    ]
    if entries:
        _append(Path(folder, EVALUATIONS), entries)


def by_data_set(test_sets: Sequence[str], results: Mapping) -> Mapping[str, Mapping]:
    """What `AVISTrainer.test` returns, by data set also where there is one alone."""
    return {test_sets[0]: results} if len(test_sets) == 1 else results


def _append(path: Path, entries: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    end_last_line(path)
    earlier = read_json_lines(path) if path.is_file() else []
    replaced = {_key(entry) for entry in entries}
    kept = [entry for entry in earlier if _key(entry) not in replaced]
    if len(kept) < len(earlier):
        write_json_lines(path, kept + entries)
        return
    for entry in entries:
        append_json_line(path, entry)


def _key(entry: dict) -> tuple:
    """Two evaluations of the same key are of the same."""
    run = entry.get("run")
    return entry.get("data_set"), entry.get("iteration"), run, entry.get("checkpoint") if run else None


def _plain(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """Numbers as JSON has them, which knows none that is not finite."""
    numbers = {name: float(value) for name, value in metrics.items()}
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}

"""What the runs of a plan gave: as a table, a CSV file and a figure."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from tabulate import tabulate

from avis.experiments.figure import draw_ablation
from avis.experiments.plan import Run, collect, mean_and_deviation
from avis.files import replacing

COLUMNS = ("AP", "AP50", "AP75", "AR1", "AR10")

Results = Mapping[str, Sequence[Mapping[str, float]]]


def table(results: Results) -> str:
    """Lay out mean ± standard deviation of each variant, given the metrics of its runs."""
    rows = [[name, len(runs), *(_cell(runs, column) for column in COLUMNS)] for name, runs in results.items()]
    return tabulate(rows, ["variant", "seeds", *COLUMNS], tablefmt="github", disable_numparse=True)


def write_output(folder: Path, runs: Sequence[Run]) -> None:
    """Write ablation.md, ablation.csv and ablation.png of the runs that have ended."""
    folder.mkdir(parents=True, exist_ok=True)
    results = collect(runs)
    with replacing(folder / "ablation.md") as unfinished:
        unfinished.write_text(table(results) + "\n", encoding="utf-8")
    with replacing(folder / "ablation.csv") as unfinished, unfinished.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["variant", "seed", *COLUMNS])
        for run in runs:
            if run.metrics is not None:
                writer.writerow([run.variant.name, run.seed, *(run.metrics[column] for column in COLUMNS)])
    with replacing(folder / "ablation.png") as unfinished:
        draw_ablation(results).savefig(unfinished, dpi=120)


def _cell(runs: Sequence[Mapping[str, float]], column: str) -> str:
    if not runs:
        return ""
    mean, deviation = mean_and_deviation([metrics[column] for metrics in runs])
    return f"{mean:.1f} ± {deviation:.1f}" if len(runs) > 1 else f"{mean:.1f}"

#!/usr/bin/env python
"""Train and test all variants of an ablation, and write the table and the figure."""

import argparse
import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from tabulate import tabulate
from tqdm import tqdm

from avis.command_line import exit_on_bad_input
from avis.data.catalog import BENCH_SIZES, bench_root
from avis.experiments.figure import draw_ablation
from avis.experiments.plan import Run, collect, mean_and_deviation, plan_runs, read_plan
from avis.files import replacing
from avis.synthetic import PRESETS, make_synthavis

EPILOG = """\
example:
  python tools/ablate.py --plan configs/ablations/tiny.yaml --output output/ablation --jobs 2

The plan names the config, the seeds and the variants (avis/experiments/plan.py has the format). Every run
is one of tools/train_net.py in OUTPUT/<variant>/seed_<seed>, with its log. A run that was interrupted goes on
where it was when the program is started again, one that has ended is kept; other seeds or variants may be
added to the plan. OUTPUT gets, after every run:
  ablation.md     mean ± standard deviation over the seeds
  ablation.csv    the metrics of every run
  ablation.png    AP of every variant and seed

Exit code 1 if a run fails; the others are run nevertheless. Where the program is ended, its runs are, too.
"""

COLUMNS = ("AP", "AP50", "AP75", "AR1", "AR10")
TRAIN_NET = Path(__file__).with_name("train_net.py")
POLL_SECONDS = 1.0

Results = Mapping[str, Sequence[Mapping[str, float]]]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--plan", required=True, metavar="FILE", help="what is run")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="gets all runs")
    parser.add_argument(
        "--jobs", type=int, default=1, help="runs at once; they share the cores (%(default)s)"
    )
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="for all runs")
    args = parser.parse_args()
    if args.jobs < 1:
        parser.error("--jobs is 1 or more")
    return args


def make_data(size: str) -> None:
    """Make the data of a plan, where they are missing.

    Raises:
        ValueError: there is no such size.
        FileExistsError: data made otherwise are in their place.
    """
    if size not in BENCH_SIZES:
        raise ValueError(f"SYNTHAVIS is one of {', '.join(BENCH_SIZES)}, not {size!r}")
    make_synthavis(bench_root(size), PRESETS[size])


class Runner:
    """Runs tools/train_net.py, perhaps several times at once, until it is stopped."""

    def __init__(self, threads: int) -> None:
        """Make a runner whose runs have so many threads each."""
        self._threads = threads
        self._processes: set[subprocess.Popen] = set()
        self._is_stopped = False

    def __call__(self, run: Run) -> None:
        """Execute a run, its output into its folder.

        Raises:
            RuntimeError: it fails; the message has its last line and names the log.
        """
        if self._is_stopped:
            return
        run.folder.mkdir(parents=True, exist_ok=True)
        output = run.folder / "output.txt"
        with output.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, TRAIN_NET, *run.arguments],
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": str(self._threads)},
            )
            self._processes.add(process)
            if self._is_stopped:  # while it was started
                process.terminate()
            failed = process.wait()
            self._processes.remove(process)
        if failed:
            lines = output.read_text(errors="replace").strip().splitlines() or ["no output"]
            raise RuntimeError(f"{run.variant.name}, seed {run.seed}: {lines[-1]} [{output}]")

    def stop(self) -> None:
        """End what runs, and begin nothing more."""
        self._is_stopped = True
        for process in list(self._processes):
            process.terminate()


def run_all(runs: Sequence[Run], jobs: int, output: Path) -> list[str]:
    """Run what has not ended yet, what trains first; what has failed, a sentence each."""
    failures: list[str] = []
    runner = Runner(threads=max(1, (os.cpu_count() or 1) // jobs))
    for phase in ([run for run in runs if run.trains], [run for run in runs if not run.trains]):
        todo = [run for run in phase if run.metrics is None]
        total = sum(run.cfg.SOLVER.MAX_ITER for run in todo if run.trains)
        with (
            ThreadPoolExecutor(jobs) as pool,
            tqdm(desc="training" if total else "testing", total=total or len(todo), disable=not todo) as bar,
        ):
            futures = [pool.submit(runner, run) for run in todo]
            try:
                watch(todo, futures, bar, lambda: write_output(output, runs))
            except BaseException:
                runner.stop()
                raise
        failures += [str(future.exception()) for future in futures if future.exception()]
    return failures


def watch(runs: Sequence[Run], futures: Sequence[Future], bar: tqdm, ended: Callable[[], None]) -> None:
    """Show how far the runs are until they have ended; call `ended` whenever one has."""
    num_ended = 0
    while num_ended < len(futures):
        time.sleep(POLL_SECONDS)
        done = [future.done() for future in futures]
        bar.n = sum(run.iteration for run in runs) if runs[0].trains else sum(done)
        bar.refresh()
        if sum(done) > num_ended:
            num_ended = sum(done)
            ended()


def table(results: Results) -> str:
    rows = [[name, len(runs), *(cell(runs, column) for column in COLUMNS)] for name, runs in results.items()]
    return tabulate(rows, ["variant", "seeds", *COLUMNS], tablefmt="github", disable_numparse=True)


def cell(runs: Sequence[Mapping[str, float]], column: str) -> str:
    if not runs:
        return ""
    mean, deviation = mean_and_deviation([metrics[column] for metrics in runs])
    return f"{mean:.1f} ± {deviation:.1f}" if len(runs) > 1 else f"{mean:.1f}"


def write_output(folder: Path, runs: Sequence[Run]) -> None:
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


@exit_on_bad_input()
def main() -> None:
    args = parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    plan = read_plan(args.plan)
    runs = plan_runs(plan, args.output, args.opts)
    for run in runs:
        run.check()
    if plan.synthavis:
        make_data(plan.synthavis)
    failures = run_all(runs, args.jobs, args.output)
    write_output(args.output, runs)
    print(table(collect(runs)))
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    sys.exit(int(bool(failures)))


if __name__ == "__main__":
    main()

"""Running what a plan says: trainings and tests, several at once, interruptible at any time."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from tqdm import tqdm

from avis.experiments.plan import Run

TRAIN = (sys.executable, "-m", "avis", "train")
POLL_SECONDS = 1.0


class Runner:
    """Runs `avis train`, perhaps several times at once, until it is stopped."""

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
                [*TRAIN, *run.arguments],
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


def run_all(runs: Sequence[Run], jobs: int, ended: Callable[[], None]) -> list[str]:
    """Run what has not ended yet; what trains comes first.

    Args:
        runs: of a plan.
        jobs: runs at once.
        ended: is called whenever a run has ended.

    Returns:
        What has failed, a sentence each.
    """
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
                _watch(todo, futures, bar, ended)
            except BaseException:
                runner.stop()
                raise
        failures += [str(future.exception()) for future in futures if future.exception()]
    return failures


def _watch(runs: Sequence[Run], futures: Sequence[Future], bar: tqdm, ended: Callable[[], None]) -> None:
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

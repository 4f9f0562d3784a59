"""Train and test all variants of an ablation, and write the table and the figure."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from avis.command_line import command_parser, exit_on_bad_input
from avis.synthetic import PRESETS, make_synthavis

EPILOG = """\
example:
  python tools/ablate.py --plan configs/ablations/tiny.yaml --output output/ablation --jobs 2

The plan names the config, the seeds and the variants (avis/experiments/plan.py has the format). Every run is
one of tools/train_net.py in OUTPUT/<variant>/seed_<seed>, with its log. The same command, given again, goes
on with interrupted runs and keeps ended ones. Seeds and variants may be added to the plan meanwhile.

After every run, OUTPUT gets
  ablation.md     mean ± standard deviation over the seeds
  ablation.csv    the metrics of every run
  ablation.png    AP of every variant and seed

Exit code 1 if a run fails; the others are run nevertheless. Where the program is ended, its runs are, too.
"""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments of the command line."""
    parser = command_parser(__doc__, EPILOG)
    parser.add_argument("--plan", required=True, metavar="FILE", help="what is run")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="gets all runs")
    parser.add_argument(
        "--jobs", type=int, default=1, help="runs at once; they share the cores (%(default)s)"
    )
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="for all runs")
    args = parser.parse_args(arguments)
    if args.jobs < 1:
        parser.error("--jobs is 1 or more")
    return args


def make_data(size: str) -> None:
    """Make the data of a plan, where they are missing.

    Raises:
        ValueError: there is no such size.
        FileExistsError: data made otherwise are in their place.
    """
    from avis.data.catalog import BENCH_SIZES, bench_root

    if size not in BENCH_SIZES:
        raise ValueError(f"SYNTHAVIS is one of {', '.join(BENCH_SIZES)}, not {size!r}")
    make_synthavis(bench_root(size), PRESETS[size])


@exit_on_bad_input()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = parse(arguments)
    # here, as torch takes seconds to import, for which --help should not wait
    from avis.experiments.plan import collect, plan_runs, read_plan
    from avis.experiments.runner import run_all
    from avis.experiments.table import table, write_output

    plan = read_plan(args.plan)
    runs = plan_runs(plan, args.output, args.opts)
    for run in runs:
        run.check()
    if plan.synthavis:
        make_data(plan.synthavis)
    failures = run_all(runs, args.jobs, lambda: write_output(args.output, runs))
    write_output(args.output, runs)
    print(table(collect(runs)))
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    sys.exit(int(bool(failures)))

"""Draw losses, learning rate, gradient norm and AP of one or several runs over their iterations."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from avis.command_line import command_parser, exit_on_bad_input, number_type
from avis.files import replacing

EPILOG = """\
examples:
  python tools/plot_metrics.py output --output curves.png
  python tools/plot_metrics.py runs/deaf runs/hearing --labels deaf hearing --smooth 0.9 --output both.pdf
  python tools/plot_metrics.py output --metrics 'loss_mask*' '*AP50' total_loss --output some.svg

A RUN is the folder of a training, or one of its files training_metrics.json and evaluations.jsonl. Where a
run was resumed, what came later counts. --metrics makes a diagram for each pattern; --list names the metrics.
Sums of losses over decoder layers are called sum/class, sum/mask and sum/dice.
"""

FORMATS = (".png", ".svg", ".pdf")

logger = logging.getLogger("avis.commands.plot")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments of the command line."""
    parser = command_parser(__doc__, EPILOG)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder or file of metrics")
    parser.add_argument(
        "--output", default="metrics.png", metavar="FILE", help=".png, .svg or .pdf, default: %(default)s"
    )
    parser.add_argument("--metrics", nargs="+", default=[], metavar="PATTERN", help="what to draw")
    parser.add_argument(
        "--labels", nargs="+", metavar="TEXT", help="names of the runs; default: their folders"
    )
    parser.add_argument(
        "--smooth",
        type=number_type("a number of 0 or more, and less than 1", lambda weight: 0 <= weight < 1),
        default=0.0,
        metavar="W",
        help="moving average, 0 to below 1 as TensorBoard's",
    )
    parser.add_argument("--list", action="store_true", help="name the metrics of the runs, and draw nothing")
    return parser.parse_args(arguments)


@exit_on_bad_input()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # here, as matplotlib takes a second to import
    from avis.formats.run_curves import read_curves
    from avis.visualization.curves import draw_curves, panels_of

    labels = args.labels or default_labels(args.runs)
    if len(labels) != len(args.runs):
        raise ValueError(f"{len(args.runs)} runs cannot have {len(labels)} --labels")
    if len(set(labels)) < len(labels):
        raise ValueError(f"--labels {' '.join(labels)}: two runs have one name")
    output = Path(args.output)
    if output.suffix.lower() not in FORMATS:
        raise ValueError(f"--output {output} ends in none of {', '.join(FORMATS)}")
    runs = {label: read_curves(run) for label, run in zip(labels, args.runs, strict=True)}
    if args.list:
        logger.info("\n".join(sorted({name for curves in runs.values() for name in curves})))
        return
    figure = draw_curves(runs, panels_of(args.metrics, runs), args.smooth)
    output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(output) as unfinished:
        figure.savefig(unfinished, format=output.suffix[1:].lower(), dpi=150)
    logger.info("%s is written", output)


def default_labels(runs: Sequence[str]) -> list[str]:
    """The last parts of the runs' paths, as many as tell them apart."""
    parts = [Path(run).absolute().parts for run in runs]
    if len(set(parts)) < len(parts):
        raise ValueError("a run is given twice")
    for number in range(1, max(map(len, parts)) + 1):
        labels = ["/".join(own[-number:]) for own in parts]
        if len(set(labels)) == len(labels):
            return labels
    return list(runs)

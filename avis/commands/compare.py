"""Compare models on the videos of a data set: AP, HOTA, FSLA, and whether their differences may be chance."""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from avis.command_line import command_parser, exit_on_bad_input
from avis.evaluation import load_ground_truth, load_predictions
from avis.evaluation.api import PROTOCOL_NAMES, AnyEvaluation, evaluate_detailed, own_protocol
from avis.evaluation.comparison.bootstrap import Resampling, compare
from avis.evaluation.comparison.tables import comparison_text
from avis.formats.tracks import GroundTruth

EPILOG = """\
examples:
  python tools/compare_models.py --gt datasets/test.json --output output/comparison \\
      --results baseline=output/a/inference/avis_test avism=output/b/inference/avis_test h2s=h2s.json
  python tools/compare_models.py --gt datasets/test.json --protocol aviseg-dense --min-score 0.3 \\
      --results avism=a.json acvis=b.json

Every model is a results file, the folder that an evaluation has written it to, or the folder of
tools/predict.py. The first is the reference, unless --reference names another.

All models are scored on the same resamples of the videos. A resample has as many videos as there are, drawn
with replacement. An interval holds the middle 95 % of a difference over the resamples. If it contains 0,
these videos do not show that the models differ. One interval in twenty misses 0 by chance alone. Intervals
are about the choice of videos, not about the seed of training.

OUTPUT gets
  comparison.md            what is printed
  comparison.csv           all metrics of all models with intervals, and the differences
  comparison.json          the same
  comparison.png           the differences and their intervals
  comparison_videos.csv    for every video, all metrics of model and reference, and the difference
"""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments of the command line."""
    parser = command_parser(__doc__, EPILOG)
    parser.add_argument("--gt", required=True, metavar="GT.json", help="annotations of the data set")
    parser.add_argument(
        "--results", required=True, nargs="+", metavar="NAME=RESULTS.json|DIR", help="two models or more"
    )
    parser.add_argument(
        "--reference", metavar="NAME", help="what the others are compared with; default: the first"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="gets tables, numbers and the figure")
    parser.add_argument("--resamples", type=int, default=1000, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--confidence",
        type=float,
        default=95,
        metavar="C",
        help="of the intervals, in %%; default: %(default)s",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the resamples; default: %(default)s")
    parser.add_argument(
        "--protocol", choices=PROTOCOL_NAMES, help="as for tools/evaluate.py; default: that of the data set"
    )
    parser.add_argument(
        "--min-score", type=float, default=-math.inf, metavar="S",
        help="leave out predictions that do not score more, from all metrics; default: keep all",
    )  # fmt: skip
    parser.add_argument(
        "--score-threshold", type=float, default=0.5, metavar="S",
        help="predictions that score more count in HOTA and FSLA of the standard protocol; "
        "default: %(default)s",
    )  # fmt: skip
    parser.add_argument(
        "--allow-missing", action="store_true",
        help="where a model has no track for a video, it has found nothing there; default: so in the folders "
        "of evaluations, else an error",
    )  # fmt: skip
    return parser.parse_args(arguments)


def name_results(arguments: Sequence[str]) -> dict[str, str]:
    """The path of each model's results by its name.

    Raises:
        ValueError: a name is missing or used twice, or there is but one model.
    """
    paths: dict[str, str] = {}
    for argument in arguments:
        name, separator, path = argument.partition("=")
        if not (name and separator and path):
            raise ValueError(f"--results {argument}: give each model a name, as in baseline=results.json")
        if name in paths:
            raise ValueError(f"--results: two models are called {name!r}: {paths[name]} and {path}")
        paths[name] = path
    if len(paths) < 2:
        raise ValueError("--results: give two models or more; tools/evaluate.py scores a single one")
    return paths


def is_evaluated(path: str) -> bool:
    """Whether a path is a folder that an evaluation has written when it had run on all videos."""
    return Path(path, "metrics.json").is_file()


def evaluate_models(
    args: argparse.Namespace, truth: GroundTruth, paths: Mapping[str, str]
) -> dict[str, AnyEvaluation]:
    """Score each model on all videos.

    Raises:
        ValueError: results belong to another data set, or lack videos.
    """
    loaded = {name: load_predictions(path, truth, args.min_score) for name, path in paths.items()}
    for name, predictions in loaded.items():
        is_whole = args.allow_missing or is_evaluated(paths[name])
        if (missing := predictions.without_tracks) and not is_whole:
            raise ValueError(
                f"{paths[name]}: {name!r} has no track for {len(missing)} of the {len(truth.videos)} videos "
                f"of {args.gt}, one is {missing[0]!r}. If it was run on all and has found nothing there, "
                "give --allow-missing"
            )
    return {
        name: evaluate_detailed(truth, predictions, [args.protocol], args.score_threshold)[args.protocol]
        for name, predictions in loaded.items()
    }


@exit_on_bad_input()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = parse(arguments)
    paths = name_results(args.results)
    resampling = Resampling(args.resamples, args.confidence, args.seed)
    resampling.check()
    reference = args.reference or next(iter(paths))
    if reference not in paths:
        raise ValueError(f"--reference {reference}: the models are {', '.join(paths)}")
    truth = load_ground_truth(args.gt)
    if not any(truth.tracks.values()):
        raise ValueError(f"{args.gt} has no annotations, so there is nothing to compare predictions with")
    args.protocol = args.protocol or own_protocol(truth)
    evaluations = evaluate_models(args, truth, paths)
    comparison = compare(evaluations, reference, resampling)
    print(comparison_text(comparison))
    for name, evaluation in evaluations.items():
        for remark in evaluation.remarks:
            print(f"warning: {name}: protocol {args.protocol}: {remark}", file=sys.stderr)
    if args.output:
        # here, as the library that draws takes longer to import than all the rest
        from avis.evaluation.comparison.files import write_comparison

        options = {name: vars(args)[name] for name in ("gt", "protocol", "score_threshold")}
        least = max(0.0, args.min_score)
        write_comparison(
            args.output, comparison, truth.videos, {**options, "min_score": least, "results": paths}
        )
        print(f"\nTables, numbers and figure: {args.output}")

#!/usr/bin/env python
"""Score a results file against the annotations of a data set: AP and AR with spatio-temporal IoU."""

import argparse

from avis.engine import exit_on_bad_input
from avis.evaluation import evaluate_predictions, metrics_table, write_json

EPILOG = """\
example:
  python tools/evaluate.py --gt datasets/val.json --predictions output/inference/avis_val/results.json

Both files are in the format of YouTube-VIS. Percentages; "–" where the annotations leave a metric undefined.
AP is the mean over the IoU thresholds 0.50, 0.55 … 0.95, AP50 and AP75 are at one; APs, APm and APl are for
tracks of up to 128², up to 256², and more pixels on average; AR1, AR10 and AR100 for so many predictions per
video and category.
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gt", required=True, metavar="GT.json", help="annotations of the data set")
    parser.add_argument("--predictions", required=True, metavar="RESULTS.json", help="predicted tracks")
    parser.add_argument("--output", metavar="METRICS.json", help="gets the numbers")
    return parser.parse_args()


@exit_on_bad_input()
def main() -> None:
    args = parse_args()
    metrics = evaluate_predictions(args.gt, args.predictions)
    if args.output:
        write_json(args.output, metrics, indent=2)
    print(metrics_table(metrics))


if __name__ == "__main__":
    main()

#!/usr/bin/env python
"""Score a results file against the annotations of a data set: AP and AR, HOTA, FSLA."""

import argparse
import sys

from avis.command_line import exit_on_bad_input
from avis.evaluation import load_ground_truth, load_predictions, metrics_table, write_json
from avis.evaluation.api import PROTOCOLS, evaluate_detailed
from avis.evaluation.tables import protocols_table

EPILOG = """\
examples:
  python tools/evaluate.py --gt datasets/val.json --predictions output/inference/avis_val/results.json
  python tools/evaluate.py --gt datasets/test.json --predictions results.json --protocol both --output m.json

Both files are in the format of YouTube-VIS. Percentages; "–" where the annotations leave a metric undefined.
AP is the mean over the IoU thresholds 0.50, 0.55 … 0.95, AP50 and AP75 are at one; APs, APm and APl are for
tracks of up to 128², up to 256², and more pixels on average; AR1, AR10 and AR100 for so many predictions per
video and category. HOTA rates detection (DetA) and association (AssA) together; LocA is the mean IoU of
what is found. FSLA is the share of frames in which all that sounds is found and nothing else; FSLAn, FSLAs
and FSLAm of frames with no, one and several sources. docs/metrics.md has the definitions.

Published tables of AVISeg were made with AVISM's released evaluation: "aviseg" gives its numbers, bugs and
all, for the predictions as they are. AVISM writes an empty mask where our results have null: "aviseg-dense"
reads null so, and is what to compare with published tables.
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gt", required=True, metavar="GT.json", help="annotations of the data set")
    parser.add_argument("--predictions", required=True, metavar="RESULTS.json", help="predicted tracks")
    parser.add_argument(
        "--protocol",
        choices=(*PROTOCOLS, "both"),
        default="standard",
        help="the metrics as they are defined (default) or as AVISM's release computes them; "
        "both: standard and aviseg side by side, and why they differ",
    )
    parser.add_argument("--output", metavar="METRICS.json", help="gets the numbers; by protocol for 'both'")
    return parser.parse_args()


@exit_on_bad_input()
def main() -> None:
    args = parse_args()
    protocols = ["standard", "aviseg"] if args.protocol == "both" else [args.protocol]
    truth = load_ground_truth(args.gt)
    evaluations = evaluate_detailed(truth, load_predictions(args.predictions, truth), protocols)
    metrics = {name: evaluation.metrics() for name, evaluation in evaluations.items()}
    if args.output:
        write_json(args.output, metrics if args.protocol == "both" else metrics[args.protocol], indent=2)
    print(protocols_table(metrics) if args.protocol == "both" else metrics_table(metrics[args.protocol]))
    for name, evaluation in evaluations.items():
        for remark in evaluation.remarks:
            print(f"warning: protocol {name}: {remark}", file=sys.stderr)


if __name__ == "__main__":
    main()

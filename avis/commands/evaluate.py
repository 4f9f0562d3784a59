"""Score a results file against the annotations of a data set: AP and AR, HOTA, FSLA."""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from avis.command_line import command_parser, exit_on_bad_input
from avis.evaluation import comparison_table, load_ground_truth, load_predictions, metrics_table
from avis.evaluation.api import PROTOCOL_NAMES, evaluate_detailed, own_protocol, with_thresholds
from avis.evaluation.diagnosis.analysis import Analysis, analyze
from avis.evaluation.diagnosis.breakdown import break_down, break_down_by_attribute
from avis.evaluation.diagnosis.tables import breakdown_tables, parts_table
from avis.evaluation.metrics.avs_tracks import evaluate_avs
from avis.evaluation.protocols import avtrack
from avis.evaluation.spreading import choose_jobs
from avis.evaluation.tables import protocols_table
from avis.files import write_json
from avis.formats.avtrack import read_attributes
from avis.formats.tracks import GroundTruth, PredictedTrack, VideoId

EPILOG = """\
examples:
  python tools/evaluate.py --gt datasets/val.json --predictions output/inference/avis_val/results.json
  python tools/evaluate.py --gt datasets/test.json --predictions results.json --protocol both --output m.json
  python tools/evaluate.py --gt datasets/val.json --predictions results.json --breakdown --report report
  python tools/evaluate.py --gt datasets/avtrack/avtrack_meta.json --predictions results.json --breakdown

Both files are in the format of YouTube-VIS. Numbers are percentages, "–" where a metric is undefined.
docs/metrics.md has the definitions.
  AP                     mean over the IoU thresholds 0.50, 0.55 … 0.95; AP50 and AP75 are at one
  APs, APm, APl          of tracks of up to 128², up to 256², and more pixels on average
  AR1, AR10, AR100       with so many predictions per video and category
  HOTA                   detection (DetA) and association (AssA) together; LocA: mean IoU of what is found
  FSLA                   share of frames in which all that sounds is found and nothing else
  FSLAn, FSLAs, FSLAm    the same of frames with no, one and several sources

protocols:
  aviseg         gives the numbers of AVISM's released evaluation, bugs and all
  aviseg-dense   reads null as the empty mask that AVISM writes; compare published tables of AVISeg with this
  AVTrack is told by its avtrack_meta.json, and scored as its release does. Classes do not matter, and numbers
  are means over videos. Where masks overlap, the one of the best score is seen.

more:
  --avs          J and F (β² = 0.3) of one map of what sounds, mIoU and mF of a map of classes, as AVSBench
  --breakdown    scores of parts of the data set, and what each kind of mistake costs; AVTrack: by attribute
  --report DIR   all of it as one page, with curves, timelines and pictures of the best and worst videos
  The last two follow the standard protocol. Pictures need the frames beside GT.json.
"""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments of the command line."""
    parser = command_parser(__doc__, EPILOG)
    parser.add_argument("--gt", required=True, metavar="GT.json", help="annotations of the data set")
    parser.add_argument(
        "--predictions", required=True, metavar="RESULTS.json|DIR",
        help="predicted tracks: a results file, the folder of an evaluation that wrote it, or what "
        "tools/predict.py wrote, a file or the whole folder",
    )  # fmt: skip
    parser.add_argument(
        "--protocol",
        choices=(*PROTOCOL_NAMES, "both"),
        help="the metrics as they are defined (default), or as AVISM's release computes them; "
        "both: standard and aviseg side by side, and why they differ; avtrack: HOTA, IDF1 and MOTA without "
        "classes (default for AVTrack)",
    )
    parser.add_argument(
        "--min-score", type=float, default=-math.inf, metavar="S",
        help="leave out predictions that do not score more, from all metrics, as AVISM does with 0.3; AP and "
        "AR only gain by more of them; default: keep all",
    )  # fmt: skip
    parser.add_argument("--output", metavar="METRICS.json", help="gets the numbers; by protocol for 'both'")
    parser.add_argument("--avs", action="store_true", help="metrics of audio-visual segmentation as well")
    parser.add_argument("--breakdown", action="store_true", help="where and why predictions are wrong")
    parser.add_argument(
        "--attributes", metavar="FILE",
        help="attributes of AVTrack's videos for --breakdown, where the annotations have none: CSV with the "
        "columns video and attribute, or JSON with a list for each video",
    )  # fmt: skip
    parser.add_argument("--report", metavar="DIR", help="gets index.html, a page to look at")
    parser.add_argument(
        "--report-videos", type=int, default=12, metavar="N", help="shown in the report, default: %(default)s"
    )
    parser.add_argument("--no-pictures", action="store_true", help="leave frames out of the report")
    parser.add_argument(
        "--score-threshold", type=float, default=0.5, metavar="S",
        help="predictions that score more count in HOTA and FSLA of the standard protocol, in the maps of J, "
        "mIoU and mF, in the confusion of classes and in the report's pictures; default: %(default)s",
    )  # fmt: skip
    parser.add_argument(
        "--jobs", type=int, metavar="N",
        help="processes that compare videos at once; default: one a core, fewer for small files",
    )  # fmt: skip
    args = parser.parse_args(arguments)
    if args.jobs is not None and args.jobs < 1:
        parser.error("--jobs is 1 or more")
    return args


@exit_on_bad_input()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = parse(arguments)
    truth = load_truth(args)
    args.protocol = args.protocol or own_protocol(truth)
    protocols = ["standard", "aviseg"] if args.protocol == "both" else [args.protocol]
    predictions = load_predictions(args.predictions, truth, args.min_score)
    jobs = args.jobs or choose_jobs(predictions)
    analysis = None
    if args.report or (args.breakdown and args.protocol != avtrack.NAME):
        analysis = analyze(truth, predictions, args.score_threshold, jobs)
    if analysis and protocols == [analysis.evaluation.protocol.name]:
        evaluations = {args.protocol: analysis.evaluation}
    else:
        evaluations = evaluate_detailed(truth, predictions, protocols, args.score_threshold, jobs)
    metrics = {name: evaluation.metrics() for name, evaluation in evaluations.items()}
    for name in {"standard", avtrack.NAME} & metrics.keys():
        metrics[name] = with_thresholds(metrics[name], args.min_score, args.score_threshold)
    maps = evaluate_avs(truth, predictions, args.score_threshold) if args.avs or args.report else {}
    if args.output:
        numbers = metrics if args.protocol == "both" else metrics[args.protocol]
        write_json(args.output, numbers | maps, indent=2)
    print(protocols_table(metrics) if args.protocol == "both" else metrics_table(metrics[args.protocol]))
    if args.breakdown and args.protocol == avtrack.NAME:
        print("", parts_table("attribute", break_down_by_attribute(evaluations[avtrack.NAME])), sep="\n")
    if args.avs:
        print("", comparison_table({"all frames": maps}, list(maps), "maps"), sep="\n")
    for name, evaluation in evaluations.items():
        for remark in evaluation.remarks:
            print(f"warning: protocol {name}: {remark}", file=sys.stderr)
    if analysis:
        explain(args, analysis, predictions, maps)


def load_truth(args: argparse.Namespace) -> GroundTruth:
    """The ground truth, with attributes.

    Raises:
        ValueError: it is malformed, has no annotations, or not what an option asks for.
    """
    truth = load_ground_truth(args.gt)
    if not any(truth.tracks.values()):
        raise ValueError(f"{args.gt} has no annotations, so there is nothing to compare predictions with")
    if truth.class_agnostic and args.report:
        raise ValueError("--report is of data sets in the AVISeg format; --breakdown works for AVTrack")
    return replace(truth, videos=read_attributes(args.attributes, truth)) if args.attributes else truth


def explain(
    args: argparse.Namespace,
    analysis: Analysis,
    predictions: Mapping[VideoId, Sequence[PredictedTrack]],
    maps: dict[str, float],
) -> None:
    """Print and write what --breakdown and --report ask for."""
    breakdown = break_down(analysis)
    if args.breakdown:
        print("", breakdown_tables(breakdown, analysis.mistakes), sep="\n")
    if args.report:
        # here, as the libraries that draw take longer to import than all the rest
        from avis.evaluation.report.gallery import Gallery
        from avis.evaluation.report.page import write_report

        page = write_report(
            args.report,
            analysis,
            analysis.evaluation.metrics() | maps,
            breakdown,
            Gallery(analysis, predictions, None if args.no_pictures else args.gt),
            num_videos=args.report_videos,
            subtitle=f"{Path(args.predictions).name} on {Path(args.gt).name}",
        )
        print(f"\nThe report is {page}")

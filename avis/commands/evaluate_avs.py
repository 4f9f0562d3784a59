"""Score instances as audio-visual segmentation: maps of what sounds (avs), or of its classes (avss)."""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from avis.command_line import exit_on_bad_input, number_type

EPILOG = """\
examples:
  python tools/evaluate_avs.py --gt datasets/avsbench_ms3/test.json --predictions results.json
  python tools/evaluate_avs.py --gt datasets/avss/test.json --predictions results.json --task avss \\
      --save-maps maps

The tracks of each frame are laid over each other, and the map is scored as AVSBench scores it:

  avs    black and white, for S4 and MS3: J, the mean IoU (M_J in the papers), and F (M_F, β² = 0.3).
         Classes do not matter: predictions of a model with other classes are taken as they are.
  avss   the class of each pixel, for AVSS: mIoU and mF over the classes. Where tracks overlap, the better
         score wins.

J, mIoU, mF and the saved maps are of the tracks that score more than --score-threshold. F tries all
thresholds by itself. --save-maps DIR writes a PNG for each frame, named as the frame:
DIR/<video>/<frame>.png. It is white where something sounds, or for avss in the colours of AVSBench.
docs/metrics.md has the definitions.

Exit code 0 if all is scored; 2 if the files cannot be used.
"""

logger = logging.getLogger("avis.commands.evaluate_avs")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--gt", required=True, type=Path, metavar="GT.json",
        help="annotations, such as those that tools/convert_dataset.py makes of AVSBench",
    )  # fmt: skip
    parser.add_argument(
        "--predictions", required=True, type=Path, metavar="RESULTS.json|DIR",
        help="predicted tracks: a results file, the folder of an evaluation, or what tools/predict.py wrote",
    )  # fmt: skip
    parser.add_argument("--task", choices=("avs", "avss"), default="avs", help="default: %(default)s")
    parser.add_argument(
        "--score-threshold", type=number_type("a number", lambda _: True), default=0.5, metavar="S",
        help="tracks that score more are in the maps (default %(default)s)",
    )  # fmt: skip
    parser.add_argument("--save-maps", type=Path, metavar="DIR", help="gets a picture for each frame")
    parser.add_argument("--output", type=Path, metavar="METRICS.json", help="gets the numbers")
    return parser.parse_args(arguments)


@exit_on_bad_input()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # here, as NumPy and pycocotools take a second to import, for which --help should not wait
    from avis.evaluation.map_pictures import save_maps
    from avis.evaluation.metrics.avs_tracks import evaluate_avs
    from avis.evaluation.tables import comparison_table
    from avis.files import write_json
    from avis.formats.ground_truth import load_ground_truth
    from avis.formats.results import load_predictions

    truth = load_ground_truth(args.gt)
    if not any(truth.tracks.values()):
        raise ValueError(f"{args.gt} has no annotations, so there is nothing to compare predictions with")
    if args.task == "avs":
        truth = replace(truth, class_agnostic=True)
    elif truth.class_agnostic:
        raise ValueError(f"{args.gt} has no classes, which --task avss is about: score it by --task avs")
    predictions = load_predictions(args.predictions, truth)
    metrics = evaluate_avs(truth, predictions, args.score_threshold, [args.task])
    if args.save_maps:
        save_maps(args.save_maps, truth, predictions, args.task, args.score_threshold)
        logger.info("the maps are in %s", args.save_maps)
    if args.output:
        write_json(args.output, {**metrics, "score_threshold": args.score_threshold}, indent=2)
    sys.stdout.write(comparison_table({args.gt.stem: metrics}, list(metrics), args.task) + "\n")


if __name__ == "__main__":
    main()

"""Check data sets in the AVISeg format: annotations, every frame, every mask, all sound."""

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from avis.command_line import command_parser, exit_on_bad_input
from avis.files import write_json

if TYPE_CHECKING:
    from avis.dataset_tools.problems import Problem

EPILOG = """\
examples:
  python tools/validate_dataset.py --dataset avis_train avis_val
  python tools/validate_dataset.py --json my_data/train.json my_data/val.json --report problems.json
  python tools/validate_dataset.py --json my_data/train.json --fix my_data/train_mended.json

Several files are compared, too: no video may be in two splits. The first problems of each kind are printed,
--report writes all. An error cannot be used, or gives wrong results; a warning may be meant.

--fix writes a mended copy of one file: separators of Windows, masks without a pixel, wrong areas and boxes,
duplicated objects. The original stays. Look at the copy, then put it in the original's place, so that its
name is that of the data set's folder.

exit codes:
  0    there are no errors; warnings may be
  1    there are errors
  2    nothing could be done with the arguments
"""
# Problems of a kind that are printed.
SHOWN = 10


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments of the command line."""
    parser = command_parser(__doc__, EPILOG)
    parser.add_argument("--json", nargs="+", default=[], metavar="FILE", help="annotation files")
    parser.add_argument("--dataset", nargs="+", default=[], metavar="NAME", help="registered data sets")
    parser.add_argument("--fps", type=float, default=1.0, help="frames per second of the videos (default 1)")
    parser.add_argument("--feature-dim", type=int, default=128, help="channels of FEATAudios (default 128)")
    parser.add_argument(
        "--features-dir",
        default="FEATAudios",
        metavar="NAME",
        help="folder of the features beside JPEGImages, INPUT.AUDIO.FEATURES_DIR (default %(default)s)",
    )
    parser.add_argument(
        "--num-sources", type=int, default=1, help="separated sources in the features (default 1)"
    )
    parser.add_argument("--report", metavar="FILE", help="write all problems to a JSON file")
    parser.add_argument("--fix", metavar="FILE", help="write a mended copy of the annotations")
    args = parser.parse_args(arguments)
    if not args.json and not args.dataset:
        parser.error("give --json FILE or --dataset NAME")
    if args.fps <= 0:
        parser.error("--fps is more than 0")
    if args.fix and len(args.json) + len(args.dataset) > 1:
        parser.error("--fix mends one file")
    if args.fix and Path(args.fix).exists():
        parser.error(f"--fix {args.fix}: the file exists; give the name of a new one")
    return args


def print_problems(name: str, problems: "list[Problem]") -> None:
    """The first problems of each kind, and how many there are."""
    shown: Counter[str] = Counter()
    for problem in problems:
        shown[problem.kind] += 1
        if shown[problem.kind] <= SHOWN:
            print(f"  {problem.severity}: {problem.message}")
    for kind, count in shown.items():
        if count > SHOWN:
            print(f"  … and {count - SHOWN} more of {kind!r} (--report FILE writes all)")
    print_counts(problems)
    print(f"{name}: {len(problems) or 'no'} problem{'s' * (len(problems) != 1)}")


def print_counts(problems: "list[Problem]") -> None:
    """Print how many problems there are of each kind."""
    # here, as dataset_tools and what it imports takes seconds, for which --help should not wait
    from avis.dataset_tools.problems import ERROR, WARNING, count_kinds

    for severity in (ERROR, WARNING):
        if kinds := count_kinds(problems, severity):
            listed = ", ".join(f"{kind} {count}" for kind, count in kinds.items())
            print(f"  {sum(kinds.values())} {severity}s: {listed}")


def write_report(path: str, found: "dict[str, list[Problem]]") -> None:
    """Write all problems of all files."""
    keys = ("severity", "kind", "where", "message")
    content = {
        name: [{key: getattr(problem, key) for key in keys} for problem in problems]
        for name, problems in found.items()
    }
    write_json(path, content, indent=1)


def write_mended(json_file: str, output: str) -> None:
    """Write a mended copy of a file, and print what was mended."""
    from avis.dataset_tools.mending import mend
    from avis.formats.aviseg import parse_annotations

    mended, done = mend(parse_annotations(json_file)[1])
    write_json(output, mended)
    print(f"{output}: mended {', '.join(f'{count} {what}' for what, count in done.items()) or 'nothing'}")


@exit_on_bad_input()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = parse(arguments)
    # here, as torch takes seconds to import, for which --help should not wait
    from avis.data.catalog import json_file_of
    from avis.dataset_tools.problems import ERROR
    from avis.dataset_tools.sound_checks import SoundSettings
    from avis.dataset_tools.validation import validate_datasets

    logging.basicConfig(level=logging.ERROR)  # each finding is printed once, as a problem
    json_files = list(dict.fromkeys([*args.json, *map(json_file_of, args.dataset)]))
    sound = SoundSettings(args.fps, args.feature_dim, args.features_dir, args.num_sources)
    found = validate_datasets(json_files, sound)
    for name, problems in found.items():
        print_problems(name, problems)
    if args.report:
        write_report(args.report, found)
    if args.fix:
        write_mended(json_files[0], args.fix)
    sys.exit(int(any(problem.severity == ERROR for problems in found.values() for problem in problems)))

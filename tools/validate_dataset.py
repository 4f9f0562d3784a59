#!/usr/bin/env python
"""Check data sets in the AVISeg format: annotations, every frame, every mask, all sound. Lists all problems.

    python tools/validate_dataset.py --dataset avis_train avis_val
    python tools/validate_dataset.py --json my_data/train.json

Exit code 0 if nothing is wrong, 1 otherwise.
"""

import argparse
import logging
import sys

from avis.command_line import exit_on_bad_input


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", nargs="+", default=[], metavar="FILE", help="annotation files")
    parser.add_argument("--dataset", nargs="+", default=[], metavar="NAME", help="registered data sets")
    parser.add_argument("--fps", type=float, default=1.0, help="frames per second of the videos (default 1)")
    parser.add_argument("--feature-dim", type=int, default=128, help="channels of FEATAudios (default 128)")
    arguments = parser.parse_args()
    if not arguments.json and not arguments.dataset:
        parser.error("give --json FILE or --dataset NAME")
    return arguments


def find_problems(dataset: str, arguments: argparse.Namespace) -> list[str]:
    # here, as torch takes seconds to import, for which --help should not wait
    from avis.data.catalog import json_file_of
    from avis.dataset_tools.validation import validate_dataset

    try:
        return validate_dataset(json_file_of(dataset), arguments.fps, arguments.feature_dim)
    except (ValueError, FileNotFoundError) as error:
        return [str(error)]


@exit_on_bad_input()
def main() -> int:
    arguments = parse_arguments()
    logging.basicConfig(level=logging.ERROR)  # each finding is printed once, as a problem
    total = 0
    for dataset in [*arguments.json, *arguments.dataset]:
        problems = find_problems(dataset, arguments)
        total += len(problems)
        for problem in problems:
            print(f"  {problem}")
        print(f"{dataset}: {len(problems) or 'no'} problem{'s' * (len(problems) != 1)}")
    return int(total > 0)


if __name__ == "__main__":
    sys.exit(main())

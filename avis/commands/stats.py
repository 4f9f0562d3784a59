"""Draw and print what data sets in the AVISeg format hold: categories, scenarios, sources, lengths."""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from avis.command_line import command_parser, exit_on_bad_input
from avis.dataset_tools.statistics import DatasetStatistics, read_statistics
from avis.dataset_tools.statistics_figures import draw_dependency, draw_overview, draw_videos_by_category
from avis.files import replacing, write_json

EPILOG = """\
examples:
  python tools/dataset_stats.py --dataset avis_train avis_val avis_test --output output/aviseg
  python tools/dataset_stats.py --json my_data/train.json my_data/val.json --output output/my_data

Several files are splits of one data set, with the same categories. Only annotations are read. OUTPUT gets
  statistics.md                what is printed: a table of numbers by split, and one of the categories
  statistics.json              the same numbers
  videos_by_category.png       in how many videos each category sounds in view
  dependency.png               categories by scenario; without scenarios, by category
  overview.png                 lengths, tracks a video, sources a frame, how long tracks sound
"""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments of the command line."""
    parser = command_parser(__doc__, EPILOG)
    parser.add_argument("--json", nargs="+", default=[], metavar="FILE", help="annotation files")
    parser.add_argument("--dataset", nargs="+", default=[], metavar="NAME", help="registered data sets")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="gets tables and figures")
    args = parser.parse_args(arguments)
    if not args.json and not args.dataset:
        parser.error("give --json FILE or --dataset NAME")
    return args


def summarize(statistics: DatasetStatistics) -> dict[str, dict[str, float]]:
    """The single numbers by column: every split and, if there are several, all."""
    columns = {split: statistics.of_split(split).summary() for split in statistics.splits}
    return columns | ({"all": statistics.summary()} if len(columns) > 1 else {})


def summary_table(columns: dict[str, dict[str, float]]) -> str:
    """The table of all numbers, a column for each split."""
    names = next(iter(columns.values()))
    rows = [[name, *(_shown(column[name]) for column in columns.values())] for name in names]
    return tabulate(rows, ["", *columns], tablefmt="github", disable_numparse=True)


def category_table(statistics: DatasetStatistics) -> str:
    """Videos by category, and by scenario where there are any."""
    by_scenario = statistics.videos_by_category_and_scenario
    rows = [
        [name, *row]
        for name, *row in zip(
            statistics.categories, statistics.videos_by_category, *by_scenario.T, strict=True
        )
    ]
    return tabulate(rows, ["category", "videos", *statistics.scenarios], tablefmt="github")


def _shown(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.1f}"


def write_output(folder: Path, statistics: DatasetStatistics) -> str:
    """Write all files; the tables, to be printed."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = summarize(statistics)
    tables = f"{summary_table(columns)}\n\n{category_table(statistics)}\n"
    with replacing(folder / "statistics.md") as unfinished:
        unfinished.write_text(tables, encoding="utf-8")
    content = {
        "summary": {
            split: {name: None if math.isnan(value) else value for name, value in column.items()}
            for split, column in columns.items()
        },
        "videos_by_category": dict(
            zip(statistics.categories, statistics.videos_by_category.tolist(), strict=True)
        ),
        "scenarios": statistics.scenarios,
        "videos_by_category_and_scenario": statistics.videos_by_category_and_scenario.tolist(),
    }
    write_json(folder / "statistics.json", content, indent=1)
    figures = {
        "videos_by_category.png": draw_videos_by_category,
        "dependency.png": draw_dependency,
        "overview.png": draw_overview,
    }
    for name, draw in figures.items():
        with replacing(folder / name) as unfinished:
            draw(statistics).savefig(unfinished, dpi=120)
    return tables


@exit_on_bad_input()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = parse(arguments)
    json_files = list(args.json)
    if args.dataset:
        # here, as the registered data sets are Detectron2's, which takes seconds to import
        from avis.data.catalog import json_file_of

        json_files += map(json_file_of, args.dataset)
    statistics = read_statistics(json_files)
    print(write_output(args.output, statistics))
    print(f"Figures: {args.output}")

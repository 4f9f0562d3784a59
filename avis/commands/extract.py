"""Cut videos into frames and sound, in the layout of a data set, to be annotated."""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from avis.command_line import command_parser, exit_on_bad_input
from avis.commands.making_splits import add_output_options, finish, reporting, run
from avis.formats.categories import AVISEG_CATEGORIES

EPILOG = """\
examples:
  python tools/extract.py my_videos --output my_frames
  python tools/extract.py concert.mp4 street.mov --output my_frames --fps 2 --categories violin dog

OUTPUT receives <split>/JPEGImages/<video>/00000.jpg, …, <split>/WAVAudios/<video>.wav, and <split>.json.
That lists the videos without annotations. Frame t is what shows at t / FPS. Models can predict such a split.
tools/convert_dataset.py takes its frames and sound once they are annotated. The same command, given again,
goes on where a run was ended.

Exit code 0 if the split is in place; 1 if the check has found errors; 2 if nothing could be done.
"""

logger = logging.getLogger("avis.commands.extract")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments of the command line."""
    parser = command_parser(__doc__, EPILOG)
    parser.add_argument("videos", nargs="+", type=Path, metavar="VIDEO|DIR", help="files, or folders of them")
    add_output_options(parser)
    parser.add_argument(
        "--categories", nargs="+", default=list(AVISEG_CATEGORIES), metavar="NAME",
        help="what the split shall be annotated with (default: AVISeg's 26)",
    )  # fmt: skip
    return parser.parse_args(arguments)


@exit_on_bad_input()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    run(_extract, parse(arguments))


def _extract(args: argparse.Namespace) -> int:
    # here, as NumPy and PyAV take a second to import, for which --help should not wait
    from avis.dataset_tools.conversion import convert
    from avis.dataset_tools.source_media import MediaOptions, SourceMedia
    from avis.dataset_tools.unfinished_split import UnfinishedSplit
    from avis.formats.readers.common import Findings, SourceSet

    if len(set(args.categories)) < len(args.categories):
        raise ValueError("--categories: a name is there twice")
    options = MediaOptions(fps=args.fps)
    videos = [video for path in args.videos for video in _videos(path)]
    if not videos:
        raise ValueError(f"there is no video file in {', '.join(map(str, args.videos))}")
    recipe = {
        "videos": [[video.name, str(video.file)] for video in videos],
        "media": {key: str(value) for key, value in asdict(options).items()},
        "categories": args.categories,
    }
    target = UnfinishedSplit(args.output, args.split, "avis extract", recipe)
    if target.is_complete(args.overwrite):
        logger.info("%s is complete already", target.final_json)
        return 0
    source = SourceSet(dict(enumerate(args.categories, start=1)), videos)
    findings = Findings()
    with target.opened():
        with reporting(findings):
            if not target.only_json_is_left:
                convert([source], SourceMedia(options), target, findings, {"fps": args.fps})
        return finish(target, args.fps)


def _videos(path: Path) -> list:
    """The videos that a path means: itself, or those of a folder and below it."""
    from avis.formats.readers.common import SourceVideo
    from avis.media.folders import MediaFolder

    if path.is_dir():
        folder = MediaFolder(path)
        found = {name: folder.find(name) for name in folder.files}
    else:
        found = {path.stem: path}
    return [SourceVideo(name, str(file), lambda _: (), file=file) for name, file in found.items()]

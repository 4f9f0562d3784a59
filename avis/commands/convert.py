"""Convert annotations of other programs and data sets into a data set of this framework."""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from avis.command_line import POSITIVE, command_parser, exit_on_bad_input
from avis.commands.making_splits import add_output_options, finish, reporting, run

FORMATS = (
    "cvat", "label-studio", "coco", "cocovid", "youtube-vis", "ovis", "avsbench-s4", "avsbench-ms3", "avss",
    "avtrack",
)  # fmt: skip
# Those that never have sound: models that hear may be trained on them nevertheless.
VISUAL_FORMATS = ("coco", "cocovid", "youtube-vis", "ovis")

EPILOG = """\
examples:
  python tools/convert_dataset.py annotations.xml --videos my_videos --output my_data --split train
  python tools/convert_dataset.py annotations/*.xml --images frames/train/JPEGImages --output my_data
  python tools/convert_dataset.py instances.json --images train/JPEGImages --output datasets/ytvis
  python tools/convert_dataset.py AVSBench/Multi-sources --output datasets/ms3 --split test

OUTPUT receives <split>.json and the folder <split> with JPEGImages and WAVAudios. All is checked at the end,
as by tools/validate_dataset.py. It is put in place when it is whole. The same command, given again, goes on
where a run was ended.

formats, told by their content:
  cvat           XML, "CVAT for video 1.1": polygons, masks, ellipses, boxes. CVAT's COCO exports are coco
  label-studio   JSON: brushes, polygons, ellipses, boxes on pictures; boxes through videos
  coco           each picture is a video of one frame, or with --group folders those of a folder are a video;
                 'track_id' (CVAT) or 'instance_id' tells which annotations are one object
  cocovid        COCO with 'videos'
  youtube-vis    YouTube-VIS 2019 and 2021, AVISeg; ovis: the same
  avsbench-s4, avsbench-ms3, avss, avtrack      give their folder; --split chooses their videos

frames:
  Of video files (--videos), frame t is what shows at t / FPS, as in prediction. Pictures (--images) are all
  taken, or with --image-fps those that show at t / FPS. They are copied as they are.

sound:
  It comes from --sounds, else from the format's own files, else from the video files.

what sounds:
  Every annotated object sounds, unless its attribute "sounding" (--sounding-attribute) is false. With
  --sounding marked, only those sound of which it is true. Boxes become masks of their rectangles.

exit codes:
  0    the data set is in place
  1    the check has found errors, and nothing was put in place
  2    nothing could be done with the arguments or the annotations
"""

logger = logging.getLogger("avis.commands.convert")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments of the command line."""
    parser = command_parser(__doc__, EPILOG)
    parser.add_argument("annotations", nargs="+", type=Path, metavar="FILE|DIR", help="annotations")
    add_output_options(parser)
    parser.add_argument(
        "--from", dest="format", choices=FORMATS, help="the format, if not what its content says"
    )
    parser.add_argument(
        "--videos", type=Path, metavar="DIR", help="folder of video files, to be cut into frames"
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="folder of the pictures")
    parser.add_argument(
        "--sounds", type=Path, metavar="DIR", help="folder of sound files, <video>.wav or the like"
    )
    parser.add_argument(
        "--image-fps",
        type=POSITIVE,
        metavar="N",
        help="pictures a second, of which --fps are taken; default: all",
    )
    parser.add_argument(
        "--group",
        choices=("auto", "images", "folders"),
        default="auto",
        help="what is a video of COCO: each image, each folder, or a folder if objects have tracks (default)",
    )
    parser.add_argument(
        "--sounding",
        choices=("all", "marked"),
        default="all",
        help="what sounds if no attribute says so: all, or only what is marked (default %(default)s)",
    )
    parser.add_argument(
        "--sounding-attribute", default="sounding", metavar="NAME", help="default: %(default)s"
    )
    parser.add_argument(
        "--skip-missing", action="store_true", help="leave out videos whose files are missing"
    )
    return parser.parse_args(arguments)


@exit_on_bad_input()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    run(_convert, parse(arguments))


def _convert(args: argparse.Namespace) -> int:
    # here, as NumPy and PyAV take a second to import, for which --help should not wait
    from avis.dataset_tools.conversion import convert
    from avis.dataset_tools.source_media import MediaOptions, SourceMedia
    from avis.dataset_tools.unfinished_split import UnfinishedSplit
    from avis.formats.readers.common import Findings, ReadOptions, Sounding
    from avis.formats.readers.detection import read_source_set

    options = MediaOptions(args.videos, args.images, args.sounds, args.fps, args.image_fps)
    reading = ReadOptions(Sounding(args.sounding_attribute, args.sounding == "all"), args.split, args.group)
    recipe = {
        "annotations": [_version(path) for path in args.annotations],
        "media": {key: str(value) for key, value in asdict(options).items()},
        "reading": asdict(reading),
        "format": args.format,
        "skip_missing": args.skip_missing,
    }
    target = UnfinishedSplit(args.output, args.split, "avis convert", recipe)
    if target.is_complete(args.overwrite):
        logger.info("%s is complete already", target.final_json)
        return 0
    findings = Findings()
    read = [read_source_set(path, reading, findings, args.format) for path in args.annotations]
    for path, (name, source) in zip(args.annotations, read, strict=True):
        logger.info(
            "%s: %s, %d videos, %d categories", path, name, len(source.videos), len(source.categories)
        )
    media = SourceMedia(options)
    names = sorted({name for name, _ in read})
    info = {"description": f"converted from {', '.join(names)}", "fps": args.fps}
    info |= {"visual": True} if set(names) <= set(VISUAL_FORMATS) else {}
    target.keep_apart(args.annotations)
    with target.opened():
        with reporting(findings):
            if not target.only_json_is_left:
                convert([source for _, source in read], media, target, findings, info, args.skip_missing)
        return finish(target, args.fps)


def _version(path: Path) -> list[object]:
    """A file, and what changes when its content does."""
    if not path.exists():
        raise FileNotFoundError(f"no annotations at {path}")
    status = path.stat()
    return [str(path.absolute()), status.st_size, status.st_mtime_ns]

"""Show data sets on one page: videos with ground truth and sound, and clips as training takes them."""

import argparse
import logging
import re
from collections.abc import Sequence
from pathlib import Path

from avis.command_line import POSITIVE, WHOLE, command_parser, exit_on_bad_input

EPILOG = """\
examples:
  python tools/show_data.py --dataset my_data/train.json --output my_data.html
  python tools/show_data.py --config-file configs/quickstart.yaml --output quickstart.html --videos 12
  python tools/show_data.py --config-file configs/avis_R50.yaml --dataset avis_val --names concert street \\
      --clips 0 --output two_videos.html

The page needs nothing beside it, so it can be sent or moved. It shows videos with the masks, labels and
sounding intervals that are annotated, and plays their sound. It shows training clips as the config's model
gets them: the first ones of a training with SEED as --seed says. The same command gives the same page.

Without --dataset it shows the config's DATASETS.TRAIN. A frame or a sound that cannot be read is an error
that names it; tools/validate_dataset.py lists all of them.
"""

_KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.[A-Z0-9_]+)+")

logger = logging.getLogger("avis.commands.show_data")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line, by default that of this process."""
    parser = command_parser(__doc__, EPILOG)
    parser.add_argument("--dataset", nargs="+", metavar="NAME|FILE.json", help="default: DATASETS.TRAIN")
    parser.add_argument("--config-file", default="", metavar="FILE", help="whose clips are shown")
    parser.add_argument("--output", required=True, type=Path, metavar="PAGE.html")
    parser.add_argument("--videos", type=WHOLE, default=6, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--names", nargs="+", default=[], metavar="VIDEO", help="show these, by their folders or ids"
    )
    parser.add_argument("--clips", type=WHOLE, default=6, metavar="N", help="default: %(default)s")
    parser.add_argument("--seed", type=WHOLE, default=0, help="draws videos and clips, default: %(default)s")
    parser.add_argument(
        "--max-mb", type=POSITIVE, default=25.0, metavar="MB",
        help="of the page; sounds are cut, and what does not fit is left out, default: %(default)s",
    )  # fmt: skip
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config overrides")
    args = parser.parse_intermixed_args(arguments)
    for taken in (args.dataset or [], args.names):  # lists, which have taken the KEY VALUE pairs behind them
        first = next((place for place, word in enumerate(taken) if _KEY.fullmatch(word)), len(taken))
        args.opts += taken[first:]
        del taken[first:]
    return args


@exit_on_bad_input()
def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page."""
    args = parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # here, as torch takes seconds to import, for which --help should not wait
    from avis.config import get_avis_cfg
    from avis.dataset_tools.gallery.page import check_replaceable

    if not (args.videos or args.names or args.clips):
        raise ValueError("--videos 0 --clips 0: there is nothing to show")
    check_replaceable(args.output)
    cfg = get_avis_cfg(args.config_file, args.opts)
    names = args.dataset or list(cfg.DATASETS.TRAIN)
    if not names:
        raise ValueError("give --dataset, or a config with DATASETS.TRAIN")
    _show(args, cfg, names)


def _show(args: argparse.Namespace, cfg: object, names: list[str]) -> None:
    from tqdm import tqdm

    from avis.data import get_categories, get_dataset_records
    from avis.dataset_tools.gallery import choice
    from avis.dataset_tools.gallery.clips import show_clip
    from avis.dataset_tools.gallery.page import Room, write_page
    from avis.dataset_tools.gallery.samples import show_video

    records = get_dataset_records(names, drops_unknown=cfg.DATASETS.UNKNOWN_CATEGORIES == "drop")
    class_names = get_categories(names[0]).names
    chosen = choice.choose(records, args.videos, args.names, args.seed)
    notes = []
    number = args.clips
    if number and (reason := choice.no_clips(names, records)):
        logger.warning("%s", reason)
        number, notes = 0, [f"{reason[0].upper()}{reason[1:]}."]
    room = Room(round(args.max_mb * 1e6), len(chosen) + number)
    drawing = tqdm(
        total=len(chosen) + number, desc="drawing", unit=" cards", delay=2, leave=False, disable=None
    )
    samples, clips = [], []
    for record, tracks, crowds in choice.tracks_of(chosen):
        sample = show_video(record, tracks, crowds, class_names, cfg.INPUT.FPS, room.share())
        samples += [sample] * room.take(sample)
        drawing.update()
    if number:
        of_clips = choice.config_of_clips(cfg, names, args.seed)
        for clip, record in choice.training_clips(of_clips, records, number):
            shown = show_clip(clip, record, class_names, cfg.INPUT.FORMAT)
            clips += [shown] * room.take(shown)
            drawing.update()
    drawing.close()
    if not samples and not clips:
        raise ValueError(f"--max-mb {args.max_mb:g}: not one video or clip fits into the page")
    if room.num_left_out:
        notes.append(f"{room.num_left_out} videos or clips did not fit into {args.max_mb:g} MB (--max-mb).")
    config = Path(args.config_file).name if args.config_file else "default config"
    subtitle = f"videos: {len(records)} · categories: {len(class_names)} · {config} · seed {args.seed}"
    write_page(args.output, names, subtitle, samples, clips, notes)
    megabytes = args.output.stat().st_size / 1e6
    logger.info("%d videos, %d clips, %.1f MB: %s", len(samples), len(clips), megabytes, args.output)


if __name__ == "__main__":
    main()

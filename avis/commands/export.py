"""Export a model for videos of one length and size: two programs that run in plain PyTorch."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from avis.command_line import command_parser, exit_on_bad_input

EPILOG = """\
example:
  python tools/export_model.py --config-file configs/avis_R50.yaml --weights output/model_final.pth \\
      --frames 10 --size 360 640 --output exported

OUTPUT receives frame_encoder.pt2 (frames and audio features in, features out), decoder.pt2 (those in, class
and mask logits of all queries out) and export.json (shapes, categories, how to use them). They are written by
torch.export and need neither AVIS nor Detectron2; docs/export.md shows how to run them. Both are compared
with the model on random frames first. If one computes something else, nothing is written. An earlier export
is replaced.

The programs run on the kind of device they were made on: MODEL.DEVICE cpu makes some for CPUs.
"""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments of the command line."""
    parser = command_parser(__doc__, EPILOG)
    parser.add_argument("--config-file", required=True, metavar="FILE", help="the model's config")
    parser.add_argument("--weights", metavar="FILE", help="its trained weights, default: MODEL.WEIGHTS")
    parser.add_argument("--frames", required=True, type=int, metavar="T", help="length of the videos")
    parser.add_argument(
        "--size", required=True, type=int, nargs=2, metavar=("H", "W"), help="of the frames after resizing"
    )
    parser.add_argument("--output", required=True, type=Path, metavar="DIR")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config overrides")
    return parser.parse_args(arguments)


@exit_on_bad_input()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = parse(arguments)
    # here, as torch takes seconds to import, for which --help should not wait
    from avis.config import get_avis_cfg
    from avis.export import export_model

    weights = ["MODEL.WEIGHTS", args.weights] if args.weights else []
    cfg = get_avis_cfg(args.config_file, [*weights, *args.opts])
    about = export_model(cfg, args.frames, tuple(args.size), args.output)
    for program in ("frame_encoder", "decoder"):
        megabytes = (args.output / f"{program}.pt2").stat().st_size / 2**20
        largest = max(about[program]["largest_difference"].values())
        print(
            f"{args.output / program}.pt2: {megabytes:.1f} MiB, its outputs differ from the model's "
            f"by at most {largest:.1e}"
        )

"""Turn a weight file of any kind that MODEL.WEIGHTS takes into .safetensors or .pth."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from avis.command_line import command_parser, exit_on_bad_input

if TYPE_CHECKING:
    from avis.config import CfgNode
    from avis.weights import StateDict

EPILOG = """\
examples:
  python tools/convert_weights.py mask2former_R50_coco.pkl mask2former_R50.safetensors \\
      --config-file configs/avis_R50.yaml
  python tools/convert_weights.py swin_tiny.pth swin_tiny.safetensors --config-file configs/avis_SwinT.yaml
  python tools/convert_weights.py vggish.pth vggish.safetensors
  python tools/convert_weights.py output/model_final.pth weights.safetensors

With --config-file, what fits that model is written under the model's names. A table says what became of all
tensors. KEY VALUE pairs change the config. MODEL.WEIGHTS takes the result as it takes the original.

Without it, all weights are written under the names that they have, and a line says what these belong to. The
state of training is left out. What a checkpoint says of its categories, config and version stays with it.

Of a checkpoint with averaged weights (SOLVER.EMA_DECAY) these are taken, unless --trained-last or
MODEL.EMA_WEIGHTS False is given.

A file is read as data: code in a pickle is refused, not run. Exit code 2 if it cannot be read, or if nothing
in it belongs to the model.
"""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments of the command line."""
    parser = command_parser(__doc__, EPILOG)
    parser.add_argument("input", metavar="INPUT", help="a file of torch.save, a pickle or safetensors")
    parser.add_argument("output", metavar="OUTPUT", type=Path, help="ends in .safetensors or .pth")
    parser.add_argument("--config-file", metavar="FILE", help="the model that the weights are for")
    parser.add_argument(
        "--trained-last", action="store_true", help="of a file with averaged weights, take the others"
    )
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config overrides")
    args = parser.parse_intermixed_args(arguments)
    if args.opts and not args.config_file:
        parser.error("KEY VALUE pairs belong to a --config-file")
    return args


def check_output(output: Path, input: str) -> None:
    """Refuse an output that cannot be written or is the input, before the work is done."""
    from avis.weights import SUFFIXES

    if output.suffix not in SUFFIXES:
        raise ValueError(f"{output}: OUTPUT must end in {' or '.join(SUFFIXES)}")
    if not output.absolute().parent.is_dir():
        raise FileNotFoundError(f"there is no folder {output.absolute().parent}")
    if output.exists() and Path(input).exists() and output.samefile(input):
        raise ValueError(f"{output} is INPUT itself; choose another name")


def state_of_model(cfg: "CfgNode") -> "StateDict":
    """Names and shapes of a model's tensors, without values."""
    import torch

    from avis.modeling import build_model

    cfg.MODEL.DEVICE = "meta"
    cfg.MODEL.AUDIO.WEIGHTS = cfg.MODEL.AUDIO.PCA_WEIGHTS = ""
    with torch.device("meta"):
        return build_model(cfg).state_dict()


def fit_to_model(checkpoint: dict, cfg: "CfgNode", input: str) -> "StateDict":
    """The weights that a model takes, under its names; prints what became of the others."""
    from avis.weights import match_weights, refuse_other_models

    target = state_of_model(cfg)
    refuse_other_models(target, checkpoint["model"], input)
    weights, report = match_weights(target, checkpoint)
    if not weights:
        raise ValueError(f"{input}: no weight in it belongs to the model ({report.summary()})")
    print(f"{input}, {report.source}: {report.summary()}\n\n{report.table()}\n")
    for hint in report.hints():
        print(hint)
    return weights


def keep_names(checkpoint: dict, input: str) -> "StateDict":
    """All weights under their own names; prints what they are, and what else there is."""
    from avis.weights import about, describe

    left_out = ", ".join(sorted(checkpoint.keys() - about(checkpoint).keys() - {"model"}))
    print(f"{input}: {describe(checkpoint['model'])}" + (f"; left out: {left_out}" if left_out else ""))
    return checkpoint["model"]


@exit_on_bad_input()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = parse(arguments)
    # here, as torch takes seconds to import, for which --help should not wait
    from avis.config import get_avis_cfg
    from avis.weights import about, read_weights, write_weights

    check_output(args.output, args.input)
    cfg = get_avis_cfg(args.config_file, args.opts) if args.config_file else None
    averaged = not args.trained_last and (cfg is None or cfg.MODEL.EMA_WEIGHTS)
    checkpoint, chosen = read_weights(args.input, averaged)
    if chosen:
        print(f"{args.input}: {chosen}")
    weights = fit_to_model(checkpoint, cfg, args.input) if cfg else keep_names(checkpoint, args.input)
    write_weights(args.output, weights, Path(args.input).name, about(checkpoint))
    values = sum(value.numel() for value in weights.values())
    print(f"{args.output}: {len(weights)} tensors, {values:,} values")

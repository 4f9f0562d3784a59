"""Does it really listen? Evaluate a model with each video's own sound, silence, and another video's sound."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from avis.command_line import command_parser, exit_on_bad_input
from avis.evaluation import comparison_table
from avis.files import write_json

if TYPE_CHECKING:
    from torch import nn

    from avis.config import CfgNode

EPILOG = """\
example:
  python tools/check_listening.py --config-file configs/avis_R50.yaml --weights output/model_final.pth

OUTPUT_DIR/listening receives a folder with results and metrics for each kind of sound. The table of all is
printed last. A model without an audio branch is evaluated once.
"""

# Values of INPUT.AUDIO.AT_TEST, and what the table calls them.
SOUNDS = {"own": "own sound", "silent": "silence", "shuffled": "another video's sound"}
COLUMNS = ("AP", "AP50", "AP75", "AR1", "AR10")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments of the command line."""
    parser = command_parser(__doc__, EPILOG)
    parser.add_argument("--config-file", required=True, metavar="FILE", help="the model's config")
    parser.add_argument("--weights", required=True, metavar="FILE", help="its trained weights")
    parser.add_argument("--output", metavar="METRICS.json", help="default: OUTPUT_DIR/listening/metrics.json")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config overrides")
    return parser.parse_args(arguments)


def evaluate(cfg: "CfgNode", model: "nn.Module", sound: str) -> dict[str, float]:
    """The metrics of a model that hears one kind of sound."""
    from avis.engine import AVISTrainer

    cfg = cfg.clone()
    cfg.defrost()
    cfg.INPUT.AUDIO.AT_TEST = sound
    cfg.OUTPUT_DIR = str(Path(cfg.OUTPUT_DIR, sound))
    metrics = AVISTrainer.test(cfg, model)["avis"]
    if not metrics:
        raise ValueError(f"{cfg.DATASETS.TEST[0]} has no annotations to compare with")
    return metrics


@exit_on_bad_input()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = parse(arguments)
    # here, as torch takes seconds to import, for which --help should not wait
    from avis.config import get_avis_cfg, hears
    from avis.engine import setup
    from avis.modeling import load_trained_model

    args.opts += ["MODEL.WEIGHTS", args.weights]
    # A folder of its own: the training run's config and log stay as they are.
    args.opts += ["OUTPUT_DIR", str(Path(get_avis_cfg(args.config_file, args.opts).OUTPUT_DIR, "listening"))]
    args.eval_only = True
    cfg = setup(args)
    if len(cfg.DATASETS.TEST) != 1:
        raise ValueError(f"give one data set to test on, not DATASETS.TEST {cfg.DATASETS.TEST}")
    model = load_trained_model(cfg)
    sounds = SOUNDS if hears(cfg) else ("own",)
    metrics = {sound: evaluate(cfg, model, sound) for sound in sounds}
    write_json(args.output or Path(cfg.OUTPUT_DIR, "metrics.json"), metrics, indent=2)
    print()
    print(comparison_table({SOUNDS[sound]: metrics[sound] for sound in sounds}, COLUMNS, "the model hears"))

"""Train or evaluate a model, on GPUs or on the CPU."""

import argparse
import os
import re
from collections.abc import Sequence
from pathlib import Path

from avis.command_line import exit_on_bad_input, training_parser

EPILOG = """\
examples:
  python tools/train_net.py --config-file configs/quickstart.yaml
  python tools/train_net.py --config-file configs/avis_R50.yaml --num-gpus 6 --resume \\
      MODEL.WEIGHTS detectron2://ImageNetPretrained/torchvision/R-50.pkl MODEL.AUDIO.WEIGHTS vggish.pth
  python tools/train_net.py --config-file configs/avis_R50.yaml --eval-only MODEL.WEIGHTS model_final.pth
  python tools/train_net.py --config-file configs/avis_R50.yaml --eval-only \\
      --checkpoints 'output/model_0*.pth' OUTPUT_DIR output
  torchrun --nproc-per-node 6 tools/train_net.py --config-file configs/avis_R50.yaml
  python tools/train_net.py --reproduce output/avis_R50

processes:
  --num-gpus N starts N processes, on the CPU where there is no GPU. torchrun, srun and Open MPI start the
  processes themselves (docs/clusters.md).

OUTPUT_DIR:
  It receives config.yaml, run.json, log.txt, training_metrics.json, TensorBoard events and checkpoints. What
  each test set gave is under inference/. A folder that holds a training is refused without --resume, and so
  are two trainings at once in one folder. --overwrite deletes the earlier training.

going on:
  --resume takes the last whole checkpoint in OUTPUT_DIR, or MODEL.WEIGHTS where there is none. --reproduce
  RUN starts the training of a folder again, with its config, SEED and number of processes. It lists what is
  not as it was then. OUTPUT_DIR is RUN_reproduced; KEY VALUE pairs and --num-gpus may change this.

evaluation:
  --eval-only writes under inference/, and a line to evaluations.jsonl. After an interruption it goes on with
  --resume, if weights, config and annotations are the same.
  --checkpoints evaluates several into OUTPUT_DIR/evaluations/<checkpoint>, and prints a table of them. With
  --resume those that OUTPUT_DIR/evaluations.jsonl has already are left out (docs/logs.md).

stopping:
  On SIGTERM, SIGINT (Ctrl-C), SIGUSR1 or SIGHUP, and after --max-hours, a training saves after the iteration.
  It prints the command that goes on with it, and ends. A second signal ends it at once.

exit codes:
  0      all is done
  1      an error, with its traceback
  2      bad input, said in one line
  75     stopped and saved: --resume goes on
  128 +  the signal's number: ended at once by a signal
"""

CONFIG_KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.[A-Z0-9_]+)*")


@exit_on_bad_input()
def run(args: argparse.Namespace) -> None:
    """What every process does."""
    from avis.config import get_avis_cfg
    from avis.engine import listening, run_folder, was_restarted

    if args.eval_only:
        evaluate(args)
        return
    args.resume = was_restarted() or args.resume
    with listening(args.max_hours), run_folder(get_avis_cfg(args.config_file, args.opts), args.resume):
        train(args)


def evaluate(args: argparse.Namespace) -> None:
    """Evaluate one checkpoint or several, in this process of the run."""
    from avis.engine import evaluate_checkpoint, evaluate_checkpoints, setup

    cfg = setup(args)
    if args.checkpoints:
        evaluate_checkpoints(cfg, args.checkpoints, args.resume)
    else:
        evaluate_checkpoint(cfg, args.resume)


def train(args: argparse.Namespace) -> None:
    """Train, in this process of the run."""
    from avis.config import read_run
    from avis.engine import AVISTrainer, clear_output_dir, record_start, report_differences, setup

    cfg = setup(args)
    trainer = AVISTrainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    if not args.resume:
        clear_output_dir(trainer.cfg)
    start = record_start(cfg, args.resume)
    if args.reproduce and start:
        report_differences(read_run(args.reproduce), start)
    trainer.train()


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments of the command line."""
    parser = training_parser(__doc__, EPILOG)
    args = parser.parse_args(arguments)
    # argparse gives them everything up to the next option, also the KEY VALUE pairs
    keys = [index for index, word in enumerate(args.checkpoints) if CONFIG_KEY.fullmatch(word)]
    first = keys[0] if keys else len(args.checkpoints)
    args.checkpoints, args.opts = args.checkpoints[:first], args.checkpoints[first:] + args.opts
    if keys and not args.checkpoints:
        parser.error("--checkpoints needs at least one file")
    if args.checkpoints and not args.eval_only:
        parser.error("--checkpoints is for --eval-only; a training starts from MODEL.WEIGHTS")
    if args.reproduce and (args.config_file or args.eval_only):
        parser.error(
            "--reproduce RUN takes the config of RUN, and trains: leave --config-file and --eval-only"
        )
    return args


@exit_on_bad_input()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = parse(arguments)
    # here, as torch takes seconds to import, for which --help should not wait
    from avis.config import get_avis_cfg, read_run

    recorded = read_run(args.reproduce) if args.reproduce else None
    if recorded and Path(recorded.start["datasets"]).is_dir():
        os.environ.setdefault("DETECTRON2_DATASETS", recorded.start["datasets"])  # before avis.data reads it
    from avis.engine import check_inputs, find_checkpoints, find_member, launch_command

    if recorded:
        args.opts = recorded.options(args.opts)
        if args.num_gpus == 1 and not find_member(os.environ, args.dist_url):
            args.num_gpus = max(1, len(recorded.start["processes"]) // args.num_machines)
    args.opts += ["OVERWRITE_OUTPUT", "True"] if args.overwrite else []

    # a mistake in the config ends here, before processes start
    cfg = get_avis_cfg(args.config_file, args.opts)
    args.checkpoints = find_checkpoints(args.checkpoints, cfg.OUTPUT_DIR)
    if recorded and not args.resume:
        check_inputs(recorded, cfg)
    launch_command(run, args, cfg)

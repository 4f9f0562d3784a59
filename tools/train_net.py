#!/usr/bin/env python
"""Train or evaluate a model, on GPUs or on the CPU."""

import argparse
import os
from datetime import timedelta

from avis.command_line import exit_on_bad_input, training_parser

EPILOG = """\
examples:
  python tools/train_net.py --config-file configs/quickstart.yaml
  python tools/train_net.py --config-file configs/avis_R50.yaml --num-gpus 6 --resume \\
      MODEL.WEIGHTS detectron2://ImageNetPretrained/torchvision/R-50.pkl MODEL.AUDIO.WEIGHTS vggish.pth
  python tools/train_net.py --config-file configs/avis_R50.yaml --eval-only MODEL.WEIGHTS model_final.pth
  torchrun --nproc-per-node 6 tools/train_net.py --config-file configs/avis_R50.yaml

torchrun, srun and Open MPI start the processes themselves (docs/clusters.md). Without a GPU, --num-gpus N
starts N processes on the CPU. OUTPUT_DIR receives config.yaml, log.txt, training_metrics.json, TensorBoard
events, checkpoints, and under inference/ what each test set gave.
A folder that holds a training is refused without --resume; --overwrite deletes that training. Two trainings
at once in one folder are refused, too. --eval-only writes under inference/ alone.
An evaluation that was interrupted goes on with --eval-only --resume, if weights, config and annotations are
the same; --resume takes the last whole checkpoint in OUTPUT_DIR, or MODEL.WEIGHTS where there is none.

On SIGTERM, SIGINT (Ctrl-C), SIGUSR1 or SIGHUP, and after --max-hours, a training saves after the iteration,
prints the command that goes on with it, and ends. A second signal ends it at once.
Exit codes: 0 all is done; 2 bad input, said in one line; 75 stopped and saved, --resume goes on; 128 + the
signal's number where it was ended at once; 1 any other error, with its traceback.
"""


@exit_on_bad_input()
def run(args: argparse.Namespace) -> None:
    """What every process does."""
    from avis.config import get_avis_cfg
    from avis.engine import listening, run_folder

    if args.eval_only:
        evaluate(args)
        return
    with listening(args.max_hours), run_folder(get_avis_cfg(args.config_file, args.opts), args.resume):
        train(args)


def evaluate(args: argparse.Namespace) -> None:
    from avis.engine import AVISTrainer, setup
    from avis.modeling import load_trained_model

    cfg = setup(args)
    model = load_trained_model(cfg, last_checkpoint=args.resume)
    AVISTrainer.test(cfg, model, resume=args.resume)


def train(args: argparse.Namespace) -> None:
    from avis.engine import AVISTrainer, clear_output_dir, setup

    trainer = AVISTrainer(setup(args))
    trainer.resume_or_load(resume=args.resume)
    if not args.resume:
        clear_output_dir(trainer.cfg)
    trainer.train()


@exit_on_bad_input()
def main() -> None:
    args = training_parser(__doc__, EPILOG).parse_args()
    # here, as torch takes seconds to import, for which --help should not wait
    from avis.config import get_avis_cfg
    from avis.engine import check_output_dir, is_restart, launch

    if is_restart(os.environ) and not args.eval_only:
        args.resume, args.overwrite = True, False
    args.opts += ["OVERWRITE_OUTPUT", "True"] if args.overwrite else []

    # a mistake in the config ends here, before processes start
    cfg = get_avis_cfg(args.config_file, args.opts)
    if not (args.resume or args.eval_only):
        check_output_dir(cfg)
    launch(
        run,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args,),
        device=cfg.MODEL.DEVICE,
        timeout=timedelta(minutes=cfg.TIMEOUT_MINUTES),
    )


if __name__ == "__main__":
    main()

"""What the processes of the launch tests run."""

import json
import logging
import os
import random
import sys
import time
from argparse import Namespace
from collections.abc import Collection, Iterator
from itertools import count, product
from pathlib import Path

import torch
import torch.distributed as dist
from detectron2.config import CfgNode
from detectron2.utils import comm
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from avis.command_line import exit_on_bad_input
from avis.config import get_avis_cfg
from avis.data import build_test_loader, build_train_loader
from avis.engine import AVISTrainer, launch, setup
from avis.files import replacing
from avis.modeling.shared_norm import SharedBatchNorm
from tests.modeling.test_avis_mask_former import SMALL, clip
from tests.modeling.test_whole_batch import ALL_LOSSES, VISION, four_clips, wake

# The gradients stay as they are.
PLAIN_STEP = ["SOLVER.OPTIMIZER", "SGD", "SOLVER.CLIP_GRADIENTS.ENABLED", False]
# Batch norms see the whole batch in one pass alone, and as long as processes share them.
STEPS = {
    "batch norms": ["MODEL.SYNC_BN", True],
    "all losses": ALL_LOSSES,
    "vision": VISION,
    "two passes": [*VISION, "SOLVER.ACCUMULATE", 2],
}


def report(output_dir: str) -> None:
    """Write what this process knows of its group."""
    values = torch.tensor([comm.get_rank() + 1.0])
    if comm.get_world_size() > 1:
        dist.all_reduce(values)
    facts = (comm.get_world_size(), comm.get_local_rank(), comm.get_local_size(), values.item())
    Path(output_dir, f"facts{comm.get_rank()}").write_text(repr(facts))


def threads() -> str:
    """The names of this process's threads, as the system knows them."""
    return " ".join(path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm"))


def leave_a_cycle(output_dir: str) -> None:
    """Talk in the group, and leave a model that refers to it in a reference cycle."""
    model = DistributedDataParallel(nn.Linear(2, 1))
    model.cycle = [model]
    model(torch.ones(1, 2)).sum().backward()
    comm.all_gather(comm.get_local_rank())
    Path(output_dir, f"threads{comm.get_rank()}").write_text(threads())


def report_workers(json_file: str, output_dir: str) -> None:
    """Write the command lines of this process and of the workers of its loaders."""
    opts = ["DATALOADER.NUM_WORKERS", 1, "MODEL.SEM_SEG_HEAD.NUM_CLASSES", 2, "SOLVER.IMS_PER_BATCH", 2]
    cfg = get_avis_cfg(opts=[*opts, "DATASETS.TRAIN", (json_file,), "DATASETS.TEST", (json_file,)])
    clips, videos = iter(build_train_loader(cfg)), iter(build_test_loader(cfg, json_file))
    workers = [worker.pid for loader in (clips, videos) for worker in loader._workers]
    assert len(next(clips)) == len(next(videos)) == 1
    commands = [Path(f"/proc/{pid}/cmdline").read_text() for pid in (os.getpid(), *workers)]
    Path(output_dir, f"commands{comm.get_rank()}.json").write_text(json.dumps(commands))


@exit_on_bad_input()
def set_up_and_fail(output_dir: str) -> None:
    opts = ["OUTPUT_DIR", output_dir, "SEED", "5"]
    cfg = setup(Namespace(config_file="", opts=opts, eval_only=False))
    logger = logging.getLogger("avis.part")
    logger.info("on %s, frozen: %s, random: %s", cfg.MODEL.DEVICE, cfg.is_frozen(), random.random())
    logger.debug("for the file only")
    report(output_dir)
    comm.synchronize()
    raise ValueError("bad clip 7")


class ClipTrainer(AVISTrainer):
    """Trains the small audio-visual model on a clip of noise a process."""

    deaf_at: Collection[int] = ()  # iterations in which the last process hears NaN

    @classmethod
    def build_train_loader(cls, cfg: CfgNode, start_iteration: int = 0) -> Iterator[list[dict]]:
        for iteration in count(start_iteration):
            batch = [clip(2)]
            if comm.get_rank() == 1 and iteration in cls.deaf_at:
                batch[0]["audio_examples"].fill_(float("nan"))
            yield batch


class OnceFlawedTrainer(ClipTrainer):
    deaf_at = (1,)


class FlawedTrainer(ClipTrainer):
    deaf_at = (1, 2)


def train_clips(trainer_class: type[ClipTrainer], output_dir: str, opts: list) -> ClipTrainer:
    """Train for 3 iterations."""
    keys = ["OUTPUT_DIR", output_dir, "SOLVER.MAX_ITER", 3, "DATASETS.TEST", (), "SEED", 1]
    trainer = trainer_class(get_avis_cfg("configs/avis_R50.yaml", [*SMALL, *keys, *opts]))
    trainer.train()
    return trainer


def train_shallow(output_dir: str) -> None:
    """Train decoders of 0 to 2 layers, with and without projections of the levels."""
    for predictions, projected in product((1, 2, 3), (False, True)):
        keys = zip(("DEC_LAYERS", "ENFORCE_INPUT_PROJ"), (predictions, projected), strict=True)
        opts = [item for key, value in keys for item in (f"MODEL.MASK_FORMER.{key}", value)]
        train_clips(ClipTrainer, output_dir, opts)
    Path(output_dir, f"trained{comm.get_rank()}").touch()


@exit_on_bad_input()
def train_flawed(output_dir: str) -> None:
    """Go on after one flawed iteration, and end after two in a row."""
    folder = Path(output_dir, "once")
    trained = train_clips(OnceFlawedTrainer, str(folder), [])
    torch.save(trained.model.module.state_dict(), Path(output_dir, f"weights{comm.get_rank()}.pt"))
    train_clips(FlawedTrainer, output_dir, ["SOLVER.MAX_NONFINITE", 2])


def launch_flawed(output_dir: str) -> None:
    """As one of the processes that something else has started."""
    launch(train_flawed, 1, args=(output_dir,), device="cpu")


def train_on_four_clips(output_dir: str) -> None:
    """Take one step of each case on this process's share of four clips; write what comes of it."""
    seen = {name: step_on_four_clips(output_dir, options) for name, options in STEPS.items()}
    seen |= {"threads": torch.get_num_threads(), "norm": normalise_a_share()}
    torch.save(seen, Path(output_dir, f"steps{comm.get_rank()}.pt"))


def normalise_a_share() -> dict[str, torch.Tensor]:
    """What a shared batch norm makes of this process's part of 6 samples, and what it learns."""
    torch.manual_seed(3)
    samples = torch.randn(6, 4, 2, 3, dtype=torch.double)
    share = slice(0, 2) if comm.get_rank() == 0 else slice(2, None)  # of different sizes
    own = (samples if comm.get_world_size() == 1 else samples[share]).clone().requires_grad_()
    norm = SharedBatchNorm(4).double()
    normalised = norm(own)
    (normalised[:, 0] * normalised[:, 1].exp()).sum().backward()
    state = {f"running {name}": buffer for name, buffer in norm.named_buffers()}
    return {"output": normalised.detach(), "gradient": own.grad, **state}


def step_on_four_clips(output_dir: str, options: list) -> dict:
    cfg = get_avis_cfg("configs/avis_R50.yaml", [*SMALL, *PLAIN_STEP, *options, "OUTPUT_DIR", output_dir])
    torch.manual_seed(0)
    trainer = AVISTrainer(cfg)
    model = getattr(trainer.model, "module", trainer.model)
    wake(model)
    metrics = trainer.step(four_clips()[comm.get_rank() :: comm.get_world_size()])
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {"metrics": metrics, "gradients": gradients, "buffers": dict(model.named_buffers())}


@exit_on_bad_input()
def write_for_ever(output_dir: str) -> None:
    """Be in the middle of a file."""
    with replacing(Path(output_dir, f"{comm.get_rank()}.txt")) as unfinished:
        unfinished.touch()
        time.sleep(120)


@exit_on_bad_input()
def launch_writers(output_dir: str) -> None:
    launch(write_for_ever, 2, args=(output_dir,), device="cpu")


if __name__ == "__main__":
    launch_writers(sys.argv[1])

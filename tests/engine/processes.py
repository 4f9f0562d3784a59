"""What the processes of the launch tests run."""

import errno
import json
import logging
import os
import random
import shutil
import sys
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import nullcontext
from itertools import count, product
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from detectron2.config import CfgNode
from detectron2.utils import comm
from torch import nn
from torch.distributed import checkpoint
from torch.nn.parallel import DistributedDataParallel

from avis.audio.weights import audio_backbone_of
from avis.command_line import exit_on_bad_input
from avis.config import get_avis_cfg
from avis.data import build, build_test_loader, build_train_loader
from avis.engine import AVISCheckpointer, AVISTrainer, distribution, launch, setup
from avis.engine.trackers import open_on_main
from avis.engine.validation_loss import validation_loss
from avis.files import replacing
from avis.modeling import build_model
from avis.modeling.shared_norm import SharedBatchNorm
from avis.weights import read_checkpoint
from tests.engine.small_model import SmallTrainer, build_small_model, small_cfg
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


def train_small(folder: Path, resume: bool = False, iterations: int = 4, **solver: object) -> SmallTrainer:
    """Train the small model as one of some processes."""
    torch.manual_seed(comm.get_rank())
    np.random.seed(comm.get_rank())
    cfg = small_cfg(folder, MAX_ITER=iterations, STEPS=(2,), **solver)
    cfg.SEED = 5
    trainer = SmallTrainer(cfg)
    trainer.resume_or_load(resume)
    trainer.train()
    return trainer


def train_in_parts(folder: str, number: int) -> None:
    train_small(Path(folder, f"of{number}"), CHECKPOINT_SHARDED=True)


def go_on_from_parts(folder: str, number: int) -> None:
    """Go on from what another number of processes has written in parts, and from the same in one file."""
    of_others = Path(folder, f"of{3 - number}", "model_0000001")
    in_parts, in_file = (Path(folder, f"{kind}{number}") for kind in ("parts", "file"))
    if comm.is_main_process():
        shutil.copytree(of_others, in_parts / of_others.name)
        in_file.mkdir()
        torch.save(read_checkpoint(str(of_others)), in_file / f"{of_others.name}.pth")
    comm.synchronize()
    for run in (in_parts, in_file):
        assert train_small(run, resume=True).start_iter == 2


def fail_to_write_a_part(folder: str) -> None:
    """Find the disk full in the second checkpoint, in one of the processes."""
    model = build_small_model()
    checkpointer = AVISCheckpointer(DistributedDataParallel(model), folder)
    for buffer in model.buffers():
        buffer.fill_(comm.get_rank() + 1)
    checkpointer.save("model_0000001", sharded=True, iteration=1)
    if comm.get_rank() == 1:
        checkpoint.FileSystemWriter.write_data = _find_no_space
    try:
        checkpointer.save("model_0000003", sharded=True, iteration=3)
    except OSError as error:
        Path(folder, f"told{comm.get_rank()}").write_text(str(error))


def _find_no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# Of training in pieces. Each changes what may go wrong with them.
IN_PIECES = {
    "as it is": [],
    "averaged": [
        "SOLVER.EMA_DECAY", 0.5, "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "norm", "SOLVER.OPTIMIZER", "SGD"
    ],
    "passes": ["SOLVER.ACCUMULATE", 2, "MODEL.CHECKPOINTING", ["backbone", "encoder", "decoder"]],
    "batch norms": ["MODEL.SYNC_BN", True],
    "all losses": ALL_LOSSES,
    # Whose rounding Adam would enlarge.
    "lower precision": ["SOLVER.AMP.ENABLED", True, "SOLVER.OPTIMIZER", "SGD", "SOLVER.BASE_LR", 1e-6],
    "frozen": [
        "MODEL.AUDIO.FREEZE", True, "MODEL.FREEZE", ["backbone.stem.*", "sem_seg_head.predictor.*norm*"],
        "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "value", "SOLVER.OPTIMIZER", "SGD",
    ],
}  # fmt: skip


def train_in_pieces(output_dir: str) -> None:
    """Take three steps of each case with copies and in pieces; write what comes of them."""
    distribution.MIN_BLOCK = 0
    seen = {
        (name, in_pieces): three_steps(Path(output_dir, f"{name} {in_pieces}"), options, in_pieces)
        for name, options in IN_PIECES.items()
        for in_pieces in (False, True)
    }
    torch.save(seen, Path(output_dir, f"seen{comm.get_rank()}.pt"))


def three_steps(folder: Path, options: list, in_pieces: bool) -> dict:
    """Metrics of two steps, an evaluation by the first process alone, and another step."""
    keys = ["OUTPUT_DIR", str(folder), "SOLVER.FSDP", in_pieces, *options]
    folder.mkdir(exist_ok=True)
    trainer = trainer_of_clips([*keys, "SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 0.5])
    share = four_clips()[comm.get_rank() :: comm.get_world_size()]
    metrics = [trainer._learn(share) for _ in range(2)]
    average = trainer.checkpointer.average
    averaged = average.applied() if average else nullcontext()
    with averaged, distribution.to_evaluate(trainer.model) as alone, torch.no_grad():
        evaluated = {name: value.clone() for name, value in alone.state_dict().items()}
        if comm.is_main_process():
            assert len(alone.eval()([clip(3), clip(2)])) == 2
            alone.train()
    metrics.append(trainer._learn(share))
    trainer.checkpointer.save("model_final", iteration=2)
    kinds = Counter(type(module).__name__ for module in trainer.model.modules())
    blocks = sum(number for kind, number in kinds.items() if kind.startswith("FSDP"))
    backbone = audio_backbone_of(distribution.unwrapped(trainer.model))
    digest = backbone.weights_digest() if trainer.cfg.MODEL.AUDIO.FREEZE else ""
    return {"metrics": metrics, "blocks": blocks, "evaluated": evaluated, "digest": digest}


def trainer_of_clips(options: list) -> AVISTrainer:
    torch.manual_seed(0)
    return AVISTrainer(get_avis_cfg("configs/avis_R50.yaml", [*SMALL, *options]))


def go_on_in_pieces(output_dir: str) -> None:
    """Train the small model straight, and with a stop, after which it may be of the other kind."""
    for fsdp in (False, True):
        train_small(Path(output_dir, f"straight {fsdp}"), FSDP=fsdp, EMA_DECAY=0.5)
    for before, after, in_parts in product((False, True), repeat=3):
        folder = Path(output_dir, f"{before} {after} {in_parts}")
        train_small(folder, iterations=3, FSDP=before, CHECKPOINT_SHARDED=in_parts, EMA_DECAY=0.5)
        if comm.is_main_process():
            (folder / "model_final.pth").unlink()
        comm.synchronize()
        options = {"FSDP": after, "CHECKPOINT_SHARDED": in_parts, "EMA_DECAY": 0.5}
        assert train_small(folder, resume=True, **options).start_iter == 2


def go_on_alone(output_dir: str) -> None:
    """Go on with what two processes have written in pieces and parts."""
    assert train_small(Path(output_dir, "alone"), resume=True, FSDP=True, EMA_DECAY=0.5).start_iter == 2


def train_flawed_in_pieces(output_dir: str) -> None:
    """Skip an iteration, with copies and in pieces; then one process alone fails."""
    distribution.MIN_BLOCK = 0
    for in_pieces in (False, True):
        folder = Path(output_dir, str(in_pieces))
        torch.manual_seed(comm.get_rank())
        train_clips(OnceFlawedTrainer, str(folder), ["SOLVER.FSDP", in_pieces])
    checkpointer = AVISCheckpointer(distribution.distribute(build_small_model(), True), output_dir)
    try:
        checkpointer.save("model_0000001", [])
    except RuntimeError as error:
        Path(output_dir, f"told{comm.get_rank()}").write_text(str(error))


def small_run(json_file: Path | str, output_dir: Path | str, iterations: int) -> CfgNode:
    """The config of a training of the small audio-visual model on `tests.small_dataset`."""
    keys = {
        "DATASETS.TRAIN": (str(json_file),),
        "DATASETS.TEST": (str(json_file),),
        "DATALOADER.NUM_WORKERS": 0,
        "INPUT.MIN_SIZE_TRAIN": (48,),
        "INPUT.MIN_SIZE_TEST": 0,
        "MODEL.SEM_SEG_HEAD.NUM_CLASSES": 2,
        "OUTPUT_DIR": str(output_dir),
        "SEED": 1,
        "SOLVER.IMS_PER_BATCH": 2,
        "SOLVER.MAX_ITER": iterations,
    }
    return get_avis_cfg("configs/avis_R50.yaml", [*SMALL, *(item for pair in keys.items() for item in pair)])


def measure_loss(json_file: str, output_dir: str) -> None:
    """Write the losses on 12 clips, which two processes can share evenly, and on 9."""
    cfg = small_run(json_file, output_dir, 1)
    torch.manual_seed(0)
    model = build_model(cfg)
    losses = [validation_loss(cfg, model, json_file)]
    build._CLIPS_PER_VIDEO = 3
    losses.append(validation_loss(cfg, model, json_file))
    Path(output_dir, f"loss{comm.get_rank()}.json").write_text(json.dumps(losses))


def train_with_pictures(json_file: str, output_dir: str) -> None:
    """Train as ever, and with pictures, a profile and losses of the test set; keep the weights."""
    watched = {"VIS_PERIOD": 1, "PROFILE": (0, 2), "TEST.EVAL_PERIOD": 1, "TEST.LOSS": True}
    for name, keys in (("plain", {}), ("watched", watched)):
        cfg = small_run(json_file, Path(output_dir, name), 2)
        cfg.merge_from_list([item for pair in keys.items() for item in pair])
        torch.manual_seed(comm.get_rank())
        trainer = AVISTrainer(cfg)
        trainer.train()
        torch.save(trainer.checkpointer.model.state_dict(), Path(output_dir, f"{name}{comm.get_rank()}.pt"))


def refuse() -> list:
    raise ValueError("no run can be opened")


@exit_on_bad_input()
def open_no_writers(output_dir: str) -> None:
    open_on_main(refuse)
    Path(output_dir, "went on").touch()


def average_steps(output_dir: str) -> None:
    """Take three steps on this process's share of four clips; write the average of the weights."""
    opts = ["SOLVER.EMA_DECAY", 0.5, "SOLVER.BASE_LR", 0.01, "OUTPUT_DIR", output_dir]
    torch.manual_seed(0)
    trainer = AVISTrainer(get_avis_cfg("configs/avis_R50.yaml", [*SMALL, *PLAIN_STEP, *VISION, *opts]))
    for _ in range(3):
        trainer._learn(four_clips()[comm.get_rank() :: comm.get_world_size()])
    average = trainer.checkpointer.average.state_dict()
    learned = {name: average[name] for name, _ in trainer.checkpointer.model.named_parameters()}
    torch.save(learned, Path(output_dir, f"average{comm.get_rank()}.pt"))


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

"""What a training on many GPUs needs, on paper: batch, schedule, data, messages, memory and checkpoints."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from avis.command_line import command_parser, exit_on_bad_input

EPILOG = """\
examples:
  python tools/plan_scale.py --config-file configs/avis_R50.yaml --gpus 64 --step-seconds 0.66
  python tools/plan_scale.py --config-file configs/avis_SwinL.yaml --clips-per-gpu 1 --step-seconds 1.5

Parameters are counted in the model of the config, built without memory. All else follows by the formulas of
docs/scaling.md from the options; give --step-seconds as `tools/benchmark.py train` measures it for the clips
of one GPU. Links are in GB/s (10^9 bytes) for each GPU, in one direction.
"""

FLOAT = 4
GB = 1e9
# All kinds of memory that grow with the parameters, in numbers for each one that learns.
GRADIENT, MOMENTS = 1, 2


@dataclass(frozen=True)
class Plan:
    """A training on paper.

    Attributes:
        learning: parameters that learn.
        kept: parameters of the model.
        whole: those of a frozen audio backbone, which is never in pieces.
        gpus: processes.
        clips: of a step, on all GPUs.
        clips_before: of a step, in the config.
        lr: of the config.
        iterations: of the config.
        frames: of a clip.
        jpeg_bytes: of a frame.
        step_seconds: of a step, without messages.
        worker_clips: that one worker loads in a second.
        link: bytes that a GPU sends in a second.
        disk: bytes that a process writes in a second.
    """

    learning: int
    kept: int
    whole: int
    gpus: int
    clips: int
    clips_before: int
    lr: float
    iterations: int
    frames: int
    jpeg_bytes: float
    step_seconds: float
    worker_clips: float
    link: float
    disk: float

    @property
    def growth(self) -> float:
        """How many times as many clips a step has."""
        return self.clips / self.clips_before

    @property
    def num_iterations(self) -> int:
        """Steps for the clips of the config's schedule."""
        return max(round(self.iterations / self.growth), 1)

    @property
    def clips_per_second(self) -> float:
        """That all workers must load."""
        return self.clips / self.step_seconds

    @property
    def sent_by_copies(self) -> float:
        """Bytes that each GPU sends in a step: a ring's all-reduce of the gradients."""
        return 2 * (self.gpus - 1) / self.gpus * self.learning * FLOAT

    @property
    def sent_in_pieces(self) -> float:
        """Of two all-gathers of the weights and a reduce-scatter of the gradients."""
        ring = (self.gpus - 1) / self.gpus * FLOAT
        return ring * (2 * (self.kept - self.whole) + self.learning)

    @property
    def memory_of_copies(self) -> float:
        """Bytes on each GPU beside activations: weights, gradients, DDP's buckets of them, moments."""
        return FLOAT * (self.kept + (2 * GRADIENT + MOMENTS) * self.learning)

    @property
    def memory_in_pieces(self) -> float:
        """The same, of pieces; what is whole for a while comes on top."""
        in_pieces = self.kept - self.whole + (GRADIENT + MOMENTS) * self.learning
        return FLOAT * (self.whole + in_pieces / self.gpus)

    @property
    def checkpoint(self) -> float:
        """Bytes of a checkpoint: weights and moments."""
        return FLOAT * (self.kept + MOMENTS * self.learning)


def rows(plan: Plan) -> list[tuple[str, str]]:
    """What a plan comes to, in words and numbers."""
    root = plan.growth**0.5
    workers = plan.clips_per_second / plan.worker_clips / plan.gpus
    hours = plan.num_iterations * plan.step_seconds / 3600
    return [
        ("parameters, and those that learn", f"{plan.kept / 1e6:.1f} M, {plan.learning / 1e6:.1f} M"),
        ("clips of a step", f"{plan.clips}, {plan.growth:.2f} times the config's"),
        ("SOLVER.BASE_LR, by the square root", f"{plan.lr * root:.2e} (linear: {plan.lr * plan.growth:.2e})"),
        ("SOLVER.MAX_ITER for as many clips", f"{plan.num_iterations}, {hours:.2f} h without messages"),
        ("clips to load", f"{plan.clips_per_second:.0f} /s: {workers:.2f} workers busy for each GPU"),
        ("to read", f"{plan.clips_per_second * plan.frames * plan.jpeg_bytes / 1e6:.0f} MB/s"),
        ("sent by copies (DDP)", _message(plan.sent_by_copies, plan)),
        ("sent in pieces (SOLVER.FSDP)", _message(plan.sent_in_pieces, plan)),
        ("memory of copies, without activations", f"{plan.memory_of_copies / GB:.2f} GB"),
        ("memory in pieces, without activations", f"{plan.memory_in_pieces / GB:.3f} GB"),
        ("a checkpoint in one file", f"{plan.checkpoint / GB:.2f} GB, {plan.checkpoint / plan.disk:.1f} s"),
        (
            "a checkpoint in parts",
            f"{plan.checkpoint / plan.gpus / GB:.3f} GB a process, "
            f"{plan.checkpoint / plan.gpus / plan.disk:.2f} s",
        ),
    ]


def _message(sent: float, plan: Plan) -> str:
    seconds = sent / plan.link
    return f"{sent / GB:.2f} GB a GPU, {seconds:.3f} s, {100 * seconds / plan.step_seconds:.0f} % of a step"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments of the command line."""
    parser = command_parser(__doc__, EPILOG)
    parser.add_argument("--config-file", required=True, metavar="FILE", help="of the model")
    parser.add_argument("--gpus", type=int, default=64, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--clips-per-gpu", type=int, default=2, metavar="N", help="of a step, default: %(default)s"
    )
    for name, default, what in (
        ("--step-seconds", 1.0, "a step, without messages"),
        (
            "--link",
            25.0,
            "GB/s between GPUs: NVLink 300, InfiniBand of 200 Gbit/s 25, Ethernet of 25 Gbit/s 3",
        ),
        ("--disk", 1.0, "GB/s that a process writes"),
        ("--worker-clips", 70.0, "clips that a loader's worker makes in a second"),
        ("--jpeg-kb", 60.0, "kB of a frame on disk"),
    ):
        parser.add_argument(
            name, type=float, default=default, metavar="X", help=f"{what}, default: %(default)s"
        )
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config overrides")
    args = parser.parse_args(arguments)
    numbers = ("gpus", "clips_per_gpu", "step_seconds", "link", "disk", "worker_clips", "jpeg_kb")
    for name in numbers:
        if not 0 < getattr(args, name) < float("inf"):
            parser.error(f"--{name.replace('_', '-')} is more than 0")
    return args


def plan_of(args: argparse.Namespace) -> Plan:
    """Count the model's parameters, and take the rest from config and options."""
    # here, as torch takes seconds to import, for which --help should not wait
    import torch

    from avis.audio.weights import audio_backbone_of
    from avis.config import get_avis_cfg
    from avis.modeling import build_model

    cfg = get_avis_cfg(args.config_file, [*args.opts, "MODEL.DEVICE", "meta"])
    cfg.MODEL.AUDIO.WEIGHTS = cfg.MODEL.AUDIO.PCA_WEIGHTS = ""
    with torch.device("meta"):
        model = build_model(cfg)
    parameters = list(model.parameters())
    audio = list(model.audio_backbone.parameters()) if audio_backbone_of(model) else []
    return Plan(
        learning=sum(p.numel() for p in parameters if p.requires_grad),
        kept=sum(p.numel() for p in parameters),
        whole=0 if any(p.requires_grad for p in audio) else sum(p.numel() for p in audio),
        gpus=args.gpus,
        clips=args.gpus * args.clips_per_gpu,
        clips_before=cfg.SOLVER.IMS_PER_BATCH,
        lr=cfg.SOLVER.BASE_LR,
        iterations=cfg.SOLVER.MAX_ITER,
        frames=cfg.INPUT.SAMPLING_FRAME_NUM,
        jpeg_bytes=args.jpeg_kb * 1e3,
        step_seconds=args.step_seconds,
        worker_clips=args.worker_clips,
        link=args.link * GB,
        disk=args.disk * GB,
    )


@exit_on_bad_input()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    for what, amount in rows(plan_of(parse(arguments))):
        print(f"| {what} | {amount} |")

"""Training: the trainer and its step, optimizer, checkpoints, starting of processes."""

from avis.engine.checkpoint import AVISCheckpointer
from avis.engine.launch import launch
from avis.engine.startup import check_output_dir, clear_output_dir, setup
from avis.engine.trainer import AVISTrainer

__all__ = [
    "AVISCheckpointer",
    "AVISTrainer",
    "check_output_dir",
    "clear_output_dir",
    "launch",
    "setup",
]

"""Training: the trainer and its step, optimizer, checkpoints, starting of processes."""

from avis.engine.checkpoint import AVISCheckpointer
from avis.engine.launch import launch
from avis.engine.run_folder import check_output_dir, clear_output_dir, run_folder
from avis.engine.startup import setup
from avis.engine.trainer import AVISTrainer

__all__ = [
    "AVISCheckpointer",
    "AVISTrainer",
    "check_output_dir",
    "clear_output_dir",
    "launch",
    "run_folder",
    "setup",
]

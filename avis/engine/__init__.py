"""Training: the trainer and its step, optimizer, checkpoints, starting of processes."""

from avis.engine.checkpoint import AVISCheckpointer
from avis.engine.launch import launch
from avis.engine.members import is_restart
from avis.engine.run_folder import check_output_dir, clear_output_dir, run_folder
from avis.engine.signals import STOPPED, listening
from avis.engine.startup import setup
from avis.engine.trainer import AVISTrainer

__all__ = [
    "STOPPED",
    "AVISCheckpointer",
    "AVISTrainer",
    "check_output_dir",
    "clear_output_dir",
    "is_restart",
    "launch",
    "listening",
    "run_folder",
    "setup",
]

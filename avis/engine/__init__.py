"""Training: the trainer and its step, optimizer, checkpoints, starting of processes."""

from avis.engine.checkpoint import AVISCheckpointer
from avis.engine.checkpoint_evaluation import (
    evaluate_checkpoint,
    evaluate_checkpoints,
    find_checkpoints,
)
from avis.engine.launch import launch, launch_command, was_restarted
from avis.engine.members import find_member
from avis.engine.reproduction import check_inputs, report_differences
from avis.engine.run_folder import check_output_dir, clear_output_dir, run_folder
from avis.engine.run_record import record_start
from avis.engine.signals import STOPPED, listening
from avis.engine.startup import setup
from avis.engine.trainer import AVISTrainer

__all__ = [
    "STOPPED",
    "AVISCheckpointer",
    "AVISTrainer",
    "check_inputs",
    "check_output_dir",
    "clear_output_dir",
    "evaluate_checkpoint",
    "evaluate_checkpoints",
    "find_checkpoints",
    "find_member",
    "launch",
    "launch_command",
    "listening",
    "record_start",
    "report_differences",
    "run_folder",
    "setup",
    "was_restarted",
]

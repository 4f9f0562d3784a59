"""Training: the trainer and its step, optimizer, checkpoints, starting of processes."""

from avis.command_line import exit_on_bad_input
from avis.engine.checkpoint import AVISCheckpointer
from avis.engine.launch import launch
from avis.engine.optimizer import build_optimizer
from avis.engine.setup import (
    ConfigError,
    argument_parser,
    load_cfg,
    setup,
    use_available_device,
)
from avis.engine.trainer import AVISTrainer, load_trained_model
from avis.weights import load_weights

__all__ = [
    "AVISCheckpointer",
    "AVISTrainer",
    "ConfigError",
    "argument_parser",
    "build_optimizer",
    "exit_on_bad_input",
    "launch",
    "load_cfg",
    "load_trained_model",
    "load_weights",
    "setup",
    "use_available_device",
]

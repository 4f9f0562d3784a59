"""The config: its keys, and reading it from files and command lines."""

from detectron2.config import CfgNode

from avis.config.device import use_available_device
from avis.config.errors import ConfigError
from avis.config.keys import checkpoints, hears
from avis.config.loading import get_avis_cfg

__all__ = [
    "CfgNode",
    "ConfigError",
    "checkpoints",
    "get_avis_cfg",
    "hears",
    "use_available_device",
]

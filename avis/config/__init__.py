"""The config: its keys, and reading it from files and command lines."""

from detectron2.config import CfgNode

from avis.config.keys import add_avis_config, hears
from avis.config.loading import ConfigError, get_avis_cfg, load_cfg, use_available_device

__all__ = [
    "CfgNode",
    "ConfigError",
    "add_avis_config",
    "get_avis_cfg",
    "hears",
    "load_cfg",
    "use_available_device",
]

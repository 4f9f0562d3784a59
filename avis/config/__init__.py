"""The config: its keys, and reading it from files and command lines."""

from detectron2.config import CfgNode

from avis.config.device import use_available_device
from avis.config.errors import ConfigError
from avis.config.keys import checkpoints, hears
from avis.config.loading import get_avis_cfg, get_recorded_cfg
from avis.config.recorded_run import RECORD, STARTS, WEIGHT_KEYS, RecordedRun, read_run, settings_of

__all__ = [
    "RECORD",
    "STARTS",
    "WEIGHT_KEYS",
    "CfgNode",
    "ConfigError",
    "RecordedRun",
    "checkpoints",
    "get_avis_cfg",
    "get_recorded_cfg",
    "hears",
    "read_run",
    "settings_of",
    "use_available_device",
]

"""Reading configs: files, overrides, and mistakes in them explained."""

import difflib
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import yaml
from detectron2.config import CfgNode, get_cfg

from avis.config.keys import add_avis_config

logger = logging.getLogger(__name__)

UNKNOWN_KEY = re.compile(r"Non-existent (?:config )?key: (\S+?)'?$")
WRONG_TYPE = re.compile(
    r"Type mismatch \(<class '(?:.+\.)?(\w+)'> vs\. <class '.+?'>\).* vs\. (.*)\) for config key: (\S+)",
    re.DOTALL,
)
# What yacs, fvcore and PyYAML raise on a mistake in a config.
CONFIG_MISTAKES = (AssertionError, AttributeError, KeyError, OSError, TypeError, ValueError, yaml.YAMLError)


class ConfigError(ValueError):
    """A mistake in a config file or in the overrides of a command line."""


def get_avis_cfg(config_file: str | Path | None = None, opts: Sequence = ()) -> CfgNode:
    """Build a config: the defaults, then `config_file` (YAML), then `opts` (KEY VALUE KEY VALUE …).

    Raises:
        KeyError: a key in the file does not exist.
        AssertionError: a key in `opts` does not exist, or `opts` are not pairs.
        FileNotFoundError: there is no such config file.
    """
    cfg = get_cfg()
    add_avis_config(cfg)
    if config_file is not None:
        if not Path(config_file).is_file():
            raise FileNotFoundError(f"config file not found: {config_file}")
        # A config is data: YAML tags that would run code are refused.
        cfg.merge_from_file(str(config_file), allow_unsafe=False)
    cfg.merge_from_list(list(opts))
    return cfg


def load_cfg(config_file: str, opts: Sequence[str] = ()) -> CfgNode:
    """Read a config file ("": the defaults) and KEY VALUE overrides.

    Raises:
        ConfigError: no such file, an unknown key (with the likeliest right one), or a value of a wrong type.
    """
    source = config_file
    try:
        cfg = get_avis_cfg(config_file or None)
        source = "command line"
        cfg.merge_from_list(list(opts))
    except CONFIG_MISTAKES as error:
        raise ConfigError(f"{source}: {_explain(error)}") from error
    return cfg


def use_available_device(cfg: CfgNode) -> None:
    """Set MODEL.DEVICE to the CPU on a machine without CUDA."""
    if cfg.MODEL.DEVICE == "cuda" and not torch.cuda.is_available():
        logger.info("No CUDA device: running on the CPU")
        cfg.MODEL.DEVICE = "cpu"


def _explain(error: Exception) -> str:
    text = str(error)
    if match := UNKNOWN_KEY.search(text):
        return _explain_unknown_key(match[1])
    if match := WRONG_TYPE.search(text):
        wanted, value, key = match.groups()
        return f"{key} cannot be {value}: its type is {wanted}"
    return text


def _explain_unknown_key(key: str) -> str:
    message = f"there is no config key {key!r}"
    if key.startswith("-"):
        return f"{message}; options come before the KEY VALUE pairs"
    known = {name.upper(): name for name in _flat_keys(get_avis_cfg())}
    close = difflib.get_close_matches(key.upper(), known, n=1)
    return f"{message}; did you mean {known[close[0]]!r}?" if close else message


def _flat_keys(cfg: CfgNode, prefix: str = "") -> Iterator[str]:
    for key, value in cfg.items():
        yield prefix + key
        if isinstance(value, CfgNode):
            yield from _flat_keys(value, f"{prefix}{key}.")

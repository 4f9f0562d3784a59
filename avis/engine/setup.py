"""What every run starts with: config, log files, seeds, device, and errors that a user can act on."""

import argparse
import difflib
import logging
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import yaml
from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser, default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from avis.config import get_avis_cfg

logger = logging.getLogger(__name__)

# Loggers of libraries, with the level from which on they have something to say to our users.
QUIET_LOGGERS = {
    "torch.utils.cpp_extension": logging.ERROR,
    "torch.fx._symbolic_trace": logging.ERROR,
    "detectron2.checkpoint.c2_model_loading": logging.WARNING,
    "detectron2.data.common": logging.WARNING,
}
UNKNOWN_KEY = re.compile(r"Non-existent (?:config )?key: (\S+?)'?$")
WRONG_TYPE = re.compile(
    r"Type mismatch \(<class '(?:.+\.)?(\w+)'> vs\. <class '.+?'>\).* vs\. (.*)\) for config key: (\S+)",
    re.DOTALL,
)
# What yacs, fvcore and PyYAML raise on a mistake in a config.
CONFIG_MISTAKES = (AssertionError, AttributeError, KeyError, OSError, TypeError, ValueError, yaml.YAMLError)


class ConfigError(ValueError):
    """A mistake in a config file or in the overrides of a command line."""


def argument_parser(description: str, epilog: str) -> argparse.ArgumentParser:
    """Detectron2's command line: --config-file, --resume, --eval-only, --num-gpus, …, KEY VALUE pairs."""
    parser = default_argument_parser(epilog)
    parser.description = description
    parser.set_defaults(dist_url="auto")
    return parser


def setup(args: argparse.Namespace) -> CfgNode:
    """Prepare a run from Detectron2's command-line arguments.

    OUTPUT_DIR/log.txt gets everything (environment, config, debug messages), the console what is of interest
    while it runs; OUTPUT_DIR/config.yaml gets the config. The generators are seeded from SEED and the rank.

    Args:
        args: with `config_file`, `opts` and `eval_only`.

    Returns:
        The frozen config.

    Raises:
        ConfigError: the config has a mistake.
    """
    cfg = load_cfg(args.config_file, args.opts)
    _quieten_libraries()
    with _console_level(cfg.OUTPUT_DIR, logging.WARNING):
        default_setup(cfg, args)
    use_available_device(cfg)
    cfg.freeze()
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


def _quieten_libraries() -> None:
    for name, level in QUIET_LOGGERS.items():
        logging.getLogger(name).setLevel(level)
    # Comes up when float16's loss scaling skips the first update, as it may.
    warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step", category=UserWarning)


@contextmanager
def _console_level(output_dir: str, level: int) -> Iterator[None]:
    """Set up the loggers as Detectron2's default_setup does, consoles at `level` inside, then at INFO."""
    rank = comm.get_rank()
    # Called as default_setup will call it: it then finds these loggers instead of adding handlers.
    loggers = [
        setup_logger(output_dir, distributed_rank=rank),
        setup_logger(output_dir, distributed_rank=rank, name="fvcore"),
        setup_logger(output_dir, distributed_rank=rank, name="avis"),
    ]
    consoles = [h for log in loggers for h in log.handlers if getattr(h, "stream", None) is sys.stdout]
    for console in consoles:
        console.setLevel(level)
    yield
    for console in consoles:
        console.setLevel(logging.INFO)


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

"""MODEL.DEVICE on the machine at hand."""

import logging

import torch
from detectron2.config import CfgNode

from avis.config.errors import ConfigError

logger = logging.getLogger(__name__)

# What torch raises for a device that is absent, that it was not compiled for, or whose name it does not know.
_NO_DEVICE = (AssertionError, ImportError, RuntimeError, ValueError)


def use_available_device(cfg: CfgNode) -> None:
    """Set MODEL.DEVICE "cuda" to the CPU on a machine without CUDA.

    Raises:
        ConfigError: another MODEL.DEVICE is not on this machine.
    """
    if cfg.MODEL.DEVICE == "cuda" and not torch.cuda.is_available():
        logger.info("No CUDA device: running on the CPU")
        cfg.MODEL.DEVICE = "cpu"
    try:
        torch.empty(0, device=cfg.MODEL.DEVICE)
    except _NO_DEVICE as error:
        raise ConfigError(
            f"MODEL.DEVICE is {cfg.MODEL.DEVICE!r}, but this machine has {', '.join(_devices())}"
        ) from error


def _devices() -> list[str]:
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    count = torch.accelerator.device_count() if accelerator else 0
    return ["cpu", *(f"{accelerator.type}:{index}" for index in range(count))]

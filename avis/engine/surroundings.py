"""What a run depends on beside its code and data: versions, variables of the environment, devices."""

import json
import platform
import re
import socket
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import detectron2
import torch
from detectron2.config import CfgNode

from avis import __version__

_PACKAGES = ("torch", "torchvision", "torchaudio", "numpy", "timm", "fvcore", "pillow")
# Variables that change what is computed, where, or how processes meet.
_VARIABLES = re.compile(
    r"(AVIS|CUBLAS|CUDA|CUDNN|DETECTRON2|GLOO|GOMP|KMP|MKL|NCCL|NVIDIA|OMP|SLURM|TORCH)_\w+|PYTHONHASHSEED"
)
_SECRET = re.compile(r"AUTH|CREDENTIAL|JWT|KEY|PASS|PWD|SECRET|TOKEN", re.IGNORECASE)
_DRIVER = Path("/proc/driver/nvidia/version")


def relevant_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that matter, without those whose names speak of secrets."""
    return {
        name: environment[name]
        for name in sorted(environment)
        if _VARIABLES.fullmatch(name) and not _SECRET.search(name)
    }


def versions() -> dict[str, str | None]:
    """The versions of everything that computes; None of what is not there."""
    cudnn = torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None
    return {
        "avis": __version__,
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
        **_detectron2(),
        "cuda": torch.version.cuda,
        "cudnn": None if cudnn is None else str(cudnn),
        "driver": _driver(),
        "system": platform.platform(),
    }


def device_of(cfg: CfgNode) -> dict[str, str]:
    """Where this process computes."""
    is_gpu = cfg.MODEL.DEVICE.startswith("cuda")
    name = torch.cuda.get_device_name() if is_gpu else torch.backends.cpu.get_cpu_capability()
    return {"host": socket.gethostname(), "device": f"{cfg.MODEL.DEVICE.partition(':')[0]}, {name}"}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _detectron2() -> dict[str, str | None]:
    """Its version, and the commit where pip has installed it from git."""
    names = metadata.packages_distributions().get("detectron2", [])
    source = metadata.distribution(names[0]).read_text("direct_url.json") if names else None
    commit = json.loads(source).get("vcs_info", {}).get("commit_id") if source else None
    return {"detectron2": detectron2.__version__, "detectron2 commit": commit}


def _driver() -> str | None:
    match = re.search(r"\s(\d+\.[\d.]+)\s", _DRIVER.read_text()) if _DRIVER.is_file() else None
    return match[1] if match else None

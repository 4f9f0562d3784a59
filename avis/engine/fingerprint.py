"""What predictions depend on, as one short text: only where it is the same can a run go on."""

import hashlib
from pathlib import Path

import torch
from detectron2.config import CfgNode
from torch import nn

from avis import __version__
from avis.weights import classes_of


def fingerprint(cfg: CfgNode, model: nn.Module, annotations: str | Path) -> str:
    """Digest a model's weights and classes, the config of model and input, and a data set's annotations.

    The frames and sounds themselves are left out: reading them would take as long as predicting.

    Args:
        cfg: MODEL.* but for WEIGHTS, which may be another name for the same, INPUT.*, and where the model
            predicts in it SOLVER.AMP.PRECISION.
        model: on any device.
        annotations: the file.

    Returns:
        Hexadecimal digits.
    """
    digest = hashlib.blake2b(fingerprint_model(cfg, model).encode(), digest_size=16)
    digest.update(Path(annotations).read_bytes())
    return digest.hexdigest()


def fingerprint_model(cfg: CfgNode, model: nn.Module) -> str:
    """Digest a model's weights and classes, and the config of model and input; see `fingerprint`."""
    digest = hashlib.blake2b(__version__.encode(), digest_size=16)
    sections = CfgNode({"MODEL": cfg.MODEL.clone(), "INPUT": cfg.INPUT.clone()})
    sections.defrost()
    sections.MODEL.WEIGHTS = ""
    if cfg.TEST.AMP:
        sections.PRECISION = cfg.SOLVER.AMP.PRECISION
    digest.update(sections.dump().encode())
    digest.update(repr(classes_of(model)).encode())
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()

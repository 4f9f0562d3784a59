"""Audio backbones by name: their registry, and building one from a config."""

import logging
import pickle

import torch
from detectron2.config import CfgNode
from detectron2.utils.file_io import PathManager
from fvcore.common.registry import Registry

from avis.audio.backbone import AudioBackbone

logger = logging.getLogger(__name__)

AUDIO_BACKBONE_REGISTRY = Registry("AUDIO_BACKBONE")
AUDIO_BACKBONE_REGISTRY.__doc__ = "Subclasses of AudioBackbone, called with the config."

# Parameters of torchvggish's optional PCA, which AVIS does not use.
UNUSED_PREFIX = "pproc."


def build_audio_backbone(cfg: CfgNode) -> AudioBackbone:
    """Build MODEL.AUDIO.NAME, load MODEL.AUDIO.WEIGHTS if given, and freeze it if MODEL.AUDIO.FREEZE.

    Raises:
        ValueError: the backbone's features have not FEATURE_DIM channels, or the weights do not fit it.
        KeyError: no backbone of that name is registered.
        FileNotFoundError: there is no such weights file.
    """
    options = cfg.MODEL.AUDIO
    backbone = AUDIO_BACKBONE_REGISTRY.get(options.NAME)(cfg)
    if backbone.output_dim != options.FEATURE_DIM:
        raise ValueError(
            f"MODEL.AUDIO.FEATURE_DIM is {options.FEATURE_DIM}, "
            f"but {options.NAME} gives {backbone.output_dim} channels"
        )
    if options.WEIGHTS:
        load_weights(backbone, options.WEIGHTS)
    if options.FREEZE:
        backbone.freeze()
    return backbone


def load_weights(backbone: AudioBackbone, path: str) -> None:
    """Load a state dict (a local .pth file or a URL) which must hold every parameter of the backbone.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no state dict of tensors, or keys or shapes (named) do not fit.
    """
    local_path = PathManager.get_local_path(path)
    if not PathManager.isfile(local_path):
        raise FileNotFoundError(f"MODEL.AUDIO.WEIGHTS: file not found: {path}")
    try:
        weights = torch.load(local_path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        message = f"MODEL.AUDIO.WEIGHTS '{path}' is no readable state dict of tensors: {error}"
        raise ValueError(message) from error
    weights = {key: value for key, value in weights.items() if not key.startswith(UNUSED_PREFIX)}
    problems = _compare(backbone.state_dict(), weights)
    if problems:
        name = type(backbone).__name__
        raise ValueError(f"MODEL.AUDIO.WEIGHTS '{path}' does not fit {name}: {'; '.join(problems)}")
    backbone.load_state_dict(weights)
    logger.info("loaded %s from %s", type(backbone).__name__, path)


def _compare(expected: dict, found: dict) -> list[str]:
    missing = [f"no '{key}'" for key in expected if key not in found]
    unknown = [f"unknown '{key}'" for key in found if key not in expected]
    misshapen = [
        f"'{key}' is {tuple(found[key].shape)}, not {tuple(value.shape)}"
        for key, value in expected.items()
        if key in found and found[key].shape != value.shape
    ]
    return missing + unknown + misshapen

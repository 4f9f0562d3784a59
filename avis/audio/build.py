"""Audio backbones by name: their registry, and building one from a config."""

import logging

from detectron2.config import CfgNode
from fvcore.common.registry import Registry

from avis.audio.backbone import AudioBackbone
from avis.weights import read_checkpoint

logger = logging.getLogger(__name__)

AUDIO_BACKBONE_REGISTRY = Registry("AUDIO_BACKBONE")
AUDIO_BACKBONE_REGISTRY.__doc__ = "Subclasses of AudioBackbone, called with the config."

# Parameters of torchvggish's optional PCA, which AVIS does not use.
UNUSED_PREFIX = "pproc."
# Of the audio backbone's parameters in a whole model.
PREFIX = "audio_backbone."
# Problems that one error message lists.
PROBLEMS_SHOWN = 6


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
    """Load the weights of an audio backbone, all of it.

    Args:
        backbone: gets them.
        path: a file as `avis.weights.read_checkpoint` takes it: a state dict in the backbone's own names, as
            torchvggish's is, or a checkpoint of a whole AVIS model, whose audio backbone is taken.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be read, or keys or shapes (named) do not fit.
    """
    weights = read_checkpoint(path)["model"]
    of_whole_model = {
        key.removeprefix(PREFIX): value for key, value in weights.items() if key.startswith(PREFIX)
    }
    weights = of_whole_model or weights
    weights = {key: value for key, value in weights.items() if not key.startswith(UNUSED_PREFIX)}
    problems = _compare(backbone.state_dict(), weights)
    if problems:
        name = type(backbone).__name__
        raise ValueError(f"MODEL.AUDIO.WEIGHTS '{path}' does not fit {name}: {_list_some(problems)}")
    backbone.load_state_dict(weights)
    backbone.has_weights = True
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


def _list_some(problems: list[str]) -> str:
    more = f"; and {len(problems) - PROBLEMS_SHOWN} more" if len(problems) > PROBLEMS_SHOWN else ""
    return "; ".join(problems[:PROBLEMS_SHOWN]) + more

"""The weights of audio backbones: loading them, and knowing whether a model may hear through them.

A model trained on precomputed features has an audio backbone whose weights nobody needs. They must not pass
for trained ones: they are not saved, and a model that lacks them does not predict from sound.
"""

import logging

from detectron2.config import CfgNode
from torch import nn

from avis.audio.backbone import AudioBackbone, WeightState
from avis.audio.pca import PCA_PREFIX, read_pca
from avis.weights import LoadReport, StateDict, read_weights

logger = logging.getLogger(__name__)

# Of the audio backbone's parameters in a whole model.
PREFIX = "audio_backbone."
# Problems that one error message lists.
PROBLEMS_SHOWN = 6


def load_audio_weights(backbone: AudioBackbone, path: str, pca_path: str = "") -> None:
    """Load the weights of an audio backbone, all of it.

    Args:
        backbone: gets them.
        path: a file as `avis.weights.read_checkpoint` takes it: a state dict in the backbone's own names, as
            torchvggish's is, or a checkpoint of a whole AVIS model, whose audio backbone is taken.
        pca_path: a file of the PCA, see `read_pca`; "": it is in `path`, if the backbone has one.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file cannot be read, or keys or shapes (named) do not fit.
    """
    content = read_weights(path)[0]["model"]
    weights = _audio_part(content, path, backbone.postprocess, pca_path)
    problems = _compare(backbone.state_dict(), weights)
    if problems:
        name = type(backbone).__name__
        raise ValueError(f"MODEL.AUDIO.WEIGHTS '{path}' does not fit {name}: {_list_some(problems)}")
    backbone.load_state_dict(weights)
    backbone.weight_state = WeightState.LOADED
    logger.info("loaded %s from %s", type(backbone).__name__, path)


def read_audio_weights(path: str, postprocess: bool, pca_path: str) -> StateDict:
    """The weights of an audio backbone in files as `load_audio_weights` takes them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: one cannot be read, or there is no PCA to `postprocess` with.
    """
    return _audio_part(read_weights(path)[0]["model"], path, postprocess, pca_path)


def _audio_part(weights: StateDict, path: str, postprocess: bool, pca_path: str) -> StateDict:
    of_whole_model = {
        key.removeprefix(PREFIX): value for key, value in weights.items() if key.startswith(PREFIX)
    }
    weights = of_whole_model or weights
    pca = {key: value for key, value in weights.items() if key.startswith(PCA_PREFIX)}
    bare = {key: value for key, value in weights.items() if key not in pca}
    if not postprocess and pca and of_whole_model:
        # Such as ACVIS's, whose VGGish is not as any other: it was trained with its post-processing.
        raise ValueError(
            f"{path} holds a whole model that hears through VGGish with its post-processing "
            f"({PREFIX}{PCA_PREFIX}*): set MODEL.AUDIO.POSTPROCESS True, or give VGGish's own weights"
        )
    if not postprocess:
        return bare
    pca = read_pca(pca_path) if pca_path else pca
    if not pca:
        raise ValueError(
            f"MODEL.AUDIO.POSTPROCESS needs a PCA, which MODEL.AUDIO.WEIGHTS '{path}' lacks ({PCA_PREFIX}*). "
            "Set MODEL.AUDIO.PCA_WEIGHTS to torchvggish's vggish_pca_params-….pth or AudioSet's "
            "vggish_pca_params.npz"
        )
    return bare | pca


def keep_configured_weights(cfg: CfgNode, model: nn.Module) -> None:
    """Let MODEL.AUDIO.WEIGHTS win over a checkpoint: frozen weights are what the config says."""
    backbone = audio_backbone_of(model)
    if backbone is not None and cfg.MODEL.AUDIO.WEIGHTS and cfg.MODEL.AUDIO.FREEZE:
        load_audio_weights(backbone, cfg.MODEL.AUDIO.WEIGHTS, cfg.MODEL.AUDIO.PCA_WEIGHTS)


def note_loaded(model: nn.Module, report: LoadReport) -> None:
    """Note that a file of a whole model has given weights to its audio backbone, if it has."""
    if any(name.startswith(PREFIX) for name in report.loaded):
        model.audio_backbone.weight_state = WeightState.LOADED


def unsaved_prefixes(model: nn.Module) -> tuple[str, ...]:
    """Prefixes of the names that a checkpoint of `model` leaves out."""
    backbone = audio_backbone_of(model)
    return (PREFIX,) if backbone is not None and backbone.is_useless else ()


def prefixes_given_elsewhere(model: nn.Module) -> tuple[str, ...]:
    """Prefixes of the names that a model may predict without having them from its weight file.

    An audio backbone that still has useless weights is deaf from now on.
    """
    backbone = audio_backbone_of(model)
    if backbone is None:
        return ()
    if backbone.is_useless:
        backbone.weight_state = WeightState.DEAF
    return (PREFIX,) if backbone.weight_state in (WeightState.DEAF, WeightState.LOADED) else ()


def warn_about_useless_weights(model: nn.Module) -> None:
    """Warn before a training in which noise would be heard."""
    backbone = audio_backbone_of(model)
    if backbone is not None and backbone.is_useless:
        logger.warning(
            "%s is frozen and no file has given it weights: it will hear noise, unless the features are "
            "precomputed. Set MODEL.AUDIO.WEIGHTS, or train it with MODEL.AUDIO.FREEZE False",
            type(backbone).__name__,
        )


def audio_backbone_of(model: nn.Module) -> AudioBackbone | None:
    """The audio backbone of a model that hears."""
    return getattr(model, "audio_backbone", None)


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

"""Building the model of a config, with or without trained weights."""

import logging

from detectron2.config import CfgNode
from detectron2.modeling import build_model as build_meta_architecture
from torch import nn

from avis.audio.weights import keep_configured_weights, note_loaded, prefixes_given_elsewhere
from avis.modeling.freezing import freeze_parameters
from avis.modeling.shared_norm import share_batch_norms
from avis.weights import LoadReport, load_weights, newest_checkpoint, set_classes

logger = logging.getLogger(__name__)


def build_model(cfg: CfgNode) -> nn.Module:
    """Build the model MODEL.META_ARCHITECTURE with initial weights, on MODEL.DEVICE."""
    model = build_meta_architecture(cfg)
    if cfg.MODEL.SYNC_BN:
        share_batch_norms(model)
    freeze_parameters(model, cfg.MODEL.FREEZE)
    logger.debug("Model:\n%s", model)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    millions = (total / 1e6, trainable / 1e6)
    logger.info("%s: %.2f M parameters, %.2f M of them trained", type(model).__name__, *millions)
    return model


def load_trained_model(cfg: CfgNode, last_checkpoint: bool = False) -> nn.Module:
    """Build the model with the weights of MODEL.WEIGHTS and the classes that their file names, if it does.

    Args:
        cfg: of the model.
        last_checkpoint: rather take those of the last checkpoint in OUTPUT_DIR, if there is one.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: there are no weights to load, or the file is damaged or does not hold the whole model.
    """
    newest = newest_checkpoint(cfg.OUTPUT_DIR) if last_checkpoint else None
    weights = newest or cfg.MODEL.WEIGHTS
    if not weights:
        found = f", and there is no checkpoint in {cfg.OUTPUT_DIR}" if last_checkpoint else ""
        raise ValueError(
            f"MODEL.WEIGHTS is empty{found}; give a weight file, or --resume for the last checkpoint"
        )
    model = build_model(cfg)
    report = load_weights(model, weights)
    note_loaded(model, report)
    keep_configured_weights(cfg, model)
    _check_whole(cfg, model, report)
    set_classes(model, report.categories)
    return model


def _check_whole(cfg: CfgNode, model: nn.Module, report: LoadReport) -> None:
    """Refuse to predict with a model of which a part still has its initial values."""
    given_elsewhere = prefixes_given_elsewhere(model)
    if all(name.startswith(given_elsewhere) for name in (*report.missing, *report.reinitialized)):
        return
    raise ValueError(
        f"the weights do not fit the model of the config: {report.summary()}. Is this their config, and "
        f"MODEL.SEM_SEG_HEAD.NUM_CLASSES {cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES} their number of classes?"
    )

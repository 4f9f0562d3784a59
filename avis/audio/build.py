"""Building the audio backbone that a config names."""

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec

from avis.audio.backbone import AUDIO_BACKBONE_REGISTRY, AudioBackbone
from avis.audio.log_mel import NUM_BANDS, NUM_WINDOWS
from avis.audio.weights import load_audio_weights


def build_audio_backbone(cfg: CfgNode) -> AudioBackbone:
    """Build MODEL.AUDIO.NAME, load MODEL.AUDIO.WEIGHTS if given, and freeze it if MODEL.AUDIO.FREEZE.

    Raises:
        ValueError: the part is no AudioBackbone, its features have not FEATURE_DIM channels, it has not the
            POSTPROCESS that is asked for, or the weights do not fit it.
        KeyError: no backbone of that name is registered.
        FileNotFoundError: there is no such weights file.
    """
    options = cfg.MODEL.AUDIO
    shapes = {"audio_examples": ShapeSpec(channels=1, height=NUM_WINDOWS, width=NUM_BANDS)}
    backbone = AUDIO_BACKBONE_REGISTRY.build(options.NAME, cfg, shapes)
    if not isinstance(backbone, AudioBackbone):
        raise ValueError(f"MODEL.AUDIO.NAME {options.NAME} must be a subclass of avis.audio.AudioBackbone")
    output_dim = getattr(backbone, "output_dim", "an unstated number of")
    if output_dim != options.FEATURE_DIM:
        raise ValueError(
            f"MODEL.AUDIO.FEATURE_DIM is {options.FEATURE_DIM}, "
            f"but {options.NAME} gives {output_dim} channels"
        )
    if backbone.postprocess != options.POSTPROCESS:
        raise ValueError(f"MODEL.AUDIO.POSTPROCESS is VGGish's; {options.NAME} has none, so set False")
    if options.PCA_WEIGHTS and not options.WEIGHTS:
        raise ValueError("MODEL.AUDIO.PCA_WEIGHTS is read together with MODEL.AUDIO.WEIGHTS, which is empty")
    if options.WEIGHTS:
        load_audio_weights(backbone, options.WEIGHTS, options.PCA_WEIGHTS)
    if options.FREEZE:
        backbone.freeze()
    return backbone

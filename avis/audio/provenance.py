"""Whose features are in a file, and whether a model may read them for its own."""

import torch
from detectron2.config import CfgNode

from avis.audio.backbone import AUDIO_BACKBONE_REGISTRY, AudioBackbone, digest_weights
from avis.audio.log_mel import EXAMPLE_SECONDS, FRONT_END_VERSION, SAMPLE_RATE
from avis.audio.precomputed import PrecomputedFeatures
from avis.audio.vggish import VGGish
from avis.audio.weights import read_audio_weights
from avis.formats.audio_features import Provenance

# Where files do not say, they are AVISeg's.
BARE_BACKBONE = VGGish.__name__


def provenance_of(backbone: AudioBackbone, fps: float, device: torch.device | str = "cpu") -> Provenance:
    """What a file says that holds features of a backbone at `fps` frames per second."""
    return Provenance(
        backbone=type(backbone).__name__,
        weights=backbone.weights_digest(),
        fps=float(fps),
        seconds=EXAMPLE_SECONDS,
        sample_rate=SAMPLE_RATE,
        front_end=FRONT_END_VERSION,
        silence=tuple(backbone.silence(device).tolist()),
        postprocess=backbone.postprocess,
    )


def describe(made: Provenance | None) -> str:
    """What messages call the maker of features."""
    if made is None:
        return f"{BARE_BACKBONE} (the file does not say, as AVISeg's do not)"
    ending = "post-processed, " if made.postprocess else ""
    return f"{made.backbone}, {ending}with the weights {made.weights} at {made.fps:g} FPS"


class Reader:
    """What a config's model may read as features of its own audio backbone."""

    def __init__(self, cfg: CfgNode) -> None:
        """Read the names, and the weights if the config names some.

        Args:
            cfg: INPUT.FPS and MODEL.AUDIO.
        """
        part = AUDIO_BACKBONE_REGISTRY.get(cfg.MODEL.AUDIO.NAME)
        # PrecomputedFeatures stands for any program; what a function builds is not known.
        is_one_class = isinstance(part, type) and not issubclass(part, PrecomputedFeatures)
        self.backbone = part.__name__ if is_one_class else None
        self.takes_all = isinstance(part, type) and issubclass(part, PrecomputedFeatures)
        self.postprocess = cfg.MODEL.AUDIO.POSTPROCESS
        self.weights = None if self.takes_all else _configured_digest(cfg.MODEL.AUDIO)
        self.fps = float(cfg.INPUT.FPS)

    def objection(self, made: Provenance | None) -> str:
        """Why features are not the backbone's; an empty string if they may be.

        Args:
            made: what their file says; None if it says nothing.
        """
        if made is None:
            if self.backbone not in (None, BARE_BACKBONE):
                return f"made by {describe(made)}, MODEL.AUDIO.NAME is {self.backbone}"
            return self._objection_to_form(postprocess=False)
        if made.fps != self.fps:
            return f"made at {made.fps:g} FPS, INPUT.FPS is {self.fps:g}"
        return "" if self.takes_all else self._objection_to_maker(made)

    def _objection_to_form(self, postprocess: bool) -> str:
        if postprocess == self.postprocess:
            return ""
        form = "with" if postprocess else "without"
        return f"made {form} post-processing, MODEL.AUDIO.POSTPROCESS is {self.postprocess}"

    def _objection_to_maker(self, made: Provenance) -> str:
        if self.backbone is not None and made.backbone != self.backbone:
            return f"made by {made.backbone}, MODEL.AUDIO.NAME is {self.backbone}"
        if objection := self._objection_to_form(made.postprocess):
            return objection
        theirs = (made.seconds, made.sample_rate, made.front_end)
        ours = (EXAMPLE_SECONDS, SAMPLE_RATE, FRONT_END_VERSION)
        if theirs != ours:
            return f"made of sound in (seconds, Hz, version) {theirs}, this program takes {ours}"
        if self.weights is not None and made.weights != self.weights:
            return f"made with the weights {made.weights}, those in MODEL.AUDIO.WEIGHTS are {self.weights}"
        return ""


def _configured_digest(options: CfgNode) -> str | None:
    """Digest of the weights that MODEL.AUDIO names, if it names some."""
    if not options.WEIGHTS:
        return None
    return digest_weights(read_audio_weights(options.WEIGHTS, options.POSTPROCESS, options.PCA_WEIGHTS))

"""PrecomputedFeatures: the place of an audio backbone that is run apart, by other programs.

Dimensions: N frames, A audio channels.
"""

from detectron2.config import CfgNode, configurable
from torch import Tensor

from avis.audio.backbone import AUDIO_BACKBONE_REGISTRY, AudioBackbone
from avis.registry import Shapes


@AUDIO_BACKBONE_REGISTRY.register()
class PrecomputedFeatures(AudioBackbone):
    """Has no parameters, and no ears: FEATAudios hold what another model has heard."""

    can_hear = False

    @configurable
    def __init__(self, output_dim: int) -> None:
        super().__init__()
        self.output_dim = output_dim

    @classmethod
    def from_config(cls, cfg: CfgNode, shapes: Shapes) -> dict:
        """The channels of the features, A, are MODEL.AUDIO.FEATURE_DIM."""
        return {"output_dim": cfg.MODEL.AUDIO.FEATURE_DIM}

    def forward(self, examples: Tensor) -> Tensor:
        """Refuse to hear.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "MODEL.AUDIO.NAME PrecomputedFeatures cannot hear sound itself: set INPUT.AUDIO.SOURCE features, "
            "and put the features of every video into FEATAudios"
        )

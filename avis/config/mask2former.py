"""Configs of Mask2Former for video, read as they are.

Its architecture and backbone become ours. Its keys that we lack are accepted where they change nothing, and
else refused with a hint. Follows facebookresearch/Mask2Former, mask2former/config.py.
"""

import logging
from collections.abc import Collection
from copy import copy

from detectron2.config import CfgNode
from detectron2.utils.logger import log_first_n

from avis.config.tree import delete, has, set_value
from avis.config.unread import ARCHITECTURE

# Its VideoMaskFormer is our model without sound.
_VISION_ONLY = {
    "MODEL.AUDIO.NAME": "",
    "MODEL.FUSION.NAME": "",
    "MODEL.MASK_FORMER.AUDIO_QUERY": "",
    "MODEL.MASK_FORMER.MASK_HEAD": "dot",
}

# Keys that its video model does not read either.
_WITHOUT_EFFECT = {
    "INPUT.CROP.SINGLE_CATEGORY_MAX_AREA": 1.0,
    "INPUT.DATASET_MAPPER_NAME": "",
    "INPUT.IMAGE_SIZE": 1024,
    "INPUT.MAX_SCALE": 2.0,
    "INPUT.MIN_SCALE": 0.1,
    "MODEL.MASK_FORMER.TEST.INSTANCE_ON": True,
    "MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD": 0.8,
    "MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD": 0.8,
    "MODEL.MASK_FORMER.TEST.PANOPTIC_ON": False,
    "MODEL.MASK_FORMER.TEST.SEMANTIC_ON": False,
    "MODEL.MASK_FORMER.TEST.SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE": False,
    "MODEL.MASK_FORMER.TRANSFORMER_IN_FEATURE": "multi_scale_pixel_decoder",
}

# Keys with the only value that our model has, and what to do instead of another.
_FIXED = {
    "INPUT.COLOR_AUG_SSD": (False, "set INPUT.AUGMENTATIONS"),
    "INPUT.SIZE_DIVISIBILITY": (-1, "set MODEL.MASK_FORMER.SIZE_DIVISIBILITY"),
    "MODEL.MASK_FORMER.DROPOUT": (0.0, "the decoder has no dropout; set 0.0"),
    "MODEL.MASK_FORMER.ENC_LAYERS": (0, "set MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS"),
    "MODEL.MASK_FORMER.PRE_NORM": (False, "the decoder normalises after each layer; set False"),
    "MODEL.RESNETS.RES5_MULTI_GRID": ([1, 1, 1], "set MODEL.RESNETS.RES5_DILATION"),
    "MODEL.RESNETS.STEM_TYPE": ("basic", "a ResNet has the basic stem; set basic"),
}
_OTHER_SWIN = "set MODEL.BACKBONE.NAME build_timm_backbone, and MODEL.TIMM.NAME to a model of timm"
_SWIN_FIXED = {
    "MODEL.SWIN.APE": (False, _OTHER_SWIN),
    "MODEL.SWIN.ATTN_DROP_RATE": (0.0, _OTHER_SWIN),
    "MODEL.SWIN.DROP_RATE": (0.0, _OTHER_SWIN),
    "MODEL.SWIN.MLP_RATIO": (4.0, _OTHER_SWIN),
    "MODEL.SWIN.PATCH_NORM": (True, _OTHER_SWIN),
    "MODEL.SWIN.PATCH_SIZE": (4, _OTHER_SWIN),
    "MODEL.SWIN.QKV_BIAS": (True, _OTHER_SWIN),
    "MODEL.SWIN.QK_SCALE": (None, _OTHER_SWIN),
}

# What else MODEL.SWIN says, with Mask2Former's defaults: Swin-Tiny.
_SWIN = {
    "MODEL.SWIN.DEPTHS": [2, 2, 6, 2],
    "MODEL.SWIN.DROP_PATH_RATE": 0.3,
    "MODEL.SWIN.EMBED_DIM": 96,
    "MODEL.SWIN.NUM_HEADS": [3, 6, 12, 24],
    "MODEL.SWIN.OUT_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.SWIN.PRETRAIN_IMG_SIZE": 224,
    "MODEL.SWIN.USE_CHECKPOINT": False,
    "MODEL.SWIN.WINDOW_SIZE": 7,
}
# The Swins that timm has, with EMBED_DIM, DEPTHS, NUM_HEADS, WINDOW_SIZE.
_SWIN_SIZES = {
    "swin_tiny_patch4_window7_224": (96, [2, 2, 6, 2], [3, 6, 12, 24], 7),
    "swin_small_patch4_window7_224": (96, [2, 2, 18, 2], [3, 6, 12, 24], 7),
    "swin_base_patch4_window7_224": (128, [2, 2, 18, 2], [4, 8, 16, 32], 7),
    "swin_base_patch4_window12_384": (128, [2, 2, 18, 2], [4, 8, 16, 32], 12),
    "swin_large_patch4_window7_224": (192, [2, 2, 18, 2], [6, 12, 24, 48], 7),
    "swin_large_patch4_window12_384": (192, [2, 2, 18, 2], [6, 12, 24, 48], 12),
}


class Mask2FormerKeys:
    """Mask2Former's own keys, which a config has while files and command line are merged.

    Attributes:
        hints: the keys that have one possible value, and what to do instead of another.
    """

    def __init__(self, cfg: CfgNode) -> None:
        """Add the keys to a config, but for those that a module of the user's has added."""
        fixed = _FIXED | _SWIN_FIXED
        values = _WITHOUT_EFFECT | _SWIN | {key: value for key, (value, _) in fixed.items()}
        self._has_swin = "SWIN" not in cfg.MODEL
        cfg.MODEL.setdefault("SWIN", CfgNode())
        self._keys = [key for key in values if self._is_new(cfg, key)]
        for key in self._keys:
            set_value(cfg, key, copy(values[key]))
        self.hints = {key: hint for key, (_, hint) in fixed.items() if key in self._keys}

    def translate(self, cfg: CfgNode, given: Collection[str]) -> list[tuple[str, str]]:
        """Set our keys by Mask2Former's architecture and backbone, but for those that are given.

        Args:
            cfg: after files and command line.
            given: the keys that these have set.

        Returns:
            (key, explanation) of what has no counterpart here.
        """
        if cfg.MODEL.META_ARCHITECTURE == "VideoMaskFormer":
            cfg.MODEL.META_ARCHITECTURE = ARCHITECTURE
            _imply(cfg, _VISION_ONLY, given)
        if cfg.MODEL.BACKBONE.NAME == "D2SwinTransformer" and self._has_swin:
            return _translate_swin(cfg, given)
        # Nothing of MODEL.SWIN matters to another backbone.
        self.hints = {key: hint for key, hint in self.hints.items() if key not in _SWIN_FIXED}
        return []

    def remove(self, cfg: CfgNode, given: Collection[str]) -> None:
        """Take the keys out of the config again; those given are named in a warning."""
        for key in self._keys:
            delete(cfg, key)
        if self._has_swin:
            del cfg.MODEL["SWIN"]
        if dropped := sorted({*given} & {*self._keys}):
            # Once, although every process of a run reads the config twice.
            message = f"These keys of Mask2Former change nothing here: {', '.join(dropped)}"
            log_first_n(logging.WARNING, message, key="message")

    def _is_new(self, cfg: CfgNode, key: str) -> bool:
        return self._has_swin if key.startswith("MODEL.SWIN.") else not has(cfg, key)


def _imply(cfg: CfgNode, values: dict[str, object], given: Collection[str]) -> None:
    for key, value in values.items():
        if key not in given:
            set_value(cfg, key, value)


def _translate_swin(cfg: CfgNode, given: Collection[str]) -> list[tuple[str, str]]:
    swin = cfg.MODEL.SWIN
    size = (swin.EMBED_DIM, swin.DEPTHS, swin.NUM_HEADS, swin.WINDOW_SIZE)
    cfg.MODEL.BACKBONE.NAME = "build_timm_backbone"
    ours = {
        "MODEL.BACKBONE.FREEZE_AT": 0,  # which its Swin does not read
        "MODEL.TIMM.NAME": next((name for name, known in _SWIN_SIZES.items() if known == size), ""),
        "MODEL.TIMM.OUT_FEATURES": swin.OUT_FEATURES,
        "MODEL.TIMM.DROP_PATH_RATE": swin.DROP_PATH_RATE,
        "MODEL.TIMM.GRAD_CHECKPOINTING": swin.USE_CHECKPOINT,
    }
    _imply(cfg, ours, given)
    if cfg.MODEL.TIMM.NAME:
        return []
    sizes = "EMBED_DIM {}, DEPTHS {}, NUM_HEADS {}, WINDOW_SIZE {}".format(*size)
    return [("MODEL.BACKBONE.NAME", f"timm has no Swin with MODEL.SWIN.{sizes}: {_OTHER_SWIN}")]

"""Keys of Detectron2 that nothing of AVIS reads: a value that would do nothing is refused, with a hint."""

import json
from collections.abc import Iterator, Mapping

from detectron2.config import CfgNode, get_cfg

from avis.config.tree import leaves

ARCHITECTURE = "AVISMaskFormer"

_NO_PROPOSALS = "the model has queries, no proposals, anchors or boxes; see MODEL.MASK_FORMER"
_NO_AUGMENTATION = "videos are tested at one size; set INPUT.MIN_SIZE_TEST"
_NO_BIAS = "biases train as weights do; set SOLVER.BASE_LR and SOLVER.WEIGHT_DECAY"
_NO_KEYPOINTS = "the model finds masks, no keypoints"

# A key, or a section with all its keys, and what to do instead.
_HINTS = {
    "VERSION": "write the config with the keys of version 2",
    "VIS_PERIOD": "draw predictions with tools/visualize_predictions.py",
    "DATALOADER.ASPECT_RATIO_GROUPING": "the clips of a batch are padded to one size",
    "DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST": _NO_PROPOSALS,
    "DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TRAIN": _NO_PROPOSALS,
    "DATASETS.PROPOSAL_FILES_TEST": _NO_PROPOSALS,
    "DATASETS.PROPOSAL_FILES_TRAIN": _NO_PROPOSALS,
    "INPUT.MASK_FORMAT": "annotations hold RLE or polygons, and each is read as what it is",
    "MODEL.ANCHOR_GENERATOR": _NO_PROPOSALS,
    "MODEL.KEYPOINT_ON": _NO_KEYPOINTS,
    "MODEL.LOAD_PROPOSALS": _NO_PROPOSALS,
    "MODEL.PANOPTIC_FPN": "the model finds instances; see MODEL.MASK_FORMER.TEST",
    "MODEL.PROPOSAL_GENERATOR": _NO_PROPOSALS,
    "MODEL.RETINANET": _NO_PROPOSALS,
    "MODEL.ROI_BOX_CASCADE_HEAD": _NO_PROPOSALS,
    "MODEL.ROI_BOX_HEAD": _NO_PROPOSALS,
    "MODEL.ROI_HEADS": "set MODEL.SEM_SEG_HEAD.NUM_CLASSES and MODEL.MASK_FORMER.TEST.SCORE_THRESHOLD",
    "MODEL.ROI_KEYPOINT_HEAD": _NO_KEYPOINTS,
    "MODEL.ROI_MASK_HEAD": "set MODEL.MASK_FORMER.MASK_HEAD",
    "MODEL.RPN": _NO_PROPOSALS,
    "MODEL.SEM_SEG_HEAD.COMMON_STRIDE": "masks are predicted at stride 4",
    "MODEL.SEM_SEG_HEAD.IGNORE_VALUE": "masks have no pixels to ignore",
    "MODEL.SEM_SEG_HEAD.LOSS_WEIGHT": "set MODEL.MASK_FORMER.CLASS_WEIGHT, MASK_WEIGHT and DICE_WEIGHT",
    "SOLVER.BIAS_LR_FACTOR": _NO_BIAS,
    "SOLVER.WEIGHT_DECAY_BIAS": _NO_BIAS,
    "TEST.AUG": _NO_AUGMENTATION,
    "TEST.DETECTIONS_PER_IMAGE": "set MODEL.MASK_FORMER.TEST.TOPK",
    "TEST.EXPECTED_RESULTS": "compare the values in inference/<data set>/metrics.json",
    "TEST.KEYPOINT_OKS_SIGMAS": _NO_KEYPOINTS,
    "TEST.PRECISE_BN": "set MODEL.RESNETS.NORM to FrozenBN or GN, which have no statistics to measure",
}

# What a decoder does not read, although its value says that the model hears.
_UNREAD_BY_DECODER = {"VideoMultiScaleMaskedTransformerDecoder": ("MODEL.TEMPORAL_FUSION.NAME",)}


def unread_keys() -> dict[str, str]:
    """The keys of Detectron2 that nothing reads, and what to do instead."""
    hints = {key: _hint(key) for key in leaves(get_cfg())}
    return {key: hint for key, hint in hints.items() if hint}


def find_unread(cfg: CfgNode, defaults: CfgNode, hints: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Find values that would do nothing.

    Args:
        cfg: after files and command line.
        defaults: the config before them.
        hints: keys that nothing reads, and what to do instead. A user's own model may read those of MODEL.

    Returns:
        (key, explanation) of each value that is not the default.
    """
    is_ours = cfg.MODEL.META_ARCHITECTURE == ARCHITECTURE
    values, before = leaves(cfg), leaves(defaults)
    decoder = cfg.MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME
    hint = f"{decoder} has no such part; set MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME FrameClipDecoder"
    hints = {**hints, **dict.fromkeys(_UNREAD_BY_DECODER.get(decoder, ()), hint)}
    for key, hint in hints.items():
        if _differ(values[key], before[key]) and (is_ours or not key.startswith("MODEL.")):
            yield key, f"{key} is {values[key]!r:.60}, but nothing reads it: {hint}"


def _differ(value: object, default: object) -> bool:
    """Whether the values differ in YAML, which makes lists of tuples within tuples."""
    return json.dumps(value) != json.dumps(default)


def _hint(key: str) -> str:
    return next((_HINTS[part] for part in _HINTS if f"{key}.".startswith(f"{part}.")), "")

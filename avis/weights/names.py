"""Giving the weights in other programs' files the names of the model.

A file holds a whole model (ours, Mask2Former's, AVSBench's of which the TPAVI modules are of use) or a
backbone alone. Of the namings known for them, that counts under which most tensors fit the model.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from detectron2.checkpoint.c2_model_loading import convert_c2_detectron_names
from torch import Tensor

from avis.weights.family import family_of
from avis.weights.reading import StateDict

# Caffe2 marks weights, biases and momenta in names without dots, as conv1_w or res2_0_branch2a_w_momentum.
_CAFFE2_NAME = re.compile(r"^(conv1|res\d_\d+_branch\w+)_w$")
_CAFFE2_MOMENTUM = "_momentum"

Rule = tuple[re.Pattern, str | Callable[[re.Match], str]]

_IMAGE_BACKBONE: Rule = (re.compile(r"^"), "backbone.")
_TIMM_BACKBONE: Rule = (re.compile(r"^"), "backbone.model.")
_AUDIO_BACKBONE: Rule = (re.compile(r"^"), "audio_backbone.")

# Of VITA and its descendants AVISM, ACVIS and H2S, whose COCO models keep VITA's names. The frame decoder is
# Mask2Former's decoder of images.
_FRAME_AND_CLIP: tuple[Rule, ...] = (
    (
        re.compile(r"^(avism|vita)_module\.(avism|vita)_mask_features\."),
        "sem_seg_head.predictor.mask_features.",
    ),
    (re.compile(r"^(avism|vita)_module\.(?=sim_embed_)"), "criterion.terms.similarity."),
    (
        re.compile(r"^(avism|vita)_module\.(?=av_proj|enc_av_|encode_av_fusion|audio_decomp_)"),
        "sem_seg_head.predictor.clip.temporal_fusion.",
    ),
    (re.compile(r"^(avism|vita)_module\."), "sem_seg_head.predictor.clip."),
    (re.compile(r"^sem_seg_head\.predictor\.(?=cnt_proj\.)"), "criterion.terms.count."),
    (
        re.compile(r"^sem_seg_head\.predictor\.(?=av_|audio_|cls_token)"),
        "sem_seg_head.predictor.frame.audio_proj.",
    ),
    (
        re.compile(r"^sem_seg_head\.predictor\.(?!clip\.|frame\.|mask_features\.)"),
        "sem_seg_head.predictor.frame.",
    ),
    (
        re.compile(r"^sem_seg_head\.pixel_decoder\.bi_attn\.(\d)\."),
        lambda match: f"sem_seg_head.pixel_decoder.fusion.res{5 - int(match[1])}.",
    ),
)

# In files of whole models: Mask2Former's older names; AVSBench's TPAVI modules, numbered from stride 4 on.
_WHOLE_MODEL: tuple[Rule, ...] = (
    (re.compile(r"^sem_seg_head\.(?!predictor\.|pixel_decoder\.)"), "sem_seg_head.pixel_decoder."),
    (re.compile(r"\.static_query\."), ".query_feat."),
    (re.compile(r"^tpavi_b(\d)\."), lambda match: f"fusion.res{int(match[1]) + 1}."),
)

_TORCHVISION_RESNET: tuple[Rule, ...] = (
    (re.compile(r"^(?=(conv1|bn1)\.)"), "stem."),
    (re.compile(r"^layer(\d)\."), lambda match: f"res{int(match[1]) + 1}."),
    (re.compile(r"\bbn(\d)\."), r"conv\1.norm."),
    (re.compile(r"\.downsample\.0\."), ".shortcut."),
    (re.compile(r"\.downsample\.1\."), ".shortcut.norm."),
)

# timm merges patches at the start of a stage, the official code at the end of the one before.
_TIMM_SWIN: tuple[Rule, ...] = (
    (re.compile(r"^layers_(\d)\."), r"layers.\1."),
    (re.compile(r"^layers\.(\d)\.downsample\."), lambda match: f"layers.{int(match[1]) - 1}.downsample."),
)

# timm's feature extractors have the stages of some models beside each other: stages.0 is stages_0 there.
_FLATTENED: Rule = (re.compile(r"^(\w+)\.(\d+)\."), r"\1_\2.")


@dataclass(frozen=True)
class Naming:
    """How a program names weights."""

    source: str
    rules: tuple[Rule, ...]


NAMINGS = (
    Naming("a whole model", _WHOLE_MODEL),
    Naming("a whole model in the names of VITA or Mask2Former", (*_WHOLE_MODEL, *_FRAME_AND_CLIP)),
    Naming("Detectron2's or the official backbone", (_IMAGE_BACKBONE,)),
    Naming("a ResNet in torchvision's names", (*_TORCHVISION_RESNET, _IMAGE_BACKBONE)),
    Naming("a Swin Transformer in timm's names", (*_TIMM_SWIN, _IMAGE_BACKBONE)),
    Naming("a timm model", (_TIMM_BACKBONE,)),
    Naming("a timm model", (_FLATTENED, _TIMM_BACKBONE)),
    Naming("an audio backbone", (_AUDIO_BACKBONE,)),
)

# For files that no model is at hand for.
_SIGNS: tuple[tuple[str, re.Pattern], ...] = (
    ("a whole model of AVIS", re.compile(r"^(audio_backbone|fusion)\.")),
    ("a whole model of Mask2Former, or of AVIS without audio", re.compile(r"^sem_seg_head\.")),
    ("a whole model of AVSBench", re.compile(r"^tpavi_b\d\.")),
    ("a TPAVI module", re.compile(r"^align_channel\.")),
    ("VGGish", re.compile(r"^embeddings\.\d\.")),
    ("a Swin Transformer in timm's names", re.compile(r"^layers[._]3\.downsample\.")),
    ("a Swin Transformer in its official names", re.compile(r"^layers\.0\.downsample\.")),
    ("a ResNet in Detectron2's names", re.compile(r"^stem\.conv1\.")),
    ("a ResNet in torchvision's names", re.compile(r"^layer1\.0\.conv1\.")),
    ("a ResNet in Caffe2's names", _CAFFE2_NAME),
)


def describe(weights: StateDict) -> str:
    """What a file holds, in words, as far as its names alone tell."""
    if family := family_of(weights):
        return f"a whole model of {family}, of the AVISM family"
    for what, sign in _SIGNS:
        if any(sign.match(name) for name in weights):
            return what
    return "a model that cannot be told by its names"


def name_as(target: Mapping[str, Tensor], checkpoint: dict) -> tuple[str, StateDict]:
    """Rename weights as a model names its own.

    Args:
        target: the model's state dict.
        checkpoint: as `read_checkpoint` returns it.

    Returns:
        What the file holds, in words, and its weights by name; those of no use to the model are there, too.
    """
    weights = checkpoint["model"]
    if any(_CAFFE2_NAME.match(name) for name in weights):
        blobs = {name: value for name, value in weights.items() if not name.endswith(_CAFFE2_MOMENTUM)}
        converted, _ = convert_c2_detectron_names(blobs)
        return "Caffe2's backbone", _rename(converted, (_IMAGE_BACKBONE,))
    candidates = [_rename(weights, naming.rules) for naming in NAMINGS]
    fits = [_num_fitting(candidate, target) for candidate in candidates]
    best = fits.index(max(fits))
    names = zip(weights, candidates[best], strict=True)
    # What is of no use keeps its name, by which a reader knows it, unless the model means another by it.
    known = {new if new in target or old in target else old: weights[old] for old, new in names}
    return NAMINGS[best].source, known


def _rename(weights: StateDict, rules: tuple[Rule, ...]) -> StateDict:
    renamed = {}
    for name, value in weights.items():
        for pattern, replacement in rules:
            name = pattern.sub(replacement, name)
        renamed[name] = value
    return renamed


def _num_fitting(weights: StateDict, target: Mapping[str, Tensor]) -> int:
    return sum(name in target and value.shape == target[name].shape for name, value in weights.items())

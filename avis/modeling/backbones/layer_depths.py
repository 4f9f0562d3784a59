"""How deep each parameter of an image backbone lies, for learning rates that fall from layer to layer.

Layers are counted as in BEiT, MAE and Detectron2's ViTDet (get_vit_lr_decay_rate): stem or patch embedding
are layer 0, blocks are layers 1 to N, and all after the last block is layer N + 1. A step between stages of a
Swin belongs to the block before it. timm's models have the layers that timm gives them.
"""

from itertools import accumulate

import timm
import torch
from detectron2.modeling.backbone.resnet import ResNet
from timm.models import group_parameters
from torch import nn

from avis.modeling.backbones.swin import SwinTransformer
from avis.modeling.backbones.timm_backbone import TimmBackbone


def layer_depths(backbone: nn.Module) -> dict[str, int]:
    """Count the layers from each parameter up to what follows the last block, whose depth is 0.

    Args:
        backbone: Detectron2's ResNet, a Swin Transformer or a timm model.

    Returns:
        The depth by the parameter's name in the backbone; N + 1 at the stem.

    Raises:
        ValueError: another backbone, or a model of which timm does not tell the layers.
    """
    names = [name for name, _ in backbone.named_parameters()]
    if isinstance(backbone, ResNet):
        first = _first_blocks({stage: len(backbone.get_submodule(stage)) for stage in backbone.stage_names})
        return {name: _depth_in_resnet(name, first) for name in names}
    if isinstance(backbone, SwinTransformer):
        first = _first_blocks({str(i): len(stage.blocks) for i, stage in enumerate(backbone.layers)})
        return {name: _depth_in_swin(name, first) for name in names}
    if isinstance(backbone, TimmBackbone):
        return _depths_in_timm(backbone.timm_name, names)
    raise ValueError(
        f"SOLVER.LAYER_DECAY does not know the layers of {type(backbone).__name__}: it works with "
        "Detectron2's ResNets, Swin Transformers and timm's models; set it to 1.0"
    )


def _first_blocks(sizes: dict[str, int]) -> dict[str, int]:
    """The layer of the first block of each stage, and under "" that of all after the last one."""
    return dict(zip((*sizes, ""), accumulate(sizes.values(), initial=1), strict=True))


def _depth_in_resnet(name: str, first: dict[str, int]) -> int:
    stage, block = name.split(".")[:2]
    if stage == "stem":
        return first[""]
    return first[""] - (first[stage] + int(block) if stage in first else first[""])


def _depth_in_swin(name: str, first: dict[str, int]) -> int:
    part, *rest = name.split(".")
    if part == "patch_embed":
        return first[""]
    if part != "layers":
        return 0  # a norm of an output
    stage, kind, block = rest[:3]
    if kind == "blocks":
        return first[""] - first[stage] - int(block)
    return first[""] - first[str(int(stage) + 1)] + 1


def _depths_in_timm(model_name: str, names: list[str]) -> dict[str, int]:
    with torch.device("meta"):  # the structure alone: no memory, no initialisation
        classifier = timm.create_model(model_name, pretrained=False)
    if not hasattr(classifier, "group_matcher"):
        raise ValueError(
            f"SOLVER.LAYER_DECAY does not know the layers of {model_name!r}, which timm does not tell; "
            "set it to 1.0"
        )
    layers = group_parameters(classifier, classifier.group_matcher(coarse=False), reverse=True)
    # Feature extractors have some dots of names as "_", and some have the model in an attribute.
    layer_of = {name.replace(".", "_"): layer for name, layer in layers.items()}
    plain = {name: name.removeprefix("model.").removeprefix("model.").replace(".", "_") for name in names}
    unknown = [name for name, own in plain.items() if own not in layer_of]
    if unknown:
        raise ValueError(
            f"SOLVER.LAYER_DECAY does not find the layer of {unknown[0]!r} of {model_name!r}; set it to 1.0"
        )
    top = max(layers.values())
    return {name: top - layer_of[own] for name, own in plain.items()}

"""Files of full-size published models against the models of the configs, by names and shapes alone."""

from ast import literal_eval

import pytest
import timm
import torch
from detectron2.modeling import build_model

import avis.modeling  # noqa: F401  registers the models
from avis.config import get_avis_cfg
from avis.weights import LoadReport, StateDict, match_weights
from tests.modeling.recorded import REFERENCE

PREDICTOR = "sem_seg_head.predictor."
CLASSES = [f"{PREDICTOR}class_embed.bias", f"{PREDICTOR}class_embed.weight"]


def state_of(config: str, *options: object) -> StateDict:
    """Names and shapes of a model's tensors, without memory for values."""
    cfg = get_avis_cfg(f"configs/{config}.yaml", ["MODEL.DEVICE", "meta", *options])
    with torch.device("meta"):
        return build_model(cfg).state_dict()


def listed(name: str) -> StateDict:
    lines = (REFERENCE / f"{name}.tsv").read_text().splitlines()
    shapes = {key: literal_eval(shape) for key, shape in (line.split("\t") for line in lines)}
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


def of_timm(name: str) -> StateDict:
    with torch.device("meta"):
        return timm.create_model(name).state_dict()


def report_on(target: StateDict, weights: StateDict) -> LoadReport:
    return match_weights(target, {"model": weights})[1]


@pytest.mark.parametrize(
    ("config", "keys"),
    [("avis_R50", "videomaskformer_R50_keys"), ("avis_SwinB", "videomaskformer_SwinB_keys")],
)
@pytest.mark.parametrize("mask_head", ["dot", "residual"])
def test_all_of_mask2former_loads_but_what_avis_has_otherwise(config: str, keys: str, mask_head: str):
    theirs = listed(keys)
    report = report_on(state_of(config, "MODEL.MASK_FORMER.MASK_HEAD", mask_head), theirs)
    assert report.as_expected()
    assert list(report.reinitialized) == CLASSES
    assert len(report.unused) == (0 if mask_head == "dot" else 6)
    assert all(name.startswith(f"{PREDICTOR}mask_embed.layers.") for name in report.unused)
    not_loaded = theirs.keys() - set(report.loaded) - set(report.unused)
    assert not_loaded == {*CLASSES, "criterion.empty_weight"}


def test_queries_of_another_number_start_anew_and_the_key_is_named():
    theirs = listed("videomaskformer_R50_keys")
    for name in ("query_feat", "query_embed"):
        theirs[f"{PREDICTOR}{name}.weight"] = torch.empty(200, 256, device="meta")
    report = report_on(state_of("avis_R50"), theirs)
    assert not report.as_expected()
    assert report.reinitialized[f"{PREDICTOR}query_feat.weight"] == ((200, 256), (100, 256))
    assert "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES is 200 in the file" in report.hints()


@pytest.mark.parametrize(
    ("config", "name", "part"),
    [
        ("avis_R50", "resnet101", "layer3.10 x15"),
        ("avis_R101", "resnet50", "backbone.res4 x255"),
        ("avis_SwinT", "swin_small_patch4_window7_224", "layers.2 x156"),
    ],
)
def test_a_backbone_of_another_depth_is_not_as_expected(config: str, name: str, part: str):
    report = report_on(state_of(config), of_timm(name))
    assert not report.as_expected()
    (hint,) = report.hints()
    assert hint.startswith("its backbone is of another size: ")
    assert part in hint


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ("avis_R50", "resnet50"),
        ("avis_SwinT", "swin_tiny_patch4_window7_224"),
        ("avis_SwinL", "swin_large_patch4_window12_384"),
    ],
)
def test_a_backbone_of_the_same_depth_is_as_expected(config: str, name: str):
    report = report_on(state_of(config), of_timm(name))
    assert report.as_expected()
    assert not report.hints()


def test_of_a_swin_with_other_windows_only_the_position_biases_start_anew():
    theirs = state_of("avis_SwinB", "MODEL.TIMM.NAME", "swin_base_patch4_window7_224")
    official = {key.removeprefix("backbone."): v for key, v in theirs.items() if key.startswith("backbone.")}
    report = report_on(state_of("avis_SwinB"), official)
    assert {name.rpartition(".")[2] for name in report.reinitialized} == {"relative_position_bias_table"}
    assert report.hints() == ["the file's Swin has other windows: choose MODEL.TIMM.NAME accordingly"]

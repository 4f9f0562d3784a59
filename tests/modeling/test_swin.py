"""The Swin backbone has the names of the official code and gives its numbers."""

import ast

import numpy as np
import torch
from detectron2.modeling import build_model

from avis.config import get_avis_cfg
from avis.modeling.backbones import SwinTransformer
from tests.modeling.recorded import REFERENCE, assert_recorded, fill_parameters, normal, recording

WITHOUT_AUDIO = [
    *("MODEL.AUDIO.NAME", ""),
    *("MODEL.FUSION.NAME", ""),
    *("MODEL.MASK_FORMER.AUDIO_QUERY", False),
    *("MODEL.MASK_FORMER.MASK_HEAD", "dot"),
]


def test_parameter_names_and_shapes_are_mask2formers():
    options = [*WITHOUT_AUDIO, "MODEL.DEVICE", "meta", "MODEL.SEM_SEG_HEAD.NUM_CLASSES", 40]
    model = build_model(get_avis_cfg("configs/avis_SwinB.yaml", options))
    ours = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    lines = (REFERENCE / "videomaskformer_SwinB_keys.tsv").read_text().splitlines()
    official = {key: ast.literal_eval(shape) for key, shape in (line.split("\t") for line in lines)}
    assert ours == official


def test_features_are_the_recorded_ones():
    arrays = recording("x1_swin_small_64x96")
    backbone = SwinTransformer(32, depths=(2, 2, 2, 2), num_heads=(2, 4, 4, 8), window_sizes=(4, 4, 4, 4))
    fill_parameters(backbone.eval())
    with torch.no_grad():
        maps = backbone(normal(np.random.default_rng(901), 1, 3, 64, 96))
    for name in ("res2", "res3", "res4", "res5"):
        assert_recorded(maps[name], arrays, name, rtol=1e-4, atol=1e-5)

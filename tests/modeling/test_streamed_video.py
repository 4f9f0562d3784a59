"""A video whose features lie in host memory or in a file has the tracks of one that is decoded at once.

Scores agree to 1e-6: float32 sums over chunks in another order. So masks differ at most in a pixel whose
logit is nearly 0.
"""

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask as mask_utils
from torch import Tensor, nn

from avis.modeling import AV_FUSION_REGISTRY
from avis.modeling.layers import MultiheadAttention
from avis.modeling.progress import listen
from avis.modeling.running_attention import RunningAttention
from avis.structures import Track
from tests.modeling.test_avis_mask_former import clip, small_model

FAMILY = [
    "MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME", "FrameClipDecoder", "MODEL.MASK_FORMER.MASK_HEAD", "dot",
    "MODEL.MASK_FORMER.TEST.MASK_QUALITY", True, "MODEL.CLIP_DECODER.NUM_QUERIES", 6,
    "MODEL.CLIP_DECODER.ENC_LAYERS", 2, "MODEL.CLIP_DECODER.WINDOW", 2,
    "MODEL.CLIP_DECODER.DIM_FEEDFORWARD", 32,
    "MODEL.LOSSES.NAMES", ["frame_prediction", "clip_prediction", "similarity"],
]  # fmt: skip
QUERY, FUSION, TEMPORAL = (
    f"MODEL.{key}" for key in ("MASK_FORMER.AUDIO_QUERY", "FUSION.NAME", "TEMPORAL_FUSION.NAME")
)
MODELS = {
    "baseline": [],
    "without fusion": [FUSION, ""],
    "vision only, dot": ["MODEL.AUDIO.NAME", "", "MODEL.MASK_FORMER.MASK_HEAD", "dot"],
    "sounding gate": ["MODEL.MASK_FORMER.SOUNDING_GATE", True],
    "extra token": [QUERY, "centric"],
    "pixels for the audio query": [QUERY, "localize"],
    "two-way fusion": [FUSION, "TwoWayAttention"],
    "VITA": [*FAMILY, "MODEL.AUDIO.NAME", ""],
    "AVISM": [*FAMILY, QUERY, "localize", FUSION, "", TEMPORAL, "window_attention"],
    "ACVIS": [*FAMILY, QUERY, "centric", FUSION, "", TEMPORAL, "window_attention"],
    "H2S": [
        *FAMILY, QUERY, "sources", FUSION, "TwoWayAttention", "MODEL.FUSION.AT", "pixel_decoder",
        TEMPORAL, "state_space", "MODEL.CLUSTERED_ATTENTION.RELEASED_PADDING", False,
    ],
}  # fmt: skip


def model_with_lively_weights(*options: object) -> nn.Module:
    """At the start fusion and gate add nothing, and so would hide a mistake in them."""
    model = small_model(*options).eval()
    gate = getattr(model.sem_seg_head.predictor, "sounding_gate", None)
    with torch.no_grad():
        for module in model.fusion.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.weight.fill_(3.0)
        if gate is not None:
            nn.init.normal_(gate.sound_proj.weight, std=20)
            gate.sound_proj.bias.fill_(1)
    return model


@torch.inference_mode()
def tracks_of(model: nn.Module, video: dict, store: str, chunk_size: int) -> list[Track]:
    model.feature_store, model.chunk_size = store, chunk_size
    return model([video])[0].tracks


def assert_same_tracks(tracks: list[Track], others: list[Track]) -> None:
    assert len(tracks) == len(others) == 10
    for track, other in zip(tracks, others, strict=True):
        assert track.score == pytest.approx(other.score, abs=1e-6)
        assert track.category_id == other.category_id
        assert num_different_pixels(track, other) <= 1


def num_different_pixels(track: Track, other: Track) -> int:
    if track.segmentations == other.segmentations:
        return 0
    pairs = zip(track.segmentations, other.segmentations, strict=True)
    masks = [[mask_utils.decode(x) if x else np.zeros((80, 100)) for x in pair] for pair in pairs]
    return int(sum((a != b).sum() for a, b in masks))


@pytest.mark.parametrize("name", MODELS)
def test_tracks_do_not_depend_on_where_features_lie(name: str):
    torch.manual_seed(3)
    video = clip(7)
    model = model_with_lively_weights(*MODELS[name])
    at_once = tracks_of(model, video, "device", chunk_size=7)
    assert any(mask for track in at_once for mask in track.segmentations)
    for store, chunk_size in (("device", 3), ("host", 3), ("file", 3), ("file", 1), ("auto", 2)):
        assert_same_tracks(tracks_of(model, video, store, chunk_size), at_once)

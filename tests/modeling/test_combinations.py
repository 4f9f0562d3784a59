"""Every sensible combination of the registered parts trains and predicts, at a tiny size."""

from itertools import product

import pytest
import torch

from avis.modeling import AV_FUSION_REGISTRY, MASK_HEAD_REGISTRY, TEMPORAL_FUSION_REGISTRY
from avis.modeling.audio_query import AUDIO_QUERY_REGISTRY
from tests.modeling.test_avis_mask_former import clip, small_model

# Parts that tests of other modules register have capital letters or stay out by name.
AUDIO_QUERIES = ["", *(name for name, _ in AUDIO_QUERY_REGISTRY if name.islower())]
TEMPORAL_FUSIONS = ["", *(name for name, _ in TEMPORAL_FUSION_REGISTRY if name.islower())]
MASK_HEADS = [name for name, _ in MASK_HEAD_REGISTRY if name.islower()]
# A fusion of all frames' backbone features, one inside the pixel decoder, and none.
FUSIONS = [("", "backbone"), ("TPAVI", "backbone")]
if "TwoWayAttention" in AV_FUSION_REGISTRY:
    FUSIONS.append(("TwoWayAttention", "pixel_decoder"))

VIDEO, FRAME_CLIP = "VideoMultiScaleMaskedTransformerDecoder", "FrameClipDecoder"
DECODERS = [(VIDEO, ""), *((FRAME_CLIP, fusion) for fusion in TEMPORAL_FUSIONS)]


def losses_for(decoder: str, audio_query: str) -> list[str]:
    if decoder == VIDEO:
        return ["prediction"]
    count = ["count"] if audio_query == "centric" else []
    return ["frame_prediction", "clip_prediction", "similarity", *count]


def sounding_clip(fusion: str) -> dict:
    """With features of three sources, or of one for a fusion that takes one."""
    num_sources = 1 if fusion == "TPAVI" else 3
    made = clip(3)
    del made["audio_examples"]
    return made | {
        "audio_features": torch.rand(3, num_sources, 128),
        "num_sounding": torch.tensor([2, 2, 1]),
    }


@pytest.mark.parametrize("audio_query", AUDIO_QUERIES)
@pytest.mark.parametrize("decoder", DECODERS, ids="-".join)
def test_combination(decoder: tuple[str, str], audio_query: str):
    name, temporal_fusion = decoder
    for (fusion, place), mask_head in product(FUSIONS, MASK_HEADS):
        model = small_model(
            "MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME", name, "MODEL.MASK_FORMER.AUDIO_QUERY", audio_query,
            "MODEL.TEMPORAL_FUSION.NAME", temporal_fusion, "MODEL.MASK_FORMER.MASK_HEAD", mask_head,
            "MODEL.FUSION.NAME", fusion, "MODEL.FUSION.AT", place,
            "MODEL.LOSSES.NAMES", losses_for(name, audio_query), "MODEL.AUDIO.NAME", "PrecomputedFeatures",
            "MODEL.AUDIO.FREEZE", True, "MODEL.CLIP_DECODER.NUM_QUERIES", 6,
            "MODEL.CLIP_DECODER.ENC_LAYERS", 2, "MODEL.CLIP_DECODER.WINDOW", 2,
            "MODEL.CLIP_DECODER.DIM_FEEDFORWARD", 32, "MODEL.MASK_FORMER.TEST.MASK_QUALITY", True,
        )  # fmt: skip
        losses = model.train()([sounding_clip(fusion), sounding_clip(fusion)])
        total = sum(losses.values())
        total.backward()
        assert total.isfinite() and all(loss.dim() == 0 for loss in losses.values())
        # A parameter without gradient would stop training on several processes.
        without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
        assert not without, (fusion, mask_head, without)
        with torch.no_grad():
            (video,) = model.eval()([sounding_clip(fusion)])
        assert len(video.tracks) == 10 and all(0 <= track.score <= 1 for track in video.tracks)
        assert all(len(track.segmentations) == 3 for track in video.tracks)

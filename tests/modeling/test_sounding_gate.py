"""The sounding gate: open at the start, then closed where a frame does not sound like the query."""

import numpy as np
import pytest
import torch
from pycocotools import mask as mask_utils
from torch import nn
from torch.nn import functional as F

from avis.modeling.sounding_gate import SoundingGate
from avis.structures import Track
from tests.modeling.test_avis_mask_former import clip, small_model

GATED = ["MODEL.MASK_FORMER.SOUNDING_GATE", True]


def test_it_is_the_log_probability_that_query_and_sound_agree():
    torch.manual_seed(0)
    gate = SoundingGate(audio_dim=5, hidden_dim=4)
    queries, audio = torch.randn(2, 3, 4), torch.randn(2, 6, 2, 5)
    torch.testing.assert_close(gate(queries, audio), F.logsigmoid(torch.tensor(4.0)).expand(2, 3, 6))
    nn.init.normal_(gate.sound_proj.weight)
    found = gate(queries, audio)
    for clip_, query, frame in ((0, 1, 2), (1, 2, 5)):
        sound = gate.sound_proj(audio[clip_, frame, 0] + audio[clip_, frame, 1])
        agreement = gate.query_proj(queries[clip_, query]) @ sound / 2
        torch.testing.assert_close(found[clip_, query, frame], torch.log(torch.sigmoid(agreement + 4)))


def num_different_pixels(track: Track, other: Track) -> int:
    pairs = zip(track.segmentations, other.segmentations, strict=True)
    masks = [[mask_utils.decode(x) if x else np.zeros((80, 100)) for x in pair] for pair in pairs]
    return int(sum((a != b).sum() for a, b in masks))


@torch.no_grad()
def test_what_is_trained_is_what_is_predicted_in_any_chunks():
    """The masks of a video are those of the training's logits, gate and all."""
    torch.manual_seed(1)
    video = clip(5)
    tracks = {}
    for chunk_size in (0, 1, 2):
        model = small_model(*GATED, "MODEL.MASK_FORMER.TEST.CHUNK_SIZE", chunk_size)
        nn.init.constant_(model.sem_seg_head.predictor.sounding_gate.sound_proj.bias, 1)
        torch.manual_seed(2)
        nn.init.normal_(model.sem_seg_head.predictor.sounding_gate.sound_proj.weight, std=20)
        tracks[chunk_size] = model.eval()([video])[0].tracks
    for other in (tracks[1], tracks[2]):
        for track, same in zip(tracks[0], other, strict=True):
            assert track.score == pytest.approx(same.score, abs=1e-4)
            assert num_different_pixels(track, same) <= 2  # sums in another order, where a logit is nearly 0
    ungated = small_model().eval()([video])[0].tracks
    assert [track.segmentations for track in tracks[0]] != [track.segmentations for track in ungated]

    audio = model.hear([video])
    features = model.fuse(model.features(video["image"]), audio)
    seen = model.sem_seg_head.see(features, audio)
    evaluated = model.sem_seg_head.decide([seen], audio).predictions[-1]
    trained = model.train().sem_seg_head.decide([seen], audio).predictions[-1]
    plain = model.sem_seg_head.predictor.mask_embed(trained.queries, seen["mask_features"])
    torch.testing.assert_close(trained.mask_logits, plain + trained.gate[..., None, None])
    torch.testing.assert_close(trained.gate, evaluated.gate, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_closed_gate_leaves_no_mask():
    model = small_model(*GATED).eval()
    model.sem_seg_head.predictor.sounding_gate.bias.fill_(-1e4)
    (video,) = model([clip(3)])
    assert all(mask is None for track in video.tracks for mask in track.segmentations)


@pytest.mark.parametrize("decoder", ["VideoMultiScaleMaskedTransformerDecoder", "FrameClipDecoder"])
def test_it_learns_in_every_decoder(decoder: str):
    losses = ["prediction"] if "Video" in decoder else ["frame_prediction", "clip_prediction"]
    options = ["MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME", decoder, "MODEL.LOSSES.NAMES", losses]
    model = small_model(*GATED, *options, "MODEL.CLIP_DECODER.NUM_QUERIES", 6).train()
    sum(model([clip(2)]).values()).backward()
    gate = model.sem_seg_head.predictor.get_submodule(
        "sounding_gate" if "Video" in decoder else "frame.sounding_gate"
    )
    assert gate.sound_proj.weight.grad.abs().max() > 0 and gate.bias.grad != 0

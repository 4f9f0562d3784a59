"""Frames decoded apart and joined: windows, the sound among them, chunks, and what only savings leave out."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from avis.modeling import DotMaskHead, VideoMultiScaleMaskedTransformerDecoder
from avis.modeling.audio_query import CentricAudioQuery, LocalizingAudioQuery
from avis.modeling.clip_decoder import ClipDecoder
from avis.modeling.frame_clip_decoder import FrameClipDecoder
from avis.modeling.frame_windows import FrameWindows
from avis.modeling.layers import CrossAttentionLayer
from avis.modeling.temporal_fusion import WindowAttention
from tests.modeling.kept import kept_tensors, sizes_of
from tests.modeling.test_protocol import features

C, A, HEADS = 16, 8, 2
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def who_sees_whom(num_frames: int, size: int, shifted: bool) -> Tensor:
    """(T, T) as the originals define it: windows over padded frames that are rolled by half a window."""
    padded = math.ceil(num_frames / size) * size
    shift = math.ceil(size / 2) if shifted else 0
    place = [(frame + shift) % padded for frame in range(num_frames)]
    # In the first window, what was rolled round from the end is kept apart from the rest.
    group = [(where // size, where < size and where < shift) for where in place]
    return torch.tensor([[a == b for b in group] for a in group])


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 23), st.integers(1, 9), st.booleans(), st.integers(1, 3), st.integers(1, 2))
def test_windows_are_those_of_the_originals(num_frames, size, shifted, num_tokens, batch):
    windows = FrameWindows(num_frames, size, shifted)
    x = torch.randn(batch, num_frames, num_tokens, 4)
    split = windows.split(x)
    torch.testing.assert_close(windows.join(split, num_tokens), x)
    # Who shares a window with whom, told by the frames' numbers.
    numbers = torch.arange(1.0, num_frames + 1).view(1, -1, 1, 1).expand(batch, -1, num_tokens, 1)
    places = windows.split(numbers).squeeze(-1)
    allowed = windows.allowed(batch, num_tokens, x.device)
    if allowed is not None:
        assert (allowed.squeeze(1) == (places > 0)).all()
    else:
        assert (places > 0).all()
    seen = torch.zeros(num_frames, num_frames, dtype=torch.bool)
    for window in places[: windows.num_windows]:
        frames = (window[window > 0] - 1).long()
        seen[frames[:, None], frames] = True
    assert (seen == who_sees_whom(num_frames, size, shifted)).all()


def clip_decoder(**options: object) -> ClipDecoder:
    torch.manual_seed(3)
    values = {
        "num_classes": 3, "hidden_dim": C, "num_frame_queries": 5, "num_queries": 4, "num_heads": HEADS,
        "dim_feedforward": 32, "num_encoder_layers": 3, "num_decoder_layers": 2, "window": 3,
    }  # fmt: skip
    return ClipDecoder(**values | options, make_mask_head=partial(DotMaskHead, C, C))


def window_attention(num_layers: int = 3) -> WindowAttention:
    torch.manual_seed(4)
    return WindowAttention(A, C, num_heads=HEADS, dim_feedforward=32, num_layers=num_layers, window=3)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shift_in_training", [True, False])
def test_the_window_encoder_is_attention_within_windows(training: bool, shift_in_training: bool):
    """One attention over all frames, masked as `who_sees_whom` says."""
    decoder = clip_decoder(shift_in_training=shift_in_training).train(training)
    frames = torch.randn(2, 7, 5, C)
    found = decoder(frames, None).frames
    expected = decoder.input_proj_dec(frames).flatten(1, 2)
    for index, (attention, feedforward) in enumerate(
        zip(decoder.enc_self_attn, decoder.enc_ffn, strict=True)
    ):
        shifted = index % 2 == 1 and (shift_in_training or not training)
        mask = who_sees_whom(7, 3, shifted).repeat_interleave(5, 0).repeat_interleave(5, 1)
        expected = feedforward(attention(expected, allowed=mask.expand(2, -1, -1)))
    torch.testing.assert_close(found.flatten(1, 2), expected, **CLOSE)


def test_one_audio_token_a_frame_does_what_a_copy_for_each_query_does():
    fusion = window_attention()
    frames = torch.randn(2, 7, 5, C, requires_grad=True)
    audio = torch.randn(2, 7, 1, A, requires_grad=True)
    expected = plain_window_attention(fusion, frames, audio)
    found = fusion(frames, audio)
    torch.testing.assert_close(found, expected, **CLOSE)
    weights = torch.randn_like(found)
    inputs = (frames, audio, *fusion.parameters())
    ours, plain = (torch.autograd.grad((x * weights).sum(), inputs) for x in (found, expected))
    torch.testing.assert_close(ours, plain, atol=1e-4, rtol=1e-4)


def plain_window_attention(fusion: WindowAttention, frames: Tensor, audio: Tensor) -> Tensor:
    """AVISM's audio encoder as it is defined, with N copies of a frame's sound and windows by masks."""
    batch, num_frames, num_queries, _ = frames.shape
    sounds = fusion.av_proj(audio).expand(-1, -1, num_queries, -1).flatten(1, 2)
    keys = frames.flatten(1, 2)
    layers = zip(fusion.enc_av_cross_attn, fusion.enc_av_ffn, strict=True)
    for index, (attention, feedforward) in enumerate(layers):
        mask = who_sees_whom(num_frames, fusion.window, index % 2 == 1)
        mask = mask.repeat_interleave(num_queries, 0).repeat_interleave(num_queries, 1)
        sounds = feedforward(attention(sounds, None, keys, keys, mask.expand(batch, -1, -1)))
    return frames + sounds.unflatten(1, (num_frames, num_queries))


def test_attention_to_one_key_is_its_value():
    torch.manual_seed(5)
    layer = CrossAttentionLayer(C, HEADS)
    query, key = torch.randn(3, 7, C, requires_grad=True), torch.randn(3, 1, C, requires_grad=True)
    found, expected = layer.attend_to_one(query, key), layer(query, torch.randn(7, C), key, key)
    torch.testing.assert_close(found, expected, **CLOSE)
    inputs = (query, key, *layer.parameters())
    ours, plain = (torch.autograd.grad(x.square().sum(), inputs) for x in (found, expected))
    torch.testing.assert_close(ours, plain, **CLOSE)


def test_the_centric_query_adds_the_same_to_all_queries_before_each_norm():
    """As the original does with its one audio token a frame."""
    torch.manual_seed(6)
    module = CentricAudioQuery(A, C, num_heads=HEADS, num_layers=3)
    queries, embed, audio = torch.randn(2, 5, C), torch.randn(5, C), torch.randn(2, 1, A)
    found, found_embed = module(queries, embed, [], audio)
    expected = torch.cat([module.cls_token.weight.expand(2, -1, -1), queries], dim=1)
    sound = module.av_pre_proj(audio)
    for layer in module.audio_centric_query_generator:
        value = F.linear(
            sound, layer.multihead_attn.in_proj_weight[-C:], layer.multihead_attn.in_proj_bias[-C:]
        )
        expected = layer.norm(expected + layer.multihead_attn.out_proj(value))
    torch.testing.assert_close(found, expected, **CLOSE)
    torch.testing.assert_close(found_embed, torch.cat([module.cls_token.weight, embed]))


def test_with_several_sources_queries_attend_to_different_ones():
    """What the idea of ACVIS needs and one audio token cannot do: queries get different sums of sources."""
    torch.manual_seed(6)
    module = CentricAudioQuery(A, C, num_heads=HEADS, num_layers=1)
    embed, zeros = 3 * torch.randn(5, C), torch.zeros(1, 5, C)
    torch.nn.init.zeros_(module.cls_token.weight)
    for num_sources, differ in ((1, False), (4, True)):
        heard = module(zeros, embed, [], 3 * torch.randn(1, num_sources, A))[0][0, 1:]
        assert torch.allclose(heard[0], heard[1], atol=1e-6) != differ


def frame_clip_decoder(audio_query: str = "localize") -> FrameClipDecoder:
    torch.manual_seed(0)
    make_query = {
        "localize": partial(LocalizingAudioQuery, A, C, num_heads=HEADS, num_layers=3),
        "centric": partial(CentricAudioQuery, A, C, num_heads=HEADS, num_layers=3),
    }[audio_query]
    frame = VideoMultiScaleMaskedTransformerDecoder(
        C, num_classes=3, hidden_dim=C, num_queries=5, num_heads=HEADS, dim_feedforward=16, num_layers=3,
        make_mask_head=partial(DotMaskHead, C, C), make_audio_query=make_query, temporal_position=False,
    )  # fmt: skip
    clip = clip_decoder(make_temporal_fusion=window_attention)
    return FrameClipDecoder(frame, clip, in_channels=C, mask_dim=C, num_frame_layers=2)


@pytest.mark.parametrize("audio_query", ["localize", "centric"])
@pytest.mark.parametrize("chunk", [1, 2, 3, 7])
@torch.no_grad()
def test_chunks_do_not_change_what_is_decided(audio_query: str, chunk: int):
    decoder = frame_clip_decoder(audio_query).eval()
    levels, mask_features = features(num_frames=7)
    audio = torch.randn(1, 7, 1, A)
    whole = decoder.decide([decoder.see(levels, mask_features, audio)], audio)
    starts = range(0, 7, chunk)
    cut = [slice(start, start + chunk) for start in starts]
    parts = [decoder.see([x[:, c] for x in levels], mask_features[:, c], audio[:, c]) for c in cut]
    found = decoder.decide(parts, audio)
    torch.testing.assert_close(found.predictions[0].class_logits, whole.predictions[0].class_logits, **CLOSE)
    torch.testing.assert_close(found.mask_features, whole.mask_features, **CLOSE)
    assert len(found.predictions) == 1 and found.predictions[0].mask_logits is None and not found.extras


def test_clips_of_a_batch_do_not_see_each_other():
    """The originals take one clip at a time."""
    decoder = frame_clip_decoder().train()
    levels, mask_features = features(num_frames=4, num_clips=2)
    audio = torch.randn(2, 4, 1, A)
    both = decoder.decide([decoder.see(levels, mask_features, audio)], audio)
    for clip in range(2):
        only = slice(clip, clip + 1)
        part = decoder.see([x[only] for x in levels], mask_features[only], audio[only])
        alone = decoder.decide([part], audio[only])
        for ours, theirs in zip(both.predictions, alone.predictions, strict=True):
            of_clip = ours.class_logits.unflatten(0, (2, 2))[:, clip]
            torch.testing.assert_close(of_clip, theirs.class_logits, **CLOSE)
            of_clip = ours.mask_logits.unflatten(0, (2, 2))[:, clip]
            torch.testing.assert_close(of_clip, theirs.mask_logits, **CLOSE)
        frames = both.extras["frame_predictions"][-1].class_logits.unflatten(0, (2, 4))[clip]
        torch.testing.assert_close(frames, alone.extras["frame_predictions"][-1].class_logits, **CLOSE)


def test_pixels_are_kept_once_for_all_layers():
    """The projections of each layer and the products with each layer's queries share what they read."""
    decoder = frame_clip_decoder().train()
    levels, mask_features = features(num_frames=2)
    mask_features = mask_features.movedim(2, -1).contiguous().movedim(-1, 2)  # as the pixel decoder gives it
    audio = torch.randn(1, 2, 1, A)
    with kept_tensors() as kept:
        decoder.decide(
            [decoder.see([level.requires_grad_() for level in levels], mask_features, audio)], audio
        )
    sizes = sizes_of(kept, decoder.parameters())
    # The pixel decoder's embeddings, those of the clip queries, and the map of which these are made.
    assert sizes.count(4 * mask_features.numel()) == 3
    # Keys and values, and their projections in the one layer that reads the level and in the audio query.
    assert sizes.count(4 * levels[2].numel()) == 6


def test_frames_are_told_apart_by_their_sound():
    """The sound of one frame reaches the queries of frames of its windows, and the clip's."""
    decoder = frame_clip_decoder().eval()
    levels, mask_features = features(num_frames=6)
    quiet, loud = torch.zeros(1, 6, 1, A), torch.zeros(1, 6, 1, A)
    loud[:, 2] = 1
    with torch.no_grad():
        parts = [decoder.see(levels, mask_features, audio) for audio in (quiet, loud)]
        changed = (parts[0]["queries"] != parts[1]["queries"]).flatten(2).any(-1)[0]
        assert changed.tolist() == [frame == 2 for frame in range(6)]
        first, second = (
            decoder.decide([part], audio).predictions[0].queries
            for part, audio in zip(parts, (quiet, loud), strict=True)
        )
    assert not torch.allclose(first, second)


def test_more_layers_than_there_are_cannot_be_joined():
    decoder = frame_clip_decoder()
    with pytest.raises(ValueError, match="FRAME_LAYERS is 9"):
        FrameClipDecoder(decoder.frame, decoder.clip, in_channels=C, mask_dim=C, num_frame_layers=9)

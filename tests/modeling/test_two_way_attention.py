"""Two-way attention between pixels and sources, in the direction that is of use."""

import math

import pytest
import torch
from detectron2.layers import ShapeSpec
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from avis.config import get_avis_cfg
from avis.modeling import MSDeformAttnPixelDecoder, TwoWayAttention
from avis.modeling.fusion import build_fusion, fuse_levels
from avis.modeling.position_encoding import sine_embedding_2d


def by_definition(fusion: TwoWayAttention, pixels: Tensor, sources: Tensor) -> Tensor:
    """One frame, head by head: pixels (C, h, w) and sources (S, A) to (C, h, w)."""
    channels, height, width = pixels.shape
    placed = (pixels + sine_embedding_2d(channels, height, width, pixels.device)).flatten(1).T
    width_of_head, heard = channels // fusion.num_heads, []
    for head in range(fusion.num_heads):
        own = slice(head * width_of_head, (head + 1) * width_of_head)
        query = placed @ fusion.to_qk.weight[own].T
        key, value = (sources @ layer.weight[own].T for layer in (fusion.context_to_qk, fusion.context_to_v))
        heard.append((query @ key.T / math.sqrt(width_of_head)).softmax(-1) @ value)
    return pixels + fusion.to_out(torch.cat(heard, dim=-1)).T.unflatten(1, (height, width))


@settings(max_examples=15, deadline=None)
@given(
    clips=st.integers(1, 2),
    frames=st.integers(1, 3),
    sources=st.integers(1, 4),
    height=st.integers(1, 4),
    width=st.integers(1, 4),
)
def test_every_pixel_attends_to_the_sources_of_its_frame(clips, frames, sources, height, width):
    torch.manual_seed(0)
    fusion = TwoWayAttention(8, audio_dim=6, num_heads=2)
    visual = torch.randn(clips, 8, frames, height, width)
    audio = 3 * torch.randn(clips, frames, sources, 6)
    expected = torch.stack(
        [
            torch.stack(
                [by_definition(fusion, *frame) for frame in zip(clip.unbind(1), sound, strict=True)], 1
            )
            for clip, sound in zip(visual, audio, strict=True)
        ]
    )
    torch.testing.assert_close(fusion(visual, audio), expected)


def test_what_is_trained_is_what_is_used():
    fusion = TwoWayAttention(8, audio_dim=6, num_heads=2)
    fusion(torch.randn(1, 8, 2, 3, 4), torch.randn(1, 2, 3, 6)).square().sum().backward()
    assert {name.partition(".")[0] for name, _ in fusion.named_parameters()} == {
        "to_qk", "context_to_qk", "context_to_v", "to_out"
    }  # fmt: skip
    assert all(parameter.grad.abs().sum() > 0 for parameter in fusion.parameters())


def test_it_stays_in_float32_under_autocast():
    torch.manual_seed(0)
    fusion, visual, audio = TwoWayAttention(8, 6, 2), torch.randn(1, 8, 2, 3, 4), torch.randn(1, 2, 3, 6)
    plain = fusion(visual, audio)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(fusion(visual, audio), plain)


@pytest.mark.parametrize("shape", [(1, 3, 2, 6), (2, 2, 2, 6), (1, 2, 6)])
def test_sources_that_do_not_belong_to_the_frames_are_refused(shape):
    with pytest.raises(ValueError, match=r"1 clips × 2 frames.*\(clips, frames, sources, channels\)"):
        TwoWayAttention(8, 6, 2)(torch.randn(1, 8, 2, 3, 4), torch.randn(shape))


def test_channels_that_no_heads_share_are_refused():
    with pytest.raises(ValueError, match="9 channels cannot be split over 2 heads"):
        TwoWayAttention(9, 6, 2)


def test_it_gets_all_sources_in_the_pixel_decoder():
    torch.manual_seed(0)
    options = {
        "MODEL.FUSION.NAME": "TwoWayAttention",
        "MODEL.FUSION.AT": "pixel_decoder",
        "MODEL.SEM_SEG_HEAD.CONVS_DIM": 64,
        "MODEL.MASK_FORMER.NHEADS": 4,
    }
    cfg = get_avis_cfg(opts=[item for option in options.items() for item in option])
    shapes = {f"res{i}": ShapeSpec(channels=8, stride=2**i) for i in range(2, 6)}
    decoder = MSDeformAttnPixelDecoder(cfg, shapes)
    assert decoder.fusion.keys() == {"res3", "res4", "res5"} and decoder.fusion["res3"].num_heads == 4
    features = {
        name: torch.randn(2, 8, 64 // spec.stride, 64 // spec.stride) for name, spec in shapes.items()
    }
    audio = torch.randn(2, 3, 128, requires_grad=True)
    decoder(features, audio)[0][0].square().sum().backward()
    assert (audio.grad[0].abs().sum(-1) > 0).all() and audio.grad[1].eq(0).all()


def test_as_fusion_of_backbone_features_it_hears_frame_by_frame():
    torch.manual_seed(0)
    options = ["MODEL.FUSION.NAME", "TwoWayAttention", "MODEL.FUSION.IN_FEATURES", "['res5']"]
    fusion = build_fusion(get_avis_cfg(opts=options), "backbone", {"res5": ShapeSpec(channels=16)})
    levels, audio = {"res5": torch.randn(1, 2, 16, 3, 4)}, torch.randn(1, 2, 3, 128)
    fused = fuse_levels(fusion, levels, audio)["res5"]
    alone = fuse_levels(fusion, {"res5": levels["res5"][:, 1:]}, audio[:, 1:])["res5"]
    torch.testing.assert_close(fused[:, 1:], alone)

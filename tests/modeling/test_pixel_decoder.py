"""What the pixel decoder adds to Mask2Former's; its numbers are checked in test_reference_parts.py."""

import torch
from detectron2.layers import ShapeSpec

from avis.modeling import MSDeformAttnPixelDecoder
from avis.modeling.position_encoding import sine_embedding_2d

SHAPES = {f"res{level}": ShapeSpec(channels=8, stride=2**level) for level in range(2, 6)}


def make_decoder(**options: bool) -> MSDeformAttnPixelDecoder:
    torch.manual_seed(0)
    return MSDeformAttnPixelDecoder(
        SHAPES,
        transformer_in_features=["res3", "res4", "res5"],
        conv_dim=32,
        mask_dim=16,
        num_layers=1,
        num_heads=4,
        num_points=2,
        dim_feedforward=16,
        norm="GN",
        **options,
    )


def test_position_is_added_to_the_per_pixel_embeddings_alone():
    features = {
        name: torch.randn(3, 8, 64 // spec.stride, 96 // spec.stride) for name, spec in SHAPES.items()
    }
    plain, levels = make_decoder()(features)
    placed, same_levels = make_decoder(position_in_mask_features=True)(features)
    position = sine_embedding_2d(16, 16, 24, torch.device("cpu"))
    torch.testing.assert_close(placed, plain + position)
    assert all(torch.equal(level, same) for level, same in zip(levels, same_levels, strict=True))


def test_position_needs_no_parameters():
    names = make_decoder(position_in_mask_features=True).state_dict().keys()
    assert names == make_decoder().state_dict().keys()

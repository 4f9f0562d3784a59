"""What the pixel decoder adds to Mask2Former's; its numbers are checked in test_reference_parts.py."""

import torch
from detectron2.layers import ShapeSpec

from avis.config import get_avis_cfg
from avis.modeling import MSDeformAttnPixelDecoder
from avis.modeling.position_encoding import sine_embedding_2d

SHAPES = {f"res{level}": ShapeSpec(channels=8, stride=2**level) for level in range(2, 6)}


def make_decoder(position: bool) -> MSDeformAttnPixelDecoder:
    opts = ["MODEL.SEM_SEG_HEAD.POSITION_IN_MASK_FEATURES", position]
    torch.manual_seed(0)
    return MSDeformAttnPixelDecoder(get_avis_cfg("configs/quickstart.yaml", opts), SHAPES)


def test_position_is_added_to_the_per_pixel_embeddings_alone():
    features = {
        name: torch.randn(3, 8, 64 // spec.stride, 96 // spec.stride) for name, spec in SHAPES.items()
    }
    plain, levels = make_decoder(position=False)(features)
    placed, same_levels = make_decoder(position=True)(features)
    position = sine_embedding_2d(64, 16, 24, torch.device("cpu"))
    torch.testing.assert_close(placed, plain + position)
    assert all(torch.equal(level, same) for level, same in zip(levels, same_levels, strict=True))


def test_position_needs_no_parameters():
    assert make_decoder(position=True).state_dict().keys() == make_decoder(position=False).state_dict().keys()

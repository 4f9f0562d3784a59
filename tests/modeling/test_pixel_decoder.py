"""What the pixel decoder adds to Mask2Former's; its numbers are checked in test_reference_parts.py."""

import pytest
import torch
from detectron2.layers import ShapeSpec
from torch import Tensor
from torch.nn import functional as F

from avis.config import get_avis_cfg
from avis.kernels import ms_deform_attn
from avis.modeling import MSDeformAttnPixelDecoder
from avis.modeling.pixel_decoder import DeformableEncoderLayer
from avis.modeling.position_encoding import sine_embedding_2d
from tests.modeling.kept import kept_tensors, sizes_of

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


SIZES = [(3, 4), (6, 8)]
C, HEADS, POINTS, BATCH = 16, 2, 3, 2
NUM_TOKENS = sum(height * width for height, width in SIZES)


@pytest.fixture
def layer() -> DeformableEncoderLayer:
    torch.manual_seed(0)
    layer = DeformableEncoderLayer(C, len(SIZES), HEADS, POINTS, 32)
    for parameter in layer.parameters():  # so that offsets and weights depend on the tokens and on the place
        torch.nn.init.normal_(parameter, std=0.3)
    return layer


def layer_inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, positions and reference points."""
    torch.manual_seed(1)
    tokens, positions = torch.randn(BATCH, NUM_TOKENS, C), torch.randn(NUM_TOKENS, C)
    return tokens.requires_grad_(), positions.requires_grad_(), torch.rand(NUM_TOKENS, 2)


def plain_layer(layer: DeformableEncoderLayer, tokens: Tensor, positions: Tensor, points: Tensor) -> Tensor:
    """Deformable DETR's layer as it is written down."""
    attention, query = layer.self_attn, tokens + positions
    shape = (BATCH, NUM_TOKENS, HEADS, len(SIZES), POINTS)
    offsets = attention.sampling_offsets(query).view(*shape, 2)
    weights = attention.attention_weights(query).view(*shape[:3], -1).softmax(-1).view(shape)
    extents = torch.tensor([(width, height) for height, width in SIZES])
    locations = points[:, None, None, None] + offsets / extents[:, None]
    value = attention.value_proj(tokens).unflatten(-1, (HEADS, -1))
    attended = attention.output_proj(ms_deform_attn(value, SIZES, locations, weights))
    tokens = layer.norm1(tokens + attended)
    return layer.norm2(tokens + layer.linear2(F.relu(layer.linear1(tokens))))


def test_an_encoder_layer_is_deformable_detr_s(layer: DeformableEncoderLayer):
    """Up to the order of float32 sums."""
    results = []
    for run in (lambda *inputs: layer(*inputs, SIZES), lambda *inputs: plain_layer(layer, *inputs)):
        layer.zero_grad()
        tokens, positions, points = layer_inputs()
        output = run(tokens, positions, points)
        output.square().mul(torch.arange(C)).sum().backward()
        results.append([output, tokens.grad, positions.grad, *(p.grad for p in layer.parameters())])
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())


def test_an_encoder_layer_keeps_its_tokens_once(layer: DeformableEncoderLayer):
    """Its tokens, its values and what the samples sum up to: no sums, no norms, no hidden units."""
    inputs = layer_inputs()
    with kept_tensors() as kept:
        layer(*inputs, SIZES)
    tokens, samples = BATCH * NUM_TOKENS * C * 4, BATCH * NUM_TOKENS * HEADS * len(SIZES) * POINTS * 4
    # Locations are two numbers a sample; the softmax and what is sampled by it have the weights in common.
    expected = 3 * tokens + 3 * samples + inputs[1].numel() * 4
    extents = len(SIZES) * 2 * 4
    assert sum(sizes_of(kept, layer.parameters())) == expected + extents

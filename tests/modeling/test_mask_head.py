"""Both mask heads against plain loops over queries and pixels."""

import pytest
import torch
from torch.nn import functional as F

from avis.modeling import DotMaskHead, MaskHead, ResidualMaskHead
from avis.modeling.mask_head import resize_frames

BATCH, FRAMES, QUERIES, CHANNELS, HEIGHT, WIDTH = 2, 3, 5, 8, 4, 6


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(BATCH, QUERIES, CHANNELS), torch.randn(BATCH, FRAMES, CHANNELS, HEIGHT, WIDTH)


def _heads() -> list[MaskHead]:
    torch.manual_seed(1)
    return [DotMaskHead(CHANNELS, CHANNELS), ResidualMaskHead(CHANNELS, CHANNELS, QUERIES)]


def _pixels():
    return (
        (b, t, y, x) for b in range(BATCH) for t in range(FRAMES) for y in range(HEIGHT) for x in range(WIDTH)
    )


def test_dot_head_against_a_plain_loop(inputs):
    queries, features = inputs
    head = _heads()[0]
    masks = head(queries, features)
    first, second, third = head.layers
    for b, t, y, x in _pixels():
        for n in range(QUERIES):
            embedding = third(F.relu(second(F.relu(first(queries[b, n])))))
            expected = (embedding * features[b, t, :, y, x]).sum()
            torch.testing.assert_close(masks[b, n, t, y, x], expected)


def test_residual_head_is_equation_1(inputs):
    """M = Linear(Ẑ + MLP(Ẑ·Q)), pixel by pixel."""
    queries, features = inputs
    head = _heads()[1]
    masks = head(queries, features)
    first, second = head.mlp.layers
    for b, t, y, x in _pixels():
        pixel = features[b, t, :, y, x]
        responses = torch.stack([(pixel * queries[b, n]).sum() for n in range(QUERIES)])
        refined = pixel + second.weight @ F.relu(first.weight @ responses + first.bias) + second.bias
        expected = head.linear.weight @ refined + head.linear.bias
        torch.testing.assert_close(masks[b, :, t, y, x], expected)


def _dynamic_term(num_queries: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What the queries say at the start, beside the static term; and their dot product over √C."""
    torch.manual_seed(0)
    head = ResidualMaskHead(CHANNELS, CHANNELS, num_queries)
    queries, features = torch.randn(2, num_queries, CHANNELS), torch.randn(2, 3, CHANNELS, 4, 6)
    dynamic = head(queries, features) - head(torch.zeros_like(queries), features)
    return dynamic, torch.einsum("bnc,btchw->bnthw", queries, features) / CHANNELS**0.5


@pytest.mark.parametrize("num_queries", [1, 4, 5, 7, 8])
def test_residual_head_starts_as_the_dot_product(num_queries):
    """Exactly for those that have two hidden units; of the others what is positive."""
    dynamic, expected = _dynamic_term(num_queries)
    pairs = min(num_queries, CHANNELS - num_queries)
    torch.testing.assert_close(dynamic[:, :pairs], expected[:, :pairs], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(dynamic[:, pairs:], expected[:, pairs:].relu(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("num_queries", [1, 7, 8, 9, 20])
def test_every_query_has_influence_on_its_own_mask_at_the_start(num_queries):
    head = ResidualMaskHead(CHANNELS, CHANNELS, num_queries)
    queries = torch.randn(2, num_queries, CHANNELS, requires_grad=True)
    masks = head(queries, torch.randn(2, 3, CHANNELS, 4, 6))
    for n in range(num_queries):
        (gradient,) = torch.autograd.grad(masks[:, n].square().sum(), queries, retain_graph=True)
        assert gradient[:, n].abs().amax() > 1e-2


@pytest.mark.parametrize("head", _heads(), ids=["dot", "residual"])
def test_masks_at_another_size_are_the_interpolated_masks(head, inputs):
    expected = resize_frames(head(*inputs), (2, 5))
    torch.testing.assert_close(head.resized(*inputs, (2, 5)), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("head", _heads(), ids=["dot", "residual"])
def test_masks_of_selected_queries_are_those_of_all(head, inputs):
    selected = torch.tensor([3, 0, 3])
    torch.testing.assert_close(head(*inputs, selected), head(*inputs)[:, selected])


def test_residual_head_needs_queries_and_embeddings_of_one_size():
    with pytest.raises(ValueError, match=r"HIDDEN_DIM \(8\) equal to SEM_SEG_HEAD.MASK_DIM \(4\)"):
        ResidualMaskHead(8, 4, 5)
